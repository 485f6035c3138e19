"""What the official conformance suite wants to find behind a gateway, on version 2 of the SDK, over stdio."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import mcp_types as types
from mcp import MCPError
from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler

Context = ServerRequestContext[Any, Any]
Params = types.CallToolRequestParams

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
SOUND = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="
KEY = b"a key of this process"

text = types.TextContent
name_schema: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def say(words: str, *, is_error: bool = False) -> types.CallToolResult:
    return types.CallToolResult(content=[text(type="text", text=words)], is_error=is_error)


def embedded(uri: str, mime: str, words: str) -> types.EmbeddedResource:
    contents = types.TextResourceContents(uri=uri, mime_type=mime, text=words)
    return types.EmbeddedResource(type="resource", resource=contents)


def form(message: str, schema: dict[str, Any]) -> types.ElicitRequest:
    params = {"mode": "form", "message": message, "requestedSchema": schema}
    return types.ElicitRequest.model_validate({"method": "elicitation/create", "params": params})


def question(words: str, most: int) -> types.CreateMessageRequest:
    message = types.SamplingMessage(role="user", content=text(type="text", text=words))
    params = types.CreateMessageRequestParams(messages=[message], max_tokens=most)
    return types.CreateMessageRequest(params=params)


def asking(requests: dict[str, Any], state: str | None = None) -> types.InputRequiredResult:
    return types.InputRequiredResult(input_requests=requests, request_state=state)


def answer(params: Params | types.GetPromptRequestParams, key: str, kind: type[Any]) -> Any:
    given = (params.input_responses or {}).get(key)
    return given if isinstance(given, kind) else None


def sealed(state: str) -> str:
    return f"{state}.{hmac.new(KEY, state.encode(), hashlib.sha256).hexdigest()}"


def check(state: str | None) -> str:
    opened = (state or "").rpartition(".")[0]
    if state is None or not hmac.compare_digest(sealed(opened), state):
        raise MCPError(types.INVALID_PARAMS, "requestState was tampered with")
    return opened


Result = types.CallToolResult | types.InputRequiredResult


def elicited(
    requests: dict[str, types.ElicitRequest], form_answer: str
) -> Callable[[Context, Params], Awaitable[Result]]:
    """A tool that asks one thing, and says what it was told."""
    (key,) = requests

    async def tool(_: Context, params: Params) -> Result:
        told = answer(params, key, types.ElicitResult)
        if told is None:
            return asking(dict(requests))
        fields: dict[str, Any] = dict(told.content or {})
        return say(form_answer.format(action=told.action, content=json.dumps(told.content), **fields))

    return tool


async def simple(_: Context, __: Params) -> Result:
    return say("This is a simple text response for testing.")


async def image(_: Context, __: Params) -> Result:
    return types.CallToolResult(content=[types.ImageContent(type="image", data=PIXEL, mime_type="image/png")])


async def audio(_: Context, __: Params) -> Result:
    return types.CallToolResult(content=[types.AudioContent(type="audio", data=SOUND, mime_type="audio/wav")])


async def resource(_: Context, __: Params) -> Result:
    found = embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    return types.CallToolResult(content=[found])


async def mixed(_: Context, __: Params) -> Result:
    data = json.dumps({"test": "data", "value": 123})
    return types.CallToolResult(
        content=[
            text(type="text", text="Multiple content types test:"),
            types.ImageContent(type="image", data=PIXEL, mime_type="image/png"),
            embedded("test://mixed-content-resource", "application/json", data),
        ]
    )


async def error(_: Context, __: Params) -> Result:
    return say("This tool intentionally returns an error for testing", is_error=True)


async def progress(ctx: Context, _: Params) -> Result:
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100, f"{done} of 100")
        await anyio.sleep(0.05)
    return say("done")


async def logging(ctx: Context, _: Params) -> Result:
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        params = types.LoggingMessageNotificationParams(level="info", data=words)
        await ctx.session.send_notification(types.LoggingMessageNotification(params=params), ctx.request_id)
        await anyio.sleep(0.05)
    return say("logged")


async def sampling(_: Context, params: Params) -> Result:
    told = answer(params, "answer", types.CreateMessageResult)
    if told is None:
        return asking({"answer": question(str((params.arguments or {}).get("prompt", "")), 100)})
    return say(f"LLM response: {getattr(told.content, 'text', told.content)}")


async def elicitation(_: Context, params: Params) -> Result:
    told = answer(params, "user", types.ElicitResult)
    if told is None:
        fields = {"username": {"type": "string"}, "email": {"type": "string"}}
        schema = {"type": "object", "properties": fields, "required": list(fields)}
        return asking({"user": form(str((params.arguments or {}).get("message", "")), schema)})
    return say(f"User response: action={told.action}, content={json.dumps(told.content)}")


async def capital(_: Context, params: Params) -> Result:
    told = answer(params, "capital_question", types.CreateMessageResult)
    if told is None:
        return asking({"capital_question": question("What is the capital of France?", 100)})
    return say(f"{getattr(told.content, 'text', '')}")


async def folders(_: Context, params: Params) -> Result:
    told = answer(params, "client_roots", types.ListRootsResult)
    if told is None:
        return asking({"client_roots": types.ListRootsRequest()})
    return say(" ".join(str(root.uri) for root in told.roots))


async def with_state(_: Context, params: Params) -> Result:
    told = answer(params, "confirm", types.ElicitResult)
    if told is None:
        schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
        return asking({"confirm": form("Please confirm", schema)}, sealed("asked"))
    check(params.request_state)
    return say("state-ok")


async def many(_: Context, params: Params) -> Result:
    given = params.input_responses or {}
    if {"user_name", "greeting", "client_roots"} <= set(given):
        check(params.request_state)
        return say("all there")
    requests: dict[str, Any] = {
        "user_name": form("What is your name?", name_schema),
        "greeting": question("Generate a greeting", 50),
        "client_roots": types.ListRootsRequest(),
    }
    capabilities = _.session.client_capabilities
    able = {
        "user_name": capabilities is not None and capabilities.elicitation is not None,
        "greeting": capabilities is not None and capabilities.sampling is not None,
        "client_roots": capabilities is not None and capabilities.roots is not None,
    }
    return asking({key: request for key, request in requests.items() if able[key]}, sealed("many"))


async def rounds(_: Context, params: Params) -> Result:
    color = {"type": "object", "properties": {"color": {"type": "string"}}, "required": ["color"]}
    if params.request_state is None:
        return asking({"step1": form("Step 1: What is your name?", name_schema)}, sealed("one"))
    if check(params.request_state) == "one":
        return asking({"step2": form("Step 2: What is your favorite color?", color)}, sealed("two"))
    return say("All rounds are done.")


async def tampered(_: Context, params: Params) -> Result:
    if params.request_state is None:
        return asking({"confirm": form("Please confirm", name_schema)}, sealed("asked"))
    return say(check(params.request_state))


async def capable(ctx: Context, params: Params) -> Result:
    capabilities = ctx.session.client_capabilities
    if params.input_responses:
        return say("thank you")
    requests: dict[str, Any] = {}
    if capabilities is not None and capabilities.sampling is not None:
        requests["greeting"] = question("Generate a greeting", 50)
    if capabilities is not None and capabilities.elicitation is not None:
        requests["user_name"] = form("What is your name?", name_schema)
    return asking(requests) if requests else say("You can do nothing.")


async def missing(_: Context, __: Params) -> Result:
    data: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
    raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "sampling is needed", data)


def one_of(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"const": value, "title": title} for value, title in pairs]


OPTIONS = ["option1", "option2", "option3"]
TITLED = one_of(("value1", "First Option"), ("value2", "Second Option"), ("value3", "Third Option"))
ENUMS: dict[str, Any] = {
    "untitledSingle": {"type": "string", "enum": OPTIONS},
    "titledSingle": {"type": "string", "oneOf": TITLED},
    "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": OPTIONS}},
    "titledMulti": {"type": "array", "items": {"anyOf": TITLED}},
}
DEFAULTS: dict[str, Any] = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
DONE = "Elicitation completed: action={action}, content={content}"
TOOLS: dict[str, Callable[[Context, Params], Awaitable[Result]]] = {
    "test_simple_text": simple,
    "test_image_content": image,
    "test_audio_content": audio,
    "test_embedded_resource": resource,
    "test_multiple_content_types": mixed,
    "test_error_handling": error,
    "test_tool_with_progress": progress,
    "test_tool_with_logging": logging,
    "test_sampling": sampling,
    "test_elicitation": elicitation,
    "test_elicitation_sep1034_defaults": elicited(
        {"defaults": form("Please fill in.", {"type": "object", "properties": DEFAULTS, "required": []})}, DONE
    ),
    "test_elicitation_sep1330_enums": elicited(
        {"enums": form("Please choose.", {"type": "object", "properties": ENUMS, "required": []})}, DONE
    ),
    "test_missing_capability": missing,
    "test_input_required_result_elicitation": elicited(
        {"user_name": form("What is your name?", name_schema)}, "Hello, {name}!"
    ),
    "test_input_required_result_sampling": capital,
    "test_input_required_result_list_roots": folders,
    "test_input_required_result_request_state": with_state,
    "test_input_required_result_multiple_inputs": many,
    "test_input_required_result_multi_round": rounds,
    "test_input_required_result_tampered_state": tampered,
    "test_input_required_result_capabilities": capable,
}


async def list_tools(_: Context, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    return types.ListToolsResult(tools=[types.Tool(name=name, input_schema=schema) for name in TOOLS])


async def call_tool(ctx: Context, params: Params) -> Result:
    if params.name not in TOOLS:
        raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
    return await TOOLS[params.name](ctx, params)


def said(*contents: Any) -> types.GetPromptResult:
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=content) for content in contents])


PROMPTS: dict[str, list[str]] = {
    "test_simple_prompt": [],
    "test_prompt_with_arguments": ["arg1", "arg2"],
    "test_prompt_with_embedded_resource": ["resourceUri"],
    "test_prompt_with_image": [],
    "test_input_required_result_prompt": [],
}


async def list_prompts(_: Context, __: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
    return types.ListPromptsResult(
        prompts=[
            types.Prompt(
                name=name,
                description=f"The prompt {name}.",
                arguments=[types.PromptArgument(name=argument, required=True) for argument in arguments],
            )
            for name, arguments in PROMPTS.items()
        ]
    )


async def get_prompt(
    _: Context, params: types.GetPromptRequestParams
) -> types.GetPromptResult | types.InputRequiredResult:
    given = params.arguments or {}
    if params.name == "test_simple_prompt":
        return said(text(type="text", text="This is a simple prompt for testing."))
    if params.name == "test_prompt_with_arguments":
        words = f"Prompt with arguments: arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'"
        return said(text(type="text", text=words))
    if params.name == "test_prompt_with_embedded_resource":
        found = embedded(given["resourceUri"], "text/plain", "Embedded resource content for testing.")
        return said(found, text(type="text", text="Please process the embedded resource above."))
    if params.name == "test_prompt_with_image":
        picture = types.ImageContent(type="image", data=PIXEL, mime_type="image/png")
        return said(picture, text(type="text", text="Please analyze the image above."))
    told = answer(params, "user_context", types.ElicitResult)
    if told is None:
        schema = {"type": "object", "properties": {"context": {"type": "string"}}, "required": ["context"]}
        return asking({"user_context": form("What context should the prompt use?", schema)})
    return said(text(type="text", text=f"In this context: {json.dumps(told.content)}"))


async def list_resources(_: Context, __: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    kinds = {"static-text": "text/plain", "static-binary": "image/png", "watched-resource": "text/plain"}
    return types.ListResourcesResult(
        resources=[
            types.Resource(uri=f"test://{name}", name=name, description=f"The resource {name}.", mime_type=kind)
            for name, kind in kinds.items()
        ]
    )


async def list_templates(_: Context, __: types.PaginatedRequestParams | None) -> types.ListResourceTemplatesResult:
    template = types.ResourceTemplate(
        uri_template="test://template/{id}/data", name="data", description="Made of an id."
    )
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def read_resource(_: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    uri = str(params.uri)
    if uri == "test://static-binary":
        found: Any = types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PIXEL)
    elif uri.startswith("test://template/"):
        number = uri.split("/")[3]
        words = json.dumps({"id": number, "templateTest": True, "data": f"Data for ID: {number}"})
        found = types.TextResourceContents(uri=uri, mime_type="application/json", text=words)
    else:
        words = "This is the content of the static text resource."
        found = types.TextResourceContents(uri=uri, mime_type="text/plain", text=words)
    return types.ReadResourceResult(contents=[found])


async def complete(_: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
    values = [word for word in ("paris", "park", "party") if word.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=values, total=len(values), has_more=False))


server: Server[Any] = Server(
    "suite",
    version="1",
    on_list_tools=list_tools,
    on_call_tool=call_tool,
    on_list_prompts=list_prompts,
    on_get_prompt=get_prompt,
    on_list_resources=list_resources,
    on_list_resource_templates=list_templates,
    on_read_resource=read_resource,
    on_completion=complete,
    on_subscriptions_listen=ListenHandler(InMemorySubscriptionBus()),
)


async def main() -> None:
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    anyio.run(main)
