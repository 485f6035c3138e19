"""Prompts and resources of all servers, through the gateway's own."""

from __future__ import annotations

import json
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp import MCPError
from pydantic import ConfigDict
from support import Running, Start, child

from mcp_gateway import offers
from mcp_gateway.knowledge import Knowledge

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("mode", ["legacy", "auto"])
TWO = {"one": child("asker"), "two": child("asker", "other")}


async def learn(running: Running, *names: str) -> None:
    """Have the gateway know these servers whole."""
    for name in names:
        await running.text("gateway", "refresh", {"mcp_name": name})


async def prompts(running: Running) -> list[str]:
    """The names of all prompts that the gateway lists."""
    return [prompt.name for prompt in (await running.client.list_prompts(cache_mode="bypass")).prompts]


async def uris(running: Running) -> list[str]:
    """The URIs of all resources that the gateway lists."""
    return [str(one.uri) for one in (await running.client.list_resources(cache_mode="bypass")).resources]


async def raw(running: Running, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """An answer of the gateway as it goes over the wire."""
    request: Any = types.Request[dict[str, Any], str](method=method, params=params)
    return (await running.client.session.send_request(request, Anything)).model_dump(by_alias=True)


class Anything(types.Result):
    """A result with all that was sent."""

    model_config = ConfigDict(extra="allow")


@BOTH
async def test_lists_are_of_all_known_servers_and_start_none(start: Start, mode: str) -> None:
    async with start(TWO, mode=mode) as running:
        assert await prompts(running) == []
        assert running.pool.state("one") == ""
        await learn(running, "one", "two")
        assert await prompts(running) == ["one__hello", "one__a__b", "two__hello", "two__a__b"]
        assert await uris(running) == ["asker://one", "shared://one", "other://one"]
        listed = (await running.client.list_resource_templates()).resource_templates
        assert [template.uri_template for template in listed] == ["asker://made/{name}", "other://made/{name}"]


async def test_lists_are_answered_from_the_catalog_without_a_running_server(start: Start) -> None:
    async with start({"one": child("asker")}) as running:
        await learn(running, "one")
        running.pool.restart("one")
        while running.pool.state("one"):
            await anyio.sleep(0.01)
        assert await uris(running) == ["asker://one", "shared://one"]
        read = await running.client.read_resource("asker://one")
        assert "asker read asker://one" in str(read.contents)


@BOTH
async def test_a_prompt_is_asked_for_under_its_own_name(start: Start, mode: str) -> None:
    async with start(TWO, mode=mode) as running:
        await learn(running, "one", "two")
        got = await raw(running, "prompts/get", {"name": "two__a__b", "arguments": {"x": "1"}, "_meta": {"k": 1}})
    assert got["asked"]["name"] == "a__b"
    assert got["asked"]["arguments"] == {"x": "1"}
    assert got["asked"]["_meta"]["k"] == 1


@BOTH
async def test_a_resource_crosses_with_all_that_it_has(start: Start, mode: str) -> None:
    async with start(TWO, mode=mode) as running:
        await learn(running, "one", "two")
        read = await raw(running, "resources/read", {"uri": "other://made/x"})
    assert read["contents"] == [{"uri": "other://made/x", "text": "other read other://made/x", "extra": {"kept": True}}]
    assert read["more"] == 1
    assert ("ttlMs" in read) is (mode == "auto")


async def test_the_first_server_that_lists_a_resource_owns_it(start: Start) -> None:
    async with start(TWO) as running:
        await learn(running, "one", "two")
        await running.call("two", "linked", {"uri": "shared://one"})
        assert running.gateway.offers.owner("shared://one") == "one", "a link takes nothing away from its owner"


async def test_a_resource_in_a_result_belongs_to_the_server_that_linked_it(start: Start) -> None:
    async with start(TWO) as running:
        await running.call("two", "linked", {"uri": "hidden://place"})
        read = await running.client.read_resource("hidden://place")
    assert "other read hidden://place" in str(read.contents)


@pytest.mark.parametrize(("mode", "code"), [("legacy", -32002), ("auto", -32602)])
async def test_a_resource_that_nobody_has_is_said_to_be_unknown(start: Start, mode: str, code: int) -> None:
    async with start(TWO, mode=mode) as running:
        with pytest.raises(MCPError) as caught:
            await running.client.read_resource("nobody://has/it")
        assert (caught.value.code, caught.value.data) == (code, {"uri": "nobody://has/it"})
        await learn(running, "one")
        with pytest.raises(MCPError) as refused:
            await running.client.read_resource("asker://made/gone")
        assert (refused.value.code, refused.value.message) == (-32002, "Not found here"), "as the server said it"


async def test_an_unknown_prompt_says_what_is_near(start: Start) -> None:
    async with start(TWO) as running:
        await learn(running, "one")
        with pytest.raises(MCPError, match=r'no prompt "on__hello"\. Did you mean "one__hello"') as caught:
            await running.client.get_prompt("on__hello")
        assert caught.value.code == -32602


async def test_a_server_that_is_disabled_offers_nothing(start: Start) -> None:
    async with start(TWO) as running:
        await learn(running, "one", "two")
        running.write({"one": child("asker"), "two": {**child("asker", "other"), "disabled": True}})
        assert await prompts(running) == ["one__hello", "one__a__b"]


async def test_long_lists_come_in_pages(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offers, "_PAGE", 3)
    async with start(TWO) as running:
        await learn(running, "one", "two")
        first = await running.client.list_prompts()
        assert len(first.prompts) == 3
        second = await running.client.list_prompts(cursor=first.next_cursor)
        assert ([prompt.name for prompt in second.prompts], second.next_cursor) == (["two__a__b"], None)
        with pytest.raises(MCPError, match="that cursor is not one of this server's") as caught:
            await running.client.list_prompts(cursor="nonsense")
        assert caught.value.code == -32602


@BOTH
async def test_completions_are_made_by_the_owner_under_its_own_names(start: Start, mode: str) -> None:
    async with start(TWO, mode=mode) as running:
        await learn(running, "one", "two")
        argument = {"name": "x", "value": "y"}
        done = await running.client.complete(types.PromptReference(name="two__hello"), argument)
        assert json.loads(done.completion.values[0])["ref"]["name"] == "hello"
        template = types.ResourceTemplateReference(uri="asker://made/{name}")
        done = await running.client.complete(template, argument)
        assert json.loads(done.completion.values[0])["ref"]["uri"] == "asker://made/{name}"


async def test_completions_are_offered_only_where_a_known_server_has_them(start: Start) -> None:
    async with start({"kind": child("friendly")}, mode="legacy") as running:
        assert running.client.server_capabilities.completions is None
        assert running.client.server_capabilities.prompts is not None


@BOTH
async def test_a_changed_list_is_told_of(start: Start, mode: str) -> None:
    heard: list[object] = []

    async def hear(message: object) -> None:
        heard.append(message)

    async with start({"one": child("asker")}, mode=mode, message_handler=hear) as running:
        await learn(running, "one")
        if mode == "legacy":
            heard.clear()
            await running.text("one", "change")
            while not any(isinstance(one, types.PromptListChangedNotification) for one in heard):
                await anyio.sleep(0.01)
        else:
            async with running.client.listen(prompts_list_changed=True) as events:
                await running.text("one", "change")
                await anext(aiter(events))
        assert "one__changed" in await prompts(running)


@BOTH
async def test_a_subscription_is_held_at_the_server_and_ended_with_the_client(start: Start, mode: str) -> None:
    heard: list[object] = []

    async def hear(message: object) -> None:
        heard.append(message)

    async with start({"one": child("asker")}, mode=mode, message_handler=hear) as running:
        await learn(running, "one")
        if mode == "legacy":
            with pytest.warns(match="Client.listen"):
                await running.client.subscribe_resource("asker://one")  # pyright: ignore[reportDeprecated]
            await running.text("one", "change")
            while not any(isinstance(one, types.ResourceUpdatedNotification) for one in heard):
                await anyio.sleep(0.01)
            with pytest.warns(match="Client.listen"):
                await running.client.unsubscribe_resource("asker://one")  # pyright: ignore[reportDeprecated]
        else:
            async with running.client.listen(resource_subscriptions=["asker://one"]) as events:
                await running.text("one", "change")
                event = await anext(aiter(events))
            assert getattr(event, "uri", "") == "asker://one"
        while "resources/unsubscribe" not in await running.text("one", "told"):
            await anyio.sleep(0.01)


async def test_a_subscription_is_renewed_with_the_next_run(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_gateway.audience._RENEW_SECONDS", 0.01)
    async with start({"one": child("asker")}) as running:
        await learn(running, "one")
        async with running.client.listen(resource_subscriptions=["asker://one"]) as events:
            await running.text("gateway", "restart", {"mcp_name": "one"})
            event = await anext(aiter(events))
            assert getattr(event, "uri", "") == "asker://one", "what changed in between was not heard"
            assert "resources/subscribe" in await running.text("one", "told")


async def test_an_item_that_a_client_would_refuse_costs_no_list(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    async with start(TWO) as running:
        await learn(running, "one", "two")
        assert "no://name" not in await uris(running)
        assert not [name for name in await prompts(running) if "bad" in name]
    assert "prompts 'bad' is left out" in caplog.text


async def test_one_resource_does_not_keep_a_client_from_hearing_of_others(start: Start) -> None:
    async with start({"one": child("asker")}) as running:
        await learn(running, "one")
        async with running.client.listen(resource_subscriptions=["nobody://has/it", "asker://one"]) as events:
            assert events.honored.resource_subscriptions == ["asker://one"]
            await running.text("one", "change")
            assert getattr(await anext(aiter(events)), "uri", "") == "asker://one"


async def test_a_subscription_to_nothing_is_refused(start: Start) -> None:
    async with start({"one": child("asker")}, mode="legacy") as running:
        with pytest.warns(match="Client.listen"), pytest.raises(MCPError, match="No known server has"):
            await running.client.subscribe_resource("nobody://has/it")  # pyright: ignore[reportDeprecated]


async def test_a_log_level_reaches_the_servers_that_run_and_those_that_will(start: Start) -> None:
    async with start(TWO, mode="legacy") as running:
        await running.text("one", "pid")
        with pytest.warns(match="deprecated"):
            await running.client.set_logging_level("warning")  # pyright: ignore[reportDeprecated]
        wanted = {"method": "logging/setLevel", "level": "warning"}
        while wanted not in json.loads(await running.text("one", "told")):
            await anyio.sleep(0.01)
        while wanted not in json.loads(await running.text("two", "told")):
            await anyio.sleep(0.01)


def test_the_most_literal_template_owns_a_uri() -> None:
    def having(*templates: str) -> Knowledge:
        return Knowledge(templates=tuple({"uriTemplate": template, "name": "t"} for template in templates))

    servers = {"all": having("{+anything}"), "files": having("file:///{+path}"), "broken": having("{", "x://{")}
    fit = offers._best_fit  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001 - pure, and worth its own cases
    assert fit("file:///a/b", servers) == "files"
    assert fit("other://a", servers) == "all"
    assert fit("other://a", {"broken": servers["broken"]}) == ""
