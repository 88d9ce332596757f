"""The contract of controllers itself: a sound controller keeps each check, and one with a fault breaks the check for it."""

import threading
import time
from collections.abc import Callable
from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.monitor import controller_contract as contract
from andon.monitor.controller_contract import ControllerSpecimen, Shown
from andon.monitor.controller_kind import ControllerContext, ControllerFailed, ControllerKind
from andon.monitor.process_image import ProcessImage, ResultCode

Fault = Literal[
    "none", "no description", "open connects", "open writes", "close twice", "slow close", "takes any secret", "late write",
    "no result", "no heartbeat", "one place", "number first", "away is well", "other error", "secret", "empty text",
    "no time-out", "hang is well", "never again", "late answer", "refused is well", "acknowledges itself", "acknowledges nothing",
    "small counter", "short text", "no score",
]  # fmt: skip
CANARY = "canary-51d7-secret"
TIMEOUT_S = 0.05


class Settings(Struct, frozen=True, kw_only=True):
    rack: Annotated[str, Meta(description="the rack")] = "7"


class Undescribed(Struct, frozen=True, kw_only=True):
    rack: Annotated[str, Meta(description="")] = "7"


class Plc:
    """Registers of two lines, in memory."""

    def __init__(self) -> None:
        self.registers: dict[str, dict[str, int]] = {}
        self.taken: dict[str, int] = {}
        self.state: Literal["well", "away", "silent", "refusing"] = "well"
        self.over = threading.Event()

    def shown(self, line: str) -> Shown | None:
        place = self.registers.get(line)
        if place is None:
            return None
        number = place.get("number", 0)
        return Shown(
            ready=bool(place.get("ready", 0)),
            result=ResultCode(place.get("result", 0)),
            number=number,
            heartbeat=place.get("heartbeat", 0),
        )

    def set(self, state: Literal["well", "away", "silent", "refusing"]) -> None:
        self.state = state


class Memory:
    """A controller with one fault."""

    def __init__(self, plc: Plc, fault: Fault) -> None:
        self._plc, self._fault = plc, fault
        self._open = False
        self._closed = self._failed = False
        if fault == "open connects" and plc.state == "silent":
            time.sleep(contract.SOON_S + 0.2)
        if fault == "open writes":
            plc.registers["press-3"] = {"number": 1}

    def connect(self) -> None:
        if self._fault == "never again" and self._failed:
            raise ControllerFailed("the client was used before")
        self._reach()
        self._open, self._closed = True, False

    def write(self, image: ProcessImage) -> None:
        fault = self._fault
        self._reach()
        assert self._open
        line = "press-3" if fault == "one place" else image.line
        if fault == "small counter" and image.number >= 2**16:
            raise ValueError("65536 does not fit a register")
        if fault == "short text" and len(image.part.encode()) > 100:
            raise ControllerFailed("the text is too long")
        if fault == "no score" and image.score is not None and abs(image.score) > 3e38:
            raise OverflowError("float too large to pack with f format")
        if fault == "late write" and image.number > 1:
            threading.Timer(0.1, self._store, (line, image)).start()
            return
        if fault == "late answer" and self._failed:
            return
        self._store(line, image)

    def _store(self, line: str, image: ProcessImage) -> None:
        place = self._plc.registers.setdefault(line, {})
        if self._fault == "number first":
            place["number"] = image.number
            time.sleep(0.002)
        place["ready"] = image.ready
        if self._fault != "no result":
            place["result"] = image.result
        if self._fault != "no heartbeat":
            place["heartbeat"] = image.heartbeat % 65536
        place["number"] = image.number

    def acknowledged(self, line: str) -> int | None:
        self._reach()
        if self._fault == "acknowledges itself":
            return self._plc.registers[line]["number"]
        return 0 if self._fault == "acknowledges nothing" else self._plc.taken.get(line, 0)

    def close(self) -> None:
        if self._fault == "slow close":
            self._plc.over.wait(contract.SOON_S + 1.0)
        if self._fault == "close twice" and self._closed:
            raise RuntimeError("already closed")
        self._closed = True
        self._open = False

    def _reach(self) -> None:
        state, fault = self._plc.state, self._fault
        if state == "well" or fault == f"{ {'away': 'away', 'silent': 'hang', 'refusing': 'refused'}[state] } is well":
            return
        self._failed = True
        if state == "silent":
            self._plc.over.wait(contract.SOON_S + 1.0 if fault == "no time-out" else TIMEOUT_S)
        if fault == "other error":
            raise ConnectionResetError(104, "Connection reset by peer")
        raise ControllerFailed({"secret": CANARY, "empty text": " "}.get(fault, "no answer"))


def specimen(fault: Fault) -> ControllerSpecimen:
    plc = Plc()

    def open_controller(settings: Settings, _context: ControllerContext) -> Memory:
        if settings.rack == "unknown" and fault != "takes any secret":
            raise ConfigError("the environment variable X: expected a secret, found no such variable.")
        return Memory(plc, fault)

    described = Undescribed if fault == "no description" else Settings
    return ControllerSpecimen(
        ControllerKind(name="memory", summary="", settings=described, open=open_controller),
        described(),
        shown=plc.shown,
        hang=lambda: plc.set("silent"),
        away=lambda: plc.set("away"),
        back=lambda: plc.set("well"),
        timeout_s=TIMEOUT_S,
        refuse=lambda: plc.set("refusing"),
        acknowledge=plc.taken.__setitem__,
        missing_secret=Settings(rack="unknown"),
        secrets=(CANARY,),
    )


@pytest.mark.parametrize("check", [pytest.param(check, id=check.__name__) for check in contract.CHECKS])
def test_a_sound_controller_keeps_the_contract(check: Callable[[ControllerSpecimen], None]) -> None:
    check(specimen("none"))


FAULTS: list[tuple[Fault, Callable[[ControllerSpecimen], None]]] = [
    ("no description", contract.its_settings_are_described),
    ("open connects", contract.it_opens_and_closes_without_the_network),
    ("open writes", contract.it_opens_and_closes_without_the_network),
    ("close twice", contract.it_opens_and_closes_without_the_network),
    ("slow close", contract.it_opens_and_closes_without_the_network),
    ("takes any secret", contract.a_missing_secret_is_an_error_of_andon),
    ("late write", contract.a_write_is_shown_when_it_returns_and_changes_the_heartbeat),
    ("no result", contract.a_write_is_shown_when_it_returns_and_changes_the_heartbeat),
    ("no heartbeat", contract.a_write_is_shown_when_it_returns_and_changes_the_heartbeat),
    ("one place", contract.lines_do_not_mix),
    ("number first", contract.a_new_number_is_never_seen_with_an_old_result),
    ("away is well", contract.a_controller_that_is_away_is_a_failure_and_works_again_later),
    ("other error", contract.a_controller_that_is_away_is_a_failure_and_works_again_later),
    ("secret", contract.a_controller_that_is_away_is_a_failure_and_works_again_later),
    ("empty text", contract.a_controller_that_is_away_is_a_failure_and_works_again_later),
    ("never again", contract.a_controller_that_is_away_is_a_failure_and_works_again_later),
    ("no time-out", contract.a_controller_that_hangs_is_given_up_in_time_and_works_again_later),
    ("hang is well", contract.a_controller_that_hangs_is_given_up_in_time_and_works_again_later),
    ("secret", contract.a_controller_that_hangs_is_given_up_in_time_and_works_again_later),
    ("late answer", contract.a_controller_that_hangs_is_given_up_in_time_and_works_again_later),
    ("refused is well", contract.a_refused_write_is_a_failure),
    ("other error", contract.a_refused_write_is_a_failure),
    ("acknowledges itself", contract.an_acknowledgement_is_the_number_of_the_result),
    ("acknowledges nothing", contract.an_acknowledgement_is_the_number_of_the_result),
    ("small counter", contract.a_long_run_does_not_end_it),
    ("short text", contract.any_text_and_any_number_can_be_written),
    ("no score", contract.any_text_and_any_number_can_be_written),
]


@pytest.mark.parametrize(
    ("fault", "check"), [pytest.param(fault, check, id=f"{fault}: {check.__name__}") for fault, check in FAULTS]
)
def test_a_controller_with_a_fault_breaks_the_contract(
    fault: Fault, check: Callable[[ControllerSpecimen], None]
) -> None:
    with pytest.raises(AssertionError):
        check(specimen(fault))


def test_each_fault_has_a_check_and_each_check_has_a_fault() -> None:
    assert {fault for fault, _ in FAULTS} == set(Fault.__args__) - {"none"}  # type: ignore[attr-defined]
    assert {check for _, check in FAULTS} == set(contract.CHECKS)


def test_without_a_handshake_an_acknowledgement_is_a_fault() -> None:
    made = specimen("none")
    made.acknowledge = None

    with pytest.raises(AssertionError, match="expected None without a handshake, got 0"):
        contract.an_acknowledgement_is_the_number_of_the_result(made)


def test_checks_without_a_fault_to_plant_are_left_out() -> None:
    made = specimen("takes any secret")
    made.missing_secret = made.refuse = None

    contract.a_missing_secret_is_an_error_of_andon(made)
    contract.a_refused_write_is_a_failure(made)
