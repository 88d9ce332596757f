"""What is special about the U-Net autoencoder."""

from pathlib import Path

import pytest
import torch
from pytorch_msssim import ssim

from andon.calibration.calibrate import Wish
from andon.runtime import Detector
from andon.runtime.errors import DataError
from andon.runtime.schema import FrameSpec
from andon.runtime.settings import from_mapping
from andon.sources.items import FoundFrames, Item, Ref
from andon.training.detectors.unet_autoencoder import RECIPE, Dissimilarity, Settings, UNetAutoencoder
from andon.training.export_run import export_run
from andon.training.synthetic import SyntheticFrames, synthetic_log
from andon.training.train import train


def test_at_three_channels_it_has_the_published_1_93_million_parameters() -> None:
    assert sum(parameter.numel() for parameter in UNetAutoencoder(3).parameters()) == 1_928_483


def test_it_gives_two_maps_of_the_size_of_what_it_saw() -> None:
    evidence = UNetAutoencoder(3).eval()(torch.rand(2, 3, 128, 128))

    assert {name: tuple(values.shape) for name, values in evidence.maps.items()} == {
        "l1": (2, 128, 128),
        "ssim": (2, 128, 128),
    }


def test_ssim_agrees_with_an_independent_one_away_from_the_border() -> None:
    one = torch.rand(2, 3, 48, 64)
    other = (one + 0.2 * torch.randn_like(one)).clamp(0, 1)

    mine = 1 - Dissimilarity(3)(one, other)[:, :, 5:-5, 5:-5].mean(dim=(1, 2, 3))

    assert torch.allclose(mine, ssim(one, other, data_range=1.0, size_average=False), atol=1e-5)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_frames_that_look_the_same_are_not_dissimilar(level: float) -> None:
    frame = torch.full((1, 1, 32, 32), level)

    assert Dissimilarity(1)(frame, frame.clone()).abs().max() == 0


def test_the_border_draws_no_frame_into_a_map() -> None:
    one = torch.rand(1, 1, 64, 64)
    apart = Dissimilarity(1)(one, (one + 0.1 * torch.randn_like(one)).clamp(0, 1))
    border = torch.cat([apart[..., :3].flatten(), apart[..., -3:].flatten()])

    assert border.mean() == pytest.approx(float(apart[..., 10:-10, 10:-10].mean()), rel=0.5)


def test_small_differences_keep_their_digits() -> None:
    """The textbook's form gives 1 - SSIM to some 1e-4 on bright flat frames, by cancellation; a hundredth of what it shows."""
    one = 0.9 + 0.01 * torch.rand(1, 1, 32, 32)
    other = one + 0.001 * torch.randn_like(one)
    in_double = Dissimilarity(1).double()(one.double(), other.double())

    assert torch.allclose(Dissimilarity(1)(one, other).double(), in_double, rtol=1e-3, atol=1e-6)


def test_a_defect_shows_where_it_is() -> None:
    one = torch.full((1, 3, 64, 64), 0.5)
    other = one.clone()
    other[:, :, 20:28, 40:48] = 0.9
    where = Dissimilarity(3)(one, other).mean(dim=1)[0]

    assert where[24, 44] > 0.1
    assert where[50, 10] == 0


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
    export_run(run, tmp_path / "grey.onnx", wish=Wish(no_promise=True), date="2026-01-02", data=Grey(60))
    detector = Detector.load(tmp_path / "grey.onnx")

    verdict = detector(Grey(60).read(Ref(key="000.png")).data)
    assert verdict.score == pytest.approx(float(verdict.evidence["anomaly_map"].mean()), rel=1e-4)
    assert set(detector.card.outputs) == {"anomaly_map", "score_l1"}


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
