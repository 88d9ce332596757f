"""Interface of outputs: the record that describes a type of output and opens it, and the methods of an opened output.

An output delivers events to another system, at least once and in order. It only moves bytes: `andon.monitor.sender` decides what
is sent, when it is sent again, and when an event counts as delivered.
"""

import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from andon.foundation.errors import ConfigError
from andon.foundation.registry import opening
from andon.foundation.settings import fields, from_table
from andon.monitor.event import Body, Event
from andon.monitor.outbox import Waiting
from andon.monitor.plug_in_table import kind_in, listed_in, name_in
from andon.sources.clock import Clock

COMMON_KEYS = ("kind", "name", "lines", "kinds")
"""Keys of a table ``[[output]]`` that belong to all kinds."""
KINDS: tuple[str, ...] = tuple(str(body.__struct_config__.tag) for body in typing.get_args(Body))
"""All kinds of events, in the order of `andon.monitor.event`."""


class Message(Struct, frozen=True):
    """One event to be delivered."""

    seq: int
    key: str
    """Idempotency key. The receiver must get it with the event, and drops an event whose key it knows."""
    payload: bytes
    """The event as one JSON object in UTF-8."""
    line: str
    """Name of the line. Empty if the event is about the process."""
    kind: str
    """Kind of the event, for example ``reject``."""


class Connected(Struct, frozen=True):
    """The connection can take messages."""

    window: int
    """Number of messages that may be in flight. The sender uses at most 20."""
    checked: bool = True
    """False if nothing was sent to the receiver yet. Only a delivered message then shows that it answers."""


class Delivered(Struct, frozen=True):
    """The receiver confirmed a message."""

    seq: int


class Refused(Struct, frozen=True):
    """The receiver is reachable and refused a message because of its content. The same content would be refused again."""

    seq: int
    reason: str
    """Text without secrets, and without text that the receiver sent."""


class Gone(Struct, frozen=True):
    """The connection failed, or the receiver cannot take messages now. It is the last reply of a connection."""

    reason: str
    """Text without secrets, and without text that the receiver sent."""
    at_least_s: float = 0.0
    """Pause that the receiver asked for."""
    oversize: bool = False
    """True if the receiver ended the connection because a message was too large."""


Reply = Connected | Delivered | Refused | Gone


class Connection(Protocol):
    """One connection of an output, or one try to connect. After it has failed, the sender closes it and asks for a new one."""

    def send(self, message: Message) -> None:
        """Begin to deliver a message, without waiting for the receiver. The reply comes later, from any thread."""
        ...

    def close(self) -> None:
        """End the connection from any state within half a second, without raising an exception."""
        ...

    @property
    def hung(self) -> bool:
        """True if a thread of the connection still runs. The sender then opens no further connection."""
        ...


class Output(Protocol):
    """An opened output. It holds settings, and no connection before the first `connect`."""

    @property
    def answer_s(self) -> float:
        """Longest time for a connection to open, and for the receiver to confirm a message. Then the sender connects again."""
        ...

    def connect(self, hear: Callable[[Reply], None]) -> Connection:
        """Begin a connection, without waiting for the receiver.

        Args:
            hear: gets the replies, from any thread: first `Connected`, then one for each message, in any order. `Gone` can come
                at any time.

        Raises:
            AndonError: a secret or file is missing now.
        """
        ...


class OutputContext(Struct, frozen=True, kw_only=True):
    """Facts about the monitor for which an output is opened."""

    name: str
    """Name of the output in the configuration."""
    clock: Clock


class OutputKind(Struct, frozen=True, kw_only=True):
    """One type of output, as a plug-in record."""

    name: str
    summary: str
    """One line for the documentation."""
    settings: type[Struct]
    """Type of the settings. Its fields become keys of an ``[[output]]`` table."""
    open: Callable[[Any, OutputContext], Output]
    """Function that opens the output with settings of that type. It uses no network.

    It raises an `AndonError` if a secret, file or package is missing. ``andon check`` calls it too.
    """

    def __post_init__(self) -> None:
        fields(self.settings)  # raises if the struct cannot be described: the plug-in is then reported as broken


class ChosenOutput(Struct, frozen=True, kw_only=True):
    """A type of output with its checked settings, not yet opened."""

    kind: OutputKind
    name: str
    settings: Any
    lines: tuple[str, ...] | None = None
    """Names of lines whose events the output gets. None: all lines."""
    kinds: tuple[str, ...] | None = None
    """Kinds of events that the output gets. None: all kinds."""

    def wanted(self, event: Event) -> bool:
        """Return whether the output gets this event.

        An event about the process belongs to no line. `lines` does not filter it, so that a loss of events is always reported.
        """
        if self.kinds is not None and event.kind not in self.kinds:
            return False
        return self.lines is None or not event.line or event.line in self.lines

    def open(self, clock: Clock) -> Output:
        """Open the output.

        Raises:
            AndonError: a secret, file or package is missing.
        """
        with opening(
            "andon.outputs", self.kind.name, called=f"the output {self.name}", prefix=f"the output {self.name}"
        ):
            return self.kind.open(self.settings, OutputContext(name=self.name, clock=clock))


def output_from_table(table: Mapping[str, object], *, at: str, lines: Collection[str] | None = None) -> ChosenOutput:
    """Convert an ``[[output]]`` table to an output.

    The keys `COMMON_KEYS` belong to all outputs. All other keys are settings of the kind.

    Args:
        table: the keys and values.
        at: path of the table in its file, for example ``line.toml: output[0]``. Errors begin with the full path of the key.
        lines: names of all lines, to check the key ``lines``. None: they are not checked.

    Raises:
        ConfigError: a key is unknown, missing, of another type or out of bounds, or the kind is unknown or broken.
    """
    kind: OutputKind = kind_in(table, "andon.outputs", at=at, example="mqtt")
    settings = {key: value for key, value in table.items() if key not in COMMON_KEYS}
    return ChosenOutput(
        kind=kind,
        name=name_in(table, at=at, example="plant"),
        lines=listed_in(table, "lines", at=at, what="line", known=lines),
        kinds=listed_in(table, "kinds", at=at, what="kind of event", known=KINDS),
        settings=from_table(kind.settings, settings, at=at),
    )


def outputs_from_tables(
    tables: Collection[Mapping[str, object]], *, at: str, lines: Collection[str] | None = None
) -> tuple[ChosenOutput, ...]:
    """Convert all ``[[output]]`` tables of a file.

    Args:
        tables: the tables, in their order.
        at: name of the file.
        lines: see `output_from_table`.

    Raises:
        ConfigError: see `output_from_table`, or two outputs have the same name.
    """
    chosen: list[ChosenOutput] = []
    for number, table in enumerate(tables):
        one = output_from_table(table, at=f"{at}: output[{number}]", lines=lines)
        if one.name in {other.name for other in chosen}:
            raise ConfigError(
                f"{at}: output[{number}].name: expected a name of its own, got {one.name!r} again. Rename one output."
            )
        chosen.append(one)
    return tuple(chosen)


def message_of(waiting: Waiting) -> Message:
    """Return the message of an event in the outbox.

    Raises:
        ValueError: the payload is not an event.
    """
    try:
        head = _head.decode(waiting.payload)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError("expected an event as JSON, got other content") from error
    return Message(waiting.seq, waiting.key, waiting.payload, head.line, head.body.kind)


class _HeadBody(Struct, frozen=True):
    kind: str


class _Head(Struct, frozen=True):
    line: str
    body: _HeadBody


_head = msgspec.json.Decoder(_Head)
