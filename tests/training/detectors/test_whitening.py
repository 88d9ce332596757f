"""Tests that are specific to the two whitenings: textbook forms in float64, odd data, and short logs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from tests.training.flat import train
from tests.training.in_memory import Here, Parts

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.export.preprocessing import prepare
from andon.foundation.errors import ConfigError, DataError
from andon.runtime import Detector, Status
from andon.runtime.schema import Channel, WindowSpec
from andon.sources.collection import FoundLogs
from andon.sources.series.log import Log, Run
from andon.training.detectors.whitening import (
    CLIP,
    LEAST_SCORE,
    MOST_CHANNELS,
    MOST_FEATURES,
    OFFSET,
    RECIPE,
    Features,
    Settings,
    Whitening,
    fit,
    steps_of,
)
from andon.training.fitting.prepared_data import prepare_data
from andon.training.observers.epochs import NONE
from andon.training.runs.export_run import export_run

Values = NDArray[np.float32]
STEPS, CHANNELS = 16, 3
TINY = Settings(steps=STEPS, hop=4)


def spec_of(steps: int = STEPS, channels: int = CHANNELS) -> WindowSpec:
    return WindowSpec(
        steps=steps, hop=4, period_s=1.0, clip=CLIP, channels=tuple(Channel(name=f"c{n}") for n in range(channels))
    )


def coupled(rows: int, seed: int = 0, channels: int = CHANNELS) -> Values:
    """Return channels that follow one slow cause, with noise."""
    generator = np.random.default_rng(seed)
    slow = np.zeros(rows)
    for row, noise in enumerate(generator.normal(size=rows)):
        slow[row] = 0.9 * slow[row - 1] + noise
    mixing = 1 + np.arange(channels)
    return (slow[:, None] * mixing + 0.5 * generator.normal(size=(rows, channels))).astype(np.float32)


def log_of(values: Values) -> Log:
    names = tuple(Channel(name=f"c{place}") for place in range(values.shape[1]))
    run = Run(name="run", times_s=np.arange(len(values), dtype=np.float64), values=values)
    return Log(found=FoundLogs(channels=names, period_s=1.0, runs=1, rows=len(values)), runs=(run,))


def windows_of(values: Values, steps: int = STEPS, hop: int = 4) -> torch.Tensor:
    cut = np.lib.stride_tricks.sliding_window_view(values, steps, axis=0)[::hop].transpose(0, 2, 1)
    return torch.from_numpy(cut.copy())


def learnt(values: Values, chosen: Settings = TINY) -> Whitening:
    scorer = Whitening(chosen, spec_of(chosen.steps, values.shape[1]))
    fit(scorer, Parts(windows_of(values, chosen.steps, chosen.hop), torch.empty(0)), chosen, Here())
    return scorer.eval()


def test_the_features_are_the_last_row_means_and_spreads_of_blocks_from_the_end_and_the_mean_step() -> None:
    window = np.random.default_rng(0).normal(size=(17, 2))

    got = Features(17, 2)(torch.from_numpy(window)[None])[0].numpy()

    expected = [window[-1]]
    for length in (2, 4, 8, 17):
        blocks = [window[17 - (n + 1) * length : 17 - n * length] for n in reversed(range(17 // length))]
        expected += [block.mean(axis=0) for block in blocks]
        expected += [block.std(axis=0) for block in blocks]
    expected.append(np.abs(np.diff(window, axis=0)).mean(axis=0))
    assert got == pytest.approx(np.array(expected))


@given(steps=st.integers(1, 80), channels=st.sampled_from([1, 2, 8, 60, 200, MOST_CHANNELS]))
def test_the_number_of_features_is_bounded_and_the_share_of_each_feature_is_spread_over_rows_completely(
    steps: int, channels: int
) -> None:
    features = Features(steps, channels)
    count = features(torch.zeros(1, steps, channels)).shape[1]

    assert count * channels <= MOST_FEATURES
    assert features.get_buffer("rows").sum(dim=0).tolist() == pytest.approx([1.0] * count)


def test_more_channels_than_features_are_refused() -> None:
    found = FoundLogs(
        channels=tuple(Channel(name=f"c{n}") for n in range(MOST_CHANNELS + 1)), period_s=1.0, runs=1, rows=9999
    )

    with pytest.raises(ConfigError, match=f"at most {MOST_CHANNELS} channels, got {MOST_CHANNELS + 1}"):
        RECIPE.wanted_input(TINY, found)


def test_the_distance_is_that_of_the_regularised_covariance() -> None:
    chosen = Settings(steps=STEPS, hop=1, regularisation=0.01)
    values = coupled(2000)
    scorer = learnt(values, chosen)
    train, asked = windows_of(values, hop=1), windows_of(coupled(200, 1), hop=10)

    got = scorer.scores(asked)["distance"].numpy()

    rows = scorer.features(train.double()).flatten(1).numpy()
    scale = rows.std(axis=0)
    covariance = np.cov(((rows - rows.mean(axis=0)) / scale).T)
    covariance += 0.01 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    away = (scorer.features(asked.double()).flatten(1).numpy() - rows.mean(axis=0)) / scale
    expected = np.einsum("ni,ij,nj->n", away, np.linalg.inv(covariance), away) / len(covariance)
    assert got == pytest.approx(expected, rel=1e-3)


def test_few_kept_directions_give_nearly_the_distance_of_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    values, asked = coupled(2000), windows_of(coupled(200, 1))
    whole = learnt(values).scores(asked)["distance"]
    monkeypatch.setattr("andon.training.detectors.whitening.MOST_STORED", 60 * 96)

    some = learnt(values).scores(asked)["distance"]

    assert torch.corrcoef(torch.stack([whole, some]))[0, 1] > 0.9


@pytest.mark.parametrize(("lags", "steps"), [(1, 9), (2, 9), (3, 20), (8, 9)])
def test_a_linear_rule_is_predicted_without_error_whatever_the_number_of_lags(lags: int, steps: int) -> None:
    rows = np.zeros((400, 2))
    rows[:2] = [[1.0, 0.0], [0.9, 0.2]]
    for place in range(2, 400):
        rows[place] = 1.96 * rows[place - 1] - rows[place - 2] @ [[0.99, 0.0], [0.02, 0.98]]
        rows[place] += 0.1 * np.random.default_rng(place).normal(size=2)
    rows = rows.astype(np.float32)
    scorer = learnt((rows / rows.std()).astype(np.float32), Settings(steps=steps, hop=3, lags=lags))

    error = scorer.scores(windows_of((rows / rows.std()).astype(np.float32), steps, 3))["prediction"].mean()

    # an error of 1 is what the noise explains: a wrong rule has a larger one
    assert float(error) < (1.1 if lags > 1 else 1.5)


def test_steps_are_predicted_from_the_row_before_and_the_steps_before_it() -> None:
    window = torch.arange(6.0).square().reshape(1, 6, 1)

    steps, known = steps_of(window, 3)

    assert steps.flatten().tolist() == [5.0, 7.0, 9.0]
    assert known[0].tolist() == [[4.0, 3.0, 1.0], [9.0, 5.0, 3.0], [16.0, 7.0, 5.0]]


def test_the_rarer_score_decides_and_its_map_sums_to_the_deciding_score() -> None:
    scorer = learnt(coupled(3000))
    still = windows_of(coupled(400, 1)).clone()
    still[:, :, 1] += 6.0
    jump = windows_of(coupled(400, 1)).clone()
    jump[:, 8, 2] += 20.0

    for asked in (windows_of(coupled(400, 1)), still, jump):
        evidence = scorer(asked)

        logs = {name: (score / LEAST_SCORE).log() for name, score in evidence.scores.items()}
        surprise = OFFSET + scorer.combination.surprise(logs)
        assert evidence.scores["combined"].tolist() == surprise.amax(dim=1).tolist()
        assert evidence.maps["share"].sum(dim=(1, 2)).tolist() == pytest.approx(
            evidence.scores["combined"].tolist(), rel=1e-4
        )


@pytest.mark.parametrize("channel", range(CHANNELS))
def test_a_channel_that_leaves_the_others_has_the_largest_share(channel: int) -> None:
    scorer = learnt(coupled(3000))
    asked = windows_of(coupled(400, 1)).clone()
    asked[:, :, channel] += 10.0

    shares = scorer(asked).maps["share"].sum(dim=1)

    assert (shares.argmax(dim=1) == channel).float().mean() > 0.9


def test_the_rows_of_a_jump_have_the_largest_share() -> None:
    scorer = learnt(coupled(3000), Settings(steps=STEPS, hop=4, decides="prediction"))
    asked = windows_of(coupled(400, 1)).clone()
    asked[:, 9, 0] += 30.0

    shares = scorer(asked).maps["share"].sum(dim=2)

    assert set(shares.argmax(dim=1).tolist()) <= {9, 10, 11}  # it also spoils the prediction of the next rows


def test_good_windows_that_were_not_trained_on_have_scores_near_one() -> None:
    scores = learnt(coupled(6000)).scores(windows_of(coupled(6000, 1)))

    assert 0.5 < float(scores["prediction"].mean()) < 1.1
    assert 0.5 < float(scores["distance"].mean()) < 2.0


def test_a_constant_channel_that_moves_is_found() -> None:
    values = coupled(3000)
    values[:, 1] = 0.0
    scorer = learnt(values)
    good = windows_of(values)
    moved = good.clone()
    moved[:, :, 1] = 1.0  # 1 % of the level of the channel

    usual, changed = (scorer.scores(windows) for windows in (good, moved))

    for name in ("distance", "prediction"):
        assert changed[name].min() > 3 * usual[name].max()


def test_constant_channels_do_not_change_the_distance_between_the_others() -> None:
    values = coupled(2000)
    more = np.concatenate([values, np.zeros_like(values)], axis=1)
    chosen = Settings(steps=STEPS, hop=4, regularisation=0.01)

    alone, beside = (learnt(some, chosen).scores(windows_of(some))["distance"] for some in (values, more))

    assert (beside * 2).tolist() == pytest.approx(alone.tolist(), rel=1e-4)  # a mean over twice as many features


def test_one_window_is_refused() -> None:
    with pytest.raises(DataError, match="at least 2 windows for training, got 1"):
        learnt(coupled(STEPS))


def odd(kind: str, rows: int) -> Values:
    generator = np.random.default_rng(0)
    noise, time = generator.normal(size=(rows, 3)), np.arange(rows)[:, None]
    one = np.zeros((rows, 3))
    one[5] = 1.0
    spike = noise.copy()
    spike[rows // 2] = 1e6
    constant = noise.copy()
    constant[:, 1] = 7.0
    kinds = {
        "noise": noise,
        "one constant channel": constant,
        "all constant": np.full((rows, 3), 5.0),
        "all zero": np.zeros((rows, 3)),
        "tiny values": noise * 1e-20,
        "huge values": noise * 1e20,
        "large offset": 1e6 + 0.2 * noise,
        "tiny spread": 1000 + 1e-3 * noise,
        "mixed scales": noise * [1e-12, 1.0, 1e12],
        "a sine without noise": np.sin(2 * np.pi * time / 16 + [0, 1, 2]),
        "a sine with hardly any noise": np.sin(2 * np.pi * time / 37 + [0, 1, 2]) + 1e-4 * noise,
        "a ramp": time * [1.0, -2.0, 3.0],
        "rare steps": np.where(time % 97 == 0, 1.0, 0.0) * np.ones(3),
        "equal channels": np.repeat(noise[:, :1], 3, axis=1),
        "a random walk": noise.cumsum(axis=0),
        "a spike": spike,
        "coarse steps": np.round(2 * noise) / 2 + 20,
        "one event": one,
    }
    return kinds[kind].astype(np.float32)


ODD = ["noise", "one constant channel", "all constant", "all zero", "tiny values", "huge values", "large offset",
       "tiny spread", "mixed scales", "a sine without noise", "a sine with hardly any noise", "a ramp", "rare steps",
       "equal channels", "a random walk", "a spike", "coarse steps", "one event"]  # fmt: skip


def worst_rounding(values: Values, steps: int, hop: int) -> float:
    """Return the largest difference of a good score between float32 and float64, relative to the median as in the export."""
    chosen = Settings(steps=steps, hop=hop)
    data = prepare_data(log_of(values), RECIPE, chosen, seed=0)
    assert isinstance(data.spec, WindowSpec)
    scorer = Whitening(chosen, data.spec)
    fit(scorer, data, chosen, Here())
    raw = windows_of(values, steps, hop)[-60:]
    prepared, _ = prepare(data.spec)(raw)
    with torch.no_grad():
        short = scorer(prepared).scores["combined"].double()
        exact = scorer.double()(prepared.double()).scores["combined"]
    assert bool(short.isfinite().all())
    return float(((short - exact).abs() / exact.abs().clamp(min=float(short.median()))).max())


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize(("steps", "hop", "rows"), [(8, 8, 160), (1, 1, 200), (16, 4, 1000)])
def test_rounding_stays_below_the_tolerance_of_a_file_on_odd_data(kind: str, steps: int, hop: int, rows: int) -> None:
    assert worst_rounding(odd(kind, rows), steps, hop) < 1e-4


@settings(max_examples=30, suppress_health_check=[HealthCheck.data_too_large])
@given(
    shape=arrays(np.float64, (9, 2), elements=st.floats(-3, 3)),
    noise=st.sampled_from([0.0, 1e-6, 1e-3, 0.1]),
    offset=st.sampled_from([0.0, 50.0, 1e5]),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_rounding_stays_below_the_tolerance_of_a_file_on_any_cycle(
    shape: NDArray[np.float64], noise: float, offset: float, scale: float
) -> None:
    cycle = np.tile(shape, (40, 1))
    values = scale * (offset + cycle + noise * np.random.default_rng(0).normal(size=cycle.shape))

    assert worst_rounding(values.astype(np.float32), 8, 8) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ODD[1::3])
def test_any_log_of_twenty_windows_can_be_trained_and_exported(kind: str, tmp_path: Path) -> None:
    log = log_of(odd(kind, 20 * 8))
    run = train("whitening", log, tmp_path / "run", settings=Settings(steps=8, hop=8), threads=1, picture_epochs=NONE)

    exported = export_run(
        run,
        tmp_path / "model.onnx",
        request=CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-11-30"),
        data=log,
    )

    detector = Detector.load(exported.path)
    spec = detector.card.input
    assert isinstance(spec, WindowSpec)
    far = np.array([[channel.center + 50 * channel.scale for channel in spec.channels]] * 8, np.float32)
    assert detector(far).status is Status.REJECT


def test_scores_of_constant_windows_are_at_their_lower_limit() -> None:
    scores = learnt(np.zeros((400, CHANNELS), np.float32)).scores(torch.zeros(1, STEPS, CHANNELS))

    assert [float(score) for score in scores.values()] == pytest.approx([LEAST_SCORE] * 2)


def test_steady_logs_get_little_regularisation_and_changing_ones_more() -> None:
    rest = {}
    for name, values in (
        ("steady", np.concatenate([coupled(64, seed) for seed in range(200)])),
        ("changing", coupled(12800) * np.repeat(np.random.default_rng(1).uniform(0.2, 4, (25, CHANNELS)), 512, 0)),
    ):
        scorer = learnt((values / values.std(axis=0)).astype(np.float32))
        rest[name] = float(scorer.get_buffer("rest").min())

    assert rest["steady"] < rest["changing"]
