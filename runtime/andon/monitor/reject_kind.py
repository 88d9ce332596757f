"""Interface of reject devices: the record that describes a type of device and opens it, and the methods of an opened device.

A device switches an ejector or a relay. `andon.monitor.reject_signals` decides when, and calls a device in one thread.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from msgspec import Struct

from andon.foundation.errors import ConfigError
from andon.foundation.registry import opening
from andon.foundation.settings import fields, from_table, refuse_unknown_keys
from andon.monitor.part_settings import PartSettings
from andon.monitor.plug_in_table import kind_in
from andon.monitor.reject import INTENT_S, RejectRule


class RejectFailed(Exception):
    """The device has not confirmed a signal. The text is for the event, and contains no secret."""


class RejectDevice(Protocol):
    """An opened device, used by one thread."""

    def on(self) -> None:
        """Give the signal once. Return when the device has confirmed it, within its time-out. It is never repeated.

        Raises:
            RejectFailed: the device has not confirmed it. For any other exception the event has its type only.
        """
        ...

    def off(self) -> None:
        """End the signal. Called only if `RejectRule.pulse_s` is above 0. It may be repeated."""
        ...

    def close(self) -> None:
        """Release the device, without raising an exception."""
        ...


def _fits(_settings: Any, _rule: RejectRule) -> None:
    pass


class RejectKind(Struct, frozen=True, kw_only=True):
    """One type of device, as a plug-in record."""

    name: str
    summary: str
    """One line for the documentation."""
    settings: type[Struct]
    """Type of the settings. Its fields become keys of a ``[line.reject]`` table."""
    open: Callable[[Any], RejectDevice]
    """Function that opens the device with settings of that type. It gives no signal and waits for no other machine.

    It raises an `AndonError` if a secret, file or package is missing.
    """
    check: Callable[[Any, RejectRule], None] = _fits
    """Function that raises a `ConfigError` if the settings do not fit the rule. It opens nothing."""

    def __post_init__(self) -> None:
        names = {setting.name for setting in fields(self.settings)}
        taken = names & {"kind", *(setting.name for setting in fields(RejectRule))}
        if taken:
            raise TypeError(f"settings: expected names that no reject rule has, got {', '.join(sorted(taken))}")


class ChosenReject(Struct, frozen=True, kw_only=True):
    """A type of device with its checked settings and the rule of its signals, not yet opened."""

    kind: RejectKind
    rule: RejectRule
    settings: Any

    def open(self) -> RejectDevice:
        """Open the device.

        Raises:
            AndonError: the device cannot be opened.
        """
        with opening(
            "andon.rejects", self.kind.name, called=f"the reject signal {self.kind.name}", prefix="the reject signal"
        ):
            return self.kind.open(self.settings)


def reject_from_table(table: Mapping[str, object], *, at: str, parts: PartSettings | None = None) -> ChosenReject:
    """Check a table ``[line.reject]``: the key ``kind``, the keys of `RejectRule`, and the settings of the kind.

    Args:
        table: the keys and values.
        at: path of the table, for example ``line.toml: line[0].reject``.
        parts: settings of the parts of the line.

    Raises:
        ConfigError: a key is unknown, missing, of another type or out of bounds. Or the kind is unknown or broken. Or there is
            no time between the deadline of a part and its signal.
    """
    kind: RejectKind = kind_in(table, "andon.rejects", at=at, example="http")
    rule_names = [setting.name for setting in fields(RejectRule)]
    refuse_unknown_keys(table, ["kind", *rule_names, *(setting.name for setting in fields(kind.settings))], at=at)
    try:
        rule = from_table(RejectRule, {key: table[key] for key in rule_names if key in table}, at=at)
        own = {key: value for key, value in table.items() if key != "kind" and key not in rule_names}
        chosen = ChosenReject(kind=kind, rule=rule, settings=from_table(kind.settings, own, at=at))
        kind.check(chosen.settings, rule)
        _require_time(rule, parts)
    except ConfigError as error:
        if str(error).startswith(at):
            raise
        raise ConfigError(f"{at}: {error}") from error
    return chosen


def callback_reject(
    on: Callable[[], None], rule: RejectRule, *, off: Callable[[], None] = lambda: None
) -> ChosenReject:
    """Return a reject signal that calls functions of a program.

    Args:
        on: gives the signal. It is called in a thread of its own, and must not take longer than parts are apart. An exception
            means that the signal is not confirmed.
        rule: the settings.
        off: ends the signal, see `RejectDevice.off`.
    """
    kind = RejectKind(
        name="callback",
        summary="call functions of a program",
        settings=_NoSettings,
        open=lambda _settings: _Callbacks(on, off),
    )
    return ChosenReject(kind=kind, rule=rule, settings=_NoSettings())


class _NoSettings(Struct, frozen=True):
    pass


class _Callbacks:
    def __init__(self, on: Callable[[], None], off: Callable[[], None]) -> None:
        self._on, self._off = on, off

    def on(self) -> None:
        self._on()

    def off(self) -> None:
        self._off()

    def close(self) -> None:
        pass


def _require_time(rule: RejectRule, parts: PartSettings | None) -> None:
    """Refuse a deadline after the signal of the part is due.

    Raises:
        ConfigError: see above.
    """
    if parts is None:
        return
    need_s = INTENT_S if rule.intent == "durable" else 0.0
    if parts.deadline_s + need_s > rule.budget_s:
        memory = ' or set intent = "memory"' if need_s else ""
        why = f", and {need_s:g} s for storing the intent" if need_s else ""
        raise ConfigError(
            f"expected travel_s - actuator_s of at least {parts.deadline_s + need_s:g} s (the deadline of a part{why}), got "
            f"{rule.budget_s:g} s. Lower deadline_s{memory}."
        )
