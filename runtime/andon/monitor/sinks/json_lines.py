"""Write verdicts as JSON lines to a file or to stdout. `andon.monitor.line_sink` has the rules for files and full disks."""

import threading
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from andon.monitor import line_sink
from andon.monitor.judging import Outcome
from andon.monitor.line_sink import LineFormat, LineSink
from andon.monitor.records import Record, line, record
from andon.monitor.sink import SinkContext, SinkKind
from andon.sources.clock import Clock


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of the sink."""

    path: Annotated[str, Meta(min_length=1, description="append to this file; - is stdout", extra={"path": "file"})] = (
        "-"
    )


class JsonLines(LineSink):
    """A sink that appends one JSON object for each outcome. See `LineSink`."""

    def __init__(self, target: str, *, clock: Clock, stop: threading.Event) -> None:
        super().__init__(target, FORMAT, clock=clock, stop=stop)


def _line(outcome: Outcome) -> bytes:
    return line(record(outcome))


def _is_record(text: bytes) -> bool:
    if not _may_begin_record(text):
        return False
    try:
        _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
    return True


def _may_begin_record(text: bytes) -> bool:
    """Return whether a line of a verdict log may begin with this text. An empty text may."""
    number = text[len(_SEQ) :].lstrip(b"0123456789")
    return _SEQ.startswith(text[: len(_SEQ)]) and (number.startswith(_AT) or _AT.startswith(number))


_SEQ, _AT = b'{"seq":', b',"at":"'
_decoder = msgspec.json.Decoder(Record)
FORMAT = LineFormat(what="JSON lines", line=_line, is_line=_is_record, may_begin=_may_begin_record)


def _open_sink(settings: Settings, context: SinkContext) -> JsonLines:
    return JsonLines(settings.path, clock=context.clock, stop=context.stop)


def _check(settings: Settings, context: SinkContext) -> None:  # noqa: ARG001 - the signature of all checks
    line_sink.check(settings.path, FORMAT)


SINK = SinkKind(
    name="json_lines",
    summary="write one JSON line for each verdict, to a file or to stdout",
    settings=Settings,
    open=_open_sink,
    check=_check,
)
