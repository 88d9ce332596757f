"""The choice of length, hop and period of windows from a log."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from andon.calibration.split import split
from andon.foundation.errors import ConfigError, DataError
from andon.runtime.items import Item
from andon.runtime.schema import Channel, InputSpec
from andon.sources.collection import FoundLogs
from andon.sources.series.cycle import Cycle
from andon.sources.series.log import Log, Run
from andon.sources.series.windows import cut, window_spec
from andon.training.runs.window_choice import (
    AUTO,
    Length,
    WindowRequest,
    as_texts,
    choose,
    choose_period,
    choose_steps,
    longest_usable,
    parse_length,
    parse_period,
)

OWN = (64, 16)


def log_of(rows: int, *, period_s: float = 1.0, cycle: int = 0, runs: int = 1, channels: int = 2) -> Log:
    generator = np.random.default_rng(rows)
    made = []
    for place in range(runs):
        values = generator.normal(size=(rows, channels))
        if cycle:
            values += 3 * np.sin(2 * np.pi * np.arange(rows) / cycle)[:, np.newaxis]
        times_s = np.arange(rows, dtype=np.float64) * period_s
        made.append(Run(name=f"run{place}", times_s=times_s, values=values.astype(np.float32)))
    found = FoundLogs(
        channels=tuple(Channel(name=f"c{at}") for at in range(channels)), period_s=period_s, runs=runs, rows=rows * runs
    )
    return Log(found=found, runs=tuple(made))


def accepts(log: Log) -> Callable[[int, int], InputSpec]:
    return lambda steps, hop: window_spec(log.found, steps, hop)


def chosen(log: Log, request: WindowRequest, *, own: tuple[int, int] = OWN):  # type: ignore[no-untyped-def]
    return choose(log, request, own=own, accepts=accepts, validation=True)[1]


@pytest.mark.parametrize(
    ("text", "length"),
    [("64", Length(rows=64)), ("2s", Length(seconds=2.0)), ("250 ms", Length(seconds=0.25)), (".5min", Length(seconds=30.0)),
     ("AUTO", AUTO)],
)  # fmt: skip
def test_a_length_is_rows_a_time_or_auto(text: str, length: object) -> None:
    assert parse_length(text, "--steps") == length


@pytest.mark.parametrize("text", ["", "0", "-3", "0s", "2 weeks", "1.5", "nan s", "automatic"])
def test_other_texts_are_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--steps: expected rows \(64\), a time \(2s, 250ms, 5min\) or auto, got "):
        parse_length(text, "--steps")
    with pytest.raises(ConfigError, match=r"--period: expected a time \(1s, 100ms\) or auto, got "):
        parse_period(text)


@given(rows=st.integers(1, 10**6), cycle=st.integers(2, 5000) | st.none())
def test_the_length_is_whole_cycles_or_32_rows_and_never_more_than_the_log_allows(rows: int, cycle: int | None) -> None:
    steps, why = choose_steps(rows, None if cycle is None else Cycle(rows=cycle, channels=3, height=0.8))
    assert 8 <= steps <= max(8, min(256, rows // 48))
    assert why
    if cycle is not None and steps > 32:
        assert steps % cycle == 0
    if rows >= 48 * 32 and cycle is None:
        assert steps == 32


@given(rows=st.integers(48 * 8, 10**5), more=st.integers(0, 10**4))
def test_a_longer_log_never_gets_a_shorter_window(rows: int, more: int) -> None:
    assert choose_steps(rows + more, None)[0] >= choose_steps(rows, None)[0]


def test_the_cycle_of_the_log_decides_and_the_reason_says_so() -> None:
    choice = chosen(log_of(9000, cycle=50), WindowRequest(steps=AUTO))
    assert (choice.steps, choice.hop, choice.period_s) == (50, 6, 1.0)
    assert "2 channels repeat themselves after 50 rows" in choice.why[1]
    assert choice.why[2] == "hop 6 (6 s): an eighth of the length"


@settings(max_examples=25, deadline=None)
@given(windows=st.integers(20, 60), steps=st.integers(8, 20))
def test_no_log_of_twenty_windows_is_refused(windows: int, steps: int) -> None:
    # 20 windows of the shortest length that is chosen for the sake of calibration
    log = log_of(windows * steps)
    choice = chosen(log, WindowRequest(steps=AUTO))
    spec = window_spec(log.found, choice.steps, choice.hop)
    windows_ = cut(log, spec)
    refs = [ref for ref in windows_.refs if isinstance(windows_.read(ref), Item)]
    used = split(refs, seed=0, window_s=choice.steps * 1.0)
    assert used.train
    assert used.validation
    assert len(used.calibration) >= 14


def test_a_cycle_does_not_cost_the_promise_that_32_rows_would_support() -> None:
    cycle = Cycle(rows=100, channels=3, height=0.9)
    assert choose_steps(17_000, cycle)[0] == 100
    assert choose_steps(16_000, cycle)[0] == 32
    assert "too few windows would be left for a promise" in choose_steps(16_000, cycle)[1]
    assert choose_steps(5_000, cycle)[0] == 100  # no length supports a promise


def test_a_log_that_is_too_short_for_any_window_is_refused() -> None:
    with pytest.raises(DataError, match="expected at least 14 windows"):
        chosen(log_of(10), WindowRequest(steps=AUTO))


def test_times_become_rows_of_the_grid() -> None:
    log = log_of(4000, period_s=0.1)
    choice = chosen(log, WindowRequest(steps=Length(seconds=2.0)))
    assert (choice.steps, choice.hop, choice.period_s) == (20, 2, 0.1)
    choice = chosen(log, WindowRequest(steps=Length(seconds=2.0), hop=Length(rows=5), period_s=0.2))
    assert (choice.steps, choice.hop, choice.period_s) == (10, 5, 0.2)


def test_what_is_not_asked_for_stays_as_the_detector_has_it() -> None:
    log = log_of(4000)
    choice = chosen(log, WindowRequest(period_s=2.0))
    assert (choice.steps, choice.hop, choice.period_s) == (64, 16, 2.0)
    choice = chosen(log, WindowRequest(hop=AUTO))
    assert (choice.steps, choice.hop) == (64, 8)


def test_the_period_is_that_of_the_fastest_channel_if_no_channel_has_a_sample_in_each_row() -> None:
    found = replace(log_of(100).found, channel_periods_s=(4.0, 10.0))
    assert choose_period(found)[0] == 4.0
    assert choose_period(replace(found, channel_periods_s=(1.0, 10.0)))[0] == 1.0
    assert choose_period(replace(found, channel_periods_s=()))[0] == 1.0
    assert choose_period(replace(found, channel_periods_s=(None, 10.0)))[0] == 1.0


def test_a_period_between_the_rows_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--period: expected at least the distance of the rows, 1 s, got 0\.5 s"):
        chosen(log_of(1000), WindowRequest(period_s=0.5))


def test_a_length_that_the_detector_refuses_becomes_shorter() -> None:
    def at_most_20(log: Log) -> Callable[[int, int], InputSpec]:
        def check(steps: int, hop: int) -> InputSpec:
            if steps > 20:
                raise ConfigError("too many values")
            return window_spec(log.found, steps, hop)

        return check

    _, choice = choose(log_of(6000), WindowRequest(steps=AUTO), own=OWN, accepts=at_most_20, validation=True)
    assert choice.steps == 20
    assert "32 rows are too long for this log or detector" in choice.why[1]


def test_rows_without_a_value_do_not_count() -> None:
    log = log_of(3000)
    values = log.runs[0].values.copy()
    values[1500:] = np.nan
    holes = replace(log, runs=(replace(log.runs[0], values=values),))
    assert chosen(holes, WindowRequest(steps=AUTO)).steps == 24  # 1500 // 48 = 31, in eighths


def test_the_longest_usable_length_is_found_in_steps_of_a_fifth() -> None:
    log = log_of(640)
    works = longest_usable(log, 200, lambda steps: window_spec(log.found, steps, max(1, steps // 8)), validation=True)
    assert 16 <= works <= 40


def test_a_request_as_texts_reads_back() -> None:
    request = WindowRequest(steps=Length(seconds=0.25), hop=Length(rows=3), period_s=0.05)
    texts = as_texts(request)
    assert texts == {"steps": "0.25s", "hop": "3", "period": "0.05s"}
    assert parse_length(texts["steps"], "--steps") == request.steps
    assert parse_period(texts["period"]) == request.period_s
    assert as_texts(WindowRequest()) == {}
