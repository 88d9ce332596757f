"""New parts from a run, and the items of its memory."""

import msgspec
import numpy as np
import pytest
import torch
from tests.training.flat import train

from andon.foundation.errors import ConfigError, TrainingError
from andon.training.contract.synthetic_data import SyntheticFrames
from andon.training.detectors.memory_vae import TINY
from andon.training.observers.epochs import NONE
from andon.training.recipe.recipe import detectors, recipe
from andon.training.runs.run_folder import LoadedRun
from andon.training.sampling.sample import BATCH, held, sample


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    folder = tmp_path_factory.mktemp("sampling") / "run"
    settings = msgspec.structs.replace(TINY, epochs=6)
    return train("memory_vae", SyntheticFrames(40), folder, settings=settings, device="cpu", picture_epochs=NONE)


def test_parts_are_pictures_of_the_size_that_the_network_sees(run: LoadedRun) -> None:
    parts = sample(run, 5)

    assert parts.shape == (5, 24, 24, 3)
    assert parts.dtype == np.uint8


def generating() -> list[tuple[str, str]]:
    able = [name for name in detectors() if recipe(name).sample is not None]
    return [(name, variant) for name in able for variant in ("", *recipe(name).variants)]


@pytest.mark.parametrize(("name", "variant"), generating())
def test_parts_are_drawn_where_the_network_is_whatever_device_that_is(name: str, variant: str) -> None:
    """Check sampling on the network's device, as in a training on a GPU that samples at each kept epoch.

    The device without memory (meta) stands for the GPU.
    """
    known = recipe(name)
    settings = known.variants[variant] if variant else known.tiny
    assert known.sample is not None
    scorer = known.build(settings, known.wanted_input(settings, SyntheticFrames(2).found)).eval().to("meta")
    try:
        parts = known.sample(scorer, settings, 4, torch.Generator().manual_seed(0))
    except ConfigError:
        return  # meaningless with these settings, on any device

    assert parts.device.type == "meta"
    assert parts.shape[:2] == (4, 3)


def test_a_stored_run_draws_what_the_trained_one_draws(run: LoadedRun) -> None:
    assert np.array_equal(sample(run, 3, seed=4), sample(run.path, 3, seed=4))


def test_the_seed_says_which_parts_and_the_count_only_how_many(run: LoadedRun) -> None:
    few, many = sample(run, 3, seed=1), sample(run, BATCH + 2, seed=1)

    assert np.array_equal(few, many[:3])
    assert not np.array_equal(few, sample(run, 3, seed=2))
    assert not np.array_equal(many[:2], many[BATCH:])


def test_drawing_leaves_the_generators_of_others_alone(run: LoadedRun) -> None:
    torch.manual_seed(9)
    before = torch.get_rng_state()

    sample(run, 2)

    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("count", [0, 100_001])
def test_a_count_out_of_bounds_is_refused(run: LoadedRun, count: int) -> None:
    with pytest.raises(ConfigError, match="expected 1 to 100000, got"):
        sample(run, count)


def test_a_detector_that_generates_nothing_names_those_that_do(run: LoadedRun) -> None:
    silent = msgspec.structs.replace(run, recipe=recipe("pixel_knn"))

    with pytest.raises(ConfigError, match=r"pixel_knn only judges, .* Detectors that generate: .*memory_vae"):
        sample(silent, 1)
    with pytest.raises(
        ConfigError, match=r"pixel_knn has no memory of prototypes. Detectors with a memory: memory_vae"
    ):
        held(silent)


def test_a_folder_without_a_run_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(TrainingError, match="expected a run folder"):
        sample(tmp_path_factory.mktemp("empty"), 1)


def test_the_memory_is_shown_most_used_first_with_the_numbers_of_the_evidence(run: LoadedRun) -> None:
    shown = held(run)

    assert shown.pictures.shape == (12, 24, 24, 3)
    assert sorted(shown.items.tolist()) == list(range(12))
    assert shown.shares.tolist() == sorted(shown.shares.tolist(), reverse=True)
    assert shown.shares.sum() == pytest.approx(1.0, abs=1e-4)
