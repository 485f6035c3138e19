"""The rows of the table: each feature as a client of the gateway sees it, with real servers behind."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client import ClientRequestContext

PNG = b"\x89PNG"


@dataclass
class Heard:
    """What the client was told and asked by itself."""

    notices: list[Any] = field(default_factory=list[Any])
    logs: list[types.LoggingMessageNotificationParams] = field(
        default_factory=list[types.LoggingMessageNotificationParams]
    )
    asked: list[Any] = field(default_factory=list[Any])

    async def notice(self, message: object) -> None:
        """The SDK's message handler."""
        self.notices.append(message)

    async def log(self, params: types.LoggingMessageNotificationParams) -> None:
        """The SDK's logging callback."""
        self.logs.append(params)

    async def sample(
        self, _: ClientRequestContext, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult:
        """The SDK's sampling callback."""
        self.asked.append(params)
        text = types.TextContent(type="text", text="a model's words")
        return types.CreateMessageResult(role="assistant", content=text, model="made-up")

    async def elicit(self, _: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        """The SDK's elicitation callback."""
        self.asked.append(params)
        if params.mode == "url":
            return types.ElicitResult(action="accept")
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async def list_roots(self, _: ClientRequestContext) -> types.ListRootsResult:
        """The SDK's roots callback."""
        return types.ListRootsResult(roots=[types.Root.model_validate({"uri": "file:///made/up", "name": "made up"})])


@dataclass
class Session:
    """One client of one gateway, looking at one server behind it.

    Attributes:
        server: The server's name in the gateway.
        tools: How that server calls what the tests need: tool and arguments.
        names: Its prompt, resource and URIs.
    """

    client: Client
    heard: Heard
    server: str
    tools: Mapping[str, tuple[str, dict[str, Any]]]
    names: Mapping[str, str]
    modern: bool

    async def call(self, what: str, **more: Any) -> types.CallToolResult:
        """Calls one of `tools` through the gateway."""
        tool, arguments = self.tools[what]
        parameters = {"mcp_name": self.server, "tool_name": tool, "arguments": arguments}
        return await self.client.call_tool("call_mcp_tool", parameters, **more)

    async def text(self, what: str) -> str:
        """All text of a call that has to succeed."""
        result = await self.call(what)
        assert not result.is_error, result
        return "\n".join(block.text for block in result.content if isinstance(block, types.TextContent))

    async def until(self, what: Callable[[], object]) -> None:
        """Waits for something that comes by itself."""
        with anyio.fail_after(20):
            while not what():
                await anyio.sleep(0.02)


async def text(session: Session) -> None:
    """The words of a tool."""
    assert "hello there" in await session.text("say")


async def images(session: Session) -> None:
    """An image, byte for byte a PNG."""
    (image,) = [block for block in (await session.call("picture")).content if isinstance(block, types.ImageContent)]
    assert base64.b64decode(image.data).startswith(PNG)


async def structured(session: Session) -> None:
    """Structured content, and the text that repeats it."""
    result = await session.call("measure")
    assert session.names["measured"] in json.dumps(result.structured_content)
    assert result.content


async def is_error(session: Session) -> None:
    """The server's own word for a failure."""
    result = await session.call("fail")
    assert result.is_error is True
    assert session.names["failure"] in str(result.content)


async def errors(session: Session) -> None:
    """An error of the protocol, with the server's own code and words."""
    with pytest.raises(MCPError) as caught:
        await session.client.get_prompt(session.names["prompt"], {})
    assert session.names["refusal"] in caught.value.message


async def progress(session: Session) -> None:
    """Each step, in its order."""
    steps: list[float] = []

    async def step(progress: float, _: float | None, __: str | None) -> None:
        if progress >= 1:  # the gateway's own notes on a start are smaller
            steps.append(progress)

    await session.call("count", progress_callback=step)
    await session.until(lambda: len(steps) >= 2)
    assert steps == sorted(steps)


async def cancellation(session: Session) -> None:
    """The client gives up; the server learns of it, and is of use at once."""
    with anyio.move_on_after(1):
        await session.call("wait")
    if "was_cancelled" in session.tools:
        with anyio.fail_after(20):
            while "wait" not in await session.text("was_cancelled"):
                await anyio.sleep(0.05)
    assert "hello there" in await session.text("say")


async def logging(session: Session) -> None:
    """Log messages, for a client that asks for them."""
    if not session.modern:
        with pytest.warns(match="deprecated"):
            await session.client.set_logging_level("debug")  # pyright: ignore[reportDeprecated]
    asked = {"meta": {"io.modelcontextprotocol/logLevel": "debug"}} if session.modern else {}
    for _ in range(6):  # a modern client hears what is said during its request; everything's first word may come later
        await session.call("note", **asked)
        with anyio.move_on_after(2):
            await session.until(
                lambda: any((log.logger or "").startswith(session.server) for log in session.heard.logs)
            )
            return
    pytest.fail("no log message came")


async def elicitation(session: Session) -> None:
    """A form for the user, and the answer."""
    assert "Ada" in await session.text("ask_name")
    assert any("name" in str(asked) for asked in session.heard.asked)


async def elicitation_url(session: Session) -> None:
    """A page that the user is sent to."""
    assert "accept" in (await session.text("open_page")).lower()
    assert any(getattr(asked, "url", "").startswith("https://") for asked in session.heard.asked)


async def sampling(session: Session) -> None:
    """The client's model, asked by the server."""
    assert "a model's words" in await session.text("sample")


async def roots(session: Session) -> None:
    """The client's folders."""
    assert "file:///made/up" in await session.text("roots")


async def prompts(session: Session) -> None:
    """Listed with the server's name, and given."""
    listed: list[str] = []
    with anyio.fail_after(20):
        while session.names["prompt"] not in listed:
            listed = [prompt.name for prompt in (await session.client.list_prompts()).prompts]
            await anyio.sleep(0.02)
    got = await session.client.get_prompt(session.names["prompt"], {session.names["argument"]: "Paris"})
    assert "Paris" in str(got.messages)


async def resources(session: Session) -> None:
    """Listed under their own URIs, and read."""
    uris: list[str] = []
    with anyio.fail_after(20):
        while session.names["resource"] not in uris:
            uris = [str(resource.uri) for resource in (await session.client.list_resources()).resources]
            await anyio.sleep(0.02)
    read = await session.client.read_resource(session.names["resource"])
    assert session.names["contents"] in str(read.contents)


async def templates(session: Session) -> None:
    """Listed, and a resource that fits one is read."""
    found: list[str] = []
    with anyio.fail_after(20):
        while session.names["template"] not in found:
            listed = (await session.client.list_resource_templates()).resource_templates
            found = [template.uri_template for template in listed]
            await anyio.sleep(0.02)
    read = await session.client.read_resource(session.names["made"])
    assert read.contents


async def completion(session: Session) -> None:
    """Of a prompt's argument, by its server."""
    reference = types.PromptReference(name=session.names["completable"])
    done = await session.client.complete(reference, {"name": session.names["completes"], "value": "E"})
    assert done.completion.values
    assert all(value.startswith("E") for value in done.completion.values)


async def subscriptions(session: Session) -> None:
    """A change of a resource, for a client that has subscribed."""
    uri = session.names["resource"]
    if session.modern:
        async with session.client.listen(resource_subscriptions=[uri]) as events:
            await session.call("touch")
            with anyio.fail_after(20):
                event = await anext(aiter(events))
        assert getattr(event, "uri", "") == uri
        return
    session.heard.notices.clear()
    with pytest.warns(match="use Client.listen"):
        await session.client.subscribe_resource(uri)  # pyright: ignore[reportDeprecated]
    await session.call("touch")
    await session.until(lambda: _updated(session, uri))
    with pytest.warns(match="use Client.listen"):
        await session.client.unsubscribe_resource(uri)  # pyright: ignore[reportDeprecated]


async def list_changed(session: Session) -> None:
    """A prompt that the server has just got is told of, listed and given."""
    new = session.tools["grow"][1]["name"]
    name = f"{session.server}__{new}"
    if session.modern:
        async with session.client.listen(prompts_list_changed=True) as events:
            await session.call("grow")
            with anyio.fail_after(20):
                await anext(aiter(events))
    else:
        session.heard.notices.clear()
        await session.call("grow")
        await session.until(lambda: _has(session, types.PromptListChangedNotification))
    with anyio.fail_after(20):
        while name not in [prompt.name for prompt in (await session.client.list_prompts()).prompts]:
            await anyio.sleep(0.05)
    assert "new" in str((await session.client.get_prompt(name)).messages)


async def tasks(session: Session) -> None:
    """A tool that runs only as a task is refused clearly."""
    result = await session.call("task")
    assert result.is_error
    assert "task" in str(result.content)


def _updated(session: Session, uri: str) -> bool:
    notices = [one for one in session.heard.notices if isinstance(one, types.ResourceUpdatedNotification)]
    return any(str(one.params.uri) == uri for one in notices)


def _has(session: Session, kind: type) -> bool:
    return any(isinstance(notice, kind) for notice in session.heard.notices)


Feature = Callable[[Session], Awaitable[None]]

FEATURES: dict[str, Feature] = {
    "text": text,
    "images": images,
    "structured content": structured,
    "`isError`": is_error,
    "errors of the protocol": errors,
    "progress": progress,
    "cancellation": cancellation,
    "log messages": logging,
    "elicitation: form": elicitation,
    "elicitation: URL": elicitation_url,
    "sampling": sampling,
    "roots": roots,
    "prompts": prompts,
    "resources": resources,
    "resource templates": templates,
    "completion": completion,
    "subscriptions": subscriptions,
    "`list_changed`": list_changed,
    "tasks are refused": tasks,
}
