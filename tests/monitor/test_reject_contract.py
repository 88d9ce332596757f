"""The contract of reject devices itself: a sound device keeps each check, and a device with a fault breaks the check for it."""

import threading
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, Struct, ValidationError

from andon.foundation.errors import ConfigError
from andon.monitor import reject_contract as contract
from andon.monitor.reject import RejectRule
from andon.monitor.reject_contract import RejectSpecimen, Signal
from andon.monitor.reject_kind import RejectFailed, RejectKind

Fault = Literal[
    "none", "wrong check", "check signals", "open signals", "open waits", "close signals", "slow close", "takes any secret",
    "twice", "late", "raises", "no off", "off switches on", "off once", "other error", "repeats", "confirms", "secret",
    "no time-out", "confirms a silent one", "repeats a silent one",
]  # fmt: skip
CANARY = "canary-51d7-secret"
RULE = RejectRule(travel_s=0.05, pulse_s=0.1)


class Settings(Struct, frozen=True, kw_only=True):
    pin: Annotated[str, Meta(description="the pin")] = "7"


class Ejector:
    """An ejector in memory that works, fails or hangs."""

    def __init__(self) -> None:
        self.given: list[Signal] = []
        self.fails = self.hangs = False
        self.over = threading.Event()

    def fail(self) -> None:
        self.fails = True

    def hang(self) -> None:
        self.hangs = True


class Memory:
    """A device that switches its ejector, with one fault."""

    def __init__(self, ejector: Ejector, fault: Fault) -> None:
        self._ejector, self._fault = ejector, fault
        self._ended = False
        if fault == "open signals":
            ejector.given.append("on")
        if fault == "open waits" and ejector.hangs:
            time.sleep(0.4)

    def on(self) -> None:
        fault, ejector = self._fault, self._ejector
        if ejector.hangs:
            self._hang()
            return
        if fault == "raises":
            raise RejectFailed("no reason")
        if fault == "late" and not ejector.given:
            threading.Timer(0.1, ejector.given.append, ("on",)).start()
            return
        ejector.given += ["on"] * (2 if fault == "twice" or (fault == "repeats" and ejector.fails) else 1)
        if ejector.fails and fault == "other error":
            raise ConnectionResetError(104, "Connection reset by peer")
        if ejector.fails and fault != "confirms":
            raise RejectFailed(CANARY if fault == "secret" else "HTTP 503")

    def off(self) -> None:
        if self._fault == "off once" and self._ended:
            raise RuntimeError("already off")
        self._ended = True
        if self._fault == "off switches on" and len(self._ejector.given) > 1:
            self._ejector.given.append("on")
        elif self._fault != "no off":
            self._ejector.given.append("off")

    def close(self) -> None:
        if self._fault == "close signals":
            self._ejector.given.append("off")
        if self._fault == "slow close":
            time.sleep(0.4)

    def _hang(self) -> None:
        if self._fault == "no time-out":
            self._ejector.over.wait(1.0)
        if self._fault == "repeats a silent one":
            self._ejector.given += ["on", "on"]
        if self._fault != "confirms a silent one":
            raise RejectFailed("no answer within 0.01 s")


def specimen(fault: Fault) -> RejectSpecimen:
    ejector = Ejector()

    def open_device(settings: Settings) -> Memory:
        if settings.pin == "unknown" and fault != "takes any secret":
            raise ConfigError("the environment variable X: expected a secret, found no such variable.")
        return Memory(ejector, fault)

    def check(_settings: Settings, _rule: RejectRule) -> None:
        if fault == "wrong check":
            raise ConfigError("expected another rule")
        if fault == "check signals":
            ejector.given.append("on")

    return RejectSpecimen(
        RejectKind(name="memory", summary="", settings=Settings, open=open_device, check=check),
        Settings(),
        RULE,
        given=lambda: ejector.given,
        fail=ejector.fail,
        hang=ejector.hang,
        missing_secret=Settings(pin="unknown"),
        secrets=(CANARY,),
    )


@pytest.mark.parametrize("check", [pytest.param(check, id=check.__name__) for check in contract.CHECKS])
def test_a_sound_device_keeps_the_contract(check: Callable[[RejectSpecimen], None]) -> None:
    check(specimen("none"))


FAULTS: list[tuple[Fault, Callable[[RejectSpecimen], None]]] = [
    ("wrong check", contract.its_check_accepts_a_rule_that_fits),
    ("check signals", contract.its_check_accepts_a_rule_that_fits),
    ("open signals", contract.it_opens_and_closes_without_a_signal),
    ("open waits", contract.it_opens_and_closes_without_a_signal),
    ("close signals", contract.it_opens_and_closes_without_a_signal),
    ("slow close", contract.it_opens_and_closes_without_a_signal),
    ("takes any secret", contract.a_missing_secret_is_an_error_of_andon),
    ("twice", contract.each_call_is_one_signal),
    ("late", contract.each_call_is_one_signal),
    ("raises", contract.each_call_is_one_signal),
    ("no off", contract.a_signal_can_be_ended_and_ended_again),
    ("off switches on", contract.a_signal_can_be_ended_and_ended_again),
    ("off once", contract.a_signal_can_be_ended_and_ended_again),
    ("other error", contract.a_signal_that_is_not_confirmed_is_a_failure_and_is_not_repeated),
    ("repeats", contract.a_signal_that_is_not_confirmed_is_a_failure_and_is_not_repeated),
    ("confirms", contract.a_signal_that_is_not_confirmed_is_a_failure_and_is_not_repeated),
    ("secret", contract.a_signal_that_is_not_confirmed_is_a_failure_and_is_not_repeated),
    ("no time-out", contract.a_device_that_hangs_is_given_up_in_time),
    ("confirms a silent one", contract.a_device_that_hangs_is_given_up_in_time),
    ("repeats a silent one", contract.a_device_that_hangs_is_given_up_in_time),
]


@pytest.mark.parametrize(("fault", "check"), FAULTS)
def test_a_faulty_device_breaks_the_contract(
    fault: Fault, check: Callable[[RejectSpecimen], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract, "SOON_S", 0.2)

    with pytest.raises((AssertionError, ConfigError, RuntimeError)):
        check(specimen(fault))


def test_every_check_has_a_fault_that_breaks_it() -> None:
    assert {check for _, check in FAULTS} == set(contract.CHECKS) - {contract.its_settings_are_described}


def test_settings_that_do_not_survive_json_break_the_contract() -> None:
    class Odd(Struct, frozen=True, kw_only=True):
        pin: Annotated[str, Meta(min_length=3, description="the pin")] = "x"

    def never(*_: Any) -> Any:
        raise AssertionError

    kind = RejectKind(name="odd", summary="", settings=Odd, open=never)
    odd = RejectSpecimen(kind, Odd(), RULE, given=list, fail=never, hang=never)

    with pytest.raises(ValidationError, match="length >= 3"):
        contract.its_settings_are_described(odd)
