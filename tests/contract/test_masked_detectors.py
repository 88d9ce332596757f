"""Every detector of frames learns and judges with an ignore mask: ignored pixels have no influence at all."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.training.flat import train

from andon.export.graph import Pipeline
from andon.export.masks import judged_pixels
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import FrameSpec
from andon.training.contract.synthetic_data import FRAME_SIZE, SyntheticFrames, synthetic_frame
from andon.training.fitting.frame_masks import Masks, with_masks
from andon.training.observers.epochs import NONE
from andon.training.recipe.recipe import detectors, recipe

IGNORED = (4, 2, 30, 16)
"""Left, top, right, bottom."""
FLAG = ",".join(map(str, IGNORED))


def with_noise(frame: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Return the frame with other pixels in the ignored area."""
    left, top, right, bottom = IGNORED
    changed = frame.copy()
    area = changed[top:bottom, left:right]
    area[:] = np.random.default_rng(seed).integers(0, 256, area.shape)
    return changed


class Printed(SyntheticFrames):
    """Good parts with noise in the ignored area, another one for each seed."""

    def __init__(self, count: int, seed: int) -> None:
        super().__init__(count)
        self._seed = seed

    def read(self, ref: Ref) -> Item | Lost:
        item = super().read(ref)
        assert isinstance(item, Item)
        return Item(ref, with_noise(np.asarray(item.data, np.uint8), self._seed + int(ref.key[:3])))


CASES = [
    pytest.param(name, variant, marks=pytest.mark.slow if variant else (), id=f"{name} {variant}")
    for name in detectors()
    if recipe(name).gives == "frame"
    for variant in ("", *recipe(name).variants)
]


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_ignored_pixels_change_neither_the_training_nor_the_verdict(name: str, variant: str, tmp_path: Path) -> None:
    known = recipe(name)
    settings = known.variants[variant] if variant else known.tiny
    runs = [
        train(
            known,
            Printed(50, seed),
            tmp_path / str(seed),
            settings=settings,
            picture_epochs=NONE,
            device="cpu",
            ignore=(FLAG,),
        )
        for seed in (0, 7000)
    ]
    pipelines = [Pipeline(run.scorer, run.spec, known.score_rule(settings, run.spec)).eval() for run in runs]
    frames = np.stack([synthetic_frame(1000 + number) for number in range(4)])
    printed = np.stack([with_noise(one, 50 + number) for number, one in enumerate(frames)])

    with torch.no_grad():
        score, *rest = pipelines[0](torch.from_numpy(frames))
        same, *others = pipelines[0](torch.from_numpy(printed))
        trained_on_other_noise = pipelines[1](torch.from_numpy(frames))[0]

    assert torch.equal(score, same)
    assert all(torch.equal(one, other) for one, other in zip(rest, others, strict=True))
    assert torch.allclose(score, trained_on_other_noise, rtol=1e-3)
    assert score.std() > 0


# that of pixel_knn is a stored good picture, which is filled already
@pytest.mark.parametrize(
    "name", [name for name in detectors() if recipe(name).gives == "frame" and name != "pixel_knn"]
)
def test_a_reconstruction_shows_ignored_pixels_as_the_network_saw_them(name: str) -> None:
    known = recipe(name)
    settings = known.tiny
    spec = known.wanted_input(settings, SyntheticFrames(2).found)
    assert isinstance(spec, FrameSpec)
    spec = with_masks(spec, Masks(ignore=(FLAG,)), SyntheticFrames(2).found, cell=known.cell(settings))
    judged = judged_pixels(spec)
    assert judged is not None
    assert isinstance(spec, FrameSpec)
    pipeline = Pipeline(known.build(settings, spec), spec, known.score_rule(settings, spec)).eval()
    prepared, _ = pipeline.prepare(torch.from_numpy(synthetic_frame(3)[None]))

    images = pipeline.scorer(prepared).images

    assert all(torch.allclose(image[:, :, ~judged], prepared[:, :, ~judged], atol=1e-6) for image in images.values())


def test_the_masks_of_a_run_are_of_its_frames(tmp_path: Path) -> None:
    run = train("pixel_knn", SyntheticFrames(50), tmp_path / "run", picture_epochs=NONE, region=("0,0,30,40",))

    assert isinstance(run.spec, FrameSpec)
    assert run.spec.region is not None
    assert run.spec.region.frame_size == FRAME_SIZE
