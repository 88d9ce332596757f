"""Checks that all reject devices must pass. Each check is a function that takes a `RejectSpecimen`: a device that can be watched.

The tests of andon run them on all devices of this package. Other packages can run them on their own devices::

    @pytest.fixture
    def specimen(relay): return RejectSpecimen(REJECT, Settings(...), rule, given=relay.given, fail=relay.fail, ...)

    @pytest.mark.parametrize("check", CHECKS)
    def test_the_contract(check, specimen): check(specimen)

Each check needs a new specimen with a new device. A failed check raises an AssertionError that states what was expected.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from andon.foundation.errors import AndonError
from andon.foundation.settings import fields
from andon.monitor.reject import RejectRule
from andon.monitor.reject_kind import RejectDevice, RejectFailed, RejectKind

SOON_S = 1.0
"""Longest time for `open` and `close`, and the time that `on` may need in addition to the budget of the rule. They do not wait
for another machine. This is for a busy machine."""

Signal = Literal["on", "off"]


class RejectSpecimen:
    """A device with settings, and a way to watch what it does.

    Args:
        kind: the record of the device.
        settings: its settings.
        rule: a rule that fits them. With `pulse_s` above 0, `off` is checked, too.
        given: returns the signals that the ejector has got, in their order.
        fail: makes the ejector confirm no signal from now on. It answers with an error, or is gone.
        hang: makes the ejector silent from now on.
        missing_secret: settings with a secret that does not exist. None if the device has no secrets.
        secrets: the secrets of `settings`, and texts that the ejector sends. No failure may contain one of them.
    """

    def __init__(
        self,
        kind: RejectKind,
        settings: Any,
        rule: RejectRule,
        *,
        given: Callable[[], Sequence[Signal]],
        fail: Callable[[], None],
        hang: Callable[[], None],
        missing_secret: Any = None,
        secrets: Sequence[str] = (),
    ) -> None:
        self.kind = kind
        self.settings = settings
        self.rule = rule
        self.given = given
        self.fail = fail
        self.hang = hang
        self.missing_secret = missing_secret
        self.secrets = secrets

    def open(self) -> RejectDevice:
        """Open the device as the monitor does."""
        return self.kind.open(self.settings)


def its_settings_are_described(specimen: RejectSpecimen) -> None:
    """Check that each setting has a description, and that the settings survive JSON. TOML keys come from them."""
    for setting in fields(specimen.kind.settings):
        assert setting.description, f"the setting {setting.name} needs a description"
    again = msgspec.convert(msgspec.to_builtins(specimen.settings), specimen.kind.settings)
    assert again == specimen.settings, "settings must survive JSON"


def its_check_accepts_a_rule_that_fits(specimen: RejectSpecimen) -> None:
    """Check that `check` accepts the rule, and gives no signal."""
    specimen.kind.check(specimen.settings, specimen.rule)
    _expect(specimen, [])


def it_opens_and_closes_without_a_signal(specimen: RejectSpecimen) -> None:
    """Check that the device moves no part before the first call of `on`, and waits for no machine that is silent."""
    specimen.hang()
    began_s = time.monotonic()
    device = specimen.open()
    _soon(began_s, "open")
    _close(device)
    _expect(specimen, [])


def a_missing_secret_is_an_error_of_andon(specimen: RejectSpecimen) -> None:
    """Check that `open` raises an `AndonError` for a secret that does not exist, so that ``andon check`` reports it."""
    if specimen.missing_secret is None:
        return
    try:
        specimen.kind.open(specimen.missing_secret)
    except AndonError:
        return
    raise AssertionError("open: expected an AndonError for a secret that does not exist, got an opened device")


def each_call_is_one_signal(specimen: RejectSpecimen) -> None:
    """Check that each call of `on` gives exactly one signal, and that it has been given when the call returns."""
    device = specimen.open()
    for number in range(1, 4):
        failure = _on(specimen, device)
        assert failure is None, f"on: expected a confirmed signal, got {failure!r}"
        _expect(specimen, ["on"] * number)
    _close(device)
    _expect(specimen, ["on"] * 3)


def a_signal_can_be_ended_and_ended_again(specimen: RejectSpecimen) -> None:
    """Check that `off` ends the signal, if the rule has a pulse, and that a second call does no harm."""
    if specimen.rule.pulse_s == 0:
        return
    device = specimen.open()
    failure = _on(specimen, device)
    assert failure is None, f"on: expected a confirmed signal, got {failure!r}"
    device.off()
    _expect(specimen, ["on", "off"])
    device.off()
    _close(device)
    assert "on" not in specimen.given()[1:], f"signals: expected no further on, got {list(specimen.given())}"


def a_signal_that_is_not_confirmed_is_a_failure_and_is_not_repeated(specimen: RejectSpecimen) -> None:
    """Check that a device which does not confirm raises `RejectFailed`, without a secret, and gives the signal at most once."""
    device = specimen.open()
    specimen.fail()
    _failed(specimen, _on(specimen, device))
    _close(device)
    _at_most_one(specimen)


def a_device_that_hangs_is_given_up_in_time(specimen: RejectSpecimen) -> None:
    """Check that `on` raises `RejectFailed` within the budget of the rule if the device is silent, and repeats nothing."""
    device = specimen.open()
    specimen.hang()
    _failed(specimen, _on(specimen, device))
    _close(device)
    _at_most_one(specimen)


CHECKS: tuple[Callable[[RejectSpecimen], None], ...] = (
    its_settings_are_described,
    its_check_accepts_a_rule_that_fits,
    it_opens_and_closes_without_a_signal,
    a_missing_secret_is_an_error_of_andon,
    each_call_is_one_signal,
    a_signal_can_be_ended_and_ended_again,
    a_signal_that_is_not_confirmed_is_a_failure_and_is_not_repeated,
    a_device_that_hangs_is_given_up_in_time,
)
"""All checks of the contract."""


def _on(specimen: RejectSpecimen, device: RejectDevice) -> Exception | None:
    """Call `on` in a thread, because it may hang. Return its exception."""
    failures: list[Exception] = []

    def call() -> None:
        try:
            device.on()
        except Exception as error:  # noqa: BLE001 - the caller looks at the type
            failures.append(error)

    longest_s = specimen.rule.budget_s + SOON_S
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(longest_s)
    assert not thread.is_alive(), f"on: expected an end within {longest_s:g} s, got none. Give it a time-out."
    return failures[0] if failures else None


def _failed(specimen: RejectSpecimen, failure: Exception | None) -> None:
    assert isinstance(failure, RejectFailed), f"on: expected RejectFailed without a confirmation, got {failure!r}"
    leaks = [secret for secret in specimen.secrets if secret in str(failure)]
    assert not leaks, "RejectFailed: expected no secret and no text of the device, got one. Use why(error)."


def _expect(specimen: RejectSpecimen, signals: list[Signal]) -> None:
    given = list(specimen.given())
    assert given == signals, f"signals: expected {signals}, got {given}"


def _at_most_one(specimen: RejectSpecimen) -> None:
    given = list(specimen.given())
    assert given in ([], ["on"]), f"signals: expected at most one, because it is never repeated, got {given}"


def _close(device: RejectDevice) -> None:
    began_s = time.monotonic()
    device.close()
    _soon(began_s, "close")


def _soon(began_s: float, what: str) -> None:
    took_s = time.monotonic() - began_s
    assert took_s <= SOON_S, f"{what}: expected at most {SOON_S:g} s, took {took_s:.1f} s"
