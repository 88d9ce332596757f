"""The contract itself: each check is kept by a sound detector and broken by one that has the fault it looks for."""

from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from andon.export.evidence import Evidence, Scorer
from andon.foundation.errors import AndonError
from andon.runtime.schema import FrameSpec, InputSpec, ScoreRule
from andon.sources.collection import Found
from andon.training.contract import checks
from andon.training.contract.checks import Specimen
from andon.training.recipe.recipe import FitContext, Recipe, TrainingData

Fault = Literal["none", "unseeded", "drawing", "batch", "forgetful", "upside down", "not finite", "undescribed"]


class Settings(msgspec.Struct, frozen=True):
    """Nothing to set."""


class Undescribed(msgspec.Struct, frozen=True):
    """A setting that no help could explain."""

    depth: int = 3


class MeanFrame(Scorer):
    """Difference to the mean good frame; with a fault, if wanted."""

    mean: Tensor

    def __init__(self, spec: FrameSpec, fault: Fault) -> None:
        super().__init__()
        self.fault = fault
        self.register_buffer("mean", torch.zeros(spec.channels, *spec.size), persistent=fault != "forgetful")

    def forward(self, prepared: Tensor) -> Evidence:
        error = (prepared - self.mean).abs().mean(dim=1)
        if self.fault == "drawing":
            error = error + 0.01 * torch.rand_like(error)
        if self.fault == "batch":
            error = error / error.mean()
        if self.fault == "upside down":
            error = 1 - error
        if self.fault == "not finite":
            error = error / (error * 0)
        return Evidence({"error": error}, {})


def fit(scorer: MeanFrame, good: TrainingData, _settings: object, context: FitContext) -> None:
    batches = list(good.train.batches(8))
    scorer.mean.copy_(torch.cat(batches).mean(dim=0))
    if scorer.fault == "unseeded":
        scorer.mean += 0.01 * torch.from_numpy(np.random.default_rng().random(scorer.mean.shape, np.float32))
    for done in range(3):
        context.progress("averaging", done, 3)


def specimen(fault: Fault, folder: Path) -> Specimen:
    def wanted(_settings: object, _found: Found) -> InputSpec:
        return FrameSpec(channels=3, size=(16, 16))

    def build(_settings: object, spec: InputSpec) -> MeanFrame:
        assert isinstance(spec, FrameSpec)
        return MeanFrame(spec, fault)

    settings = Undescribed if fault == "undescribed" else Settings
    return Specimen(
        Recipe(
            name="mean_frame",
            summary="",
            settings=settings,
            tiny=settings(),
            gives="frame",
            input=wanted,
            build=build,
            fit=fit,
            score_rule=lambda _settings, _spec: ScoreRule(map="error"),
        ),
        folder,
    )


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Specimen:
    return specimen("none", tmp_path_factory.mktemp("sound"))


@pytest.mark.parametrize("check", [pytest.param(check, id=check.__name__) for check in checks.CHECKS])
def test_a_sound_detector_without_epochs_keeps_the_contract(check, sound) -> None:  # type: ignore[no-untyped-def]
    check(sound)


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("undescribed", checks.its_settings_are_described_and_tiny_is_one_of_them),
        ("unseeded", checks.the_same_seed_gives_the_same_scores),
        ("unseeded", checks.an_interrupted_run_resumes_to_the_same_weights),
        ("drawing", checks.judging_twice_gives_the_same_scores),
        ("forgetful", checks.a_run_that_was_stored_scores_as_the_one_that_was_trained),
        ("upside down", checks.a_damaged_part_scores_above_a_good_one),
        ("batch", checks.a_part_alone_scores_as_in_a_batch),
        ("drawing", checks.the_file_scores_as_the_module),
        ("not finite", checks.evidence_is_finite_and_of_its_declared_shape),
    ],
)
def test_a_faulty_detector_breaks_the_contract(fault: Fault, check, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises((AssertionError, AndonError, TypeError)):
        check(specimen(fault, tmp_path))


def test_every_check_says_in_its_name_and_docstring_what_it_wants() -> None:
    assert len({check.__name__ for check in checks.CHECKS}) == len(checks.CHECKS)
    assert all(check.__doc__ for check in checks.CHECKS)
