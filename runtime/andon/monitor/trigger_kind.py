"""Interface of triggers: the record that describes a type of trigger and opens it, and the methods of an opened one.

A trigger comes from a controller or a light barrier and begins a part on a line with ``trigger = "external"``.
`andon.monitor.trigger_follower` runs opened triggers in a thread of the line.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from msgspec import Struct

from andon.foundation.errors import ConfigError
from andon.foundation.registry import opening
from andon.foundation.settings import fields, from_table
from andon.monitor.part_settings import PartSettings
from andon.monitor.plug_in_table import kind_in
from andon.sources.clock import Clock


class Trigger(Struct, frozen=True, kw_only=True):
    """One trigger. See `andon.monitor.part_decisions.PartDecisions.trigger`."""

    part: str = ""
    """Name of the part, if its frames have the same name. Empty: without a name."""
    number: int | None = None
    """Number of the trigger, if the controller counts them."""


def _nothing(_reason: str) -> None:
    pass


class TriggerContext(Struct, frozen=True, kw_only=True):
    """Facts about the line for which a trigger is opened."""

    line: str
    clock: Clock
    stop: threading.Event
    """Ends `Triggers.follow` within two seconds."""
    refuse: Callable[[str], None] = _nothing
    """Function that takes the reason why something that arrived is not a trigger, without secrets and without text that the
    sender wrote. It is counted and raises the alarm ``trigger_source``, which the next trigger clears. It never raises."""


class Triggers(Protocol):
    """Opened triggers, used by one thread."""

    def follow(self, give: Callable[[Trigger], None], hear: Callable[[str], None]) -> None:
        """Give each trigger once and in order, until the stop event is set. A lost connection is opened again for ever.

        Triggers from the time of an interruption are not given, because their parts have passed.

        Args:
            give: takes a trigger at once, and never raises.
            hear: takes the state at each change: why triggers cannot arrive, without secrets, or an empty text. Triggers cannot
                arrive before the first empty text. It never raises.

        Raises:
            AndonError: a secret or a file is missing now. After this error and any other the monitor opens the triggers again.
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

    def __post_init__(self) -> None:
        if "kind" in {setting.name for setting in fields(self.settings)}:
            raise TypeError("settings: expected another name than kind, which is the key of the type of trigger")


class ChosenTrigger(Struct, frozen=True, kw_only=True):
    """A type of trigger with its checked settings, not yet opened."""

    kind: TriggerKind
    settings: Any

    def open(self, context: TriggerContext) -> Triggers:
        """Open the triggers.

        Raises:
            AndonError: a secret, file or package is missing.
        """
        with opening("andon.triggers", self.kind.name, called=f"the trigger {self.kind.name}", prefix="the trigger"):
            return self.kind.open(self.settings, context)


def trigger_from_table(table: Mapping[str, object], *, at: str, parts: PartSettings | None) -> ChosenTrigger:
    """Check a table ``[line.trigger]``: the key ``kind``, and the settings of the kind.

    Args:
        table: the keys and values.
        at: path of the table, for example ``line.toml: line[0].trigger``.
        parts: settings of the parts of the line.

    Raises:
        ConfigError: a key is unknown, missing, of another type or out of bounds. Or the kind is unknown or broken. Or the parts
            of the line do not begin with a trigger from outside.
    """
    kind: TriggerKind = kind_in(table, "andon.triggers", at=at, example="mqtt")
    if parts is None or parts.trigger != "external":
        got = "no table [line.parts]" if parts is None else f'trigger = "{parts.trigger}"'
        raise ConfigError(
            f'{at}: expected trigger = "external" in [line.parts], so that each trigger begins a part, got {got}. Add it.'
        )
    own = {key: value for key, value in table.items() if key != "kind"}
    return ChosenTrigger(kind=kind, settings=from_table(kind.settings, own, at=at))
