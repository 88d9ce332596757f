"""Interface of controllers: the record that describes a type of controller and opens it, and the methods of an opened one.

A controller is a PLC or a server that shows the state and the results of lines to a plant. It is written by one thread, see
`andon.monitor.controller_writer`, which decides what is written and when a connection is opened again.
"""

from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Struct

from andon.monitor.process_image import ProcessImage
from andon.sources.clock import Clock

COMMON_KEYS = ("kind", "name", "lines", "every_s", "max_age_s")
"""Keys of a ``[[controller]]`` table that belong to all kinds."""


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
    """Names of the lines that it shows, in the order of the file."""
    clock: Clock


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
