"""Where the gateway listens for clients over HTTP: loopback for anybody here, elsewhere only with a token."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

PATH = "/mcp"
_HIGHEST_PORT = 65_535


class AddressError(ValueError):
    """An address that cannot be served, with the reason."""


@dataclass(frozen=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    @property
    def local(self) -> bool:
        """Whether only programs of this machine reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def url(self) -> str:
        """What a client is given."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{PATH}"


def parse_address(text: str) -> Address:
    """`HOST:PORT`, `[HOST]:PORT`, `:PORT` or `PORT`; loopback where no host is named.

    Raises:
        AddressError: It is none of these.
    """
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > _HIGHEST_PORT:
        raise AddressError(f'"{text}" is no address; write HOST:PORT, such as 127.0.0.1:8080')
    return Address(host.strip("[]") or "127.0.0.1", int(port))


def listen(address: Address, token: str) -> socket.socket:
    """A socket that listens there.

    Raises:
        AddressError: It cannot, or must not without a token.
    """
    if not address.local and not token:
        raise AddressError(
            f"{address.host} is reached from other machines: set GATEWAY_HTTP_TOKEN to a secret that clients send "
            'as "Authorization: Bearer …", or listen on 127.0.0.1'
        )
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
    except OSError as exc:
        listener.close()
        raise AddressError(f"cannot listen on {address.host}:{address.port}: {exc.strerror}") from exc
    return listener
