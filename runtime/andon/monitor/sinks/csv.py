"""Write verdicts as CSV to a file or to stdout, one line for each verdict, with a header at the beginning of each file.

A text that a spreadsheet could run as a formula gets an apostrophe in front of it. Line breaks and other control characters of
a text are escaped, so that each verdict is one line. `andon.monitor.line_sink` has the rules for files and full disks.
"""

import csv
import io
import re
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from andon.foundation.printable import printable
from andon.monitor import line_sink
from andon.monitor.judging import Outcome
from andon.monitor.line_sink import LineFormat, LineSink
from andon.monitor.records import record
from andon.monitor.sink import SinkContext, SinkKind
from andon.runtime.schema import Status

COLUMNS = (
    "seq", "at", "item", "unit", "part", "time_s", "status", "reason", "score", "level", "p_value", "threshold", "model",
    "channel", "detail", "line", "alarms",
)  # fmt: skip
"""The keys of a JSON line, in a fixed order. Cells without a value are empty.

An alarm is its name, its change and its number, for example ``rejects raised 3``. Several are separated by semicolons.
"""
_LONGEST_TEXT = 4096
_FORMULA = re.compile(r"[\s'\"]*[=+\-@|%]|[\t\r]")
_BEGIN = re.compile(rb"[0-9]*|[0-9]+,[0-9T:.Z-]{0,24}|[0-9]+,[0-9T:.Z-]{20,24},.*", re.DOTALL)


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of the sink."""

    path: Annotated[str, Meta(min_length=1, description="append to this file; - is stdout", extra={"path": "file"})]


def safe_text(text: str) -> str:
    """Return a text that no spreadsheet runs as a formula, on one line.

    >>> safe_text("=cmd|' /C calc'!A0"), safe_text("good/012.png"), safe_text("a\\nb")
    ("'=cmd|' /C calc'!A0", 'good/012.png', 'a\\\\nb')
    """
    shown = printable(text, limit=_LONGEST_TEXT)
    return f"'{shown}" if _FORMULA.match(shown) else shown


def _line(outcome: Outcome) -> bytes:
    one = record(outcome)
    alarms = (
        []
        if isinstance(one.alarms, UnsetType)
        else [f"{alarm.name} {alarm.event} {alarm.number}" for alarm in one.alarms]
    )
    cells = [
        one.seq, one.at, one.item, one.unit, one.part, one.time_s, one.status, one.reason, one.score, one.level, one.p_value,
        one.threshold, one.model, one.channel, one.detail, one.line, "; ".join(alarms),
    ]  # fmt: skip
    return _row(
        ["" if cell is None or cell is UNSET else safe_text(cell) if isinstance(cell, str) else cell for cell in cells]
    )


def _row(cells: list[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _is_row(text: bytes) -> bool:
    if not _may_begin(text):
        return False
    try:
        rows = list(csv.reader([text.decode()], strict=True))
    except (csv.Error, UnicodeError):
        return False
    return len(rows) == 1 and len(rows[0]) == len(COLUMNS) and rows[0][6] in Status.__members__


def _may_begin(text: bytes) -> bool:
    return _BEGIN.fullmatch(text) is not None


FORMAT = LineFormat(what="CSV lines", line=_line, is_line=_is_row, may_begin=_may_begin, header=_row(list(COLUMNS)))


def _open_sink(settings: Settings, context: SinkContext) -> LineSink:
    return LineSink(settings.path, FORMAT, clock=context.clock, stop=context.stop)


def _check(settings: Settings, context: SinkContext) -> None:  # noqa: ARG001 - the signature of all checks
    line_sink.check(settings.path, FORMAT)


SINK = SinkKind(
    name="csv",
    summary="write one CSV line for each verdict, to a file or to stdout",
    settings=Settings,
    open=_open_sink,
    check=_check,
)
