"""Tests that are specific to PatchCore: memory, candidates, presets."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.training.flat import train
from tests.training.in_memory import Parts, Remembering, Rows
from torch import Tensor

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.evaluation.frames import evaluate
from andon.foundation.errors import ConfigError, DataError, TrainingError
from andon.foundation.settings import from_mapping
from andon.runtime import Detector
from andon.runtime.schema import FrameSpec
from andon.sources.collection import FoundFrames
from andon.sources.opening import open_for
from andon.sources.truth import tree_truth
from andon.training.contract.synthetic_data import SyntheticFrames, synthetic_frame, synthetic_log
from andon.training.detectors.patchcore import CHUNK, RECIPE, Memory, PatchCore, Settings, choose, draw, fit, plan_of
from andon.training.nets.core_set import k_centre
from andon.training.runs.export_run import export_run

TINY = Settings(preset="fast", size=64, taps=(4,), memory_mb=0.02, candidates=600)


def memory(rows: Tensor, count: int, weight: float = 1.0) -> Memory:
    learnt = Memory(rows.shape[1])
    learnt.fit(rows, k_centre(rows, min(count, len(rows) // 2), seed=0), weight, seed=0)
    return learnt


@given(
    width=st.integers(1, 40),
    count=st.sampled_from([1, 7, CHUNK, CHUNK + 1, 600]),
    offset=st.sampled_from([0.0, 100.0]),
    seed=st.integers(0, 100),
)
def test_a_distance_is_that_to_the_nearest_row_remembered(width: int, count: int, offset: float, seed: int) -> None:
    torch.manual_seed(seed)
    learnt = memory(torch.randn(1300, width) + offset, count)
    asked = torch.randn(50, width) + offset
    bank = (learnt.get_buffer("bank")[:-1].T / -2).double()
    scaled = (asked.double() - learnt.get_buffer("center")) * learnt.get_buffer("scale")

    exact = torch.cdist(scaled, bank).amin(dim=1)

    assert bank.shape == (count, width)
    assert torch.allclose(learnt.distance(asked).double(), exact, rtol=1e-3, atol=2e-3 * float(scaled.abs().max()))


def test_a_row_that_is_remembered_is_no_distance_away() -> None:
    rows = torch.randn(400, 12)
    learnt = memory(rows, 200)
    remembered = learnt.get_buffer("bank")[:-1].T / -2 / learnt.get_buffer("scale") + learnt.get_buffer("center")

    assert learnt.distance(remembered).max() < 0.02


@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_good_rows_that_were_not_kept_are_the_weight_apart_on_average(weight: float) -> None:
    """Check the scale of distances. Taps of different networks and depths can then be added."""
    rows = 300 * torch.randn(2000, 8)
    distances = memory(rows, 500, weight).distance(rows)

    assert float(distances[distances > 0.05 * weight].mean()) == pytest.approx(weight, rel=0.05)


def test_at_most_half_of_the_candidates_are_remembered() -> None:
    assert memory(torch.randn(31, 4), 1000).get_buffer("bank").shape == (5, 15)


def test_equal_rows_give_finite_distances() -> None:
    assert memory(torch.ones(20, 3), 5).distance(torch.tensor([[1.0, 1, 1], [2.0, 1, 1]])).isfinite().all()


def pictures(count: int) -> Tensor:
    return torch.randn((count, 3, 64, 64), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("count", "candidates", "expected"),
    [(5, 23, 23), (3, 2, 2), (2, 10_000, 2 * 64)],
    ids=["shared among pictures", "fewer than pictures", "fewer cells than wanted"],
)
def test_so_many_candidates_are_drawn_whatever_the_number_of_pictures(
    count: int, candidates: int, expected: int
) -> None:
    scorer = PatchCore(TINY, 3)
    run = Remembering()
    first, second = (draw(scorer, Rows(pictures(count)), candidates, run) for _ in range(2))

    assert [rows.shape for rows in first] == [(expected, 40)]
    assert torch.equal(first[0], second[0])


def test_features_that_are_not_finite_are_refused() -> None:
    scorer = PatchCore(TINY, 3)

    with pytest.raises(TrainingError, match="not finite"):
        draw(scorer, Rows(pictures(1) * torch.nan), 10, Remembering())


def test_the_memory_takes_its_budget_and_every_tap_as_many_rows() -> None:
    settings = Settings(preset="fast", size=64, taps=(2, 7), memory_mb=0.05, candidates=2000)
    scorer = PatchCore(settings, 3)
    fit(scorer, Parts(pictures(20), pictures(0)), settings, Remembering())
    banks = [learnt.get_buffer("bank") for learnt in scorer.memories]

    assert sum(4 * bank.numel() for bank in banks) == pytest.approx(50_000, rel=0.02)
    assert len({bank.shape[1] for bank in banks}) == 1


def fine_and_coarse(weights: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the map of two pictures, and the contribution of each tap, on the finest grid."""
    settings = Settings(size=64, taps=(4, 7), tap_weights=weights, memory_mb=0.02, candidates=400)
    torch.manual_seed(0)
    scorer = PatchCore(settings, 3)
    fit(scorer, Parts(pictures(8), pictures(0)), settings, Remembering())
    features = scorer.features(pictures(10)[8:])
    fine, coarse = (learnt(planes) for learnt, planes in zip(scorer.memories, features, strict=True))
    coarse = torch.nn.functional.interpolate(coarse[:, None], (8, 8), mode="bilinear")[:, 0]
    return scorer(pictures(10)[8:]).maps["distance"], fine, coarse


def test_the_map_is_the_weighted_mean_over_taps_on_the_finest_grid() -> None:
    whole, fine, coarse = fine_and_coarse((3.0, 1.0))
    _, half_fine, half_coarse = fine_and_coarse((1.0, 1.0))

    assert whole.shape == (2, 8, 8)
    assert torch.allclose(whole, fine + coarse)
    assert torch.allclose(fine, 1.5 * half_fine, rtol=1e-3, atol=1e-2)
    assert torch.allclose(coarse, 0.5 * half_coarse, rtol=1e-3, atol=1e-2)


def test_an_average_makes_a_cell_like_its_neighbours() -> None:
    plain, averaged = (PatchCore(Settings(size=64, taps=(4,), average=side), 3) for side in (1, 3))
    averaged.load_state_dict(plain.state_dict())
    (one,), (other,) = plain.features(pictures(1)), averaged.features(pictures(1))

    assert torch.allclose(other[0, :, 3, 3], one[0, :, 2:5, 2:5].mean(dim=(1, 2)), rtol=1e-4, atol=1e-5)
    assert torch.allclose(other[0, :, 0, 0], one[0, :, :2, :2].mean(dim=(1, 2)), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_file_shows_a_defect_where_it_is(tmp_path: Path) -> None:
    good = SyntheticFrames(60, (96, 96))
    settings = Settings(size=128, taps=(2, 4), memory_mb=0.1, candidates=4000)
    run = train(RECIPE, good, tmp_path / "run", settings=settings)
    export_run(
        run,
        tmp_path / "ring.onnx",
        request=CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-01-02"),
        data=good,
    )
    detector = Detector.load(tmp_path / "ring.onnx")
    frame = synthetic_frame(1000, (96, 96))
    scratched = frame.copy()
    scratched[70:74, 15:30] = 0
    where = detector(scratched).evidence["anomaly_map"]

    assert detector(scratched).score > detector.threshold > detector(frame).score
    assert [int(place) * 96 // 32 for place in np.unravel_index(where.argmax(), where.shape)] == pytest.approx(
        [72, 22], abs=9
    )


def test_presets_fill_in_what_is_not_given() -> None:
    assert plan_of(Settings()).size == 512
    assert plan_of(Settings(preset="fast"))[:3] == (224, (4, 7), (2.0, 1.0))
    assert plan_of(Settings(taps=(4,))).tap_weights == (1.0,)
    assert plan_of(Settings(backbone="resnet18")).taps == (2, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(taps=(4, 10), tap_weights=(1.0,)), "one for each of the 2 taps"),
        (Settings(taps=(10, 4)), "ascending numbers from 0 to 15"),
        (Settings(backbone="resnet18", taps=(7, 10)), "ascending numbers from 1 to 4"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused_before_data_are_read(settings: Settings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RECIPE.wanted_input(settings, SyntheticFrames(1).found)


def test_a_size_that_the_backbone_cannot_take_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiple"):
        from_mapping(Settings, {"size": 100})


def test_smoothing_is_the_same_share_of_the_picture_at_every_size() -> None:
    small, large = (RECIPE.score_rule(Settings(size=size, taps=(4,))).smooth for size in (256, 512))

    assert small == pytest.approx(0.01 * 32)
    assert large == pytest.approx(2 * small)


def test_windows_are_refused() -> None:
    with pytest.raises(DataError, match="judges frames"):
        RECIPE.wanted_input(Settings(), synthetic_log(10).found)


def test_grey_pictures_are_judged_as_grey() -> None:
    spec = RECIPE.wanted_input(TINY, FoundFrames(channels=1, frame_size=(40, 56), largest=(40, 56)))
    assert isinstance(spec, FrameSpec)
    scorer = PatchCore(TINY, spec.channels)
    fit(scorer, Parts(pictures(8)[:, :1], pictures(0)), TINY, Remembering())

    assert scorer(pictures(2)[:, :1]).maps["distance"].isfinite().all()


@pytest.mark.data
@pytest.mark.slow
def test_real_bottles_are_told_from_broken_ones(andon_data: Path, tmp_path: Path) -> None:
    folder = andon_data / "mvtec_ad" / "bottle"
    run = train(RECIPE, folder, tmp_path / "run", settings=Settings(preset="fast"))
    export_run(run, tmp_path / "bottle.onnx", request=CalibrationRequest(date="2026-01-02"))
    detector = Detector.load(tmp_path / "bottle.onnx")
    collection = open_for(str(folder), detector.card.input, part="evaluation")
    figures, _ = evaluate(detector, collection, tree_truth(folder))

    assert figures.auroc is not None
    assert figures.auroc >= 0.99
    assert figures.aupro is not None
    assert figures.aupro >= 0.92


def test_core_sets_that_are_chosen_side_by_side_leave_the_threads_as_they_were() -> None:
    class Slow(Remembering):
        @staticmethod
        def progress(_what: str, _done: int, _total: int | None) -> None:
            time.sleep(0.3)  # until the other one has started

    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        choose([torch.rand(4, 3), torch.rand(20_000, 64)], 2000, Slow())  # the second one outlasts the first
        with ThreadPoolExecutor(
            1
        ) as later:  # a new thread uses the process's number of threads; the main thread may keep its own
            assert later.submit(torch.get_num_threads).result() == before + 1
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
