"""The simulated power converter: its sensors, faults, labels and options."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from tests.sources.fake_clock import FakeClock

from andon.demo import power_converter
from andon.demo.power_converter import KINDS, ConverterSettings, Fault, FaultKind, schedule_faults, simulate
from andon.foundation.errors import ConfigError
from andon.runtime.items import Item
from andon.runtime.schema import FrameSpec
from andon.sources import source
from andon.sources.series.log import Log
from andon.sources.series.log_truth import events_of
from andon.sources.series.windows import cut, window_spec
from andon.sources.stream_settings import ReplaySettings

SETTINGS = ConverterSettings()


def windows_of_many_runs(count: int, seed: int) -> NDArray[np.float32]:
    return np.stack([run.values for run in simulate(SETTINGS, seed=seed, runs=count, rows=64).runs])


def test_windows_of_short_runs_and_of_a_long_one_follow_one_law() -> None:
    short = windows_of_many_runs(500, seed=1)
    long = simulate(SETTINGS, seed=2, runs=1, rows=500 * 640).runs[0].values.reshape(500, 640, 3)[:, :64]  # far apart
    statistics: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
        "mean": lambda part: part.mean(axis=1),
        "spread": lambda part: part.std(axis=1),
        "first": lambda part: part[:, 0],
        "last": lambda part: part[:, -1],
        "rise": lambda part: part[:, -8:].mean(axis=1) - part[:, :8].mean(axis=1),
        "roughness": lambda part: np.abs(np.diff(part, axis=1)).mean(axis=1),
    }

    for name, statistic in statistics.items():
        for channel in range(3):
            p_value = ks_2samp(statistic(short)[:, channel], statistic(long)[:, channel]).pvalue
            assert p_value > 1e-3, (name, channel)


def test_a_run_begins_as_it_goes_on() -> None:
    runs = np.stack([run.values for run in simulate(SETTINGS, seed=3, runs=800, rows=400).runs])

    for channel in range(3):
        assert ks_2samp(runs[:400, 0, channel], runs[400:, -1, channel]).pvalue > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_linear_model_of_good_windows_finds_each_fault(kind: FaultKind) -> None:
    good = windows_of_many_runs(900, seed=4)
    faults = [Fault(kind=kind, start=100, rows=128, run=run) for run in range(40)]
    faulty = np.stack(
        [run.values[164:228] for run in simulate(SETTINGS, seed=5, runs=40, rows=300, faults=faults).runs]
    )
    center, scale = good.mean(axis=(0, 1)), good.std(axis=(0, 1))
    flat = {
        name: ((part - center) / scale).reshape(len(part), -1) for name, part in (("good", good), ("faulty", faulty))
    }
    _, axes = np.linalg.eigh(np.cov(flat["good"][:600].T))
    minor = axes[:, :-12]
    residual = {name: ((part @ minor) ** 2).mean(axis=1) for name, part in flat.items()}

    threshold = np.quantile(residual["good"][600:], 0.98)
    assert (residual["faulty"] > threshold).mean() > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_changes_nothing_before_it_and_nothing_but_what_it_is(kind: FaultKind) -> None:
    fault = Fault(kind=kind, start=100, rows=50)
    (plain,) = simulate(SETTINGS, seed=6, runs=1, rows=3000).runs
    (struck,) = simulate(SETTINGS, seed=6, runs=1, rows=3000, faults=[fault]).runs
    assert struck.faulty is not None
    assert struck.recovering is not None

    np.testing.assert_array_equal(plain.values[:100], struck.values[:100])
    assert np.flatnonzero(struck.faulty).tolist() == list(range(100, 150))
    over = ~(struck.faulty | struck.recovering)
    noise = [SETTINGS.voltage_noise_v, SETTINGS.current_noise_a, SETTINGS.temperature_noise_k]
    assert (np.abs(struck.values - plain.values)[over] < 0.5 * np.array(noise)).all()
    assert (np.abs(struck.values - plain.values)[struck.faulty].max(axis=0) > noise).any()


def test_a_fault_of_severity_zero_leaves_no_trace() -> None:
    faults = [Fault(kind=kind, start=10, rows=50, severity=0.0, run=run) for run, kind in enumerate(KINDS)]
    plain, struck = (simulate(SETTINGS, seed=6, runs=3, rows=100, faults=given) for given in ((), faults))

    for one, other in zip(plain.runs, struck.runs, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        assert other.faulty is not None
        assert not other.faulty.any()


def test_one_seed_is_one_record() -> None:
    one, same, other = (simulate(SETTINGS, seed=seed, runs=2, rows=64).runs[1].values for seed in (7, 7, 8))

    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.timing
def test_two_thousand_short_runs_take_about_a_second() -> None:
    begin_s = time.process_time()
    simulate(SETTINGS, seed=0, runs=2000, rows=64)

    assert time.process_time() - begin_s < 3  # 0.6 s where measured; a loop over rows takes far more


@pytest.mark.parametrize(("runs", "count"), [(1, 6), (4, 6), (3, 2), (1, 0)])
def test_scheduled_faults_have_ended_and_are_recovered_from_before_the_next(runs: int, count: int) -> None:
    faults = schedule_faults(1, count, rows=20_000, runs=runs)
    log = simulate(SETTINGS, seed=1, runs=runs, rows=20_000, faults=faults)

    assert sum(len(events_of(run)) for run in log.runs) == count
    for run in log.runs:
        assert run.recovering is not None
        for _, first, _ in events_of(run):
            assert first == 0 or not run.recovering[first - 1]


def test_more_faults_than_fit_are_refused_with_what_they_need() -> None:
    with pytest.raises(ConfigError, match=r"expected at least 12000 rows per run, got 5000"):
        schedule_faults(1, 10, rows=5000)


@pytest.mark.parametrize(
    ("text", "runs", "rows"),
    [
        ("power_converter", 1000, 64_000),
        ("power_converter:seed=3,rows=20000,faults=6", 1, 20_000),
        ("power_converter:faults=3", 1, 20_000),
        ("power_converter:runs=5,rows=100", 5, 500),
    ],
)
def test_a_name_with_settings_is_a_log(text: str, runs: int, rows: int) -> None:
    log = source.collect(text)

    assert isinstance(log, Log)
    assert (log.found.runs, log.found.rows) == (runs, rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("power_converter:sed=3", "did you mean 'seed'"),
        ("power_converter:seed", "name=value"),
        ("power_converter:seed=three", "expected a number"),
        ("power_converter:rows=1", "rows"),
        ("power_converter:kind=voltage_spikes", "kind"),
        ("power_converter:voltage_v=0", "voltage_v: expected a number > 0"),
        ("power_converter:turn_rows=0", "turn_rows"),
    ],
)
def test_a_misspelt_setting_is_refused_with_the_nearest(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        source.collect(text)


@pytest.mark.parametrize(
    ("runs", "rows", "message"),
    [
        (
            0,
            20,
            r"at least 2 rows per run, got 0 runs of 20 rows\. For example: power_converter:runs=1,rows=2000\.$",
        ),
        (1, 1, "got 1 runs of 1 rows"),
        (
            100_000,
            1_000,
            "at most 200000000 rows .* got 100000 runs of 1000 rows, each after 1200 rows of warm-up. Simulate fewer",
        ),
    ],
)
def test_too_few_and_too_many_rows_get_different_advice(runs: int, rows: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate(SETTINGS, seed=0, runs=runs, rows=rows)


def test_every_number_of_the_converter_and_of_its_faults_can_be_given() -> None:
    text = "power_converter:runs=3,rows=900,faults=3,kind=voltage_spike,fault_rows=40,spike_v=9,spike_rows=1,spike_every_rows=10"
    plain, struck = (source.collect(f"{text},voltage_v=24,severity={severity}") for severity in (0, 2))
    assert isinstance(plain, Log)
    assert isinstance(struck, Log)

    assert plain.runs[0].values[:, 0].mean() == pytest.approx(24 - 0.8, abs=0.3)
    for before, after in zip(plain.runs, struck.runs, strict=True):
        assert after.faulty is not None
        assert after.faulty.sum() == 40
        assert ((after.values - before.values)[:, 0] > 17).sum() == 4  # one row in ten of a fault


def test_faults_begin_at_the_row_that_is_asked_for_if_they_can_end_and_be_recovered_from() -> None:
    text = "power_converter:runs=2,rows=900,faults=2,kind=voltage_spike,fault_rows=40"
    log = source.collect(f"{text},fault_start=100")
    assert isinstance(log, Log)

    assert [events_of(run)[0][1] for run in log.runs] == [100, 100]
    with pytest.raises(
        ConfigError,
        match=r"fault_start: expected at most \d+, got 880. Each fault has 900 rows and needs 40, plus \d+ for recovery",
    ):
        source.collect(f"{text},fault_start=880")


def test_its_stream_is_a_long_run_with_the_windows_of_its_log() -> None:
    text = "power_converter:rows=300,faults=0"
    log = power_converter.collect(text)
    spec = window_spec(log.found, 64, 16)
    items = power_converter.stream(text, spec, ReplaySettings(), FakeClock(), threading.Event())

    given = [item.data.tobytes() for item in items if isinstance(item, Item)]
    assert given == [item.data.tobytes() for item in cut(log, spec) if isinstance(item, Item)]


def test_a_model_of_frames_cannot_watch_it() -> None:
    with pytest.raises(ConfigError, match="judges frames"):
        power_converter.stream(
            "power_converter", FrameSpec(channels=1, size=(8, 8)), ReplaySettings(), FakeClock(), threading.Event()
        )
