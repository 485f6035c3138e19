"""Settings and variables: where they come from, and what becomes of bad ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import PROJECT

from mcp_gateway.settings import Settings, load_settings, read_variables, variable_of


def test_every_setting_is_read_from_its_variable() -> None:
    given = {
        "home": "/h", "config": "/c.json", "init_timeout": "1.5", "start_limit": "2", "operation_timeout": "3",
        "question_timeout": "4", "idle_timeout": "0", "max_result_chars": "5", "http_token": "t",
        "ask": "Destructive", "read_only": "1", "shortcuts": "0", "log_level": "debug",
    }  # fmt: skip
    settings = Settings.load({variable_of(name): value for name, value in given.items()})
    assert settings.problems == ()
    assert settings.model_dump(exclude={"problems"}) == {
        "home": Path("/h"), "config": Path("/c.json"), "init_timeout": 1.5, "start_limit": 2.0,
        "operation_timeout": 3.0, "question_timeout": 4.0, "idle_timeout": 0.0,
        "max_result_chars": 5, "http_token": "t",
        "ask": "destructive", "read_only": True, "shortcuts": False, "log_level": "DEBUG",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("init_timeout", "soon"),
        ("init_timeout", "0"),
        ("start_limit", "-1"),
        ("operation_timeout", "nan"),
        ("idle_timeout", "inf"),
        ("max_result_chars", "1.5"),
        ("log_level", "LOUD"),
    ],
)
def test_a_bad_value_is_named_and_the_default_stands(name: str, value: str) -> None:
    settings = Settings.load({variable_of(name): value})
    assert getattr(settings, name) == getattr(Settings(), name)
    (problem,) = settings.problems
    assert problem.startswith(f"{variable_of(name)}='{value}' is not usable (")
    assert problem.endswith(f"; {getattr(Settings(), name)} is used")


def test_the_servers_file_stands_in_the_home_folder_unless_it_is_named() -> None:
    assert Settings(home=Path("/h")).config_file == Path("/h/servers.json")
    assert Settings(home=Path("/h"), config=Path("/c")).config_file == Path("/c")


def test_a_tilde_means_the_users_folder() -> None:
    assert Settings.load({"GATEWAY_HOME": "~/gateway"}).home == Path.home() / "gateway"


def test_the_process_comes_before_the_project_and_the_project_before_the_home(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("A=first\nB=first\nBLANK=\n")
    second.write_text('\ufeffA=second\nB=second\nC="quoted value" # note\nBLANK=filled\nexport D=${A}\n')
    found = read_variables({"A": "process", "EMPTY": ""}, [first, tmp_path / "missing", second])
    assert found == {"A": "process", "B": "first", "C": "quoted value", "D": "${A}", "BLANK": "filled"}


def test_a_file_that_is_no_text_is_survived(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=1\n\xff\xfe\x00=\nB=2\n")
    found = read_variables({}, [tmp_path / ".env"])
    assert (found["A"], found["B"]) == ("1", "2")


def test_the_home_folder_named_beside_the_project_is_asked_for_its_own_variables(tmp_path: Path) -> None:
    project, home = tmp_path / "project", tmp_path / "home"
    project.mkdir()
    home.mkdir()
    (project / ".env").write_text(f"GATEWAY_HOME={home}\nGATEWAY_IDLE_TIMEOUT=1\n")
    (home / ".env").write_text("GATEWAY_IDLE_TIMEOUT=2\nGATEWAY_INIT_TIMEOUT=3\n")
    settings = load_settings(project, {})
    assert (settings.home, settings.idle_timeout, settings.init_timeout) == (home, 1, 3)


def test_every_setting_is_described_in_the_example_with_its_default() -> None:
    example = (PROJECT / ".env.example").read_text()
    for name, field in Settings.model_fields.items():
        if name == "problems":
            continue
        (default,) = re.findall(rf"^# {variable_of(name)}=(.*)$", example, re.MULTILINE)
        if isinstance(field.default, int | float):
            assert float(default) == field.default


def test_every_variable_of_the_preconfigured_servers_is_described_in_the_example() -> None:
    example = (PROJECT / ".env.example").read_text()
    wanted = set(re.findall(r"\$\{(\w+)", (PROJECT / "servers.py").read_text())) - {"VAR"}
    assert wanted
    assert {name for name in wanted if f"\n{name}=" not in example} == set()
