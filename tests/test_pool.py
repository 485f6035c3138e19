"""A child's life: started on demand, joined, stopped, and never in another's way."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path

import anyio
import pytest
from mcp.shared.exceptions import MCPError
from support import Liveness, Running, Start, child, text_of

from mcp_gateway.caller import Client
from mcp_gateway.pulse import Pulse

pytestmark = pytest.mark.anyio


def starts(mark: Path) -> int:
    return mark.read_text().count("start") if mark.exists() else 0


async def pid(running: Running) -> int:
    return json.loads(await running.text("kind", "where"))["pid"]


async def test_many_first_calls_make_one_start(start: Start, tmp_path: Path) -> None:
    mark = tmp_path / "starts"
    async with start({"late": child("slow", 0.2, mark)}) as running, anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(running.text, "late", "late")
    assert starts(mark) == 1


async def test_a_child_stays_for_the_next_call(start: Start) -> None:
    async with start({"kind": child("friendly")}) as running:
        assert await pid(running) == await pid(running)


async def test_a_slow_child_is_never_in_the_way_of_another(start: Start, tmp_path: Path) -> None:
    entries = {"late": child("slow", 30, tmp_path / "starts"), "kind": child("friendly")}
    async with start(entries) as running, anyio.create_task_group() as tasks:
        tasks.start_soon(running.call, "late", "late")
        while running.pool.state("late") != "starting":
            await anyio.lowlevel.checkpoint()
        assert "hi" in await running.text("kind", "echo", {"text": "hi"})
        assert running.pool.state("late") == "starting"
        tasks.cancel_scope.cancel()


async def test_a_start_that_outlasts_the_wait_goes_on_and_the_next_call_joins_it(start: Start, tmp_path: Path) -> None:
    mark = tmp_path / "starts"
    async with start({"late": child("slow", 1.5, mark)}, init_timeout=0.3) as running:
        failure = await running.error("late", "late")
        assert re.search(r"still starting \(\d s so far, GATEWAY_INIT_TIMEOUT=0\.3\)", failure)
        assert "call again" in failure
        while running.pool.state("late") == "starting":
            await running.call("late", "late")
        assert await running.text("late", "late") == "better late"
    assert starts(mark) == 1


async def test_a_caller_who_gives_up_does_not_stop_the_shared_start(start: Start, tmp_path: Path) -> None:
    mark = tmp_path / "starts"
    async with start({"late": child("slow", 1, mark)}) as running:
        with anyio.move_on_after(0.3):
            await running.call("late", "late")
        assert await running.text("late", "late") == "better late"
    assert starts(mark) == 1


async def test_a_waiting_call_tells_the_client_what_for(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_gateway.member._NOTE_EVERY", 0.1)
    notes: list[str | None] = []

    async def hear(_: float, __: float | None, message: str | None) -> None:
        notes.append(message)

    async with start({"late": child("slow", 1, tmp_path / "starts")}) as running:
        await running.call("late", "late", progress_callback=hear)
    assert notes
    assert notes[0] is not None
    assert notes[0].startswith("late is starting (")


async def test_a_start_is_given_up_at_its_limit(start: Start, tmp_path: Path) -> None:
    async with start({"mute": child("mute", tmp_path / "starts")}, start_limit=0.5) as running:
        failure = await running.error("mute", "any")
    assert "was not ready after 0.5 s (GATEWAY_START_LIMIT=0.5)" in failure


async def test_an_idle_child_is_stopped_and_the_next_call_starts_a_fresh_one(start: Start) -> None:
    async with start({"kind": child("friendly")}, idle_timeout=0.3) as running:
        first = await pid(running)
        while running.pool.state("kind"):
            await anyio.sleep(0.01)
        assert await pid(running) != first


async def test_a_child_is_not_idle_while_a_call_is_under_way(start: Start) -> None:
    async with start({"kind": child("friendly")}, idle_timeout=0.3) as running:
        assert await running.text("kind", "slow", {"seconds": 1.2}) == "slept"


async def test_idle_timeout_0_keeps_a_child_for_ever(start: Start) -> None:
    async with start({"a": child("friendly", idle_timeout=0), "b": child("friendly")}, idle_timeout=0.2) as running:
        await running.text("a", "where")
        await running.text("b", "where")
        while running.pool.state("b"):
            await anyio.sleep(0.01)
        assert running.pool.state("a") == "running"


async def test_only_children_whose_entry_changed_are_stopped(start: Start) -> None:
    entries = {"kind": child("friendly"), "other": child("friendly")}
    async with start(entries) as running:
        first = await pid(running)
        other = json.loads(await running.text("other", "where"))["pid"]
        running.write({**entries, "kind": child("friendly", env={"NEW": "yes"})})
        where = json.loads(await running.text("kind", "where"))
        assert where["pid"] != first
        assert where["env"]["NEW"] == "yes"
        assert json.loads(await running.text("other", "where"))["pid"] == other


async def test_a_removed_server_is_stopped_and_unknown(start: Start, liveness: Liveness) -> None:
    entries = {"gone": child("stubborn", liveness.port, "group"), "kind": child("friendly")}
    async with start(entries) as running:
        await running.text("gone", "hello")
        await anyio.to_thread.run_sync(liveness.expect, 3)
        running.write({"kind": entries["kind"]})
        assert "gone" not in await running.list()
        await anyio.to_thread.run_sync(liveness.wait_for_end)
        assert 'no server "gone"' in await running.error("gone", "hello")


async def test_a_new_server_is_seen_at_the_next_call(start: Start) -> None:
    async with start({}) as running:
        running.write({"kind": child("friendly")})
        assert "hi" in await running.text("kind", "echo", {"text": "hi"})


async def test_a_broken_file_keeps_the_last_good_one_and_says_so(start: Start) -> None:
    async with start({"kind": child("friendly")}) as running:
        first = await pid(running)
        running.config.write_text('{"mcpServers": {')
        assert "not valid JSON (line 1, column 17" in await running.list()
        assert await pid(running) == first


async def test_a_crash_fails_the_call_in_flight_and_the_next_one_works(start: Start) -> None:
    async with start({"kind": child("friendly")}) as running:
        failure = await running.error("kind", "crash")
        assert "ended with exit code 7 during the call" in failure
        assert "may have acted" in failure
        assert "crashing as told" in failure
        assert "hi" in await running.text("kind", "echo", {"text": "hi"})


async def test_a_call_that_may_have_acted_is_not_repeated(start: Start, tmp_path: Path) -> None:
    async with start({"kind": child("friendly")}) as running:
        assert "not repeated" in await running.error("kind", "crash_once", {"mark": str(tmp_path / "mark")})


async def test_a_call_that_only_reads_is_repeated(start: Start, tmp_path: Path) -> None:
    async with start({"kind": child("friendly")}) as running:
        assert await running.text("kind", "read_once", {"mark": str(tmp_path / "mark")}) == "survived"


async def test_a_call_that_never_reached_its_child_is_sent_again(start: Start, tmp_path: Path) -> None:
    async with start({"deaf": child("deaf", tmp_path / "mark")}) as running:
        assert await running.text("deaf", "hear") == "heard"


@pytest.mark.parametrize("stage", ["start", "initialize", "list"])
async def test_a_child_that_dies_while_starting_fails_with_its_last_words(start: Start, stage: str) -> None:
    async with start({"dying": child("dying", stage), "kind": child("friendly")}) as running:
        failure = await running.error("dying", "any")
        assert "did not start: ended with exit code 3" in failure
        assert f"fatal: no API key given, dying at {stage}" in failure
        assert "\x1b" not in failure
        assert "hi" in await running.text("kind", "echo", {"text": "hi"})


async def test_three_failed_starts_in_a_row_open_the_circuit(start: Start, tmp_path: Path) -> None:
    async with start({"dying": child("dying", "start")}) as running:
        for _ in range(3):
            assert "did not start" in await running.error("dying", "any")
        paused = await running.error("dying", "any")
        assert "failed to start 3 times in a row: ended with exit code 3. The next try is due in " in paused
        assert "no API key given" in paused
        assert "paused" in await running.list()
        running.write({"dying": child("slow", 0, tmp_path / "starts")})
        assert await running.text("dying", "late") == "better late"


async def test_a_missing_command_says_what_to_install(start: Start) -> None:
    entries = {"a": {"command": "no-such-program"}, "b": {"command": str(Path("no/such/uvx"))}}
    async with start(entries) as running:
        assert 'the command "no-such-program" was not found' in await running.error("a", "any")
        assert "uv brings it: https://" in await running.error("b", "any")


async def test_a_missing_folder_is_named(start: Start) -> None:
    async with start({"kind": child("friendly", cwd="/no/such/folder")}) as running:
        assert 'its folder "/no/such/folder" does not exist' in await running.error("kind", "where")


async def test_a_program_that_cannot_be_run_is_explained(start: Start, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    async with start({"odd": {"command": str(program)}}) as running:
        assert "cannot be run" in await running.error("odd", "any")


async def test_noise_on_stdout_is_survived_and_kept_in_the_servers_log(start: Start, tmp_path: Path) -> None:
    async with start({"noisy": child("noisy")}) as running:
        assert await running.text("noisy", "shout") == "heard"
        assert await running.text("noisy", "shout") == "heard"
    log = (tmp_path / "logs" / "servers" / "noisy.log").read_text()
    assert "*** Welcome to Noisy 1.0 ***" in log
    assert "line 399 of a flood" in log


async def test_all_pages_of_a_list_are_read(start: Start) -> None:
    async with start({"paged": child("paged")}) as running:
        loaded = await running.load("paged")
    assert all(f"tool_{number}()" in loaded for number in range(5))


async def test_changed_tools_are_seen_at_the_next_load(start: Start) -> None:
    async with start({"paged": child("paged")}) as running:
        assert "newcomer" not in await running.load("paged")
        await running.text("paged", "tool_0")
        assert "newcomer()" in await running.load("paged")


async def test_changed_tools_of_a_modern_server_are_seen_at_the_next_load(start: Start) -> None:
    async with start({"modern": child("modern")}) as running:
        loaded = await running.load("modern")
        assert "Modern times." in loaded
        assert "newer" not in loaded
        await running.call("modern", "era")
        while "newer()" not in await running.load("modern"):
            await anyio.sleep(0.01)


async def test_a_tool_that_has_just_appeared_can_be_called(start: Start) -> None:
    async with start({"paged": child("paged")}) as running:
        await running.text("paged", "tool_0")
        assert await running.text("paged", "newcomer") == "changed"


async def test_a_server_that_declares_lists_and_has_none_can_be_called(start: Start) -> None:
    async with start({"a": child("listless", -32601), "b": child("listless", -32603)}) as running:
        assert "0 tools" in await running.load("a")
        assert "could not be listed (error -32603: no lists here)" in await running.load("b")
        assert await running.text("a", "any") == "called"
        assert await running.text("b", "any") == "called"


async def test_an_old_server_that_ignores_what_comes_before_initialize_is_reached(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_gateway.negotiation._PROBE_LIMIT", 0.5)
    async with start({"old": child("old")}, idle_timeout=0.2) as running:
        assert await running.text("old", "age") == "2024"
        while running.pool.state("old"):
            await anyio.sleep(0.01)
        monkeypatch.setattr("mcp_gateway.negotiation._PROBE_LIMIT", 1_000)
        assert await running.text("old", "age") == "2024"


async def test_a_server_that_is_stuck_after_the_modern_question_is_asked_the_old_way_next(start: Start) -> None:
    async with start({"stuck": child("stuck")}, start_limit=1) as running:
        assert "was not ready" in await running.error("stuck", "free")
        assert await running.text("stuck", "free") == "free"


async def test_a_server_of_two_instances_runs_two_processes_and_no_more(start: Start) -> None:
    seen: list[int] = []

    async with start({"kind": child("friendly", instances=2)}) as running:

        async def call() -> None:
            result = await running.call("kind", "slow", {"seconds": 0.3})
            seen.append(result.model_dump()["structured_content"]["pid"])

        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(call)
    assert sorted(seen.count(pid) for pid in set(seen)) == [3, 3]


async def test_a_child_gets_its_own_variables_and_nothing_else_of_the_gateways(start: Start) -> None:
    environ = {**os.environ, "SECRET_OF_THE_GATEWAY": "hidden", "https_proxy": "http://proxy.test:1", "UV_OFFLINE": "1"}
    entry = child("friendly", env={"OWN": "value", "LEFT_OUT": "${NO_SUCH}", "GIVEN": "${UV_OFFLINE}"})
    async with start({"kind": entry}, environ=environ) as running:
        env = json.loads(await running.text("kind", "where"))["env"]
        assert "lacks NO_SUCH" in await running.list()
    assert env["OWN"] == "value"
    assert env["GIVEN"] == "1"
    assert env["https_proxy"] == "http://proxy.test:1"
    assert env["UV_OFFLINE"] == "1"
    assert "LEFT_OUT" not in env
    assert "SECRET_OF_THE_GATEWAY" not in env


async def test_a_child_runs_in_its_folder(start: Start, tmp_path: Path) -> None:
    async with start({"kind": child("friendly", cwd=str(tmp_path))}) as running:
        assert json.loads(await running.text("kind", "where"))["cwd"] == str(tmp_path)


async def test_a_missing_variable_outside_env_refuses_the_server_by_name(start: Start) -> None:
    async with start({"kind": child("friendly", "${NO_SUCH}")}) as running:
        assert "it lacks NO_SUCH" in await running.error("kind", "where")
        assert "kind lacks NO_SUCH" in await running.list()


async def test_the_variable_that_is_missing_is_named_when_the_server_fails(start: Start) -> None:
    async with start({"dying": child("dying", "start", env={"KEY": "${NO_SUCH}"})}) as running:
        assert "It lacks NO_SUCH: set it" in await running.error("dying", "any")


async def test_secrets_never_reach_an_error_or_a_log(start: Start, tmp_path: Path) -> None:
    script = "import os, sys; sys.stderr.write('bad key ' + os.environ['API_TOKEN']); sys.exit(1)"
    entry = {"command": sys.executable, "args": ["-c", script], "env": {"API_TOKEN": "${API_TOKEN}"}}
    environ = {**os.environ, "API_TOKEN": "very-secret-value"}
    async with start({"leaky": entry}, environ=environ) as running:
        failure = await running.error("leaky", "any")
    assert "bad key [API_TOKEN]" in failure
    written = [file.read_text() for file in (tmp_path / "logs").rglob("*.log")]
    assert written
    assert not any("very-secret-value" in text for text in written)


async def test_stubborn_children_and_what_they_started_are_gone_after_the_end(start: Start, liveness: Liveness) -> None:
    entries = {kind: child("stubborn", liveness.port, kind) for kind in ("group", "session")}
    async with start(entries) as running:
        async with anyio.create_task_group() as tasks:
            for name in entries:
                tasks.start_soon(running.text, name, "hello")
        await anyio.to_thread.run_sync(liveness.expect, 6)
        assert liveness.alive() == 6
    await anyio.to_thread.run_sync(liveness.wait_for_end)


async def test_a_disabled_server_says_so(start: Start) -> None:
    async with start({"off": child("friendly", disabled=True)}) as running:
        assert '"disabled": true' in await running.error("off", "echo")
        assert "off is disabled" in await running.list()


async def test_a_bad_entry_hurts_only_itself(start: Start) -> None:
    entries = {"bad": {"command": ["not", "text"]}, "worse": 5, "empty": {}, "kind": child("friendly")}
    async with start(entries) as running:
        assert "its entry is not valid: command" in await running.error("bad", "any")
        assert "its entry is not valid" in await running.error("worse", "any")
        assert 'neither a "command" nor a "url"' in await running.error("empty", "any")
        assert "hi" in await running.text("kind", "echo", {"text": "hi"})


async def test_a_load_of_a_server_that_cannot_start_is_an_error_result(start: Start) -> None:
    async with start({"dying": child("dying", "start")}) as running:
        result = await running.client.call_tool("load_mcp_tools", {"mcp_name": "dying"})
    assert result.is_error
    assert "did not start" in text_of(result)


async def test_a_child_that_asks_without_end_and_reads_nothing_is_cut_off(start: Start) -> None:
    async with start({"flood": child("flood"), "kind": child("friendly")}) as running:
        failure = await running.error("flood", "requests")
        assert "asked more than 100 times without reading the answers" in failure
        assert "hi" in await running.text("kind", "echo", {"text": "hi"})
        assert await running.text("flood", "hello") == "hello"


async def test_a_line_without_an_end_is_cut_off(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_gateway.wire.MAX_LINE_BYTES", 1 << 20)
    async with start({"flood": child("flood")}) as running:
        assert "it sent a line of more than 1 MB" in await running.error("flood", "line")
        assert await running.text("flood", "hello") == "hello"


@pytest.mark.parametrize("kind", ["noise", "stderr"])
async def test_a_flood_of_lines_costs_a_bounded_log(start: Start, tmp_path: Path, kind: str) -> None:
    async with start({"flood": child("flood")}) as running:
        assert await running.text("flood", kind) == "flooded"
    log = (tmp_path / "logs" / "servers" / "flood.log").read_text()
    assert "bytes left out" in log


async def test_a_message_behind_something_printed_without_a_newline_is_read(start: Start, tmp_path: Path) -> None:
    async with start({"kind": child("friendly")}) as running:
        assert await running.text("kind", "mumbles") == "loaded"
    assert "Loading..." in (tmp_path / "logs" / "servers" / "kind.log").read_text()


async def test_a_helper_that_has_left_its_group_and_lost_its_parent_is_gone_too(
    start: Start, liveness: Liveness
) -> None:
    async with start({"leaver": child("leaver", liveness.port)}) as running:
        assert await running.text("leaver", "leave") == "left"
        await anyio.to_thread.run_sync(liveness.expect, 1)
        assert liveness.alive() == 1
    await anyio.to_thread.run_sync(liveness.wait_for_end)


async def test_a_child_that_closes_its_output_is_not_said_to_have_been_killed(start: Start) -> None:
    async with start({"closer": child("closer")}) as running:
        assert 'The server "closer" closed its output during the call' in await running.error("closer", "close")
        assert await running.text("closer", "hello") == "hello"


async def test_a_list_that_is_never_answered_is_waited_for_once(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_gateway.listing._LIST_LIMIT", 0.3)
    async with start({"listless": child("listless", 0)}) as running:
        assert await running.text("listless", "any") == "called"
        monkeypatch.setattr("mcp_gateway.listing._LIST_LIMIT", 1_000)
        assert await running.text("listless", "any") == "called"


async def test_an_instance_that_cannot_start_leaves_the_work_to_the_one_that_runs(start: Start, tmp_path: Path) -> None:
    async with start({"alone": child("alone", tmp_path / "lock", instances=3)}) as running:
        await running.text("alone", "work")
        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(running.text, "alone", "work")


@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_a_call_to_a_child_that_answers_nothing_any_more_times_out_and_the_next_starts_it_afresh(
    start: Start, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr("mcp_gateway.pulse.AFTER_TIMEOUT", 0.2)
    async with start({"kind": child("friendly")}, operation_timeout=0.3) as running:
        first = await pid(running)
        os.kill(first, signal.SIGSTOP)
        failure = await running.error("kind", "echo", {"text": "x" * size})
        assert "did not answer in time (GATEWAY_OPERATION_TIMEOUT=0.3)" in failure
        assert "it answered nothing else either, and the next call starts it afresh" in failure
        assert await pid(running) != first


async def test_a_call_that_times_out_leaves_a_child_that_lives_alone(start: Start) -> None:
    async with start({"kind": child("friendly")}, operation_timeout=0.3) as running:
        first = await pid(running)
        assert "the server stays usable" in await running.error("kind", "slow", {"seconds": 60})
        assert await pid(running) == first


async def test_a_child_that_hangs_is_found_out_when_a_call_is_given_up(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_gateway.pulse.AFTER_CANCEL", 0.2)
    async with start({"kind": child("friendly")}) as running:
        first = await pid(running)
        os.kill(first, signal.SIGSTOP)
        with anyio.move_on_after(0.2):
            await running.call("kind", "where")
        while running.pool.state("kind") == "running":
            await anyio.sleep(0.01)
        assert await pid(running) != first


async def test_a_child_that_is_called_again_and_again_and_answers_nothing_is_found_out(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_gateway.pulse.AFTER_TIMEOUT", 0.2)
    failures: list[str] = []

    async def call(running: Running) -> None:
        failures.append(await running.error("kind", "slow"))

    async with start({"kind": child("friendly")}, operation_timeout=0.8) as running:
        first = await pid(running)
        os.kill(first, signal.SIGSTOP)
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(call, running)
                await anyio.sleep(0.2)
                if running.pool.state("kind") != "running":
                    break
            assert running.pool.state("kind") != "running"
        assert await pid(running) != first
    assert not any("stays usable" in failure for failure in failures)


@pytest.mark.parametrize("code", [-32000, -32601])
async def test_an_error_is_a_sign_of_life(code: int) -> None:
    stops: list[str] = []

    async def ask() -> None:
        raise MCPError(code, "not today")

    assert await Pulse(ask, stops.append).look(5, anyio.current_time()) == "lives"
    assert not stops


@pytest.mark.parametrize("stage", ["list", "handshake"])
async def test_an_error_with_the_code_of_a_closed_connection_is_an_error(
    start: Start, tmp_path: Path, stage: str
) -> None:
    file = tmp_path / "fault"
    file.touch()
    async with start({"hostile": child("hostile", f"error -32000 for the {stage}", file)}) as running:
        result = await running.call("hostile", "work")
        if stage == "list":
            assert text_of(result) == "done"
        else:
            assert "did not start: it answered with error -32000: set FOO_KEY" in text_of(result)


async def test_a_child_that_may_be_busy_with_another_call_is_not_stopped(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_gateway.pulse.AFTER_TIMEOUT", 0.1)
    async with start({"kind": child("friendly")}, operation_timeout=0.5) as running, anyio.create_task_group() as tasks:
        first = await pid(running)
        tasks.start_soon(running.call, "kind", "slow")
        await anyio.sleep(0.3)
        os.kill(first, signal.SIGSTOP)
        tasks.start_soon(running.call, "kind", "where")
        while running.pool.runs_of(Client())[0].in_flight == 2:
            await anyio.sleep(0.01)
        assert running.pool.state("kind") == "running"


async def test_a_server_with_too_many_calls_answers_at_once(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_gateway.member._MOST_CALLS", 3)
    async with start({"kind": child("friendly"), "other": child("friendly")}) as running:
        await running.text("kind", "steps")
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(running.call, "kind", "slow")
            while sum(run.in_flight for run in running.pool.runs_of(Client())) < 3:
                await anyio.sleep(0.01)
            said = await running.error("kind", "echo", {"text": "hi"})
            assert 'The server "kind" has 3 calls under way already' in said
            assert "hi" in await running.text("other", "echo", {"text": "hi"}), "siblings are unhurt"
            tasks.cancel_scope.cancel()
        assert "hi" in await running.text("kind", "echo", {"text": "hi"})


async def test_denied_tools_are_neither_shown_nor_called(start: Start, tmp_path: Path) -> None:
    entries = {
        "deny": child("friendly", tools={"deny": ["echo", "crash*"]}),
        "allow": child("friendly", tools={"allow": ["r*"], "ask": ["rich"]}),
        "never": child("mute", tmp_path / "starts", tools={"deny": ["*"]}),
    }
    async with start(entries) as running:
        loaded = await running.load("deny")
        assert "- echo(" not in loaded
        assert "crash" not in loaded
        assert "- rich()" in loaded
        assert "its entry denies it" in await running.error("deny", "crash_once")
        assert "its entry denies it" in await running.error("allow", "echo")
        said = await running.error("allow", "rich")
        assert 'the user is to be asked first ("tools": "ask"), and the client of this gateway does not' in said
        assert "its entry denies it" in await running.error("never", "any")
    assert not (tmp_path / "starts").exists()


async def test_a_change_of_words_and_limits_keeps_the_child(start: Start) -> None:
    async with start({"kind": child("friendly")}) as running:
        first = await pid(running)
        running.write({"kind": child("friendly", description="Now with words", operation_timeout=0.4)})
        assert "Now with words" in await running.list()
        assert await pid(running) == first
        assert "operation_timeout=0.4 in its entry" in await running.error("kind", "slow")


async def test_a_secret_in_the_reason_why_tools_cannot_be_listed_is_replaced(start: Start) -> None:
    entry = child("listless", -32603, env={"LIST_TOKEN": "very-secret-value"})
    async with start({"leaky": entry}) as running:
        assert "no lists here [LIST_TOKEN]" in await running.load("leaky")


async def test_a_server_that_recovers_is_no_longer_said_to_have_failed(start: Start, tmp_path: Path) -> None:
    async with start({"once": child("fails_once", tmp_path / "mark")}) as running:
        assert "did not start" in await running.error("once", "hello")
        assert "failed" in await running.list()
        assert await running.text("once", "hello") == "hello"
        assert "(1 tool, running)" in await running.list()
