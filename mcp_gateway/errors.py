"""Everything that can go wrong between a model and a child server.

Each leaf is a different thing that the reader can do next, and its text says so. The reader is a
model, or a person at the command line; a leaf carries its object so that code never has to read
the text.

    GatewayError
    ├── BadParameters      call this tool again, with these parameters
    ├── UnknownServer      choose one of these servers
    ├── UnknownTool        choose one of these tools
    ├── ToolDenied         a person changes the entry's `tools`
    ├── ToolChanged        a person looks at what has changed, and trusts it
    ├── ServerUnusable     a person mends the entry or sets a variable
    ├── TooBusy            call again when some of the calls under way are done
    ├── StillStarting      call again in a moment
    ├── StartFailed        a person looks at the reason; it is tried again by the next call
    ├── StartPaused        wait until the time that is given
    ├── CallTimedOut       ask for less, or raise the limit
    ├── ServerGone         check whether the tool acted, then call again
    ├── NotWaiting         make the call again: what it had asked is not waiting any more
    ├── CannotAsk          use a client that can answer what the server asks
    ├── NotCarried         use the server directly for what the gateway does not pass on
    ├── UnknownPrompt      choose one of these prompts
    ├── UnknownResource    choose a resource that is listed
    ├── HttpRefused        a person looks at the URL or the headers
    └── ProtocolRefusal    what the child refused on the wire, with its own code and data
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any


class GatewayError(Exception):
    """A failure with a text that a model can act on."""


def _quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names)


@dataclass(eq=False)
class BadParameters(GatewayError):
    """One of the three tools was called with parameters that it does not take."""

    tool: str
    reason: str
    usage: str

    def __str__(self) -> str:
        return f"{self.tool}: {self.reason}. Call it as {self.usage}."


@dataclass(eq=False)
class UnknownServer(GatewayError):
    """No server of that name is configured."""

    name: str
    near: tuple[str, ...] = ()

    def __str__(self) -> str:
        near = f" Did you mean {_quoted(self.near)}?" if self.near else ""
        return f'There is no server "{self.name}".{near} list_available_mcps() shows all servers.'


@dataclass(eq=False)
class UnknownTool(GatewayError):
    """The server runs and does not offer that tool."""

    server: str
    tool: str
    near: tuple[str, ...] = ()

    def __str__(self) -> str:
        near = f" Did you mean {_quoted(self.near)}?" if self.near else ""
        return (
            f'The server "{self.server}" has no tool "{self.tool}".{near} '
            f'load_mcp_tools("{self.server}") shows its tools.'
        )


@dataclass(eq=False)
class ToolDenied(GatewayError):
    """The entry does not let this tool be called."""

    server: str
    tool: str
    reason: str

    def __str__(self) -> str:
        return f'The tool "{self.tool}" of "{self.server}" was not called: {self.reason}.'


@dataclass(eq=False)
class ToolChanged(GatewayError):
    """The tool is not what it was when it was first seen, and the entry blocks such tools."""

    server: str
    tool: str

    def __str__(self) -> str:
        return (
            f'The tool "{self.tool}" of "{self.server}" was not called: it has changed since it was first seen, and '
            f'is not trusted yet ("pin": "block"). A person looks at the change: {trust_command(self.server)}'
        )


@dataclass(eq=False)
class ServerUnusable(GatewayError):
    """The entry cannot be started as it stands: disabled, invalid, or short of a variable."""

    server: str
    reason: str

    def __str__(self) -> str:
        return f'The server "{self.server}" cannot be used: {self.reason}.'


@dataclass(eq=False)
class TooBusy(GatewayError):
    """So many calls of the server are under way that another one would only wait."""

    server: str
    calls: int

    def __str__(self) -> str:
        return (
            f'The server "{self.server}" has {self.calls} calls under way already, and this one was not made. '
            'Call again when some of them are done; "instances" in its entry lets more processes share them.'
        )


@dataclass(eq=False)
class StillStarting(GatewayError):
    """The start goes on; this call has waited as long as it may."""

    server: str
    running: float
    waited: str

    def __str__(self) -> str:
        return (
            f'The server "{self.server}" is still starting ({self.running:.0f} s so far, '
            f"{self.waited}). The start goes on; call again in a moment."
        )


@dataclass(eq=False)
class StartFailed(GatewayError):
    """A run ended before the server was ready.

    `shortcut`: its launcher had been left out; the next start uses it, at once.
    """

    server: str
    reason: str
    last_words: str = ""
    lacks: tuple[str, ...] = ()
    retry_in: float = 0.0
    shortcut: bool = False

    def __str__(self) -> str:
        retry = f"tried again in {self.retry_in:.0f} s" if self.retry_in else "tried again by the next call"
        parts = [f'The server "{self.server}" did not start: {self.reason}. It is {retry}.']
        return "\n".join(parts + circumstances(self.lacks, self.last_words))


@dataclass(eq=False)
class StartPaused(GatewayError):
    """Too many starts failed in a row; the next one waits."""

    server: str
    failures: int
    retry_in: float
    last: StartFailed

    def __str__(self) -> str:
        failed = f'The server "{self.server}" failed to start {self.failures} times in a row: {self.last.reason}.'
        parts = [f"{failed} The next try is due in {self.retry_in:.0f} s."]
        return "\n".join(parts + circumstances(self.last.lacks, self.last.last_words))


@dataclass(eq=False)
class CallTimedOut(GatewayError):
    """The child did not answer in time and was told to cancel the call.

    `state`: it `lives`; it is `busy` and answers nothing for now; it `hangs`, and was stopped.
    """

    server: str
    what: str
    limit: str
    state: str = "lives"

    def __str__(self) -> str:
        states = {
            "lives": "the server stays usable",
            "busy": "the server is busy with other calls and answers nothing for now",
            "hangs": "it answered nothing else either, and the next call starts it afresh",
        }
        return (
            f'{self.what} of "{self.server}" did not answer in time ({self.limit}). The call was cancelled and may '
            f"have acted in part; {states[self.state]}. "
            "Ask for less at once, or raise that limit."
        )


@dataclass(eq=False)
class ServerGone(GatewayError):
    """The run ended while the call was in flight.

    `reached`: the call had left the gateway. `acted`: the tool may have done something by it.
    """

    server: str
    reason: str
    reached: bool = True
    acted: bool = True
    last_words: str = ""
    lacks: tuple[str, ...] = ()
    repeated: bool = False

    def __str__(self) -> str:
        if self.repeated:
            done = "It was called twice, with the same end"
        elif self.acted:
            done = "The call was not repeated, for the tool may have acted: check, then call again"
        else:
            done = "The call had not reached it; call again"
        parts = [f'The server "{self.server}" {self.reason} during the call. {done}; the next call starts it afresh.']
        return "\n".join(parts + circumstances(self.lacks, self.last_words))


@dataclass(eq=False)
class CannotAsk(GatewayError):
    """A server wants to know something before it answers, and nobody can tell it."""

    server: str
    reason: str

    def __str__(self) -> str:
        return f'The server "{self.server}" asks for input before it answers, and {self.reason}.'


@dataclass(eq=False)
class NotCarried(GatewayError):
    """The server answered with something that only an extension of the protocol can go on with."""

    server: str
    kind: str

    def __str__(self) -> str:
        return (
            f'The server "{self.server}" answered with a "{self.kind}", which belongs to an extension of the protocol '
            "that this gateway does not carry. Use another tool, or that server without the gateway."
        )


@dataclass(eq=False)
class UnknownPrompt(GatewayError):
    """No known server has that prompt."""

    name: str
    near: tuple[str, ...] = ()

    def __str__(self) -> str:
        near = f" Did you mean {_quoted(self.near)}?" if self.near else ""
        return f'There is no prompt "{self.name}".{near} Prompts are named server__prompt.'


@dataclass(eq=False)
class UnknownResource(GatewayError):
    """No known server owns that resource."""

    uri: str

    def __str__(self) -> str:
        return f'No known server has the resource "{self.uri}".'


@dataclass(eq=False)
class NotWaiting(GatewayError):
    """A client answers a question that nobody asks (any more)."""

    seconds: float

    def __str__(self) -> str:
        return (
            "The call that this answers is not waiting for it: it was answered already, its server has ended, or more "
            f"than {self.seconds:g} s have passed (GATEWAY_QUESTION_TIMEOUT). Make the call again without answers."
        )


@dataclass(eq=False)
class HttpRefused(GatewayError):
    """A server over HTTP answered a request with an error of HTTP and none of the protocol."""

    server: str
    status: str
    login: str = ""

    def __str__(self) -> str:
        return f'The server "{self.server}" {http_advice(self.status, self.login)}.'


class ProtocolRefusal(GatewayError):
    """An error of the protocol from a child: its code, message and data, unchanged."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        """Keep what the child sent."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


def trust_command(server: str, tool: str = "") -> str:
    """The command by which a person sees what has changed in a server, and trusts it."""
    return " ".join(["python gateway.py trust", *(shlex.quote(word) for word in (server, tool) if word)])


def http_advice(status: str, login: str = "") -> str:
    """What a status such as `401 Unauthorized` asks of a person, as the end of a sentence.

    `login` is the command that logs in, where that is the way.
    """
    if status[:3] in {"401", "403"} and login:
        return f"answered {status}: it wants a log-in; a person runs: {login}"
    if status[:3] in {"401", "403"}:
        return f"answered {status}: check the token or key in the headers of its entry"
    if status[:3] in {"404", "405"}:
        return f"answered {status}: check the url of its entry"
    if status.startswith(("429", "5")):
        return f"answered {status}: it is busy or has a fault of its own; call again later"
    return f"answered {status}"


def circumstances(lacks: tuple[str, ...], last_words: str) -> list[str]:
    """What helps to explain a failure: the variables that are not set, the child's last lines."""
    lines: list[str] = []
    if lacks:
        them = "it" if len(lacks) == 1 else "them"
        lines.append(f"It lacks {', '.join(lacks)}: set {them} in the environment or in .env.")
    if last_words:
        lines.append(f"Its last lines on stderr:\n{last_words}")
    return lines
