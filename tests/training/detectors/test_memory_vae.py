"""Tests that are specific to the memory VAE: its memory, its switches, its samples."""

import logging
from itertools import product
from typing import Literal

import pytest
import torch
from msgspec import structs
from tests.training.in_memory import Here, Parts

from andon.export.pooling import Pool
from andon.foundation.errors import ConfigError, TrainingError
from andon.runtime.schema import FrameSpec
from andon.sources.collection import FoundFrames
from andon.training.detectors.memory_vae import (
    RECIPE,
    TINY,
    MemoryVAE,
    Settings,
    loss,
    prototypes,
    sample,
)
from andon.training.nets.prototype_memory import entropy
from andon.training.nets.variational import divergence

GREY = FrameSpec(channels=1, size=(24, 24))


def built(settings: Settings = TINY, spec: FrameSpec = GREY) -> MemoryVAE:
    torch.manual_seed(0)
    return MemoryVAE(settings, spec)


def blobs(count: int, *, seed: int = 0) -> torch.Tensor:
    """Return good parts ``[n, 1, 24, 24]``: a spot that moves a little."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    at = 8 + 8 * torch.rand((count, 2, 1, 1), generator=generator)
    return torch.exp(-((rows - at[:, 0]) ** 2 + (columns - at[:, 1]) ** 2) / 18).unsqueeze(1)


class Recording(Here):
    """A run that keeps the rows of its history."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def epoch(self, scorer: torch.nn.Module, losses: object, state: object = None) -> None:
        assert isinstance(losses, dict)
        self.rows.append(losses)


SWITCHES = list(product((1, 3), (True, False), (True, False), ("image", "position")))


@pytest.mark.parametrize(("channels", "memory", "vae", "per"), SWITCHES)
def test_memory_and_variational_code_are_switches_for_grey_and_coloured_pictures(
    channels: Literal[1, 3], memory: bool, vae: bool, per: Literal["image", "position"]
) -> None:
    side = 28 if channels == 1 else 32
    settings = Settings(memory=memory, vae=vae, per=per)
    net = built(settings, FrameSpec(channels=channels, size=(side, side))).eval()

    with torch.no_grad():
        evidence = net(torch.rand(2, channels, side, side))

    assert evidence.maps["error"].shape == (2, side, side)
    assert evidence.images["reconstruction"].shape == (2, channels, side, side)
    named = ["memory"] * memory + ["divergence"] * vae
    assert list(evidence.maps) == ["error", "relative"]
    assert list(evidence.scores) == [*named, "combined"]
    assert list(evidence.tables) == ["latent", *["memory_items"] * memory]
    assert evidence.tables["latent"].shape == (2, 16)
    if memory:
        assert evidence.tables["memory_items"].shape == (2, 100 if channels == 1 else 500)
        assert evidence.tables["memory_items"].sum(dim=1).tolist() == pytest.approx([1.0, 1.0], abs=1e-4)


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (28, 28), (33, 64), (50, 31)])
@pytest.mark.parametrize("per", ["image", "position"])
def test_any_size_is_rebuilt_at_its_own(size: tuple[int, int], per: str) -> None:
    settings = structs.replace(TINY, widths=(4, 4, 4), per=per)
    net = built(settings, FrameSpec(channels=1, size=size)).eval()

    assert net.rebuild(torch.rand(2, 1, *size)).logits.shape == (2, 1, *size)


def test_pictures_up_to_64_stay_as_they_are_and_larger_ones_become_64() -> None:
    def wanted(settings: Settings, *size: int) -> tuple[int, int]:
        spec = RECIPE.wanted_input(settings, FoundFrames(channels=1, frame_size=size, largest=size))  # type: ignore[arg-type]
        assert isinstance(spec, FrameSpec)
        return spec.size

    assert wanted(Settings(), 28, 28) == (28, 28)
    assert wanted(Settings(), 40, 56) == (40, 56)
    assert wanted(Settings(), 480, 640) == (64, 64)
    assert wanted(Settings(size=48), 28, 28) == (48, 48)


def test_the_code_is_drawn_in_training_and_never_when_it_judges() -> None:
    net, batch = built(structs.replace(TINY, vae=True)), blobs(4)

    assert loss(net.train(), batch, 1.0) != loss(net, batch, 1.0)
    with torch.no_grad():
        assert torch.equal(net.eval()(batch).maps["error"], net(batch).maps["error"])


def judged(pictures: torch.Tensor, rebuilt: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the means of the maps ``[N]`` if `pictures` are reconstructed as `rebuilt`, which is 0 or 1 everywhere."""
    net = built().eval()
    fixed = net.rebuild(pictures)._replace(logits=torch.where(rebuilt > 0, 20.0, -20.0))
    net.rebuild = lambda _prepared: fixed  # type: ignore[method-assign,assignment]
    return {name: values.mean(dim=(1, 2)) for name, values in net(pictures).maps.items()}


def test_a_line_that_lies_aside_counts_less_in_the_relative_map_than_one_that_is_missing() -> None:
    lines = torch.zeros(2, 1, 24, 24)
    lines[0, :, :, 12] = lines[1, :, :, 11] = 1.0
    rebuilt = lines[1:].repeat(2, 1, 1, 1)  # in the first one the line is out of place
    rebuilt[1] = 0.0

    means = judged(lines, rebuilt)

    assert means["error"][0] == pytest.approx(2 * means["error"][1].item(), rel=1e-3)
    assert means["relative"][0] < means["relative"][1]


def test_the_relative_map_is_in_units_of_the_pictures_contrast() -> None:
    faint = torch.zeros(2, 1, 24, 24)
    faint[:, :, 8:16, 8:16] = torch.tensor([1.0, 0.5]).view(2, 1, 1, 1)

    means = judged(faint, torch.zeros(2, 1, 24, 24))

    assert means["error"][0] == pytest.approx(4 * means["error"][1].item(), rel=1e-3)
    assert means["relative"][0] == pytest.approx(2 * means["relative"][1].item(), rel=0.05)


@pytest.mark.parametrize("kind", ["mse", "bce"])
def test_the_loss_is_the_error_summed_over_a_picture_with_kl_and_entropy_as_they_come_in(kind: str) -> None:
    net = built(structs.replace(TINY, vae=True, beta=0.7, entropy_weight=0.3, loss=kind)).eval()
    batch = blobs(5)

    with torch.no_grad():
        rebuilt, cold, warm = net.rebuild(batch), loss(net, batch, 0.0), loss(net, batch, 0.5)
        picture = rebuilt.logits.sigmoid()
        each = (picture - batch) ** 2
        if kind == "bce":
            each = -(batch * picture.log() + (1 - batch) * (1 - picture).log())
        further = (
            0.7 * divergence(rebuilt.mean, rebuilt.log_variance, dim=(1, 2)).mean()
            + 0.3 * entropy(rebuilt.weights).mean()
        )

    assert cold.item() == pytest.approx(each.sum(dim=(1, 2, 3)).mean().item(), rel=1e-4)
    assert (warm - cold).item() == pytest.approx(0.5 * further.item(), rel=1e-3)


def test_a_fit_tells_how_the_memory_is_used_and_leaves_none_dead() -> None:
    settings, run = structs.replace(TINY, items=20, epochs=6), Recording()
    net = built(settings)

    RECIPE.fit_and_finalize(net, Parts(blobs(200), blobs(40, seed=1)), settings, run)

    assert all(0 < row["memory_breadth"] <= 1 and 0 < row["memory_in_use"] <= 1 for row in run.rows)
    assert run.rows[-1]["memory_in_use"] >= 0.5
    assert net.get_buffer("usage").sum().item() == pytest.approx(1.0, abs=1e-4)


def with_one_item_that_draws_all(settings: Settings) -> MemoryVAE:
    net = built(settings)
    assert net.memory is not None
    with torch.no_grad():
        net.to_code.bias.fill_(3.0)  # all codes have the same direction
        net.memory.items[0] = 1e3
    return net


def test_a_memory_that_has_collapsed_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    settings = structs.replace(
        TINY, items=50, epochs=2, similarity="dot", initial="random", reseed=False, learning_rate=1e-6
    )

    with caplog.at_level(logging.WARNING, logger="andon.training.detectors.memory_vae"):
        RECIPE.fit_and_finalize(
            with_one_item_that_draws_all(settings), Parts(blobs(60), blobs(10, seed=1)), settings, Recording()
        )

    assert "the memory has collapsed: 1 of 50 items are in use" in caplog.text


@pytest.mark.parametrize("remedy", [{"initial": "codes"}, {"reseed": True}])
def test_laying_out_items_by_the_codes_brings_a_dead_memory_back(
    remedy: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    settings = structs.replace(TINY, items=50, epochs=4, initial="random", reseed=False, learning_rate=1e-6)
    settings, run = structs.replace(settings, **remedy), Recording()

    RECIPE.fit_and_finalize(with_one_item_that_draws_all(settings), Parts(blobs(60), blobs(10, seed=1)), settings, run)

    assert run.rows[-1]["memory_in_use"] > 0.5
    assert "collapsed" not in caplog.text


def fitted(settings: Settings) -> MemoryVAE:
    net = built(settings)
    RECIPE.fit_and_finalize(net, Parts(blobs(200), blobs(40, seed=1)), settings, Recording())
    return net


@pytest.fixture(scope="module")
def with_memory() -> MemoryVAE:
    return fitted(structs.replace(TINY, epochs=12, items=30))


def test_new_parts_resemble_good_ones_and_are_none_of_them(with_memory: MemoryVAE) -> None:
    good = blobs(200)

    with torch.no_grad():
        drawn = sample(with_memory, with_memory.settings, 50, torch.Generator().manual_seed(1))
        rebuilt = with_memory(good).images["reconstruction"]

    to_good = torch.cdist(drawn.flatten(1), good.flatten(1)).square().amin(dim=1)
    of_noise = torch.cdist(good.mean(dim=0).flatten()[None], good.flatten(1)).square().mean()
    assert drawn.shape == (50, 1, 24, 24)
    assert bool(((drawn >= 0) & (drawn <= 1)).all())
    assert float(to_good.mean()) < 0.5 * float(of_noise)
    assert float(torch.cdist(drawn.flatten(1), rebuilt.flatten(1)).amin(dim=1).median()) > 1e-3
    assert float(drawn.std(dim=0).max()) > 0.05  # they differ among themselves


def test_a_variational_code_near_its_prior_is_drawn_from_it() -> None:
    settings = structs.replace(TINY, memory=False, items=None, vae=True, beta=1.0)
    net = fitted(settings)

    drawn, again, other = (sample(net, settings, 4, torch.Generator().manual_seed(seed)).detach() for seed in (1, 1, 2))

    assert torch.equal(drawn, again)
    assert not torch.equal(drawn, other)


NOTHING_TO_DRAW_FROM = [
    (Settings(memory=False), "without a memory"),
    (Settings(memory=False, vae=True, beta=0.01), "with --beta 0.01 it is nearly a plain autoencoder"),
    (Settings(memory=False, vae=True, beta=1.0, per="position"), "with --per position"),
]


@pytest.mark.parametrize(("settings", "why"), NOTHING_TO_DRAW_FROM)
def test_where_codes_follow_nothing_no_part_is_generated(settings: Settings, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        sample(built(settings), settings, 1, torch.Generator())


def test_each_item_decodes_to_a_picture_with_its_share(with_memory: MemoryVAE) -> None:
    with torch.no_grad():
        pictures, usage = prototypes(with_memory, with_memory.settings)

    assert pictures.shape == (30, 1, 24, 24)
    assert usage.shape == (30,)
    good = blobs(200).flatten(1)
    most = pictures[usage.argmax()].flatten()[None]
    assert float(torch.cdist(most, good).min()) < float(torch.cdist(torch.zeros(1, 576), good).min())


def test_an_item_of_a_position_is_shown_where_it_is_read() -> None:
    net = built(structs.replace(TINY, per="position")).eval()
    net.codes = torch.randn(20, net.positions, TINY.code)

    with torch.no_grad():
        pictures, _ = prototypes(net, net.settings)

    assert pictures.shape == (12, 1, 24, 24)
    assert len({tuple(picture.flatten().tolist()) for picture in pictures}) == 12


def test_a_run_without_a_memory_has_nothing_to_show() -> None:
    settings = Settings(memory=False)

    with pytest.raises(ConfigError, match="was trained without a memory"):
        prototypes(built(settings), settings)


IDLE = [
    (Settings(memory=False, items=50), "--items has no effect with --no-memory"),
    (Settings(memory=False, decides="memory"), "--decides memory needs a memory"),
    (Settings(latent=4), "--latent has no effect without --vae"),
    (Settings(beta=1.0), "--beta has no effect without --vae"),
    (Settings(combine="replace", code_dropout=0.2), "--code-dropout needs --combine concatenate"),
]


@pytest.mark.parametrize(("settings", "message"), IDLE)
def test_a_setting_that_would_do_nothing_is_refused(settings: Settings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RECIPE.wanted_input(settings, FoundFrames(channels=1, frame_size=(28, 28), largest=(28, 28)))


def test_a_fit_that_diverges_says_so() -> None:
    settings = structs.replace(TINY, learning_rate=1e30, epochs=2)

    with pytest.raises(TrainingError, match="training diverged"):
        fitted(settings)


@pytest.mark.parametrize("decides", ["memory", "combined"])
def test_scores_of_maps_are_pooled_alike_in_the_file_and_in_the_combination(
    decides: Literal["memory", "combined"],
) -> None:
    settings = structs.replace(TINY, pool="top", share=0.1, decides=decides)
    net, pictures = built(settings).eval(), torch.rand(3, 1, 24, 24)
    with torch.no_grad():
        outputs = Pool(RECIPE.score_rule(settings, GREY), GREY)(net(pictures))

        assert torch.allclose(outputs["score_error"], net.scores(pictures)["error"])
