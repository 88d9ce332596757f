"""The moment of a reject signal, and intents in memory."""

import math
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.foundation.registry import names
from andon.monitor.event import RejectSignal
from andon.monitor.part_settings import PartSettings
from andon.monitor.reject import MemoryIntents, RejectRule, fire_at_s, timing
from andon.monitor.reject_kind import RejectDevice, RejectKind, callback_reject, reject_from_table
from andon.sources.clock import SystemClock

times = st.integers(-400, 400).map(lambda quarters: quarters / 4)


@given(times, times, st.integers(1, 40).map(lambda quarters: quarters / 4))
def test_a_signal_is_given_within_its_tolerance_and_at_no_other_time(
    now_s: float, due_s: float, tolerance_s: float
) -> None:
    what = timing(now_s, due_s, RejectRule(travel_s=1.0, tolerance_s=tolerance_s))

    assert (what == "due") == (0.0 <= now_s - due_s <= tolerance_s)
    assert (what == "missed") == (now_s - due_s > tolerance_s)


def test_a_signal_is_due_when_the_part_will_be_at_the_ejector_after_its_reaction_time() -> None:
    assert fire_at_s(100.0, RejectRule(travel_s=0.75, actuator_s=0.25)) == 100.5


def test_an_ejector_that_reacts_after_the_part_has_passed_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"actuator_s = 0.5, travel_s = 0.25"):
        RejectRule(travel_s=0.25, actuator_s=0.5)


def test_an_intent_in_memory_is_open_until_its_result_which_is_recorded_once() -> None:
    recorded: list[RejectSignal] = []
    intents = MemoryIntents(SystemClock(), recorded.append, line="a")
    first, second = (intents.event(RejectSignal(part=part, result="unknown"), 1.5) for part in "xy")

    assert intents.intent(first, 0.0)
    assert intents.intent(second, 0.0)
    intents.result(first, intents.event(RejectSignal(part="x", result="fired"), 2.0))
    assert [event.body for event in intents.open] == [RejectSignal(part="y", result="unknown")]
    assert [event.mono_ns for event in intents.open] == [1_500_000_000]
    assert recorded == [RejectSignal(part="x", result="fired")]


def test_the_kinds_of_this_package_are_found_by_their_files() -> None:
    assert names("andon.rejects") == ["http", "modbus"]


class _Clash(Struct, frozen=True):
    travel_s: Annotated[float, Meta(description="a key of every device")] = 1.0


def test_a_device_whose_setting_hides_one_of_every_device_is_refused() -> None:
    with pytest.raises(TypeError, match="expected names that no reject rule has, got travel_s"):
        RejectKind(name="clash", summary="", settings=_Clash, open=lambda _settings: None)  # type: ignore[arg-type, return-value]


def test_a_device_of_another_package_that_cannot_be_opened_is_reported_with_its_name() -> None:
    def broken(_settings: object) -> RejectDevice:
        raise OSError("no such port")

    chosen = callback_reject(lambda: None, RejectRule(travel_s=1.0))
    kind = msgspec.structs.replace(chosen.kind, name="port", open=broken)
    with pytest.raises(ConfigError, match="the reject signal port: cannot be opened: OSError: no such port"):
        msgspec.structs.replace(chosen, kind=kind).open()


HTTP = {"kind": "http", "url": "http://127.0.0.1/on", "travel_s": 1.0, "timeout_s": 0.1}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"kind": None}, '.kind: expected a kind, for example kind = "http", got nothing.'),
        ({"kind": "htp"}, ".kind: there is no reject 'htp' (did you mean 'http'?)"),
        ({"travel": 1}, ".travel: unknown key (did you mean 'travel_s'?)"),
        ({"travel_s": None}, ": expected travel_s, got nothing."),
        ({"actuator_s": 2.0}, ": expected actuator_s of at most travel_s"),
        ({"pulse_s": 0.1}, ": expected off_url and pulse_s together"),
        ({"timeout_s": 1.5}, ": expected timeout_s of at most travel_s - actuator_s = 1 s, got 1.5."),
        ({"url": "http://relay.example/on"}, ": url: expected https:// for another machine, got http://"),
        ({"url": "http://127.0.0.1/on?token=abc"}, ": url: expected an address without a password or token"),
        ({"body": "{}"}, ': body: expected method = "POST" with a body, got GET.'),
        ({"tolerance_s": math.inf}, ".tolerance_s: expected a finite number"),
    ],
)
def test_a_wrong_table_of_the_reject_signal_is_refused_with_the_full_path(
    change: dict[str, object], problem: str
) -> None:
    table = {key: value for key, value in (HTTP | change).items() if value is not None}
    with pytest.raises(ConfigError) as refusal:
        reject_from_table(table, at="l.toml: line[0].reject")

    assert str(refusal.value).startswith(f"l.toml: line[0].reject{problem}")
    assert "abc" not in str(refusal.value)


def test_the_deadline_of_a_part_and_the_stored_intent_must_come_before_its_signal() -> None:
    parts = PartSettings(deadline_s=0.99)
    with pytest.raises(ConfigError, match=r"travel_s - actuator_s of at least 1.01 s .* got 1 s. Lower deadline_s or"):
        reject_from_table(HTTP, at="x", parts=parts)

    assert reject_from_table(HTTP | {"intent": "memory"}, at="x", parts=parts).rule.intent == "memory"
