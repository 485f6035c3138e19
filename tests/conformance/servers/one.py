"""A server with every feature of the handshake era, on version 1 of the SDK; over stdio, or HTTP on a port."""

import sys

import anyio
from mcp.server.fastmcp import Context, FastMCP, Image
from mcp.types import Completion, SamplingMessage, TextContent
from pydantic import AnyUrl, BaseModel

server = FastMCP("one", instructions="Made with version 1.")
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108040000"
    "00b51c0c020000000b4944415478da6364f80f00010501012718e3660000000049454e44ae426082"
)
cancelled: list[str] = []


class Person(BaseModel):
    name: str


@server.tool()
def say(text: str) -> str:
    return f"said: {text}"


@server.tool()
def picture() -> Image:
    return Image(data=PNG, format="png")


@server.tool()
def measure() -> dict[str, int]:
    return {"degrees": 21}


@server.tool()
def fail() -> None:
    raise ValueError("as it was told")


@server.tool()
async def count(to: int, ctx: Context) -> str:
    for number in range(1, to + 1):
        await ctx.report_progress(number, to, f"at {number}")
    return f"counted to {to}"


@server.tool()
async def wait() -> str:
    try:
        await anyio.sleep(60)
    except anyio.get_cancelled_exc_class():
        cancelled.append("wait")
        raise
    return "waited"


@server.tool()
def was_cancelled() -> str:
    return " ".join(cancelled)


@server.tool()
async def note(ctx: Context) -> str:
    await ctx.warning("careful")
    return "noted"


@server.tool()
async def ask_name(ctx: Context) -> str:
    answer = await ctx.elicit("Who are you?", Person)
    return f"{answer.action}: {answer.data.name if answer.action == 'accept' else ''}"


@server.tool()
async def open_page(ctx: Context) -> str:
    answer = await ctx.elicit_url("Look here.", "https://example.com/page", "page-1")
    return f"{answer.action}"


@server.tool()
async def sample(ctx: Context) -> str:
    message = SamplingMessage(role="user", content=TextContent(type="text", text="Hello?"))
    answer = await ctx.session.create_message([message], max_tokens=10)
    return f"sampled: {answer.content.text}"


@server.tool()
async def roots(ctx: Context) -> str:
    return " ".join(str(root.uri) for root in (await ctx.session.list_roots()).roots)


@server.prompt()
def greet(name: str) -> str:
    return f"Greet {name}."


@server.resource("note://static/one")
def static() -> str:
    return "a static note"


@server.resource("note://by-name/{name}")
def by_name(name: str) -> str:
    return f"a note on {name}"


@server.completion()
async def complete(ref, argument, context) -> Completion:
    return Completion(values=[f"{argument.value}da"])


@server._mcp_server.subscribe_resource()
async def subscribe(uri: AnyUrl) -> None:
    pass


@server._mcp_server.unsubscribe_resource()
async def unsubscribe(uri: AnyUrl) -> None:
    pass


@server.tool()
async def touch(ctx: Context) -> str:
    await ctx.session.send_resource_updated(AnyUrl("note://static/one"))
    return "touched"


@server.tool()
async def grow(name: str, ctx: Context) -> str:
    server.add_prompt(type(server._prompt_manager.list_prompts()[0]).from_function(lambda: "new", name=name))
    await ctx.session.send_prompt_list_changed()
    return "grown"


if len(sys.argv) > 1:
    server.settings.port = int(sys.argv[1])
    server.settings.log_level = "ERROR"
    server.run("streamable-http")
else:
    server.run()
