"""Tests that are specific to principal components: closed forms, compared with numpy in float64."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.training.flat import train
from tests.training.in_memory import Here, Parts

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.export.graph import Pipeline, trace
from andon.foundation.errors import ConfigError, DataError
from andon.runtime import Detector, Status
from andon.runtime.schema import Channel, WindowSpec
from andon.sources.collection import FoundLogs
from andon.sources.series.log import Log, Run
from andon.training.contract.synthetic_data import synthetic_log
from andon.training.detectors.pca import RECIPE, Components, Settings, components, fit
from andon.training.observers.epochs import NONE
from andon.training.runs.export_run import export_run

Decides = Literal["t2", "q", "combined"]
DECIDES: tuple[Decides, ...] = ("t2", "q", "combined")
STEPS, CHANNELS = 4, 3
SPEC = WindowSpec(steps=STEPS, hop=1, period_s=1.0, channels=tuple(Channel(name=name) for name in "abc"))


def parts(train: NDArray[np.float64], validation: NDArray[np.float64]) -> Parts:
    return Parts(torch.from_numpy(train).float(), torch.from_numpy(validation).float())


def windows(count: int, seed: int, *, offset: float = 0.0) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(5, STEPS * CHANNELS))
    rows = generator.normal(size=(count, 5)) * [3, 2, 1, 0.5, 0.3] @ mixing
    return (rows + 0.1 * generator.normal(size=rows.shape) + offset).reshape(count, STEPS, CHANNELS)


def learnt(settings: Settings, *, seed: int = 0, offset: float = 0.0, count: int = 300) -> Components:
    scorer = Components(settings, SPEC)
    fit(scorer, parts(windows(count, seed, offset=offset), windows(60, seed + 1, offset=offset)), settings, Here())
    return scorer


def by_numpy(train: NDArray[np.float64], asked: NDArray[np.float64], kept: int) -> tuple[NDArray[Any], ...]:
    """Return T2, Q and the squared residual, computed as in textbooks."""
    flat, rows = (part.astype(np.float32).astype(np.float64).reshape(len(part), -1) for part in (train, asked))
    away = rows - flat.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(flat.T))
    axes, variances = vectors[:, ::-1][:, :kept], values[::-1][:kept]
    residual = away - away @ axes @ axes.T
    inverse = axes @ np.diag(1 / variances) @ axes.T
    own = np.diag(inverse)
    # a cell that the axes hardly touch contributes nothing; the textbook divides by a tiny number there
    contribution = (away @ inverse) ** 2 * np.where(own > 1e-6 * own.max(), 1 / own, 0.0)
    return np.einsum("nd,de,ne->n", away, inverse, away), (residual**2).sum(axis=1), residual**2, contribution


@given(kept=st.integers(1, 5), seed=st.integers(0, 10**6), offset=st.sampled_from([0.0, 8.0]))
def test_its_scores_and_maps_are_those_of_the_textbook(kept: int, seed: int, offset: float) -> None:
    asked = windows(7, seed + 2, offset=offset) * 1.5

    evidence = learnt(Settings(components=kept), seed=seed, offset=offset)(torch.from_numpy(asked).float())

    t2, q, residual, contribution = by_numpy(windows(300, seed, offset=offset), asked, kept)
    assert evidence.scores["t2"].numpy() == pytest.approx(t2, rel=1e-3)
    assert evidence.scores["q"].numpy() == pytest.approx(q, rel=1e-3)
    assert evidence.maps["residual"].flatten(1).numpy() == pytest.approx(residual, rel=1e-2, abs=1e-4 * q.mean())
    assert evidence.maps["contribution"].flatten(1).numpy() == pytest.approx(contribution, rel=1e-2, abs=1e-2)


def test_the_residual_map_sums_to_q() -> None:
    evidence = learnt(Settings())(torch.from_numpy(windows(9, 5)).float())

    assert evidence.maps["residual"].sum(dim=(1, 2)) == pytest.approx(evidence.scores["q"], rel=1e-5)


def test_the_contribution_to_t2_is_one_in_each_cell_of_good_windows_on_average() -> None:
    contribution = learnt(Settings(components=3), count=500)(torch.from_numpy(windows(500, 0)).float()).maps[
        "contribution"
    ]

    assert contribution.mean(dim=0).numpy() == pytest.approx(np.ones((STEPS, CHANNELS)), rel=0.01)


def test_the_map_of_the_deciding_score_comes_first() -> None:
    window = torch.zeros(1, STEPS, CHANNELS)

    first = {name: next(iter(learnt(Settings(decides=name))(window).maps)) for name in DECIDES}

    assert first == {"t2": "contribution", "q": "residual", "combined": "residual"}


def test_a_window_far_out_is_one_for_t2_and_one_off_the_plane_is_one_for_q() -> None:
    scorer = learnt(Settings(components=3))
    center, axes, variances = (scorer.get_buffer(name) for name in ("center", "axes", "variances"))
    off = torch.linalg.svd(axes).U[:, -1]
    far = torch.stack([center + 20 * variances[0].sqrt() * axes[:, 0], center + 20 * off]).reshape(2, STEPS, CHANNELS)

    evidence = scorer(far)

    assert evidence.scores["t2"].tolist() == pytest.approx([400, 0], abs=1e-2)
    assert evidence.scores["q"].tolist() == pytest.approx([0, 400], abs=1e-2)
    assert (evidence.scores["combined"] > 3).all()


@given(st.lists(st.floats(1e-3, 100), min_size=2, max_size=20), st.floats(0.05, 0.99))
def test_the_fewest_directions_are_kept_that_hold_the_share(variances: list[float], share: float) -> None:
    descending = torch.tensor(sorted(variances, reverse=True), dtype=torch.float64)

    kept = components(descending, Settings(explained=share), 1000)

    held = descending.cumsum(0) / descending.sum()
    assert 1 <= kept < len(variances)
    assert kept == 1 or held[kept - 2] < share
    assert held[kept - 1] >= share or kept == len(variances) - 1


def test_more_components_than_good_windows_spread_into_are_refused() -> None:
    with pytest.raises(DataError, match=r"--components: expected at most 4 .* got 8\. .*Lower --components"):
        learnt(Settings(components=8), count=5)


def test_windows_that_are_all_alike_are_refused() -> None:
    same = np.ones((20, STEPS, CHANNELS))

    with pytest.raises(DataError, match="all 20 good windows for training are the same"):
        fit(Components(Settings(), SPEC), parts(same, same), Settings(), Here())


def test_a_constant_channel_takes_no_part_in_t2_and_all_in_q() -> None:
    train, check = windows(200, 0), windows(50, 1)
    train[..., 1] = check[..., 1] = 0.0
    scorer = Components(Settings(components=3), SPEC)
    fit(scorer, parts(train, check), Settings(components=3), Here())
    moved = train[:1].copy()
    moved[..., 1] = 2.0

    usual, changed = (scorer(torch.from_numpy(window).float()) for window in (train[:1], moved))

    assert changed.scores["t2"] == pytest.approx(usual.scores["t2"], rel=1e-4)
    assert changed.scores["q"] - usual.scores["q"] == pytest.approx(torch.tensor([4.0 * STEPS]), rel=1e-3)
    assert not changed.maps["contribution"][..., 1].any()


def test_windows_too_large_for_one_decomposition_are_refused_with_the_largest_that_will_do() -> None:
    found = FoundLogs(channels=tuple(Channel(name=str(place)) for place in range(52)), period_s=1.0, runs=1, rows=9999)

    with pytest.raises(ConfigError, match="Lower --steps to 78"):
        RECIPE.wanted_input(Settings(steps=100), found)
    assert RECIPE.wanted_input(Settings(steps=78), found).steps == 78  # type: ignore[union-attr]


def test_the_window_it_wants_is_that_of_its_settings() -> None:
    spec = RECIPE.wanted_input(Settings(steps=2, hop=1), synthetic_log(10).found)

    assert isinstance(spec, WindowSpec)
    assert (spec.steps, spec.hop) == (2, 1)


def test_large_values_are_told_apart_and_the_largest_stay_finite() -> None:
    spec = RECIPE.wanted_input(Settings(), synthetic_log(10).found)
    assert isinstance(spec, WindowSpec)
    scorer = learnt(Settings())

    hundred, most = (scorer(torch.full((1, STEPS, CHANNELS), value)).scores for value in (100.0, spec.clip))

    for name in ("t2", "q", "combined"):
        assert hundred[name] < most[name] < 1e15


@pytest.mark.parametrize("decides", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("t2", "q")), "combined"])
def test_the_graph_holds_two_matrix_products(decides: Decides) -> None:
    settings = Settings(decides=decides)

    graph = trace(Pipeline(learnt(settings), SPEC, RECIPE.score_rule(settings, SPEC))).graph

    assert [node.op_type for node in graph.node if node.op_type in ("MatMul", "Gemm")] == ["MatMul", "MatMul"]


def still(rows: int, *, seed: int = 0) -> Log:
    """Return channels that do not change, except for a short step now and then."""
    generator = np.random.default_rng(seed)
    values = np.tile(np.arange(10.0, 90.0, 10.0, dtype=np.float32), (rows, 1))
    for begin in generator.integers(0, rows, rows // 400):
        values[begin : begin + 20, generator.integers(0, 8)] += 1
    channels = tuple(Channel(name=f"c{place}") for place in range(8))
    run = Run(name="run", times_s=np.arange(rows, dtype=np.float64), values=values)
    return Log(found=FoundLogs(channels=channels, period_s=1.0, runs=1, rows=rows), runs=(run,))


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "rows"), [(64, 12_000), (16, 6_000)])
def test_channels_that_mostly_stand_still_can_be_exported(steps: int, rows: int, tmp_path: Path) -> None:
    log, settings = still(rows), Settings(steps=steps, hop=16)
    run = train("pca", log, tmp_path / "run", settings=settings, threads=1, picture_epochs=NONE)

    exported = export_run(
        run,
        tmp_path / "pca.onnx",
        request=CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-01-02"),
        data=log,
    )

    detector = Detector.load(exported.path)
    broken = np.ascontiguousarray(log.runs[0].values[:steps])
    broken[:, 3] += 20
    assert detector(broken).status is Status.REJECT


def test_q_is_floored_where_the_kept_directions_rebuild_windows_to_rounding() -> None:
    settings = Settings(steps=4, hop=2, components=1)
    spec = WindowSpec(steps=4, hop=2, period_s=1.0, channels=(Channel(name="a"), Channel(name="b")))
    scorer = Components(settings, spec)
    axis = torch.full((8, 1), 8**-0.5, dtype=torch.float64)
    scorer.fit(torch.zeros(8, dtype=torch.float64), axis, torch.tensor([4.0], dtype=torch.float64))
    along = torch.linspace(0.1, 30.0, 20).reshape(-1, 1, 1).expand(20, 4, 2)

    together = scorer.scores(along)["q"]

    assert together.tolist() == [scorer.scores(window[None])["q"].item() for window in along]
    assert sorted(set(together.tolist())) == pytest.approx([4e-5])
