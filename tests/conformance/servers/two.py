"""A server with every feature of 2026-07-28, on version 2 of the SDK; over stdio, or HTTP on a port."""

from __future__ import annotations

import sys
from typing import Annotated

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Elicit, Image, ListRoots, Resolve, Sample
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts import Prompt
from mcp_types import (
    Completion,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestURLParams,
    ElicitResult,
    InputRequiredResult,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)
from pydantic import BaseModel

server = MCPServer("two", instructions="Made with version 2.")
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108040000"
    "00b51c0c020000000b4944415478da6364f80f00010501012718e3660000000049454e44ae426082"
)
cancelled: list[str] = []


class Person(BaseModel):
    name: str


def name_of_user() -> Elicit[Person]:
    return Elicit("Who are you?", Person)


def greeting() -> Sample:
    return Sample([SamplingMessage(role="user", content=TextContent(type="text", text="Hello?"))], max_tokens=10)


def folders() -> ListRoots:
    return ListRoots()


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
    raise ToolError("as it was told")


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
    await ctx.warning("careful")  # pyright: ignore[reportDeprecated]
    return "noted"


@server.tool()
def ask_name(person: Annotated[Person, Resolve(name_of_user)]) -> str:
    return f"accept: {person.name}"


@server.tool()
def open_page(ctx: Context) -> str | InputRequiredResult:
    answer = (ctx.input_responses or {}).get("page")
    if isinstance(answer, ElicitResult):
        return answer.action
    params = ElicitRequestURLParams(message="Look here.", url="https://example.com/page", elicitation_id="page-1")
    return InputRequiredResult(input_requests={"page": ElicitRequest(params=params)}, request_state="opening")


@server.tool()
def sample(answer: Annotated[CreateMessageResult, Resolve(greeting)]) -> str:
    assert isinstance(answer.content, TextContent)
    return f"sampled: {answer.content.text}"


@server.tool()
def roots(listed: Annotated[ListRootsResult, Resolve(folders)]) -> str:
    return " ".join(str(root.uri) for root in listed.roots)


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
async def complete(ref: object, argument: object, context: object) -> Completion:
    return Completion(values=[f"{getattr(argument, 'value', '')}da"])


@server.tool()
async def touch(ctx: Context) -> str:
    await ctx.notify_resource_updated("note://static/one")
    return "touched"


@server.tool()
async def grow(name: str, ctx: Context) -> str:
    server.add_prompt(Prompt.from_function(lambda: "new", name=name))
    await ctx.notify_prompts_changed()
    return "grown"


if len(sys.argv) > 1:
    server.run("streamable-http", port=int(sys.argv[1]))
else:
    server.run()
