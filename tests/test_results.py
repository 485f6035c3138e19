"""Big results: what is shown of them is honest, and the rest is there to be read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import Start, child, text_of

from mcp_gateway import results, store
from mcp_gateway.store import Store


def test_a_text_is_cut_after_a_whole_line() -> None:
    text = "".join(f"line {number}\n" for number in range(100))
    head = results.cut(text, 500)
    assert text.startswith(head.text)
    assert head.text.endswith("\n")
    assert 400 < len(head.text) <= 500


def test_a_json_list_is_cut_after_a_whole_item() -> None:
    items = [{"id": number, "name": "x" * 20} for number in range(50)]
    for text in (json.dumps(items), json.dumps(items, indent=2)):
        head = results.cut(text, 500)
        assert head.items is not None
        shown, of = head.items
        assert of == 50
        assert json.loads(head.text + "]") == items[:shown]


def test_an_object_that_holds_a_long_list_is_cut_after_a_whole_item() -> None:
    items = [{"id": number} for number in range(50)]
    document = {"total": 50, "next": None, "items": items}
    for text in (json.dumps(document), json.dumps(document, indent=2)):
        head = results.cut(text, 400)
        assert head.items
        shown, of = head.items
        assert of == 50
        assert json.loads(head.text + "]}")["items"] == items[:shown]


NO_LISTS = [
    "[1] Foo says\n[2] bar" * 50, '[0, "a"]\n[1, "b"]\n' * 60, "[1, 2, oops" * 100, "[" * 2_000,
    '["' + "x" * 2_000 + '"]', "x" * 2_000,
]  # fmt: skip


@pytest.mark.parametrize("text", NO_LISTS)
def test_what_is_no_list_or_has_no_item_that_fits_is_cut_all_the_same(text: str) -> None:
    head = results.cut(text, 500)
    assert text.startswith(head.text)
    assert 0 < len(head.text) <= 500
    assert head.items is None


@given(st.text(min_size=1, max_size=400), st.integers(1, 100))
def test_every_piece_read_on_makes_the_whole(text: str, budget: int) -> None:
    head = results.cut(text, budget)
    assert len(head.text) <= budget or len(text) <= budget
    read, at = head.text, len(head.text)
    while at < len(text):
        piece = results.page(text, "r1", at, budget).rpartition("\n[Characters ")[0]
        assert piece
        read += piece
        at += len(piece)
    assert read == text


def test_structured_content_alone_can_be_over_budget() -> None:
    result: dict[str, Any] = {
        "content": [{"type": "text", "text": "short"}],
        "structuredContent": {"rows": list(range(1_000))},
    }
    kept: list[str] = []

    def keep(text: str) -> str:
        kept.append(text)
        return "r1"

    assert results.over_budget(result, 1_000)
    assert not results.over_budget(result, 10_000)
    assert not results.over_budget(result, 0)
    shown = results.shortened(result, 1_000, keep)
    assert json.loads(kept[0]) == result["structuredContent"]
    assert "structuredContent" not in shown
    first, second = (block["text"] for block in shown["content"])
    assert first == "short"
    assert second.startswith(f"[Structured content of {len(kept[0])} characters was left out. Read it: ")
    assert second.endswith('call_mcp_tool("gateway", "read_result", {"id": "r1"})]')


def test_kept_texts_are_private_and_numbered(tmp_path: Path) -> None:
    one, two = Store(tmp_path / "results"), Store(tmp_path / "results")
    assert (one.keep("a"), two.keep("b \ud83d"), one.keep("c")) == ("r1", "r2", "r3")
    assert (two.read("r1"), one.read("r2"), one.read("r9")) == ("a", "b \ud83d", None)
    assert (tmp_path / "results" / "r1.txt").stat().st_mode & 0o777 == 0o600
    (tmp_path / "r5.txt").write_text("outside")
    assert one.read("../r5") is None


def test_the_folder_is_bounded_in_size_and_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_MOST_BYTES", 1_000)
    kept = Store(tmp_path)
    for number in range(10):
        result_id = kept.keep("x" * 300)
        os.utime(tmp_path / f"{result_id}.txt", (number + 2e9, number + 2e9))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 1_000
    assert kept.read("r10")
    os.utime(tmp_path / "r9.txt", (1, 1))
    kept.keep("new")
    assert kept.read("r9") is None


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert Store(tmp_path / "file" / "results").keep("text") is None
    result: dict[str, Any] = {"content": [{"type": "text", "text": "x" * 100}]}
    shown = results.shortened(result, 10, Store(tmp_path / "file" / "results").keep)
    assert "The rest could not be kept" in shown["content"][0]["text"]


@pytest.mark.anyio
async def test_a_big_result_shows_its_head_and_the_call_that_reads_on(start: Start, tmp_path: Path) -> None:
    async with start({"kind": child("friendly")}, max_result_chars=1_000) as running:
        cut = await running.text("kind", "big", {"size": 2_500})
        assert cut.startswith("x" * 1_000)
        assert '[Cut: characters 0-1000 of 2500. Read on: call_mcp_tool("gateway", "read_result", ' in cut
        asked = json.loads(cut[cut.index('{"id"') : cut.index("});") + 1])
        assert asked == {"id": "r1", "offset": 1_000}
        second = await running.text("gateway", "read_result", asked)
        assert second.startswith("x" * 1_000)
        assert '{"id": "r1", "offset": 2000}' in second
        third = await running.text("gateway", "read_result", {"id": "r1", "offset": "2000"})
        assert third.endswith("[Characters 2000-2500 of 2500: the end.]")
    assert (tmp_path / "results" / "r1.txt").read_text() == "x" * 2_500


@pytest.mark.anyio
async def test_images_and_the_rest_of_a_big_result_pass(start: Start) -> None:
    for budget, kinds in ((4, []), (20, ["text"])):
        async with start({"kind": child("friendly")}, max_result_chars=budget) as running:
            result = await running.call("kind", "rich")
        assert [block.type for block in result.content] == [
            "text", "image", "audio", "resource_link", "resource", *kinds
        ]  # fmt: skip
        assert result.structured_content is None
        assert result.meta
        assert result.meta["vendor/key"] == ["kept"]


@pytest.mark.anyio
async def test_a_kept_result_is_searched_by_plain_words(start: Start) -> None:
    async with start({"kind": child("friendly")}, max_result_chars=100) as running:
        await running.text("kind", "echo", {"text": "hay " * 500 + "Needle (one)" + " hay" * 500})
        found = await running.text("gateway", "read_result", {"id": "r1", "pattern": "needle (ONE)"})
        assert "stands in r1 1 times" in found
        assert "hay Needle (one) hay" in found
        assert "does not stand in r1" in await running.text("gateway", "read_result", {"id": "r1", "pattern": "zebra"})


@pytest.mark.anyio
async def test_the_built_in_server_is_listed_last_loaded_and_called(start: Start) -> None:
    async with start({"kind": child("friendly"), "dying": child("dying", "start")}) as running:
        assert (await running.list()).splitlines()[-1].startswith("- gateway: the gateway itself")
        assert "read_result(id: string, offset?: integer 0.." in await running.load("gateway")
        assert "kind: not running, tools not known yet" in await running.text("gateway", "status")
        assert "is ready with 19 tools" in await running.text("gateway", "refresh", {"mcp_name": "kind"})
        await running.error("dying", "any")
        status = await running.text("gateway", "status")
        assert "kind: running, 19 tools" in status
        assert "dying: failed, tools not known yet (ended with exit code 3)" in status
        first = json.loads(await running.text("kind", "where"))["pid"]
        assert '1 run of "kind" told to stop' in await running.text("gateway", "restart", {"mcp_name": "kind"})
        assert json.loads(await running.text("kind", "where"))["pid"] != first


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("read_result", {"id": "r99"}, 'there is no result "r99"'),
        ("read_result", {}, 'there is no result ""'),
        ("restart", {}, "mcp_name is missing"),
        ("refresh", {"mcp_name": "none"}, 'no server "none"'),
        ("restat", {}, 'Did you mean "restart"'),
    ],
)
async def test_wrong_calls_of_the_built_in_server_are_explained(
    start: Start, tool: str, arguments: dict[str, Any], says: str
) -> None:
    async with start({"kind": child("friendly")}) as running:
        assert says in await running.error("gateway", tool, arguments)


@pytest.mark.anyio
async def test_a_load_of_a_known_server_starts_nothing(start: Start) -> None:
    async with start({"kind": child("friendly")}, idle_timeout=0.2) as running:
        loaded = await running.load("kind")
        while running.pool.state("kind"):
            await anyio.sleep(0.01)
        assert text_of(await running.client.call_tool("load_mcp_tools", {"mcp_name": "kind"})) == loaded
        assert "kind.echo(" in await running.list("echo")
        assert running.pool.state("kind") == ""
