"""The contract of sinks itself: a sound sink keeps each check, and a sink with a fault breaks the check for it."""

import time
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, Struct, ValidationError

from andon.monitor import contract
from andon.monitor.contract import Specimen
from andon.monitor.judging import Outcome
from andon.monitor.sink import SinkContext, SinkKind

Fault = Literal["none", "loses", "slow", "deaf", "raises", "silent", "secret", "two lines", "slow close", "hung"]


class Settings(Struct, frozen=True, kw_only=True):
    path: Annotated[str, Meta(description="the table")] = "table.csv"


class Memory:
    """A sink that keeps outcomes in memory, until `broken` is set."""

    def __init__(self, fault: Fault, context: SinkContext) -> None:
        self._fault = fault
        self._context = context
        self.broken = False
        self.lost = 0
        self.hung = fault == "hung"

    @property
    def summary(self) -> str:
        return {"secret": self._context.source, "two lines": "one\ntwo"}.get(self._fault, "3 rows")

    def put(self, _outcome: Outcome) -> None:
        if self._fault == "slow" and not self._context.can_wait:
            time.sleep(0.01)
        if self._fault == "deaf" and self._context.stop.is_set():
            time.sleep(0.01)
        if self.broken and self._fault == "raises":
            raise OSError("disk full")
        self.lost += (self.broken and self._fault != "silent") or self._fault == "loses"

    def drain(self) -> None:
        pass

    def close(self) -> None:
        if self._fault == "slow close":
            time.sleep(0.4)


def specimen(fault: Fault) -> Specimen:
    opened: list[Memory] = []

    def open_sink(_settings: Any, context: SinkContext) -> Memory:
        opened.append(Memory(fault, context))
        return opened[-1]

    def fail() -> None:
        opened[-1].broken = True

    return Specimen(SinkKind(name="memory", summary="", settings=Settings, open=open_sink), Settings(), fail=fail)


@pytest.mark.parametrize("check", [pytest.param(check, id=check.__name__) for check in contract.CHECKS])
def test_a_sound_sink_keeps_the_contract(check) -> None:  # type: ignore[no-untyped-def]
    check(specimen("none"))


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("loses", contract.it_keeps_outcomes_of_all_kinds_and_loses_none),
        ("slow close", contract.it_keeps_outcomes_of_all_kinds_and_loses_none),
        ("hung", contract.it_keeps_outcomes_of_all_kinds_and_loses_none),
        ("slow", contract.it_never_delays_a_source_that_cannot_wait),
        ("deaf", contract.it_does_not_wait_after_a_stop),
        ("raises", contract.a_target_that_fails_is_counted_and_not_raised),
        ("silent", contract.a_target_that_fails_is_counted_and_not_raised),
        ("secret", contract.its_summary_is_one_line_without_secrets),
        ("two lines", contract.its_summary_is_one_line_without_secrets),
    ],
)
def test_a_faulty_sink_breaks_the_contract(fault: Fault, check, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(contract, "CLOSE_S", 0.2)
    monkeypatch.setattr(contract, "PUT_S", 0.3)

    with pytest.raises((AssertionError, OSError)):
        check(specimen(fault))


def test_settings_that_do_not_survive_json_break_the_contract() -> None:
    class Odd(Struct, frozen=True, kw_only=True):
        path: Annotated[str, Meta(min_length=3, description="the table")] = "x"

    odd = Specimen(SinkKind(name="odd", summary="", settings=Odd, open=lambda *_: Memory("none", _[1])), Odd())

    with pytest.raises(ValidationError, match="length >= 3"):
        contract.its_settings_are_described(odd)
