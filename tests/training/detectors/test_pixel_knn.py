"""Tests that are specific to pixel_knn: its distances equal those of a slow reference, and memory is bounded."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.training.flat import train
from tests.training.in_memory import Parts, Remembering

from andon.calibration.request import CalibrationRequest
from andon.evaluation.frames import evaluate
from andon.foundation.errors import ConfigError, DataError
from andon.runtime import Detector
from andon.runtime.schema import FrameSpec
from andon.sources.collection import FoundFrames
from andon.sources.opening import labelled_for
from andon.sources.series.log import Log
from andon.sources.source import collect
from andon.sources.subset import Subset
from andon.training.detectors.pixel_knn import RECIPE, PixelKnn, Settings, fit
from andon.training.runs.export_run import export_run


def learnt(rows: torch.Tensor, settings: Settings) -> PixelKnn:
    scorer = PixelKnn(settings.k, rows.shape[1], (rows.shape[2], rows.shape[3]))
    fit(scorer, Parts(rows, rows[:0]), settings, Remembering())
    return scorer


@given(
    channels=st.sampled_from([1, 3]),
    k=st.integers(1, 5),
    count=st.integers(5, 40),
    brightness=st.sampled_from([0.0, 0.9]),
    seed=st.integers(0, 100),
)
def test_the_mean_of_the_map_is_the_squared_distance_to_the_nearest_good_pictures(
    channels: int, k: int, count: int, brightness: float, seed: int
) -> None:
    torch.manual_seed(seed)
    rows = brightness + 0.1 * torch.rand(count, channels, 6, 5)
    asked = brightness + 0.1 * torch.rand(7, channels, 6, 5)
    found = learnt(rows, Settings(rows=0, k=k))(asked).maps["difference"]

    squares = torch.cdist(asked.flatten(1).double(), rows.flatten(1).double()).square()
    exact = squares.sort(dim=1).values[:, :k].mean(dim=1) / (channels * 30)
    assert found.shape == (7, 6, 5)
    assert torch.allclose(found.mean(dim=(1, 2)).double(), exact, rtol=1e-4, atol=0)


def test_a_picture_that_is_remembered_scores_nothing_and_is_its_own_neighbour() -> None:
    rows = torch.rand(30, 1, 8, 8)
    evidence = learnt(rows, Settings(rows=0))(rows)

    assert float(evidence.maps["difference"].max()) < 1e-12
    assert torch.allclose(evidence.images["reconstruction"], rows, atol=1e-6)


def test_the_map_shows_where_a_picture_differs_from_its_neighbour() -> None:
    rows = torch.rand(30, 3, 8, 8)
    asked = rows[4:5].clone()
    asked[:, :, 2, 5] = 1 - asked[:, :, 2, 5].round()
    found = learnt(rows, Settings(rows=0))(asked).maps["difference"][0]

    assert int(found.argmax()) == 2 * 8 + 5
    assert int((found > 1e-6).sum()) == 1


@pytest.mark.parametrize(("rows", "remembered"), [(0, 50), (12, 12), (2000, 50)])
def test_no_more_pictures_are_remembered_than_asked_for(rows: int, remembered: int) -> None:
    assert learnt(torch.rand(50, 1, 6, 6), Settings(rows=rows)).get_buffer("bank").shape == (remembered, 36)


def test_a_core_set_leaves_out_what_is_there_twice() -> None:
    different = torch.rand(10, 1, 6, 6)
    bank = learnt(different.repeat(5, 1, 1, 1), Settings(rows=10)).get_buffer("bank")

    assert float(torch.pdist(bank).min()) > 0.1


def test_more_than_a_file_should_hold_is_refused_with_what_it_may() -> None:
    with pytest.raises(ConfigError, match=r"150 pictures of 1000000 numbers would take 600 MB .* --rows 125"):
        learnt(torch.zeros(1, 1, 1000, 1000).expand(150, -1, -1, -1), Settings(rows=0))


def test_more_neighbours_than_pictures_are_refused() -> None:
    with pytest.raises(DataError, match="--k: expected at most 4, the number of stored good pictures, got 5"):
        learnt(torch.rand(4, 1, 6, 6), Settings(k=5))


@pytest.mark.parametrize(
    ("found", "size", "seen"),
    [((28, 28), None, (28, 28)), ((20, 64), None, (20, 64)), ((65, 20), None, (64, 64)), (None, None, (64, 64)),
     ((28, 28), 32, (32, 32))],
)  # fmt: skip
def test_small_pictures_stay_as_they_are_and_large_ones_become_64_px(
    found: tuple[int, int] | None, size: int | None, seen: tuple[int, int]
) -> None:
    frames = FoundFrames(channels=3, frame_size=found, largest=found or (900, 900))

    assert RECIPE.wanted_input(Settings(size=size), frames) == FrameSpec(channels=3, size=seen)


@pytest.mark.slow
@pytest.mark.data
def test_zeros_are_told_from_other_digits_of_mnist(
    andon_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Train on 420 of the zeros. With all 5 923 of them the AUROC was .993."""
    monkeypatch.setenv("ANDON_CACHE", str(tmp_path / "cache"))
    text = f"mnist:normal=0,root={andon_data / 'mnist'}"
    good = collect(text)
    assert not isinstance(good, Log)
    few = Subset(good, good.refs[:600])
    run = train(RECIPE, few, tmp_path / "run", settings=Settings(rows=0), threads=1)
    exported = export_run(run, tmp_path / "zero.onnx", request=CalibrationRequest(date="2026-01-02"), data=few)
    tested, truth = labelled_for(text, run.spec)
    figures, _ = evaluate(Detector.load(exported.path), Subset(tested, tested.refs[:1000]), truth, intervals=False)

    assert figures.n_good == 85
    assert figures.auroc is not None
    assert 0.975 < figures.auroc < 0.999
    assert np.isfinite(figures.threshold)
