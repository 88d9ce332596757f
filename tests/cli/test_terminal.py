"""Check that commands print no secret in errors and warnings. Complaint 25."""

import logging
from pathlib import Path

import pytest

from andon.cli import main
from andon.cli._terminal import PrintableFormatter
from andon.foundation.secret import Secret

CANARY = "canary/7f3a w:rd"


@pytest.fixture
def revealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDON_TEST_CANARY", CANARY)
    Secret(env="ANDON_TEST_CANARY").reveal()


def record(message: str, error: Exception | None = None) -> logging.LogRecord:
    info = None if error is None else (type(error), error, None)
    return logging.LogRecord("andon", logging.WARNING, "file", 1, message, None, info)


def test_a_warning_and_its_traceback_have_no_secret(revealed: None) -> None:
    text = PrintableFormatter("andon: %(message)s").format(record(f"open {CANARY}", ValueError(f"at {CANARY}")))

    assert text == "andon: open ***\nValueError: at ***"


def test_a_secret_is_removed_before_a_long_message_is_cut(revealed: None) -> None:
    text = PrintableFormatter("%(message)s").format(record("x" * 3995 + CANARY))

    assert "canary" not in text


def test_the_error_line_of_a_command_has_no_secret(
    revealed: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / CANARY.replace("/", "%2F"))

    assert main(["inspect", missing]) == 2
    assert "7f3a" not in capsys.readouterr().err
