"""What a sink is: a record that says what settings it takes and opens it, and what an opened sink must do.

A sink takes outcomes in order, never holds up judging for long, and counts what it could not keep.
"""

import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from andon.foundation.errors import AndonError, ConfigError
from andon.foundation.printable import printable
from andon.foundation.registry import is_own, load
from andon.foundation.settings import fields, from_mapping, from_texts, missing
from andon.monitor.judging import Outcome
from andon.runtime.schema import Card
from andon.sources.clock import Clock


class ConsumerGoneError(Exception):
    """Nobody reads our lines any more (``| head``): not a failure, but the end of the work."""


class Sink(Protocol):
    """An opened sink, used by one thread."""

    def put(self, outcome: Outcome) -> None:
        """Take one outcome. A disk that is full or away is a state, not an exception.

        Raises:
            ConsumerGoneError: nobody reads any more.
        """
        ...

    def close(self) -> None:
        """Finish within a second or two. Never raises."""
        ...

    @property
    def lost(self) -> int:
        """Outcomes that it should have kept and could not."""
        ...

    @property
    def summary(self) -> str:
        """For the last line on stderr, e.g. ``3 pictures``; empty where there is nothing to say."""
        ...


@runtime_checkable
class QueuedSink(Sink, Protocol):
    """A sink that works in a thread of its own. The monitor knows it by these two members."""

    def drain(self) -> None:
        """Wait until what was put is done, for some seconds: called before `close` where the source ended by itself."""
        ...

    @property
    def hung(self) -> bool:
        """After `close`: the thread still runs. An interpreter that ends now may abort the process."""
        ...


class SinkContext(Struct, frozen=True, kw_only=True):
    """What a sink may need to know of the line that it is opened for."""

    card: Card
    """Of the model file."""
    clock: Clock
    stop: threading.Event
    """Set when the monitor ends: a sink must not wait any longer."""
    source: str
    """Path, URL or name of the source as the user gave it: it may hold a password."""
    can_wait: bool
    """Whether the source can wait. If so, a sink may hold up judging instead of losing something."""


class SinkKind(Struct, frozen=True, kw_only=True):
    """One kind of sink."""

    name: str
    summary: str
    """One line for ``--help``."""
    settings: type[Struct]
    """They become keys of ``--sink NAME:key=value`` and of a table of sinks."""
    open: Callable[[Any, SinkContext], Sink]
    """Open with settings of that type. Raises an `AndonError` where that is not possible."""

    def __post_init__(self) -> None:
        fields(
            self.settings
        )  # a struct that cannot be described is an error of the plug-in, reported where it is loaded


class ChosenSink(Struct, frozen=True):
    """A kind with its settings, checked and not yet opened."""

    kind: SinkKind
    settings: Any

    def open(self, context: SinkContext) -> Sink:
        """Open it.

        Raises:
            AndonError: it cannot be opened.
        """
        try:
            return self.kind.open(self.settings, context)
        except AndonError:
            raise
        except Exception as error:
            if is_own("andon.sinks", self.kind.name):
                raise
            raise ConfigError(
                f"the sink {self.kind.name}: cannot be opened: {printable(f'{type(error).__name__}: {error}')}. Check its "
                "settings, or repair the package that brings it."
            ) from error


def sink_from_text(text: str) -> ChosenSink:
    """Return the sink that ``NAME`` or ``NAME:key=value,key=value`` asks for. A value may hold commas.

    Raises:
        ConfigError: no such sink, a broken one, or settings that it does not have or that are out of bounds.
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


def sink_from_table(table: Mapping[str, object]) -> ChosenSink:
    """Return the sink that a table asks for: its ``kind``, and its settings.

    Raises:
        ConfigError: as `sink_from_text`, or no kind.

    >>> sink_from_table({"kind": "json_lines", "path": "verdicts.jsonl"}).settings.path
    'verdicts.jsonl'
    """
    settings = dict(table)
    name = settings.pop("kind", None)
    if not isinstance(name, str):
        raise ConfigError(f'a sink: expected a kind, such as kind = "json_lines", got {name!r}.')
    kind: SinkKind = load("andon.sinks", name)
    where = f"the sink {name}"
    if absent := missing(kind.settings, settings):
        raise ConfigError(f"{where}: expected {', '.join(absent)}, got nothing.")
    return ChosenSink(kind, from_mapping(kind.settings, settings, where=where))


def _known(kind: SinkKind) -> str:
    return ", ".join(setting.name for setting in fields(kind.settings)) or "none"
