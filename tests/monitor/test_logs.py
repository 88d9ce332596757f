"""Log lines are one line each, readable by programs, and without secrets. Complaint 25."""

import io
import json
import logging
import sys
import threading
import urllib.parse
import warnings
from typing import Any

import pytest

from andon.foundation.secret import Secret
from andon.monitor.logs import JsonFormatter, LogForm, PlainFormatter, logging_to

CANARY = "c@nary pass/word-7f3a"
FORMS: list[LogForm] = ["plain", "json"]

logger = logging.getLogger("andon.test")


def fail(error: Exception) -> None:
    raise error


@pytest.fixture
def revealed(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ANDON_TEST_CANARY", CANARY)
    return Secret(env="ANDON_TEST_CANARY").reveal()


def leaks(text: str) -> list[str]:
    """Return the spellings of the canary in a text."""
    spellings = [CANARY, urllib.parse.quote(CANARY), urllib.parse.quote(CANARY, safe=""), json.dumps(CANARY)[1:-1]]
    return [spelling for spelling in spellings if spelling in text]


def test_a_json_line_has_the_fields_that_programs_filter_by() -> None:
    stream = io.StringIO()
    with logging_to(stream, "json", level=logging.INFO):
        logger.info("%s: opened in %.1f s", "bottles", 0.5)

    line = json.loads(stream.getvalue())
    assert stream.getvalue().endswith("}\n")
    assert line.pop("at").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "andon.test",
        "message": "bottles: opened in 0.5 s",
        "thread": "MainThread",
    }


def test_a_plain_line_is_like_the_lines_of_the_other_commands() -> None:
    stream = io.StringIO()
    with logging_to(stream):
        logger.warning("the disk is full")

    assert stream.getvalue() == "andon: the disk is full\n"


@pytest.mark.parametrize("form", FORMS)
def test_a_name_with_line_breaks_and_terminal_commands_stays_on_one_line(form: LogForm) -> None:
    stream = io.StringIO()
    with logging_to(stream, form):
        logger.warning("new file %s", "a\nb\x1b[2J\u202e\ud800")

    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()
    stream.getvalue().encode("utf-8")


@pytest.mark.parametrize("form", FORMS)
def test_an_exception_keeps_its_traceback(form: LogForm) -> None:
    stream = io.StringIO()
    with logging_to(stream, form):
        try:
            fail(ValueError("wrong size"))
        except ValueError:
            logger.exception("the item is INVALID")

    text = json.loads(stream.getvalue())["error"] if form == "json" else stream.getvalue()
    assert "test_logs.py" in text
    assert text.rstrip().endswith("ValueError: wrong size")


def _log_message() -> None:
    logger.warning("connecting with %s", CANARY)


def _log_url() -> None:
    logger.warning("open rtsp://admin:%s@10.0.0.7/live", urllib.parse.quote(CANARY, safe=""))


def _log_exception() -> None:
    try:
        fail(OSError(f"refused: {CANARY}"))
    except OSError as error:
        outer = RuntimeError("outer")
        outer.__cause__ = error
        logger.warning("failed", exc_info=outer)


def _log_dictionary() -> None:
    logger.warning("settings: %s", {"password": CANARY})


def _log_long_message() -> None:
    logger.warning("%s%s", "x" * 3990, CANARY)


def _log_wrong_arguments() -> None:
    logger.warning("%d items", CANARY)


def _warn() -> None:
    warnings.warn(f"deprecated: {CANARY}", stacklevel=1)


def _die_in_thread() -> None:
    def work() -> None:
        raise ValueError(CANARY)

    thread = threading.Thread(target=work, name="reader")
    thread.start()
    thread.join()


def _die_in_destructor() -> None:
    class Left:
        def __del__(self) -> None:
            raise ValueError(CANARY)

    Left()


def _die() -> None:
    error = ValueError(CANARY)
    sys.excepthook(ValueError, error, None)


WAYS = [
    _log_message, _log_url, _log_exception, _log_dictionary, _log_long_message, _warn, _die_in_thread, _die_in_destructor, _die,
]  # fmt: skip


@pytest.mark.filterwarnings("always::UserWarning")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.strip("_"))
def test_a_revealed_secret_is_in_no_line_on_any_way_into_the_log(
    way: Any, form: LogForm, revealed: str, capfd: pytest.CaptureFixture[str]
) -> None:
    stream = io.StringIO()
    with logging_to(stream, form):
        way()

    assert stream.getvalue()
    assert leaks(stream.getvalue()) == []
    assert "c@nary" not in stream.getvalue()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("form", FORMS)
def test_arguments_that_do_not_fit_are_reported_without_them(form: LogForm, revealed: str) -> None:
    stream = io.StringIO()
    with logging_to(stream, form):
        _log_wrong_arguments()

    assert "%d items (the arguments of this log record do not fit)" in stream.getvalue()
    assert leaks(stream.getvalue()) == []


def test_a_stream_that_cannot_be_written_does_not_print_the_record_elsewhere(
    revealed: str, capfd: pytest.CaptureFixture[str]
) -> None:
    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(28, "No space left on device")

    with logging_to(Full()):
        _log_message()

    assert capfd.readouterr() == ("", "")


def test_handlers_and_hooks_are_restored() -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level, sys.excepthook, threading.excepthook, sys.unraisablehook
    with logging_to(io.StringIO(), level=logging.DEBUG):
        assert [type(handler.formatter) for handler in root.handlers] == [PlainFormatter]

    assert (root.handlers[:], root.level, sys.excepthook, threading.excepthook, sys.unraisablehook) == before


def test_a_request_to_interrupt_is_no_unexpected_error() -> None:
    stream = io.StringIO()
    with logging_to(stream):
        sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)

    assert stream.getvalue() == "andon: interrupted\n"


def test_a_json_line_is_ascii_only() -> None:
    record = logging.LogRecord("n", logging.WARNING, "f", 1, "größer \u2028 ✓", None, None)

    assert JsonFormatter().format(record).isascii()
