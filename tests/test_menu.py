"""What a model reads of servers and tools, and that it stays within budget."""

from __future__ import annotations

from typing import Any

from mcp_gateway import menu
from mcp_gateway.knowledge import Knowledge
from mcp_gateway.registry import Entry
from mcp_gateway.search import near_names, words


def tool(name: str, description: str = "", **properties: Any) -> dict[str, Any]:
    return {"name": name, "description": description, "inputSchema": {"type": "object", "properties": properties}}


def many(count: int) -> tuple[dict[str, Any], ...]:
    return tuple(
        tool(f"do_thing_number_{number}", f"Does the thing of number {number}, at length and with great care. More.",
             first={"type": "string", "description": "The first parameter."}, second={"type": "integer"})
        for number in range(count)
    )  # fmt: skip


def test_a_line_says_what_the_server_is_for_how_many_tools_it_has_and_its_state() -> None:
    line = menu.Line(Entry("a", description="Things"), Knowledge((tool("t"),)), "running")
    assert "\n- a: Things (1 tool, running)" in menu.server_list([line])


def test_the_purpose_is_what_the_server_says_where_the_entry_says_nothing() -> None:
    assert menu.Line(Entry("a"), Knowledge(instructions="Use\n it well.", title="T")).purpose == "Use it well."
    assert menu.Line(Entry("a"), Knowledge(title="T")).purpose == "T"
    assert menu.Line(Entry("a")).purpose == ""


def test_what_is_not_ready_stands_in_one_last_line() -> None:
    lines = [
        menu.Line(Entry("ready")),
        menu.Line(Entry("off", disabled=True)),
        menu.Line(Entry("short", lacks=("KEY",))),
        menu.Line(Entry("refused", lacks=("URL",), refused="it lacks URL")),
        menu.Line(Entry("bad", refused="its entry is not valid")),
    ]
    text = menu.server_list(lines, ["the file is broken"])
    assert text.startswith("1 server.")
    assert text.splitlines()[-2:] == [
        "Not ready: off is disabled; short lacks KEY (can be tried); refused lacks URL; bad: its entry is not valid.",
        "the file is broken",
    ]


def test_what_is_not_ready_is_named_even_where_reasons_do_not_fit() -> None:
    lines = [menu.Line(Entry(f"bad-{number}", refused="x" * 100)) for number in range(60)]
    text = menu.server_list(lines)
    assert all(f"bad-{number}" in text for number in range(60))


def test_a_load_whose_query_matches_nothing_says_so() -> None:
    assert 'No tool matches "zebra"; these are all.' in menu.tool_list("s", Knowledge(many(2)), "zebra")


def test_a_tool_that_runs_only_as_a_task_says_so() -> None:
    task = {**tool("t", "Does it."), "execution": {"taskSupport": "required"}}
    assert "t() — Does it [runs only as a task, which this gateway cannot start]" in menu.tool_list(
        "s", Knowledge((task,))
    )


def test_a_tool_without_a_name_is_not_all_there_is() -> None:
    assert "- t()" in menu.tool_list("s", Knowledge((tool(""), tool("t"))))


def test_two_hundred_servers_fit_and_thousands_are_counted() -> None:
    for count in (200, 3_000):
        lines = [menu.Line(Entry(f"server-{number}", description="Purpose " * 30)) for number in range(count)]
        text = menu.server_list(lines)
        assert len(text) <= 1_500 * menu.CHARS_A_TOKEN
    assert f"and {count - text.count('server-')} more" in text


def test_a_small_server_is_shown_whole() -> None:
    text = menu.tool_list("s", Knowledge(many(5), instructions="Take care."))
    assert "Instructions: Take care." in text
    assert text.count("(first?: string, second?: integer) — Does the thing") == 5


def test_of_a_big_server_every_name_is_shown_and_what_matches_in_full() -> None:
    tools = many(150)
    text = menu.tool_list("s", Knowledge(tools), "number 77", [tools[77]])
    assert len(text) <= 2_500 * menu.CHARS_A_TOKEN
    assert all(f"do_thing_number_{number}" in text for number in range(150))
    assert "do_thing_number_77(first?: string, second?: integer)" in text
    assert "    first: The first parameter." in text


def test_of_a_huge_server_no_name_is_dropped() -> None:
    text = menu.tool_list("s", Knowledge(many(400)))
    assert all(f"do_thing_number_{number}" in text for number in range(400))


def test_names_alone_are_grouped_by_their_first_words() -> None:
    tools = tuple(tool(f"{verb}_{'x' * 40}_{number}") for number in range(200) for verb in ("get", "set"))
    lines = menu.tool_list("s", Knowledge(tools)).splitlines()
    assert [line.split("_")[0] for line in lines if line.startswith("- ")] == ["- get", "- set"]


def test_long_instructions_are_cut_and_counted() -> None:
    assert "… [3000 more characters]" in menu.tool_list("s", Knowledge(instructions="x" * 5_000))


def test_a_search_without_a_match_says_so() -> None:
    text = menu.search_answer("zebra", [menu.Line(Entry("a"), Knowledge(many(3)))], [])
    assert text == 'No known tool matches "zebra".'


def test_a_search_shows_five_tools_within_budget() -> None:
    wide = {f"parameter_{number}": {"type": "string"} for number in range(80)}
    hits = [("a", tool(f"tool_{number}", "Does it. " * 50, **wide)) for number in range(9)]
    lines = [menu.Line(Entry(f"unknown-{number}")) for number in range(300)]
    text = menu.search_answer("do", lines, hits)
    assert text.count("a.tool_") == 5
    assert len(text) <= 500 * menu.CHARS_A_TOKEN


def test_identifiers_are_split_into_words() -> None:
    assert words("getFileInfo get_file-info HTTPServer2") == ["get", "file", "info", "get", "file", "info", "http",
                                                              "server", "2"]  # fmt: skip


def test_near_names_are_near() -> None:
    known = ["filesystem", "github", "google-search-console", "gitlab"]
    assert near_names("file_system", known) == ("filesystem",)
    assert near_names("git", known)[0] in {"github", "gitlab"}
    assert near_names("search", known) == ("google-search-console",)
    assert near_names("zzz", known) == ()
