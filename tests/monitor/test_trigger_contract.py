"""The contract of triggers itself: sound triggers keep each check, and triggers with a fault break the check for it."""

import threading
import time
from collections.abc import Callable
from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.monitor import trigger_contract as contract
from andon.monitor.trigger_contract import TriggerSpecimen
from andon.monitor.trigger_kind import Trigger, TriggerContext, TriggerKind

Fault = Literal[
    "none", "open waits", "takes any secret", "twice", "swapped numbers", "no number", "never connected", "raises while away",
    "deaf while away", "connected while away", "does not stop while silent", "made up", "keeps old ones", "hang unseen",
    "loss unseen", "does not come back", "refusals are triggers", "silent refusal", "ends", "secret", "thread",
]  # fmt: skip
CANARY = "canary-2b6e-secret"


class Settings(Struct, frozen=True, kw_only=True):
    address: Annotated[str, Meta(description="the address")] = "light barrier"


class Barrier:
    """A light barrier in memory that works, hangs or is away."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.state: Literal["works", "hangs", "away"] = "works"

    def set(self, state: Literal["works", "hangs", "away"]) -> Callable[[], None]:
        def change() -> None:
            self.state = state

        return change


class Memory:
    """Triggers of a barrier, with one fault."""

    def __init__(self, barrier: Barrier, fault: Fault, context: TriggerContext) -> None:
        self._barrier, self._fault, self._context = barrier, fault, context
        if fault == "open waits" and barrier.state == "away":
            time.sleep(0.4)

    def follow(self, give: Callable[[Trigger], None], hear: Callable[[str], None]) -> None:
        barrier, fault, stop = self._barrier, self._fault, self._context.stop
        state, seen, lost, over = "", len(barrier.sent), False, threading.Event()
        if fault == "thread":
            threading.Thread(target=over.wait, args=(2.0,), daemon=True).start()  # longer than the check waits
        while not stop.is_set():
            if barrier.state != state and not lost:
                was, state = state, barrier.state
                lost = fault == "does not come back" and was == "away"
                if not lost:
                    self._heard(state, was, hear)
                if state == "hangs" and fault == "made up":
                    give(Trigger(number=1))
            while state == "hangs" and fault == "does not stop while silent":
                if over.wait(1.0):
                    return
                state = "works" if stop.is_set() else state
            if state == "works":
                for number in barrier.sent[seen:]:
                    self._give(number, give)
                seen = len(barrier.sent)
                if seen and fault == "ends":
                    return
            stop.wait(0.002)

    def _heard(self, state: str, was: str, hear: Callable[[str], None]) -> None:
        fault = self._fault
        if state == "works" and fault != "never connected":
            hear("")
        if state == "away":
            if fault == "raises while away":
                raise ConnectionRefusedError(111, "Connection refused")
            if fault == "connected while away":
                hear("")
            if fault not in ("deaf while away", "loss unseen") or (fault == "loss unseen" and not was):
                hear(CANARY if fault == "secret" else "Connection refused")
        if state == "hangs" and fault != "hang unseen":
            hear("no answer")

    def _give(self, number: int, give: Callable[[Trigger], None]) -> None:
        if number < 0:
            if self._fault == "refusals are triggers":
                give(Trigger())
            if self._fault != "silent refusal":
                self._context.refuse("it has no number")
            return
        if self._fault == "swapped numbers":
            number = 3 - number if number < 3 else number
        for _ in range(2 if self._fault == "twice" or (self._fault == "keeps old ones" and number == 2) else 1):
            give(Trigger(number=None if self._fault == "no number" else number))


def specimen(fault: Fault) -> TriggerSpecimen:
    barrier = Barrier()

    def open_triggers(settings: Settings, context: TriggerContext) -> Memory:
        if settings.address == "unknown" and fault != "takes any secret":
            raise ConfigError("the environment variable X: expected a secret, found no such variable.")
        return Memory(barrier, fault, context)

    return TriggerSpecimen(
        TriggerKind(name="memory", summary="", settings=Settings, open=open_triggers),
        Settings(),
        send=barrier.sent.append,
        hang=barrier.set("hangs"),
        away=barrier.set("away"),
        back=barrier.set("works"),
        longest_s=0.3,
        refused=lambda: barrier.sent.append(-1),
        missing_secret=Settings(address="unknown"),
        secrets=(CANARY,),
    )


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "SOON_S", 0.3)
    monkeypatch.setattr(contract, "END_S", 0.4)
    monkeypatch.setattr(contract, "CONNECT_S", 0.3)
    monkeypatch.setattr(contract, "QUIET_S", 0.03)


@pytest.mark.parametrize("check", [pytest.param(check, id=check.__name__) for check in contract.CHECKS])
def test_sound_triggers_keep_the_contract(check: Callable[[TriggerSpecimen], None]) -> None:
    check(specimen("none"))


FAULTS: list[tuple[Fault, Callable[[TriggerSpecimen], None]]] = [
    ("open waits", contract.it_opens_without_its_sender),
    ("takes any secret", contract.a_missing_secret_is_an_error_of_andon),
    ("twice", contract.each_trigger_is_given_once_and_in_order),
    ("swapped numbers", contract.each_trigger_is_given_once_and_in_order),
    ("no number", contract.each_trigger_is_given_once_and_in_order),
    ("never connected", contract.each_trigger_is_given_once_and_in_order),
    ("ends", contract.each_trigger_is_given_once_and_in_order),
    ("raises while away", contract.it_ends_in_time_while_its_sender_is_away),
    ("deaf while away", contract.it_ends_in_time_while_its_sender_is_away),
    ("connected while away", contract.it_ends_in_time_while_its_sender_is_away),
    ("secret", contract.it_ends_in_time_while_its_sender_is_away),
    ("does not stop while silent", contract.it_ends_in_time_while_its_sender_hangs),
    ("loss unseen", contract.a_sender_that_goes_away_is_reported_and_its_return_is_used),
    ("does not come back", contract.a_sender_that_goes_away_is_reported_and_its_return_is_used),
    ("keeps old ones", contract.a_sender_that_goes_away_is_reported_and_its_return_is_used),
    ("hang unseen", contract.a_sender_that_hangs_is_reported),
    ("made up", contract.a_sender_that_hangs_is_reported),
    ("refusals are triggers", contract.content_that_is_not_a_trigger_is_refused_and_the_next_trigger_is_given),
    ("silent refusal", contract.content_that_is_not_a_trigger_is_refused_and_the_next_trigger_is_given),
    ("thread", contract.it_leaves_no_thread_behind),
]


@pytest.mark.parametrize(("fault", "check"), FAULTS, ids=[fault for fault, _ in FAULTS])
def test_triggers_with_a_fault_break_the_contract(fault: Fault, check: Callable[[TriggerSpecimen], None]) -> None:
    with pytest.raises(AssertionError, match="expected"):
        check(specimen(fault))


def test_each_fault_breaks_some_check_and_each_check_finds_some_fault() -> None:
    assert {check for _, check in FAULTS} == {*contract.CHECKS} - {contract.its_settings_are_described}


def test_a_setting_without_a_description_breaks_the_contract() -> None:
    class Bare(Struct, frozen=True):
        address: Annotated[str, Meta(description="")] = "x"

    bare = specimen("none")
    with pytest.raises((AssertionError, TypeError), match="descri"):
        contract.its_settings_are_described(
            TriggerSpecimen(
                TriggerKind(name="bare", summary="", settings=Bare, open=bare.kind.open),
                Bare(),
                send=bare.send,
                hang=bare.hang,
                away=bare.away,
                back=bare.back,
            )
        )
