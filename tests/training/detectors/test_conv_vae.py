"""Tests that are specific to the convolutional VAE."""

import logging
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.training.in_memory import Here, Parts

from andon.export.preprocessing import prepare
from andon.foundation.errors import ConfigError, DataError
from andon.runtime.schema import FrameSpec
from andon.sources.collection import FoundFrames
from andon.training.detectors.conv_vae import RECIPE, ConvVAE, Settings, balance, cross_entropy, fit, loss, sample

SPEC = FrameSpec(channels=1, size=(12, 12))
SETTINGS = Settings(widths=(4, 6), hidden=10, latent=3, epochs=2, epoch_parts=0, batch_size=16)


class Quietly(Here):
    """A run whose epochs leave no traces."""

    def epoch(self, scorer: torch.nn.Module, losses: object, state: object = None) -> None:
        pass


def built(**other: object) -> ConvVAE:
    torch.manual_seed(0)
    return ConvVAE(structs.replace(SETTINGS, **other), SPEC).eval()


@given(
    size=st.tuples(st.integers(9, 33), st.integers(9, 33)),
    channels=st.sampled_from([1, 3]),
    widths=st.lists(st.integers(1, 6), min_size=1, max_size=3),
)
def test_frames_of_any_size_come_back_at_their_size(size: tuple[int, int], channels: int, widths: list[int]) -> None:
    spec = FrameSpec(channels=1 if channels == 1 else 3, size=size)
    vae = ConvVAE(structs.replace(SETTINGS, widths=tuple(widths)), spec).eval()

    with torch.no_grad():
        evidence = vae(torch.rand(2, channels, *size))

    assert evidence.images["reconstruction"].shape == (2, channels, *size)
    assert evidence.maps["mse"].shape == (2, *size)


def test_normalisation_and_dropout_are_in_the_encoder_alone() -> None:
    kinds = (torch.nn.BatchNorm2d, torch.nn.Dropout2d)
    there = {name.split(".")[0] for name, module in built().named_modules() if isinstance(module, kinds)}

    assert there == {"convolutions"}


def test_in_training_the_latent_is_drawn_and_at_judging_it_is_the_mean() -> None:
    vae, frame = built(dropout=0.0), torch.rand(4, 1, 12, 12)

    assert torch.equal(vae(frame).maps["mse"], vae(frame).maps["mse"])
    assert loss(vae.train(), frame, 1.0, SETTINGS) != loss(vae, frame, 1.0, SETTINGS)


def silenced(mean: float = 0.0, log_variance: float = 0.0, logit: float = 0.0) -> ConvVAE:
    """Return a VAE that gives the same reconstruction for everything, with this posterior in each latent variable."""
    vae = built()
    for parameter in vae.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(vae.mean.bias, mean)
    torch.nn.init.constant_(vae.log_variance.bias, log_variance)
    last = vae.decoder[-1]
    assert isinstance(last, torch.nn.ConvTranspose2d)
    assert last.bias is not None
    torch.nn.init.constant_(last.bias, logit)
    return vae


@pytest.mark.parametrize(("reconstruction", "a_pixel"), [("bce", math.log(2)), ("mse", 0.25)])
def test_the_error_is_summed_over_a_frame_and_averaged_over_the_batch(reconstruction: str, a_pixel: float) -> None:
    settings = structs.replace(SETTINGS, reconstruction=reconstruction)

    assert loss(silenced(), torch.ones(5, 1, 12, 12), 1.0, settings).item() == pytest.approx(144 * a_pixel)


@pytest.mark.parametrize("warmth", [0.0, 0.5, 1.0])
def test_the_divergence_is_summed_over_the_latent_and_comes_in_with_the_warm_up(warmth: float) -> None:
    mean, variance = 2.0, 0.25
    divergence = 3 * 0.5 * (mean**2 + variance - 1 - math.log(variance))
    settings = structs.replace(SETTINGS, beta=0.1)

    got = loss(silenced(mean, math.log(variance)), torch.ones(5, 1, 12, 12), warmth, settings)

    assert got.item() == pytest.approx(144 * math.log(2) + warmth * 0.1 * divergence)


@given(logit=st.floats(-200, 200), target=st.floats(0, 1))
def test_cross_entropy_is_finite_and_that_of_the_sigmoid(logit: float, target: float) -> None:
    got = float(cross_entropy(torch.tensor(logit, dtype=torch.float64), torch.tensor(target, dtype=torch.float64)))
    likely = 1 / (1 + math.exp(-logit))

    assert math.isfinite(got)
    if abs(logit) < 12:  # beyond this, the slow way loses its precision
        assert got == pytest.approx(
            -target * math.log(likely) - (1 - target) * math.log(1 - likely), rel=1e-6, abs=1e-9
        )


def test_the_scores_are_means_over_the_frame() -> None:
    vae, frames = silenced(logit=1.0), torch.rand(3, 1, 12, 12)

    evidence = vae(frames)

    expected = torch.nn.functional.binary_cross_entropy_with_logits(torch.ones_like(frames), frames, reduction="none")
    assert torch.allclose(evidence.scores["bce"], expected.mean(dim=(1, 2, 3)))
    assert torch.allclose(evidence.maps["mse"], (frames - torch.tensor(1.0).sigmoid()).square().squeeze(1))


def test_each_convolution_halves_the_sides() -> None:
    assert [tuple(seen.shape[1:]) for seen in built().layers(torch.rand(3, 1, 12, 12))] == [(4, 6, 6), (6, 3, 3)]


@pytest.mark.parametrize(("sap_layers", "sap_share"), [(0, 0.1), (1, 0.4), (2, 1.0), (7, 0.01)])
def test_sap_is_where_the_convolutions_see_frame_and_reconstruction_most_differently(
    sap_layers: int, sap_share: float
) -> None:
    vae, frames = built(sap_layers=sap_layers, sap_share=sap_share), torch.rand(3, 1, 12, 12)
    with torch.no_grad():
        rebuilt = vae(frames).images["reconstruction"]
        seen, again = vae.layers(frames), vae.layers(rebuilt)
        error, got = (frames - rebuilt).square().mean(dim=(1, 2, 3)), vae.differences(frames)

    for row in range(3):
        slow = []
        for one, other in zip(seen, again, strict=True):
            places = sorted(((one[row] - other[row]) ** 2).mean(dim=0).flatten().tolist(), reverse=True)
            highest = places[: max(1, round(sap_share * len(places)))]
            slow.append(sum(highest) / len(highest) / float((one[row] ** 2).mean()))
        assert got[row].tolist() == pytest.approx([float(error[row]), *slow[-(sap_layers or 2) :]], rel=1e-4)


def test_a_reconstruction_without_a_fault_scores_nothing() -> None:
    vae = built()
    frames = torch.rand(2, 1, 12, 12)
    seen = [frames, *vae.layers(frames)]

    assert not vae._differences(seen, seen).any()


def test_balanced_layers_weigh_the_same_on_good_parts() -> None:
    vae, good = built(sap_layers=0), torch.rand(40, 1, 12, 12)

    balance(vae, Parts(good, good).validation, torch.device("cpu"))

    with torch.no_grad():
        shares = (vae.differences(good) / vae.get_buffer("usual")).mean(dim=0)
        assert shares.tolist() == pytest.approx([1.0, 1.0, 1.0], rel=1e-4)
        assert float(vae(good).scores["sap"].mean()) == pytest.approx(1.0, rel=1e-4)


def test_layers_are_balanced_by_the_validation_part_alone() -> None:
    vae, train, validation = built(), torch.rand(64, 1, 12, 12), torch.rand(20, 1, 12, 12)

    RECIPE.fit_and_finalize(vae, Parts(train, validation), SETTINGS, Quietly())

    with torch.no_grad():
        assert torch.allclose(vae.differences(validation).mean(dim=0), vae.get_buffer("usual"), rtol=1e-4)


def test_without_a_validation_part_the_layers_cannot_be_balanced() -> None:
    with pytest.raises(DataError, match="the validation set is empty"):
        balance(built(), Parts(torch.rand(9, 1, 12, 12), torch.rand(0, 1, 12, 12)).validation, torch.device("cpu"))


@pytest.mark.parametrize(("beta", "is_plain"), [(0.0, True), (9e-4, True), (1e-3, False), (1.0, False)])
def test_what_has_no_prior_is_called_a_plain_autoencoder_and_generates_nothing(
    beta: float, is_plain: bool, caplog: pytest.LogCaptureFixture
) -> None:
    settings, parts = structs.replace(SETTINGS, beta=beta), Parts(torch.rand(32, 1, 12, 12), torch.rand(9, 1, 12, 12))
    vae = built()
    with caplog.at_level(logging.INFO):
        fit(vae, parts, settings, Quietly())

    assert ("a plain autoencoder with noise" in caplog.text) is is_plain
    if is_plain:
        with pytest.raises(
            ConfigError, match=r"below 0.001, conv_vae is a plain autoencoder with noise.*Train with --beta 1"
        ):
            sample(vae, settings, 4, torch.Generator())
    else:
        assert sample(vae, settings, 4, torch.Generator()).shape == (4, 1, 12, 12)


def test_the_same_generator_draws_the_same_parts() -> None:
    settings, vae = structs.replace(SETTINGS, beta=1.0), built()
    one, again, other = (sample(vae, settings, 5, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))

    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert 0 <= float(one.min()) <= float(one.max()) <= 1


@pytest.mark.parametrize(
    ("found", "size", "seen"),
    [((28, 28), None, (28, 28)), ((20, 64), None, (20, 64)), ((65, 20), None, (64, 64)), (None, None, (64, 64)),
     ((28, 28), 32, (32, 32))],
)  # fmt: skip
def test_small_frames_stay_as_they_are_and_large_ones_become_64_px(
    found: tuple[int, int] | None, size: int | None, seen: tuple[int, int]
) -> None:
    frames = FoundFrames(channels=3, frame_size=found, largest=found or (900, 900))

    spec = RECIPE.wanted_input(Settings(size=size), frames)

    assert isinstance(spec, FrameSpec)
    assert (spec.channels, spec.size) == (3, seen)


def test_the_network_sees_small_frames_pixel_by_pixel() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (1, 28, 28, 1), dtype=np.uint8)
    frames = FoundFrames(channels=1, frame_size=(28, 28), largest=(28, 28))

    seen, _ = prepare(RECIPE.wanted_input(Settings(), frames))(torch.from_numpy(frame))

    assert torch.allclose(seen[0, 0] * 255, torch.from_numpy(frame[0, :, :, 0]).float(), atol=1e-3)


def test_frames_too_small_for_so_many_convolutions_are_refused_with_what_they_need() -> None:
    frames = FoundFrames(channels=1, frame_size=(16, 20), largest=(16, 20))

    with pytest.raises(ConfigError, match="needs at least 17 px, got 16 x 20"):
        RECIPE.wanted_input(Settings(widths=(4, 4, 4, 4)), frames)


@pytest.mark.parametrize("decides", ["mse", "bce", "sap"])
def test_what_decides_is_one_of_three_scores_and_the_map_stays_for_people(decides: str) -> None:
    rule = RECIPE.score_rule(structs.replace(SETTINGS, decides=decides), SPEC)

    assert (rule.map, rule.score) == (("mse", None) if decides == "mse" else (None, decides))
    assert "mse" in built()(torch.rand(1, 1, 12, 12)).maps
