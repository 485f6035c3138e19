"""A child's environment, and how its program is found."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mcp_gateway.environment import child_environment, find_command, install_hint, why_not_found

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="folders and bits of POSIX")


def program(folder: Path, name: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return str(file)


def test_what_reaches_networks_and_caches_is_passed_on_and_nothing_else() -> None:
    passed = {
        "HOME": "/h", "USER": "u", "HTTPS_PROXY": "p", "https_proxy": "p", "no_proxy": "n", "ALL_PROXY": "a",
        "NODE_EXTRA_CA_CERTS": "c", "SSL_CERT_FILE": "c", "SSL_CERT_DIR": "c", "REQUESTS_CA_BUNDLE": "c",
        "CURL_CA_BUNDLE": "c", "npm_config_registry": "r", "NPM_CONFIG_CACHE": "r", "UV_INDEX": "u",
        "PIP_INDEX_URL": "i", "XDG_CACHE_HOME": "x", "LANG": "l", "LC_ALL": "l", "TZ": "t", "TMPDIR": "/tmp",
    }  # fmt: skip
    kept_back = {
        "AWS_SECRET_ACCESS_KEY": "s",
        "GATEWAY_HOME": "g",
        "PYTHONPATH": "p",
        "X_UV_": "x",
        "EVIL": "() { :; }",
    }
    env = child_environment({**passed, **kept_back, "LANG": "l"}, {"OWN": "o", "TZ": "own"})
    path = env.pop("PATH")
    assert env == {**passed, "OWN": "o", "TZ": "own"}
    assert path


def test_a_shell_function_is_not_passed_on() -> None:
    assert "LC_X" not in child_environment({"LC_X": "() { :; }"}, {})


def test_commands_are_found_where_a_persons_shell_would_find_them(tmp_path: Path) -> None:
    expected = [program(tmp_path / ".local/bin", "uvx"), program(tmp_path / ".cargo/bin", "rust-server")]
    env = child_environment({"HOME": str(tmp_path), "PATH": "/nowhere"}, {})
    assert [find_command(Path(file).name, env, None) for file in expected] == expected


def test_the_default_version_of_nvm_comes_before_the_newest(tmp_path: Path) -> None:
    versions = tmp_path / ".nvm/versions/node"
    chosen = program(versions / "v20.9.0/bin", "npx-of-nvm")
    newest = program(versions / "v22.1.0/bin", "npx-of-nvm")
    program(versions / "v9.0.0/bin", "npx-of-nvm")
    environ = {"HOME": str(tmp_path), "PATH": "/nowhere"}
    assert find_command("npx-of-nvm", child_environment(environ, {}), None) == newest
    (tmp_path / ".nvm/alias").mkdir()
    (tmp_path / ".nvm/alias/default").write_text("20\n")
    assert find_command("npx-of-nvm", child_environment(environ, {}), None) == chosen


def test_the_own_path_of_an_entry_comes_first(tmp_path: Path) -> None:
    own = program(tmp_path / "own", "tool")
    program(tmp_path / "other", "tool")
    env = child_environment({"PATH": str(tmp_path / "other")}, {"PATH": str(tmp_path / "own")})
    assert find_command("tool", env, None) == own
    assert str(tmp_path / "other") not in env["PATH"].split(os.pathsep)


def test_a_path_is_taken_from_the_entrys_folder_and_a_tilde_is_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = program(tmp_path / "bin", "server")
    monkeypatch.setenv("HOME", str(tmp_path))
    env = child_environment({"PATH": "/nowhere"}, {})
    assert find_command("./bin/server", env, str(tmp_path)) == f"{tmp_path}/./bin/server"
    assert find_command("~/bin/server", env, None) == file
    assert find_command(file, env, None) == file
    assert find_command("./bin/none", env, str(tmp_path)) is None


def test_why_a_program_is_not_found(tmp_path: Path) -> None:
    program(tmp_path / "bin", "server")
    (tmp_path / "plain").touch()
    env = child_environment({"PATH": str(tmp_path / "bin")}, {})
    assert "is a folder" in why_not_found(f"{tmp_path}/bin", env, None)
    assert "make it executable" in why_not_found("./plain", env, str(tmp_path))
    assert 'put its arguments into "args"' in why_not_found("server --fast", env, None)
    assert "was not found (Node.js brings it" in why_not_found("npx", {"PATH": "/nowhere"}, None)


def test_a_missing_program_comes_with_what_to_do() -> None:
    assert "Node.js" in install_hint("npx")
    assert "docs.astral.sh/uv" in install_hint("/opt/x/uvx")
    assert "full path" in install_hint("my-own-server")
