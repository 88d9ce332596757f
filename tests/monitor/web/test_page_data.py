"""The content of the page: how a line calls for attention, ages, counts and the promise."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.monitor.outcomes import some_outcome
from tests.monitor.statuses import FULL, lines
from tests.monitor.web.watched import Watched
from tests.sources.fake_clock import FakeClock

from andon.demo.example_line import MODEL, example
from andon.monitor.alarms import AlarmState
from andon.monitor.shelving import Shelf
from andon.monitor.status import LineStatus
from andon.monitor.web.page_data import STALE_S, LineData, page_data, signal_of
from andon.runtime.detector import Detector
from andon.runtime.schema import Status

LINE = replace(FULL.lines[0], alarms={}, charts=(), reload_error="", lost=0)
QUIET = replace(FULL, store=None, outputs=(), controllers=())


def shown(line: LineStatus, *outcomes: object, age_s: float = 0.0) -> LineData:
    """Return what the page shows about a line after these outcomes, some time later."""
    clock = FakeClock(FULL.now_s - age_s)
    watched = Watched(clock, lines=(line.name,))
    for outcome in outcomes:
        watched.views[line.name].put(outcome)  # type: ignore[arg-type]
    (data,) = page_data(replace(QUIET, lines=(line,)), watched, only=line.name).lines
    return data


def test_a_line_with_fresh_good_items_is_quiet() -> None:
    assert shown(LINE, some_outcome()).signal == "quiet"


@pytest.mark.parametrize(("condition", "signal"), [("unack", "alarm"), ("acked", "acked"), ("rtn_unack", "returned")])
def test_an_alarm_decides_before_everything_else(condition: str, signal: str) -> None:
    alarms = {"rejects": AlarmState(condition=condition, alarm=1)}  # type: ignore[arg-type]

    assert shown(replace(LINE, alarms=alarms, state="failed"), some_outcome(1, Status.INVALID)).signal == signal


def test_a_shelved_alarm_is_quiet_but_shown() -> None:
    shelf = Shelf(until_s=FULL.now_s + 60.0, reason="trial", by="Ana")
    line = replace(LINE, alarms={"rejects": AlarmState(condition="unack", alarm=1)}, shelved={"rejects": shelf})

    data = shown(line, some_outcome())

    assert data.signal == "quiet"
    assert (data.alarms[0].shelved_s, data.alarms[0].shelf_reason, data.alarms[0].shelf_by) == (60.0, "trial", "Ana")


@pytest.mark.parametrize("age_s", [3.0, 7200.0])
def test_c03_an_old_item_is_never_shown_as_normal(age_s: float) -> None:
    """Complaint 3: the page showed the last picture for two hours as if it were live."""
    data = shown(LINE, some_outcome(), age_s=age_s)  # the limit of the line is 2 s

    assert data.signal == "idle"
    assert data.last is not None
    assert data.last.stale
    assert data.picture_age_s == age_s
    assert data.picture_limit_s == 2.0


def test_c03_a_source_that_is_not_live_has_a_limit_too() -> None:
    folder = replace(LINE, stale_after_s=float("inf"))

    assert shown(folder, some_outcome(), age_s=STALE_S - 1).signal == "quiet"
    assert shown(folder, some_outcome(), age_s=STALE_S + 1).signal == "idle"


def test_c03_a_source_that_is_away_makes_the_picture_old_at_once() -> None:
    data = shown(replace(LINE, state="retrying"), some_outcome())

    assert (data.signal, data.away) == ("fault", True)


def test_a_line_without_any_item_is_not_quiet() -> None:
    assert shown(LINE).signal == "idle"


def test_an_invalid_item_is_shown_with_its_reason_in_words() -> None:
    data = shown(LINE, some_outcome(1, Status.INVALID))

    assert data.signal == "invalid"
    assert data.last is not None
    assert data.last.reason == "black: nearly no light"


@given(line=lines)
def test_a_line_is_quiet_only_without_anything_abnormal(line: LineStatus) -> None:
    data = shown(line, some_outcome())

    if data.signal == "quiet":
        assert all(lamp.ok for lamp in data.lamps)
        assert all(alarm.condition == "normal" or alarm.shelved_s is not None for alarm in data.alarms)
        assert line.state not in ("failed", "retrying")
    assert msgspec.json.decode(msgspec.json.encode(data))["name"] == line.name


def test_a_failing_store_output_or_controller_needs_a_look() -> None:
    watched = Watched(FakeClock(FULL.now_s))
    watched.views[LINE.name].put(some_outcome())

    data = page_data(replace(FULL, lines=(LINE,)), watched)

    failing = [(lamp.name, lamp.of) for lamp in data.lines[0].lamps if not lamp.ok]
    expected = [("store", "")] if FULL.store is not None and FULL.store.failing else []
    expected += [("output", one.name) for one in FULL.outputs if one.failing]
    expected += [("controller", one.name) for one in FULL.controllers if one.failing]
    assert failing == expected
    assert expected
    assert data.lines[0].signal == "notice"


def test_the_promise_is_compared_with_the_rejects_of_the_shift(tmp_path: object) -> None:
    card = card_of_the_example(tmp_path)
    assert card.calibration is not None
    clock = FakeClock(FULL.now_s)
    watched = Watched(clock, card=card)
    for seq in range(1, 101):
        watched.views[LINE.name].put(some_outcome(seq, Status.REJECT if seq <= 5 else Status.OK))
    watched.views[LINE.name].put(some_outcome(101, Status.INVALID))
    asked: list[tuple[int, int]] = []

    def exceeds(rejects: int, parts: int, _calibration: object) -> bool:
        asked.append((rejects, parts))
        return True

    line = replace(LINE, model="0f3a")  # the file that has judged these items
    with_test = page_data(replace(QUIET, lines=(line,)), watched, exceeds=exceeds).lines[0].promise
    without = page_data(replace(QUIET, lines=(line,)), watched).lines[0].promise
    after_a_reload = page_data(replace(QUIET, lines=(LINE,)), watched, exceeds=exceeds).lines[0].promise

    assert with_test is not None
    assert without is not None
    assert asked == [(5, 100)]
    assert (with_test.rejects, with_test.judged, with_test.exceeded) == (5, 100, True)
    assert with_test.allowed == pytest.approx(100 * card.calibration.alpha)
    assert with_test.sentence == card.calibration.sentence
    assert not without.exceeded
    assert after_a_reload is not None
    assert (after_a_reload.rejects, after_a_reload.judged, after_a_reload.exceeded) == (0, 0, False)


def card_of_the_example(folder: object):  # type: ignore[no-untyped-def]
    from pathlib import Path

    path = Path(str(folder)) / MODEL
    path.write_bytes(example(MODEL))
    return Detector.load(path).card


@given(seconds=st.floats(0, 1e6))
def test_no_age_is_negative(seconds: float) -> None:
    line = replace(LINE, since_s=FULL.now_s + seconds, alarms={"rejects": AlarmState(raised_s=FULL.now_s + seconds)})

    data = shown(line, some_outcome(), age_s=-seconds)

    assert data.state_age_s == 0.0
    assert data.alarms[0].raised_age_s == 0.0
    assert data.picture_age_s == 0.0


def test_the_signal_of_a_line_needs_no_item_row() -> None:
    assert signal_of(replace(LINE, state="failed"), None, ()) == "fault"
