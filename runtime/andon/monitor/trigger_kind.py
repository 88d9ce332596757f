"""Interface of triggers: the record that describes a type of trigger and opens it, and the methods of an opened one.

A trigger comes from a controller or a light barrier and begins a part on a line with ``trigger = "external"``.
"""

import threading
from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Struct

from andon.sources.clock import Clock


class Trigger(Struct, frozen=True, kw_only=True):
    """One trigger. See `andon.monitor.part_decisions.PartDecisions.trigger`."""

    part: str = ""
    """Name of the part, if its frames have the same name. Empty: without a name."""
    number: int | None = None
    """Number of the trigger, if the controller counts them."""


class TriggerContext(Struct, frozen=True, kw_only=True):
    """Facts about the line for which a trigger is opened."""

    line: str
    clock: Clock
    stop: threading.Event
    """Ends `Triggers.follow` within two seconds."""


class Triggers(Protocol):
    """Opened triggers, used by one thread."""

    def follow(self, give: Callable[[Trigger], None], hear: Callable[[str], None]) -> None:
        """Give each trigger once and in order, until the stop event is set. A lost connection is opened again for ever.

        Triggers from the time of an interruption are not given, because their parts have passed.

        Args:
            give: takes a trigger at once, and never raises.
            hear: takes the state at each change: why triggers cannot arrive, without secrets, or an empty text.
        """
        ...


class TriggerKind(Struct, frozen=True, kw_only=True):
    """One type of trigger, as a plug-in record."""

    name: str
    summary: str
    """One line for the documentation."""
    settings: type[Struct]
    """Type of the settings. Its fields become keys of a ``[line.trigger]`` table."""
    open: Callable[[Any, TriggerContext], Triggers]
    """Function that opens the triggers with settings of that type. It uses no network.

    It raises an `AndonError` if a secret, file or package is missing. ``andon check`` calls it too.
    """
