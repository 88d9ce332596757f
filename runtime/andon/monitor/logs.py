"""Write log lines as plain text or as JSON, without secrets, to one stream.

A JSON line has the keys ``at`` (UTC, for display), ``level``, ``logger``, ``message`` and ``thread``. ``error`` is a traceback.
It is ASCII only: other characters are escaped, so that no terminal or log viewer interprets them.
"""

import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, TextIO

from andon.foundation.printable import printable
from andon.foundation.redaction import redact

LogForm = Literal["plain", "json"]
LONGEST_MESSAGE = 4000
"""Upper limit of characters of one message."""
LONGEST_TRACEBACK = 20_000

logger = logging.getLogger(__name__)


class PlainFormatter(logging.Formatter):
    """Put each message on one line, ``andon: MESSAGE``. A traceback follows on its own lines. Secrets are removed."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        line = f"andon: {_message(record)}"
        traceback = _traceback(self, record)
        return f"{line}\n{traceback}" if traceback else line


class JsonFormatter(logging.Formatter):
    """Write each record as one JSON object on one line. Secrets are removed."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {
            "at": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            "thread": record.threadName,
        }
        if traceback := _traceback(self, record):
            fields["error"] = traceback
        return json.dumps(fields, separators=(",", ":"))


@contextmanager
def logging_to(stream: TextIO, form: LogForm = "plain", *, level: int = logging.WARNING) -> Iterator[None]:
    """Send all log records, Python warnings and unhandled exceptions of all threads to a stream. Restore everything afterwards.

    The handlers of the root logger are replaced, because a second handler without redaction could print a secret.
    """
    handler = _Handler(stream)
    handler.setFormatter(JsonFormatter() if form == "json" else PlainFormatter())
    root = logging.getLogger()
    handlers, level_before = root.handlers[:], root.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    root.handlers[:] = [handler]
    root.setLevel(level)
    sys.excepthook, threading.excepthook, sys.unraisablehook = _unhandled, _unhandled_in_thread, _unraisable
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
        root.setLevel(level_before)
        root.handlers[:] = handlers


class _Handler(logging.StreamHandler[TextIO]):
    """A handler that loses a line if the stream cannot be written. The one of logging would print the line to stderr."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """Do nothing."""


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - a wrong call of a library must not print its arguments, as logging does
        text = f"{record.msg} (the arguments of this log record do not fit)"
    # before the text is cut, because the beginning of a secret is not recognised
    return printable(redact(text), limit=LONGEST_MESSAGE)


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    pieces = [formatter.formatException(record.exc_info)] if record.exc_info and record.exc_info[0] else []
    if record.stack_info:
        pieces.append(record.stack_info)
    text = redact("\n".join(pieces))
    return "\n".join(printable(line, limit=LONGEST_MESSAGE) for line in text[-LONGEST_TRACEBACK:].splitlines())


def _unhandled(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        logger.warning("interrupted")
        return
    logger.critical("an unexpected error ended the process", exc_info=(kind, error, traceback))


def _unhandled_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or issubclass(args.exc_type, SystemExit):
        return
    name = args.thread.name if args.thread is not None else "unknown"
    logger.critical(
        "an unexpected error ended the thread %s", name, exc_info=(args.exc_type, args.exc_value, args.exc_traceback)
    )


def _unraisable(args: "sys.UnraisableHookArgs") -> None:
    error = args.exc_value
    info = None if error is None else (args.exc_type, error, args.exc_traceback)
    logger.error("%s", args.err_msg or "an error was ignored in a destructor", exc_info=info)
