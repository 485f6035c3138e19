"""Logs that stay small and hold no secret."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mcp_gateway import logs
from mcp_gateway.secrets import Redactor


def test_the_gateways_log_holds_no_secret_and_rotates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_BYTES_A_FILE", 2_000)
    redact = Redactor()
    redact.learn([("very-secret", "KEY")])
    logger = logs.set_up(tmp_path, "INFO", redact)
    for number in range(200):
        logger.info("line %d with %s", number, "very-secret")
    logging.getLogger().handlers[0].close()
    files = sorted(file.name for file in (tmp_path / "logs").iterdir())
    assert files == ["gateway.log", "gateway.log.1", "gateway.log.2"]
    text = (tmp_path / "logs" / "gateway.log").read_text()
    assert "line 199 with [KEY]" in text
    assert "very-secret" not in text


def test_a_log_that_another_gateway_holds_is_written_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_BYTES_A_FILE", 200)

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.rename", refuse)
    logger = logs.set_up(tmp_path, "INFO", Redactor())
    for number in range(20):
        logger.info("line %d", number)
    logging.getLogger().handlers[0].close()
    assert "line 19" in (tmp_path / "logs" / "gateway.log").read_text()


def test_a_childs_last_lines_are_clean_and_few(tmp_path: Path) -> None:
    log = logs.ServerLog(tmp_path, "a/b c", Redactor())
    for number in range(50):
        log.feed(f"\x1b[1;31mline\x1b[0m {number}\r\n".encode())
    for byte in "the last w\u00f6rds".encode():
        log.feed(bytes([byte]))
    words = log.last_words().splitlines()
    log.close()
    assert words[-2:] == ["line 49", "the last w\u00f6rds"]
    assert len(words) <= 13
    assert (tmp_path / "logs" / "servers" / "a_b_c.log").read_text().count("line") == 50


def test_a_flood_without_a_newline_is_bounded(tmp_path: Path) -> None:
    log = logs.ServerLog(tmp_path, "flood", Redactor())
    for _ in range(100):
        log.feed(b"x" * 65_536)
    log.close()
    assert (tmp_path / "logs" / "servers" / "flood.log").stat().st_size < 300_000
    assert all(len(line) <= 300 for line in log.last_words().splitlines())


def test_a_servers_log_rotates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_BYTES_A_FILE", 1_000)
    log = logs.ServerLog(tmp_path, "chatty", Redactor())
    for number in range(300):
        log.line(f"line {number}")
    log.close()
    files = list((tmp_path / "logs" / "servers").iterdir())
    assert len(files) == 3
    assert all(file.stat().st_size <= 1_000 for file in files)
