"""Shared code of the autoencoders: which map decides, which settings exclude each other, and training with repair."""

from pathlib import Path

import msgspec
import pytest
import torch
from tests.training.flat import train

from andon.foundation.errors import ConfigError
from andon.sources.collection import FoundFrames
from andon.training.contract.synthetic_data import SyntheticFrames
from andon.training.detectors import autoencoder, unet_autoencoder
from andon.training.fitting.reconstruction import Rebuilding, score_rule, wanted_input

FOUND = FoundFrames(channels=3, frame_size=(64, 64), largest=(64, 64))


def test_the_difference_judges_unless_repair_was_learnt() -> None:
    assert score_rule(Rebuilding()).map == "l1"
    assert score_rule(Rebuilding(repair=True)).map == "head"
    assert score_rule(Rebuilding(repair=True, evidence="ssim")).map == "ssim"


def test_smoothing_is_in_pixels_whatever_the_grid_of_the_map() -> None:
    assert score_rule(Rebuilding(smooth=6.0)).smooth == 6.0
    assert score_rule(Rebuilding(repair=True, smooth=6.0)).smooth == 3.0


def test_size_and_width_follow_repair_where_they_are_not_given() -> None:
    assert (Rebuilding().side, Rebuilding().divisor) == (128, 1)
    assert Rebuilding(repair=True).side > 128
    assert Rebuilding(repair=True).divisor > 1
    assert (Rebuilding(repair=True, size=64, narrow=3).side, Rebuilding(repair=True, size=64, narrow=3).divisor) == (
        64,
        3,
    )


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        (Rebuilding(evidence="head"), "--evidence head needs --repair"),
        (Rebuilding(head_width=8), "--head-width needs --repair"),
        (Rebuilding(symmetry="turns"), "--symmetry needs --repair"),
        (Rebuilding(light=0.1), "--light needs --repair"),
        (Rebuilding(repair=True, size=72), r"multiple of 32, at least 64, with --repair, got 72"),
        (Rebuilding(repair=True, size=32), r"at least 64, with --repair, got 32"),
        (Rebuilding(batch_size=1), "2 or more frames per step"),
        (Rebuilding(loss_l1=0.0), "one weight above 0"),
        (Rebuilding(loss_ms_ssim=1.0, size=64), "--loss-ms-ssim"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(settings: Rebuilding, refusal: str) -> None:
    with pytest.raises(ConfigError, match=refusal):
        wanted_input(settings, FOUND)


def test_beside_the_heads_map_the_differences_are_told() -> None:
    settings = unet_autoencoder.RECIPE.variants["repair"]
    scorer = unet_autoencoder.RECIPE.build(settings, wanted_input(settings, FOUND)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        evidence = scorer(torch.rand(1, 3, 64, 64))

    assert {name: values.shape[1:] for name, values in evidence.maps.items()} == {
        "head": (32, 32),
        "l1": (64, 64),
        "ssim": (64, 64),
    }


@pytest.mark.parametrize(
    "measure",
    [*(pytest.param(name, marks=pytest.mark.slow) for name in ("loss_l1", "loss_mse", "loss_ssim")), "loss_ms_ssim"],
)
def test_a_loss_keeps_its_digits_where_the_network_computes_in_half_precision(measure: str, tmp_path: Path) -> None:
    """Check that 1 - MS-SSIM is not computed in bfloat16, where it was below 0 and misled the training."""
    settings = msgspec.structs.replace(
        unet_autoencoder.Settings(size=104, narrow=16, epochs=1, loss_l1=0.0, learning_rate=1e-6), **{measure: 1.0}
    )
    losses = [
        train(
            unet_autoencoder.RECIPE,
            SyntheticFrames(20),
            tmp_path / f"{half}",
            settings=msgspec.structs.replace(settings, mixed_precision=half),
        ).record.history[0]["validation"]
        for half in (False, True)
    ]

    assert losses[1] == pytest.approx(losses[0], rel=0.03)
    assert losses[1] > 0


def test_repair_goes_by_a_cosine_and_the_plain_network_by_plateaus() -> None:
    assert Rebuilding(repair=True).by_cosine
    assert not Rebuilding().by_cosine
    assert not Rebuilding(repair=True, schedule="plateau").by_cosine


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [autoencoder.RECIPE, unet_autoencoder.RECIPE], ids=lambda recipe: recipe.name)
def test_repair_learns_to_tell_damage_that_it_never_learnt_from(recipe, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    settings = msgspec.structs.replace(
        recipe.variants["repair"], epochs=12, epoch_parts=128, narrow=4, learning_rate=3e-3
    )
    history = train(recipe, SyntheticFrames(60), tmp_path / "run", settings=settings, seed=1).record.history
    judged = [row["synthetic_pixel_ap"] for row in history if "synthetic_pixel_ap" in row]

    assert history[-1]["synthetic_auroc"] > 0.75
    assert judged[-1] > max(0.4, judged[0])  # a random score would give the share of damaged cells, a few hundredths
