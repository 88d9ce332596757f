"""Interface of controllers: the record that describes a type of controller and opens it, and the methods of an opened one.

A controller is a PLC or a server that shows the state and the results of lines to a plant. It is written by one thread, see
`andon.monitor.controller_writer`, which decides what is written and when a connection is opened again.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Protocol

from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.foundation.printable import printable
from andon.foundation.registry import opening
from andon.foundation.settings import fields, from_table, refuse_unknown_keys
from andon.monitor.plug_in_table import kind_in, listed_in, name_in
from andon.monitor.process_image import ProcessImage
from andon.sources.clock import Clock

COMMON_KEYS = ("kind", "name", "lines", "every_s", "max_age_s")
"""Keys of a ``[[controller]]`` table that belong to all kinds."""


class ControllerTiming(Struct, frozen=True, kw_only=True):
    """Settings of all kinds of controllers."""

    every_s: Annotated[
        float,
        Meta(
            ge=0.05,
            le=1.0,
            description="longest time between two writes of a line. A controller that sees no new heartbeat for 3 s must treat "
            "the line as not ready",
            extra={"unit": "s"},
        ),
    ] = 0.5
    max_age_s: Annotated[
        float,
        Meta(
            ge=0.1,
            le=60.0,
            description="age from which a result is not written any more. The next result then has a number that is not the "
            "next one. It is also the longest wait for the acknowledgement of a result",
            extra={"unit": "s"},
        ),
    ] = 2.0


class ControllerFailed(Exception):
    """The controller has not confirmed a write, or cannot be reached. The text is for a person, and contains no secret."""


class Controller(Protocol):
    """An opened controller, used by one thread. After a `ControllerFailed` the writer calls `close` and then `connect`."""

    def connect(self) -> None:
        """Open a new connection, within the time-out of the settings.

        Raises:
            ControllerFailed: the controller cannot be reached, or it refuses the connection.
        """
        ...

    def write(self, image: ProcessImage) -> None:
        """Write the whole image of a line. Return when the controller has confirmed it, within the time-out.

        The result number is written last, so that a controller never sees a new number with an old result.

        Raises:
            ControllerFailed: it was not confirmed. What the controller shows is then unknown.
        """
        ...

    def acknowledged(self, line: str) -> int | None:
        """Return the number of the last result that the controller has taken. None if it does not acknowledge results.

        The writer waits until it is the number of the last result that was written. Any other number counts as no answer.

        Raises:
            ControllerFailed: it cannot be read.
        """
        ...

    def close(self) -> None:
        """End the connection from any state, within the time-out and without raising an exception."""
        ...


class ControllerContext(Struct, frozen=True, kw_only=True):
    """Facts about the monitor for which a controller is opened."""

    name: str
    """Name of the controller in the configuration."""
    lines: tuple[str, ...]
    """Names of the lines that it shows, in the order of the key ``lines``, else of the file."""
    clock: Clock


def _no_places(_settings: Any, _lines: Collection[str]) -> Collection[str]:
    return ()


class ControllerKind(Struct, frozen=True, kw_only=True):
    """One type of controller, as a plug-in record."""

    name: str
    summary: str
    """One line for the documentation."""
    settings: type[Struct]
    """Type of the settings. Its fields become keys of a ``[[controller]]`` table."""
    open: Callable[[Any, ControllerContext], Controller]
    """Function that opens the controller with settings of that type. It uses no network.

    It raises an `AndonError` if a secret, file or package is missing, or if the settings do not fit the lines. ``andon check``
    calls it too.
    """
    places: Callable[[Any, Collection[str]], Collection[str]] = _no_places
    """Function that returns names of all places that it writes with settings of that type for some lines. It never raises.

    Two controllers of a monitor must not write to the same place: a PLC would take a result of one line for that of another.
    """

    def __post_init__(self) -> None:
        taken = {setting.name for setting in fields(self.settings)} & set(COMMON_KEYS)
        if taken:
            raise TypeError(f"settings: expected names that no controller has, got {', '.join(sorted(taken))}")


class ChosenController(Struct, frozen=True, kw_only=True):
    """A type of controller with its checked settings, not yet opened."""

    kind: ControllerKind
    name: str
    settings: Any
    timing: ControllerTiming = ControllerTiming()
    lines: tuple[str, ...] | None = None
    """Names of the lines that it shows. None: all lines."""

    def shown(self, lines: Collection[str]) -> tuple[str, ...]:
        """Return the names of the lines that it shows, of all lines."""
        return tuple(lines) if self.lines is None else self.lines

    def open(self, clock: Clock, lines: Collection[str]) -> Controller:
        """Open the controller. It uses no network.

        Args:
            clock: see `ControllerContext`.
            lines: names of all lines.

        Raises:
            AndonError: a secret, file or package is missing, or the settings do not fit the lines.
        """
        with opening(
            "andon.controllers",
            self.kind.name,
            called=f"the controller {self.name}",
            prefix=f"the controller {self.name}",
        ):
            return self.kind.open(
                self.settings, ControllerContext(name=self.name, lines=self.shown(lines), clock=clock)
            )


def controller_from_table(
    table: Mapping[str, object], *, at: str, lines: Collection[str] | None = None
) -> ChosenController:
    """Convert a ``[[controller]]`` table to a controller.

    The keys `COMMON_KEYS` belong to all controllers. All other keys are settings of the kind.

    Args:
        table: the keys and values.
        at: path of the table in its file, for example ``line.toml: controller[0]``. Errors begin with the path of the key.
        lines: names of all lines, to check the key ``lines``. None: they are not checked.

    Raises:
        ConfigError: a key is unknown, missing, of another type or out of bounds, or the kind is unknown or broken.
    """
    kind: ControllerKind = kind_in(table, "andon.controllers", at=at, example="modbus")
    refuse_unknown_keys(table, [*COMMON_KEYS, *(setting.name for setting in fields(kind.settings))], at=at)
    timing = [setting.name for setting in fields(ControllerTiming)]
    return ChosenController(
        kind=kind,
        name=name_in(table, at=at, example="plc"),
        lines=listed_in(table, "lines", at=at, what="line", known=lines),
        timing=from_table(ControllerTiming, {key: table[key] for key in timing if key in table}, at=at),
        settings=from_table(
            kind.settings, {key: value for key, value in table.items() if key not in COMMON_KEYS}, at=at
        ),
    )


def controllers_from_tables(
    tables: Collection[Mapping[str, object]], *, at: str, lines: Collection[str] | None = None
) -> tuple[ChosenController, ...]:
    """Convert all ``[[controller]]`` tables of a file.

    Args:
        tables: the tables, in their order.
        at: name of the file.
        lines: see `controller_from_table`.

    Raises:
        ConfigError: see `controller_from_table`, or two controllers have the same name.
    """
    chosen: list[ChosenController] = []
    for number, table in enumerate(tables):
        one = controller_from_table(table, at=f"{at}: controller[{number}]", lines=lines)
        if one.name in {other.name for other in chosen}:
            raise ConfigError(
                f"{at}: controller[{number}].name: expected a name of its own, got {one.name!r} again. Rename one controller."
            )
        for other in chosen if lines is not None else ():
            if one.kind.name == other.kind.name and (shared := _shared(one, other, lines or ())):
                raise ConfigError(
                    f"{at}: controller[{number}]: expected places of its own, got {printable(shared)}, which the controller "
                    f"{other.name} writes too. Choose others, or give each line to one of them."
                )
        chosen.append(one)
    return tuple(chosen)


def _shared(one: ChosenController, other: ChosenController, lines: Collection[str]) -> str:
    """Return a place that two controllers write. Empty if there is none."""
    both = set(one.kind.places(one.settings, one.shown(lines))) & set(
        other.kind.places(other.settings, other.shown(lines))
    )
    return min(both, default="")
