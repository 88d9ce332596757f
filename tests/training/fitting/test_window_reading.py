"""Trends and contexts of windows: states computed from the training windows, and how the graph applies them."""

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.training.fitting.test_prepared_data import HOP, STEPS, NoSettings, looking

from andon.export.preprocessing import PrepareWindows, Restore
from andon.foundation.errors import ConfigError, DataError
from andon.runtime.schema import Channel, Context, Detrend, Reason, WindowSpec
from andon.sources.collection import FoundLogs
from andon.sources.series.log import Log, Run
from andon.training.fitting.prepared_data import PreparedData, prepare_data
from andon.training.fitting.window_reading import RANGES, WindowReading

CHANNELS = (Channel(name="recipe"), Channel(name="power"), Channel(name="flow"))


def machine(context: NDArray[np.float64], *, seed: int = 0) -> Log:
    """Return a log whose level and spread depend on the context."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(len(context), 2))
    values = np.column_stack([context, 10 * context + context * noise[:, 0], 5 - context + 0.1 * noise[:, 1]])
    run = Run(name="a", times_s=np.arange(len(context), dtype=np.float64), values=values.astype(np.float32))
    return Log(found=FoundLogs(channels=CHANNELS, period_s=1.0, runs=1, rows=len(context)), runs=(run,))


def recipes(rows: int, states: tuple[float, ...] = (1.0, 2.0, 5.0), seed: int = 0) -> NDArray[np.float64]:
    return np.repeat(np.random.default_rng(seed).choice(states, size=rows // 20 + 1), 20)[:rows]


def opened(log: Log, reading: WindowReading) -> PreparedData:
    return prepare_data(log, looking("window"), NoSettings(), seed=0, reading=reading)


def spec_of(data: PreparedData) -> WindowSpec:
    assert isinstance(data.spec, WindowSpec)
    return data.spec


def test_each_value_of_the_context_gets_its_own_centre_and_scale() -> None:
    data = opened(machine(recipes(4000)), WindowReading(context="recipe"))

    context = spec_of(data).context
    assert context is not None
    assert (context.by, context.bounds) == ("value", (1.0, 2.0, 5.0))
    for state, value in enumerate(context.bounds):
        assert context.center[state][1:] == pytest.approx((10 * value, 5 - value), abs=0.5)
        assert context.scale[state][1:] == pytest.approx((value, 0.1), rel=0.1)
    rows = data.train.take(range(len(data.train))).reshape(-1, 3)
    assert (rows[:, 0] == 0).all()
    assert rows[:, 1:].mean(dim=0).abs().max() < 0.1
    assert rows[:, 1:].std(dim=0).numpy() == pytest.approx(1.0, abs=0.1)


def test_a_context_with_many_values_is_read_by_ranges_with_equally_many_rows() -> None:
    speed = np.random.default_rng(1).uniform(1.0, 9.0, size=8000)

    context = spec_of(opened(machine(speed), WindowReading(context="recipe"))).context

    assert context is not None
    assert (context.by, context.states) == ("range", RANGES)
    assert np.diff((1.0, *context.bounds, 9.0)) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize(
    ("value", "reason"), [(2.0, Reason.NONE), (2.005, Reason.NONE), (3.0, Reason.OUTSIDE_TRAINING)]
)
def test_a_value_that_was_not_learnt_makes_the_window_invalid(value: float, reason: Reason) -> None:
    data = opened(machine(recipes(4000)), WindowReading(context="recipe"))
    window = torch.tensor([[[value, 20.0, 3.0]] * STEPS])
    window[0, :-1, 0] = 2.0  # one row is enough

    _, found = PrepareWindows(spec_of(data))(window)

    assert found.tolist() == [reason]


def test_a_speed_far_outside_the_learnt_range_makes_the_window_invalid() -> None:
    data = opened(machine(np.random.default_rng(1).uniform(1.0, 9.0, size=8000)), WindowReading(context="recipe"))
    windows = torch.tensor([[[speed, 50.0, 0.0]] * STEPS for speed in (0.9, 9.1, 0.0, 12.0, float("nan"))])

    _, found = PrepareWindows(spec_of(data))(windows)

    learnt, far, broken = Reason.NONE, Reason.OUTSIDE_TRAINING, Reason.NOT_FINITE
    assert found.tolist() == [learnt, learnt, far, far, broken]


@given(st.sampled_from(["mean", "line"]), st.floats(-1e3, 1e3), st.floats(-10, 10))
def test_a_trend_that_is_subtracted_changes_nothing(detrend: Detrend, level: float, slope: float) -> None:
    spec = WindowSpec(steps=16, hop=4, period_s=1.0, channels=CHANNELS, detrend=detrend, clip=1e6)
    window = torch.randn((2, 16, 3), generator=torch.Generator().manual_seed(0))
    moved = window + level + (slope * torch.arange(16.0)[:, None] if detrend == "line" else 0.0)

    before, _ = PrepareWindows(spec)(window)
    after, _ = PrepareWindows(spec)(moved)

    assert torch.allclose(before, after, atol=2e-3)
    assert torch.allclose(before.mean(dim=1), torch.zeros(2, 3), atol=1e-5)


@settings(max_examples=30)
@given(st.sampled_from(["none", "mean", "line"]), st.booleans(), st.integers(0, 2**31))
def test_prepared_values_are_restored_with_their_trend_and_state(
    detrend: Detrend, conditioned: bool, seed: int
) -> None:
    context = Context(
        channel="recipe",
        by="value",
        bounds=(1.0, 2.0),
        center=((0.0, 5.0, -3.0), (0.0, 50.0, 4.0)),
        scale=((1.0, 2.0, 0.5), (1.0, 9.0, 3.0)),
    )
    spec = WindowSpec(
        steps=8,
        hop=4,
        period_s=1.0,
        channels=CHANNELS,
        detrend=detrend,
        context=context if conditioned else None,
        clip=1e9,
    )
    generator = torch.Generator().manual_seed(seed)
    window = 10 * torch.randn((3, 8, 3), generator=generator)
    window[..., 0] = 1.0 + torch.randint(0, 2, (3, 8), generator=generator)

    prepared, _ = PrepareWindows(spec)(window)

    assert torch.allclose(Restore(spec)(prepared, window), window, atol=1e-3)


def test_the_scale_with_a_trend_is_that_of_what_is_left() -> None:
    drift = np.linspace(1.0, 100.0, 4000)
    log = machine(np.full(4000, 1.0))
    log.runs[0].values[:, 1] += drift

    plain, detrended = (spec_of(opened(log, WindowReading(detrend=detrend))) for detrend in ("none", "mean"))

    assert plain.channels[1].scale > 10
    assert detrended.channels[1].scale == pytest.approx(1.0, rel=0.15)


@pytest.mark.parametrize(
    ("reading", "error", "text"),
    [
        (WindowReading(context="recip"), ConfigError, "did you mean 'recipe'"),
        (WindowReading(context="flow"), DataError, "at least two values"),
    ],
)
def test_a_context_that_cannot_be_learnt_is_refused(reading: WindowReading, error: type[Exception], text: str) -> None:
    log = machine(np.full(2000, 1.0))
    log.runs[0].values[:, 2] = 1.0

    with pytest.raises(error, match=r"--context") as raised:
        opened(log, reading)

    assert text in str(raised.value).lower()


def test_a_state_with_few_rows_is_refused_by_its_value() -> None:
    values = recipes(4000, (1.0, 2.0))
    values[1000:1030] = 7.0

    with pytest.raises(DataError, match=r"got about \d+ with 7\. Record more"):
        opened(machine(values), WindowReading(context="recipe"))


def test_windows_too_short_for_a_trend_are_refused() -> None:
    class Short(msgspec.Struct, frozen=True):
        pass

    recipe = msgspec.structs.replace(
        looking("window"),
        input=lambda _settings, found: WindowSpec(steps=1, hop=1, period_s=1.0, channels=found.channels),
    )

    with pytest.raises(ConfigError, match=r"--detrend mean: expected windows of at least 2 rows, got 1"):
        prepare_data(machine(recipes(400)), recipe, Short(), seed=0, reading=WindowReading(detrend="mean"))


def test_the_context_is_resampled_without_values_between_two_recipes() -> None:
    spec = spec_of(opened(machine(recipes(4000)), WindowReading(context="recipe")))

    assert [channel.resample for channel in spec.channels] == ["hold", "linear", "linear"]
    assert spec.hop == HOP
