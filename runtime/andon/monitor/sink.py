"""Interface of sinks: the record that describes a type of sink and opens it, and the methods of an opened sink.

A sink gets outcomes in order, never delays judging for long, and counts the outcomes that it could not keep.
"""

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, cast, runtime_checkable

from msgspec import Struct

from andon.foundation.errors import ConfigError
from andon.foundation.registry import load, opening
from andon.foundation.settings import fields, from_mapping, from_table, from_texts
from andon.monitor.judging import Outcome
from andon.monitor.plug_in_table import kind_in
from andon.runtime.schema import Card
from andon.sources.clock import Clock


class ConsumerGoneError(Exception):
    """The reader of a pipe has closed it (``| head``). This ends the run but is not a failure."""


class Sink(Protocol):
    """An opened sink, used by one thread."""

    def put(self, outcome: Outcome) -> None:
        """Process one outcome. A full or missing disk must not raise an exception: count the outcome in `lost`.

        Raises:
            ConsumerGoneError: the reader of the output has gone.
        """
        ...

    def close(self) -> None:
        """Finish within one or two seconds, without raising an exception."""
        ...

    @property
    def lost(self) -> int:
        """Number of outcomes that the sink should have kept but could not."""
        ...

    @property
    def summary(self) -> str:
        """Text for the last line on stderr, for example ``3 pictures``. May be empty."""
        ...


@runtime_checkable
class QueuedSink(Sink, Protocol):
    """A sink that works in its own thread. The monitor recognises such a sink by the members `drain` and `hung`."""

    def drain(self) -> None:
        """Wait some seconds until all outcomes are processed. Called before `close` if the source ended by itself."""
        ...

    @property
    def hung(self) -> bool:
        """True if the thread still runs after `close`. If the interpreter ends now, the process may abort."""
        ...


def queued(sinks: Iterable[Sink]) -> list[QueuedSink]:
    """Return the sinks that work in their own thread. `isinstance` would also read `lost` and `summary`, in any order."""
    return [cast("QueuedSink", sink) for sink in sinks if hasattr(sink, "drain") and hasattr(sink, "hung")]


class SinkContext(Struct, frozen=True, kw_only=True):
    """Facts about the run for which a sink is opened."""

    card: Card
    """Card of the model file."""
    clock: Clock
    stop: threading.Event
    """Event that is set when the monitor ends. After that, a sink must not wait for anything."""
    source: str
    """Path, URL or name of the source as the user gave it. It may contain a password."""
    can_wait: bool
    """True if the source can wait. A sink may then delay judging instead of losing outcomes."""


def _nothing_to_check(_settings: Any, _context: SinkContext) -> None:
    pass


class SinkKind(Struct, frozen=True, kw_only=True):
    """One type of sink, as a plug-in record."""

    name: str
    summary: str
    """One line for ``--help``."""
    settings: type[Struct]
    """Type of the settings. Its fields become keys of ``--sink NAME:key=value`` and of TOML tables."""
    open: Callable[[Any, SinkContext], Sink]
    """Function that opens the sink with settings of that type. It raises an `AndonError` if this is not possible."""
    check: Callable[[Any, SinkContext], None] = _nothing_to_check
    """Function for ``andon check`` that raises an `AndonError` if the sink cannot be opened.

    It writes nothing. Paths are already checked: see ``extra={"path": "file"}`` and ``"folder"`` in the settings.
    """

    def __post_init__(self) -> None:
        fields(self.settings)  # raises if the struct cannot be described: the plug-in is then reported as broken


class ChosenSink(Struct, frozen=True):
    """A type of sink with its checked settings, not yet opened."""

    kind: SinkKind
    settings: Any

    def open(self, context: SinkContext) -> Sink:
        """Open the sink.

        Raises:
            AndonError: the sink cannot be opened.
        """
        with opening("andon.sinks", self.kind.name, called=f"the sink {self.kind.name}"):
            return self.kind.open(self.settings, context)


def sink_from_text(text: str) -> ChosenSink:
    """Parse ``NAME`` or ``NAME:key=value,key=value`` to a sink. A value may contain commas.

    Raises:
        ConfigError: the sink is unknown or broken, or a setting is unknown or out of range.
    """
    name, _, given = text.partition(":")
    kind: SinkKind = load("andon.sinks", name)
    texts: dict[str, str] = {}
    for piece in filter(None, re.split(r",(?=\s*\w+\s*=)", given)):
        key, equals, value = piece.partition("=")
        if not equals:
            raise ConfigError(f"the sink {name}: expected key=value, got {piece!r}. Known: {_known(kind)}.")
        texts[key.strip()] = value.strip()
    return ChosenSink(kind, from_texts(kind.settings, texts, where=f"the sink {name}"))


def sink_from_table(table: Mapping[str, object], *, at: str = "") -> ChosenSink:
    """Convert a TOML table to a sink: the key ``kind`` is its name, all other keys are settings.

    Args:
        table: the keys and values.
        at: path of the table in its file, for example ``line.toml: line[0].sinks[1]``. Errors then begin with the full path
            of the key.

    Raises:
        ConfigError: see `sink_from_text`, or the key ``kind`` is missing.

    >>> sink_from_table({"kind": "json_lines", "path": "verdicts.jsonl"}).settings.path
    'verdicts.jsonl'
    """
    kind: SinkKind = kind_in(table, "andon.sinks", at=at or "sink", example="json_lines")
    settings = {key: value for key, value in table.items() if key != "kind"}
    if at:
        return ChosenSink(kind, from_table(kind.settings, settings, at=at))
    return ChosenSink(kind, from_mapping(kind.settings, settings, where=f"the sink {kind.name}"))


def _known(kind: SinkKind) -> str:
    return ", ".join(setting.name for setting in fields(kind.settings)) or "none"
