"""The gateway at a terminal: the three tools for a person's eyes and for scripts, and a check.

Exit codes: 0 it worked; 1 a server or a tool failed; 2 the command line was wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Protocol, TypeVar, cast

import anyio
import anyio.to_thread
import typer
from rich.console import Console
from rich.table import Table

from mcp_gateway import __version__, menu, stats
from mcp_gateway.address import Address, AddressError, parse_address
from mcp_gateway.arguments import as_object
from mcp_gateway.caller import Caller
from mcp_gateway.checkup import check_all, patiently
from mcp_gateway.errors import (
    GatewayError,
    ProtocolRefusal,
)
from mcp_gateway.host import Ending
from mcp_gateway.pool import Pool
from mcp_gateway.results import Result, refused
from mcp_gateway.review import review
from mcp_gateway.secrets import Redactor
from mcp_gateway.settings import Settings

_INTERRUPTED = 130
"""What a shell says of a program that Ctrl-C ended."""

_T = TypeVar("_T")


class Front(Protocol):
    """What the command line needs of a gateway."""

    @property
    def pool(self) -> Pool:
        """Its servers."""
        ...

    def lines(self) -> list[menu.Line]:
        """What is known of each."""
        ...

    async def ask(self, tool: str, parameters: Mapping[str, Any], caller: Caller) -> Result:
        """One of the three tools; raises `GatewayError`."""
        ...

    def definitions(self) -> str:
        """What a client hands to its model of the gateway, all the time."""
        ...

    @property
    def redact(self) -> Redactor:
        """Takes secrets out of a text."""
        ...

    @property
    def settings(self) -> Settings:
        """What a person has set."""
        ...


ServeHttp = Callable[[Any, Address, tuple[str, ...]], Awaitable[Ending]]
"""Serves a front at an address, under these names."""


Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Query = Annotated[str, typer.Argument(help="Words that say what you want to do.", show_default=False)]
Name = Annotated[str, typer.Argument(help="The server's name.", show_default=False)]


def main(arguments: list[str], make: Callable[[], Front], serve_http: ServeHttp) -> int:
    """Run one command; `make` builds the gateway when a command needs it."""
    try:
        code = _app(make, serve_http)(arguments, prog_name="gateway.py", standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except typer.TyperException as exc:
        sys.stderr.write(f"gateway.py: {exc.format_message()}\nSee gateway.py --help\n")
        return exc.exit_code
    return code if isinstance(code, int) else 0


def _app(make: Callable[[], Front], serve_http: ServeHttp) -> typer.Typer:
    app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
    commands = Commands(make, serve_http)
    app.callback(invoke_without_command=True)(commands.about)
    app.command("list")(commands.list_servers)
    app.command("load")(commands.load)
    app.command("call")(commands.call)
    app.command("check")(commands.check)
    app.command("refresh")(commands.refresh)
    app.command("stats")(commands.stats)
    app.command("trust")(commands.trust)
    app.command("login")(commands.login)
    app.command("logout")(commands.logout)
    app.command("serve")(commands.serve)
    return app


class Commands:
    """One method a command; typer reads its parameters and its docstring."""

    def __init__(self, make: Callable[[], Front], serve_http: ServeHttp) -> None:
        """Build the gateway by `make`, when a command needs it."""
        self._make = make
        self._serve_http = serve_http

    def about(
        self,
        version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,  # noqa: FBT002
    ) -> None:
        """Serve MCP over stdio (without a command), or look at the servers behind the gateway."""
        if version:
            _say(__version__)
            raise typer.Exit

    def list_servers(self, query: Query = "", as_json: Json = False) -> None:  # noqa: FBT002
        """List the servers, or search their tools."""
        front = self._make()
        if as_json and not query:
            _say(_json([_described(line) for line in front.lines()]))
        else:
            _show(_run(front, lambda: front.ask("list_available_mcps", {"query": query}, Caller())), as_json=as_json)

    def load(self, name: Name, query: Query = "", as_json: Json = False) -> None:  # noqa: FBT002
        """Show a server's instructions and tools; it is started if it is not known yet."""
        front = self._make()
        if as_json:
            knowledge = _run(front, lambda: patiently(lambda: front.pool.knowledge(name, Caller())))
            _say(_json({"name": name, "instructions": knowledge.instructions, "tools": knowledge.tools}))
        else:
            parameters = {"mcp_name": name, "query": query}
            _show(_run(front, lambda: patiently(lambda: front.ask("load_mcp_tools", parameters, Caller()))))

    def call(
        self,
        name: Name,
        tool: Annotated[str, typer.Argument(help="The tool's name.", show_default=False)],
        arguments: Annotated[str, typer.Argument(help="A JSON object.", metavar="[JSON]")] = "{}",
        as_json: Json = False,  # noqa: FBT002
    ) -> None:
        """Call a tool."""
        given = as_object(arguments)
        if given is None:
            raise typer.BadParameter(f"not a JSON object: {arguments}", param_hint="JSON")
        front = self._make()
        parameters = {"mcp_name": name, "tool_name": tool, "arguments": given}
        caller = Caller(progress=_print_progress)
        _show(_run(front, lambda: patiently(lambda: front.ask("call_mcp_tool", parameters, caller))), as_json=as_json)

    def check(
        self,
        names: Annotated[list[str] | None, typer.Argument(help="Servers; all where none is named.")] = None,
        as_json: Json = False,  # noqa: FBT002
    ) -> None:
        """Start servers and say for each whether it is ready, or what is wrong and what to do."""
        front = self._make()
        tell = Console(quiet=as_json, highlight=False, soft_wrap=True)
        verdicts = _run(front, lambda: check_all(front.pool, front.redact, names or _all_names(front), tell))
        if as_json:
            _say(_json([vars(verdict) for verdict in verdicts]))
        raise typer.Exit(0 if all(verdict.ok for verdict in verdicts) else 1)

    def refresh(
        self,
        names: Annotated[list[str] | None, typer.Argument(help="Servers; all where none is named.")] = None,
        as_json: Json = False,  # noqa: FBT002
    ) -> None:
        """Start servers and learn their tools anew, so that lists, searches and loads start nothing."""
        self.check(names, as_json)

    def stats(self, as_json: Json = False) -> None:  # noqa: FBT002
        """Show what was called, how it went, and what the gateway saves at the start of a conversation."""
        front = self._make()
        figures = stats.by_tool(front.pool.catalog.calls())
        direct = {
            line.entry.name: stats.definition_tokens(line.knowledge.tools) for line in front.lines() if line.knowledge
        }
        own = stats.tokens(front.definitions())
        front.pool.catalog.close()
        if as_json:
            _say(_json(stats.as_json(figures, direct, own)))
            return
        console = Console(highlight=False)
        console.print(_table(figures))
        console.print("At the start of a conversation, tokens, about:")
        for name, cost in sorted(direct.items(), key=lambda pair: -pair[1]):
            console.print(f"{cost:>9,}  {name}, directly", markup=False)
        console.print(f"{sum(direct.values()):>9,}  all of them, directly\n{own:>9,}  the gateway", markup=False)

    def trust(
        self,
        name: Name,
        tool: Annotated[str, typer.Argument(help="One of its tools; all that has changed where none is named.")] = "",
        yes: Annotated[bool, typer.Option("--yes", help="Do not ask again at a terminal.")] = False,  # noqa: FBT002
    ) -> None:
        """Show what has changed in a server since it was first seen, and trust it from now on."""
        front = self._make()
        ask = sys.stdin.isatty() and not yes
        try:
            agree = typer.confirm if ask else _yes
            trusted = review(front.pool, name, tool, lambda text: _say(front.redact(text)), agree)
        except GatewayError as exc:
            sys.stderr.write(f"{exc}\n")
            raise typer.Exit(1) from exc
        finally:
            front.pool.catalog.close()
        raise typer.Exit(0 if trusted else 1)

    def login(
        self,
        name: Name,
        paste: Annotated[bool, typer.Option("--paste", help="Open no browser here; paste the URL it ends on.")] = False,  # noqa: FBT002
    ) -> None:
        """Log in at a remote server (OAuth); the gateway refreshes the log-in by itself from then on."""
        from mcp_gateway import browser  # noqa: PLC0415 - few commands need it

        front = self._make()
        ways = browser.Ways(
            say=_tell,
            paste=_read_line if paste or sys.stdin.isatty() else None,
            browse=(lambda _: False) if paste else browser.webbrowser.open,
        )
        _say(_run(front, lambda: browser.log_in(front.pool.entry(name), front.settings.home, ways)))

    def logout(self, name: Name) -> None:
        """Forget the log-in at a remote server, and have it revoked where the server can."""
        from mcp_gateway import browser  # noqa: PLC0415 - few commands need it

        front = self._make()
        _say(_run(front, lambda: browser.log_out(front.pool.entry(name), front.settings.home)))

    def serve(
        self,
        http: Annotated[str, typer.Option(help="HOST:PORT to listen on; 127.0.0.1 where no host is named.")],
        allow_host: Annotated[list[str] | None, typer.Option(help="A further name that clients reach it by.")] = None,
    ) -> None:
        """Serve MCP over Streamable HTTP, for several clients at once."""
        try:
            address = parse_address(http)
            ending = anyio.run(self._serve_http, self._make(), address, tuple(allow_host or ()))
        except AddressError as exc:
            raise typer.BadParameter(str(exc), param_hint="--http") from exc
        ending.die()


def _yes(_: str) -> bool:
    """The command itself was the person's word."""
    return True


def _table(figures: list[stats.Figures]) -> Table:
    table = Table("server", "tool")
    for column in ("calls", "errors", "p50, ms", "p95, ms"):
        table.add_column(column, justify="right")
    for one in figures:
        times = (f"{1e3 * one.p50:,.1f}", f"{1e3 * one.p95:,.1f}")
        table.add_row(one.server, one.tool, str(one.calls), str(one.errors), *times)
    return table


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _tell(text: str) -> None:
    """Shows a person what is not the answer of the command."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


async def _read_line() -> str:
    """A line that the person types; empty where no more can come."""
    return await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)


def _run(front: Front, job: Callable[[], Awaitable[_T]]) -> _T:
    """Do one thing with a gateway, and stop its children again, whether it is done, fails or is interrupted."""
    ending = Ending()
    outcome: list[_T | GatewayError] = []

    async def work() -> None:
        working = anyio.CancelScope()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ending.watch, working.cancel)
            async with front.pool:
                with working:
                    outcome.append(await _outcome(job))
            tasks.cancel_scope.cancel()

    anyio.run(work)
    ending.die()
    (result,) = outcome
    if isinstance(result, GatewayError):
        sys.stderr.write(front.redact(f"{_told(result)}\n"))
        raise typer.Exit(1)
    return result


async def _outcome(job: Callable[[], Awaitable[_T]]) -> _T | GatewayError:
    try:
        return await job()
    except GatewayError as exc:
        return exc


def _told(exc: GatewayError) -> str:
    """A failure for a person; an error of the protocol with its code and data."""
    if not isinstance(exc, ProtocolRefusal):
        return str(exc)
    data = "" if exc.data is None else f"\n{_json(exc.data)}"
    return f"error {exc.code}: {exc.message}{data}"


async def _print_progress(progress: float, total: float | None = None, message: str | None = None) -> None:
    of = f"/{total:g}" if total else ""
    amount = f"{progress:g}{of} " if progress >= 1 or total else ""
    sys.stderr.write(f"{amount}{message or ''}\n")


def _show(result: Result, *, as_json: bool = False) -> None:
    content = result.get("content")
    blocks = cast("list[object]", content) if isinstance(content, list) else []
    _say(_json(result) if as_json else "\n".join(map(_block, blocks)))
    if refused(result):
        raise typer.Exit(1)


def _block(value: object) -> str:
    """One block of a result as text; what is no text is named, and `--json` shows it."""
    if not isinstance(value, dict):
        return f"[{value!r:.100}; --json shows it]"
    block = cast("dict[str, Any]", value)
    if block.get("type") == "text":
        return str(block.get("text", ""))
    kind = block.get("mimeType") or block.get("uri") or ""
    size = f", {len(block['data']) * 3 // 4:,} bytes" if isinstance(block.get("data"), str) else ""
    return f"[{block.get('type')} {kind}{size}; --json shows it]"


def _described(line: menu.Line) -> dict[str, Any]:
    entry = line.entry
    return {
        "name": entry.name,
        "purpose": line.purpose,
        "usable": entry.usable,
        "disabled": entry.disabled,
        "lacks": entry.lacks,
        "refused": entry.refused,
        "tools": len(line.knowledge.tools) if line.knowledge else None,
    }


def _all_names(front: Front) -> list[str]:
    return [line.entry.name for line in front.lines() if not line.entry.disabled]
