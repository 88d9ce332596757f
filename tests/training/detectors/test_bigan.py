"""Tests that are specific to bigan: nets for any size, its score, its samples, and the settings that it refuses."""

from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.training.flat import train
from tests.training.in_memory import Parts
from tests.training.small_bigan import SMALL, bars, built, frames, played
from torch import Generator, Tensor

from andon.calibration.request import CalibrationRequest
from andon.evaluation.frames import evaluate
from andon.foundation.errors import ConfigError
from andon.runtime import Detector
from andon.runtime.schema import FrameSpec
from andon.sources.collection import FoundFrames
from andon.sources.opening import labelled_for
from andon.sources.series.log import Log
from andon.sources.source import collect
from andon.sources.subset import Subset
from andon.training.detectors.bigan import (
    RECIPE,
    Settings,
    depth_of,
    sample,
)
from andon.training.observers.epochs import NONE
from andon.training.runs.export_run import export_run

# ---- nets


@settings(max_examples=40)
@given(
    height=st.integers(8, 70),
    width=st.integers(8, 70),
    channels=st.sampled_from([1, 3]),
    depth=st.sampled_from([None, 1, 2, 3]),
    output=st.sampled_from(["tanh", "sigmoid"]),
)
def test_pictures_of_any_size_and_channels_are_rebuilt_and_made_in_their_own_size(
    height: int, width: int, channels: Literal[1, 3], depth: int | None, output: Literal["tanh", "sigmoid"]
) -> None:
    chosen = msgspec.structs.replace(SMALL, depth=depth, output=output)
    scorer = built(chosen, frames(height, width, channels)).eval()
    with torch.no_grad():
        evidence = scorer(torch.rand(2, channels, height, width))
    made = sample(scorer, chosen, 3, Generator().manual_seed(0))

    assert evidence.images["reconstruction"].shape == (2, channels, height, width)
    assert evidence.maps["error"].shape == (2, height, width)
    assert made.shape == (3, channels, height, width)
    assert 0 <= float(made.min()) <= float(made.max()) <= 1


@pytest.mark.parametrize(
    ("side", "halvings"), [(8, 2), (16, 2), (28, 2), (32, 3), (63, 3), (64, 4), (128, 5), (512, 5)]
)
def test_the_nets_are_deeper_for_larger_pictures(side: int, halvings: int) -> None:
    assert depth_of(Settings(), frames(side, side + 3)) == halvings


def test_pictures_are_not_halved_to_nothing() -> None:
    with pytest.raises(ConfigError, match=r"--depth: expected at most 4 for pictures of 20 x 28, got 5\."):
        built(msgspec.structs.replace(SMALL, depth=5), frames(20, 28))


def test_pictures_of_another_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected pictures in 0 to 1, got \(grey level - 127\.5\) / 127\.5"):
        built(spec=msgspec.structs.replace(frames(), mean=127.5, scale=127.5))


def test_tanh_sees_pictures_in_its_own_range_and_gives_them_back_in_that_of_the_file() -> None:
    scorer = built(msgspec.structs.replace(SMALL, output="tanh"))
    picture = torch.rand(2, 1, 12, 12)

    assert float(scorer.inner(torch.zeros(1))) == -1
    assert float(scorer.inner(torch.ones(1))) == 1
    assert torch.allclose(scorer.outer(scorer.inner(picture)), picture, atol=1e-6)


def test_signals_keep_their_size_from_net_to_net_when_initialised_soundly() -> None:
    chosen = msgspec.structs.replace(SMALL, maps=16, discriminator_maps=16, features=64, latent=32, depth=3)
    sound, small = (
        built(msgspec.structs.replace(chosen, initialisation=how), frames(64, 64)).eval() for how in ("he", "normal")
    )
    picture = torch.randn(16, 1, 64, 64)
    with torch.no_grad():
        codes = [scorer.encoder(picture)[0].std() for scorer in (sound, small)]

    assert 0.3 < float(codes[0]) < 3
    assert float(codes[1]) < 0.2


# ---- the score


@given(
    weight=st.floats(0.0, 1.0),
    distance=st.sampled_from(["l1", "l2"]),
    part=st.sampled_from(["features", "cross_entropy"]),
    output=st.sampled_from(["tanh", "sigmoid"]),
    brightness=st.sampled_from([0.0, 1.0, 2.0]),
)
def test_the_score_is_the_papers_each_part_in_units_of_good_parts(
    weight: float,
    distance: Literal["l1", "l2"],
    part: Literal["features", "cross_entropy"],
    output: Literal["tanh", "sigmoid"],
    brightness: float,
) -> None:
    chosen = msgspec.structs.replace(
        SMALL,
        weight=weight,
        distance=distance,
        discriminator_score=part,
        output=output,
        blur=0.0,
        brightness=brightness,
    )
    scorer = built(chosen).eval()
    scorer.fit_usual(Parts(bars(20), bars(2)).train, torch.device("cpu"))
    picture = torch.rand(5, 1, 12, 12)
    with torch.no_grad():
        evidence = scorer(picture)
        inner = scorer.inner(picture)
        code = scorer.encoder(inner)[0]
        again = scorer.generator(code)
        (seen, logit), (seen_again, _) = scorer.discriminator(inner, code), scorer.discriminator(again, code)

    def norm(one: Tensor, other: Tensor) -> Tensor:
        flat = (one - other).flatten(1).double()
        return flat.abs().mean(dim=1) if distance == "l1" else flat.square().mean(dim=1).sqrt()

    usual = scorer.get_buffer("usual").double()
    bright = picture.flatten(1).double().square().mean(dim=1).sqrt() ** brightness
    rebuilding = norm(picture, evidence.images["reconstruction"]) / usual[0]
    rebuilding = rebuilding / (bright if distance == "l1" else bright.sqrt())
    believed = -torch.log(torch.sigmoid(logit.double()))
    judging = believed / usual[1] if part == "cross_entropy" else norm(seen, seen_again) / usual[2]
    assert torch.allclose(
        evidence.scores["anomaly"].double(), (1 - weight) * rebuilding + weight * judging, rtol=1e-4, atol=1e-6
    )
    assert torch.allclose(evidence.scores["cross_entropy"].double(), believed, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_smoothing_forgives_what_lies_a_little_aside_but_not_what_is_missing(channels: Literal[1, 3]) -> None:
    aside, missing = torch.zeros(2, 1, channels, 12, 12)
    aside[0, :, 6, 4:8], aside[0, :, 7, 4:8] = 1.0, -1.0
    missing[0, :, 6:8, 4:8] = 1.0
    plain, smooth = (
        built(msgspec.structs.replace(SMALL, blur=blur, brightness=0.0), frames(channels=channels)).eval()
        for blur in (0.0, 1.0)
    )
    errors = {}
    for name, difference in (("aside", aside), ("missing", missing)):
        for scorer in (plain, smooth):
            errors[name, scorer is smooth] = float(scorer.error(0.5 + difference, torch.tensor(0.5)).mean())

    assert errors["aside", False] == pytest.approx(errors["missing", False], rel=1e-4)
    assert errors["aside", True] < 0.4 * errors["missing", True]


def test_a_usual_good_part_scores_one() -> None:
    good = bars(50)
    scorer = built().eval()
    scorer.fit_usual(Parts(good, good).train, torch.device("cpu"))
    with torch.no_grad():
        scores = scorer(good).scores["anomaly"]

    assert float(scores.mean()) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize(("weight", "reads"), [(0.0, "map"), (0.3, "score")])
def test_without_the_discriminators_part_the_map_decides(weight: float, reads: str) -> None:
    rule = RECIPE.score_rule(msgspec.structs.replace(SMALL, weight=weight), FrameSpec(channels=1, size=(16, 16)))

    assert (rule.map, rule.score) == (("error", None) if reads == "map" else (None, "anomaly"))


# ---- samples


def test_samples_are_the_same_for_the_same_seed_and_differ_among_each_other() -> None:
    scorer = built().eval()
    first, again, other = (sample(scorer, SMALL, 300, Generator().manual_seed(seed)) for seed in (3, 3, 4))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (300, 1, 12, 12)
    assert float(torch.pdist(first[:50].flatten(1)).min()) > 0


def test_a_net_that_only_learnt_to_rebuild_makes_nothing() -> None:
    chosen = msgspec.structs.replace(SMALL, adversarial=0.0, weight=0.0)
    scorer, rows = played(chosen)

    assert "discriminator_loss" not in rows[0]
    with pytest.raises(ConfigError, match=r"--adversarial 0 .* cannot generate parts"):
        sample(scorer, chosen, 1, Generator())


# ---- settings and data


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "hinge", "smoothing": 0.1}, "--smoothing needs --loss non_saturating"),
        ({"adversarial": 0.0, "cycle": 0.0, "weight": 0.0}, "leave no loss to train with"),
        ({"adversarial": 0.0, "weight": 0.1}, "it needs --weight 0"),
        ({"size": 16, "depth": 5}, "--depth: expected at most 4"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused_before_anything_is_read(
    wrong: dict[str, Any], message: str
) -> None:
    found = FoundFrames(channels=1, frame_size=(28, 28), largest=(28, 28))
    with pytest.raises(ConfigError, match=message):
        RECIPE.wanted_input(msgspec.structs.replace(SMALL, **wrong), found)


@pytest.mark.parametrize(
    ("found", "size", "seen"),
    [((28, 28), None, (28, 28)), ((20, 64), None, (20, 64)), ((65, 20), None, (64, 64)), (None, None, (64, 64)),
     ((28, 28), 32, (32, 32))],
)  # fmt: skip
def test_small_pictures_stay_as_they_are_and_large_ones_become_64_px(
    found: tuple[int, int] | None, size: int | None, seen: tuple[int, int]
) -> None:
    there = FoundFrames(channels=3, frame_size=found, largest=found or (900, 900))

    assert RECIPE.wanted_input(Settings(size=size), there) == FrameSpec(channels=3, size=seen)


@pytest.mark.slow
@pytest.mark.data
def test_zeros_are_told_from_other_digits_of_mnist(
    andon_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Train on a quarter of the zeros, in a quarter of the time. docs/results.md has the figures for all 5 923."""
    monkeypatch.setenv("ANDON_CACHE", str(tmp_path / "cache"))
    text = f"mnist:normal=0,root={andon_data / 'mnist'}"
    good = collect(text)
    assert not isinstance(good, Log)
    few = Subset(good, good.refs[:1500])
    run = train(RECIPE, few, tmp_path / "run", settings=Settings(), threads=1, picture_epochs=NONE)
    exported = export_run(run, tmp_path / "zero.onnx", request=CalibrationRequest(date="2026-01-02"), data=few)
    tested, truth = labelled_for(text, run.spec)
    figures, _ = evaluate(Detector.load(exported.path), Subset(tested, tested.refs[:1000]), truth, intervals=False)

    assert figures.auroc is not None
    assert figures.auroc > 0.9
    assert np.isfinite(figures.threshold)
