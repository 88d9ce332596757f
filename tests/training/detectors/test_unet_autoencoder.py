"""Tests that are specific to the U-Net autoencoder."""

from pathlib import Path

import pytest
import torch
from tests.training.flat import train

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.foundation.errors import DataError
from andon.foundation.settings import from_mapping
from andon.runtime import Detector
from andon.runtime.items import Item, Ref
from andon.runtime.schema import FrameSpec
from andon.sources.collection import FoundFrames
from andon.training.contract.synthetic_data import SyntheticFrames, synthetic_log
from andon.training.detectors.unet_autoencoder import RECIPE, Settings, UNet
from andon.training.runs.export_run import export_run


def test_at_three_channels_it_has_the_published_1_93_million_parameters() -> None:
    assert sum(parameter.numel() for parameter in UNet(3).parameters()) == 1_928_483


def test_it_gives_maps_and_what_it_rebuilt_of_the_size_of_what_it_saw() -> None:
    spec = RECIPE.wanted_input(Settings(narrow=8), Grey(1).found)
    with torch.no_grad():
        evidence = RECIPE.build(Settings(narrow=8), spec).eval()(torch.rand(2, 1, 128, 128))

    assert {name: tuple(values.shape) for name, values in evidence.maps.items()} == {
        "l1": (2, 128, 128),
        "ssim": (2, 128, 128),
    }
    assert evidence.images["reconstruction"].shape == (2, 1, 128, 128)


class Grey(SyntheticFrames):
    """The same frames in one channel."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.found = FoundFrames(channels=1, frame_size=(40, 56), largest=(40, 56))

    def read(self, ref: Ref) -> Item:
        item = super().read(ref)
        assert isinstance(item, Item)
        return Item(ref, item.data[:, :, :1].copy())


@pytest.mark.slow
def test_grey_frames_are_judged_by_ssim_in_the_file(tmp_path: Path) -> None:
    settings = Settings(size=32, narrow=8, epochs=2, evidence="ssim", pool="mean")
    run = train(RECIPE, Grey(60), tmp_path / "run", settings=settings)
    export_run(
        run,
        tmp_path / "grey.onnx",
        request=CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-01-02"),
        data=Grey(60),
    )
    detector = Detector.load(tmp_path / "grey.onnx")

    verdict = detector(Grey(60).read(Ref(key="000.png")).data)
    assert verdict.score == pytest.approx(float(verdict.evidence["anomaly_map"].mean()), rel=1e-4)
    assert set(detector.card.outputs) == {"anomaly_map", "score_l1", "reconstruction"}


@pytest.mark.slow
def test_it_learns_to_rebuild(tmp_path: Path) -> None:
    settings = Settings(size=32, narrow=4, epochs=6, batch_size=2, learning_rate=3e-3)
    history = train(RECIPE, SyntheticFrames(40), tmp_path / "run", settings=settings).record.history

    assert history[-1]["validation"] < 0.5 * history[0]["validation"]


def test_a_size_that_three_halvings_do_not_divide_is_refused() -> None:
    with pytest.raises(Exception, match=r"multiple of 8|size"):
        from_mapping(Settings, {"size": 100})


def test_windows_are_refused() -> None:
    with pytest.raises(DataError, match="judges frames"):
        RECIPE.wanted_input(RECIPE.tiny, synthetic_log(10).found)


def test_grey_data_make_a_grey_network() -> None:
    spec = RECIPE.wanted_input(Settings(size=64), Grey(1).found)

    assert spec == FrameSpec(channels=1, size=(64, 64))
