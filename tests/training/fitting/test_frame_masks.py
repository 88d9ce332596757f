"""Masks are given to frames of one size only, and a mask that leaves nothing to judge is refused before the training."""

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from tests.training.flat import train

from andon.foundation.errors import ConfigError, DataError
from andon.runtime.mask_pixels import judged_pixels
from andon.runtime.schema import Channel, FrameSpec, Tiles, WindowSpec
from andon.sources.collection import FoundFrames, FoundLogs
from andon.training.contract.synthetic_data import FRAME_SIZE, SyntheticFrames
from andon.training.fitting.frame_masks import NO_MASKS, Masks, with_masks
from andon.training.observers.epochs import NONE

SPEC = FrameSpec(channels=3, size=(32, 32))
FOUND = FoundFrames(channels=3, frame_size=(40, 56), largest=(40, 56))
WINDOWS = WindowSpec(steps=4, hop=1, period_s=1.0, channels=(Channel(name="x"),))


def test_region_and_ignore_mask_are_recorded_in_the_spec() -> None:
    spec = with_masks(SPEC, Masks(ignore=("0,0,10,10",), region=("0,0,28,40",)), FOUND, cell=8)

    judged = judged_pixels(spec)
    assert judged is not None
    assert judged.sum() == 28 * 40 - 100


def test_without_masks_a_spec_is_as_it_was() -> None:
    assert with_masks(SPEC, NO_MASKS, FOUND, cell=8) is SPEC


def test_a_recorded_mask_is_used_again_without_its_file() -> None:
    first = with_masks(SPEC, Masks(ignore=("0,0,10,10",)), FOUND, cell=8)
    assert isinstance(first, FrameSpec)
    assert first.ignore is not None

    assert with_masks(SPEC, Masks(ignore=first.ignore), FOUND, cell=8) == first


def test_frames_of_several_sizes_cannot_have_a_mask() -> None:
    found = FoundFrames(channels=3, frame_size=None, largest=(60, 80), sizes=(((60, 80), 5), ((50, 80), 3)))

    with pytest.raises(DataError, match=r"--region: expected frames of one size.*got 60x80, 50x80.*--frame-size"):
        with_masks(SPEC, Masks(region=("0,0,10,10",)), found, cell=8)


def test_windows_of_logs_cannot_have_a_mask() -> None:
    found = FoundLogs(channels=WINDOWS.channels, period_s=1.0, runs=1, rows=100)

    with pytest.raises(ConfigError, match=r"--ignore and --region: expected frames, got sensor logs"):
        with_masks(WINDOWS, Masks(ignore=("0,0,10,10",), region=("0,0,10,10",)), found, cell=1)


def test_a_recorded_mask_of_another_size_is_refused() -> None:
    first = with_masks(SPEC, Masks(ignore=("0,0,10,10",)), FOUND, cell=8)
    assert isinstance(first, FrameSpec)
    assert first.ignore is not None
    other = FoundFrames(channels=3, frame_size=(56, 40), largest=(56, 40))

    with pytest.raises(DataError, match=r"--ignore: expected a mask of the frame's size, 56 x 40"):
        with_masks(SPEC, Masks(ignore=first.ignore), other, cell=8)


@pytest.mark.parametrize("region", ["20,20,21,21", "20,20,24,24"])
def test_a_region_that_leaves_no_cell_is_refused_before_training(region: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="masks: expected"):
        train("patchcore", SyntheticFrames(50), tmp_path / "run", picture_epochs=NONE, region=(region,))

    assert not (tmp_path / "run").exists()


def test_a_run_keeps_its_mask_when_the_picture_of_the_mask_is_gone(tmp_path: Path) -> None:
    from andon.sources.opencv import opencv
    from andon.training.runs.run_folder import load

    picture = np.zeros(FRAME_SIZE, np.uint8)
    picture[:10, :20] = 255
    path = tmp_path / "mask.png"
    assert opencv().imwrite(str(path), picture)
    run = train("pixel_knn", SyntheticFrames(50), tmp_path / "run", picture_epochs=NONE, ignore=(str(path),))
    path.unlink()

    again = load(tmp_path / "run")

    assert again.spec == run.spec
    judged = judged_pixels(again.spec)
    assert judged is not None
    assert (judged == (picture == 0)).all()


def test_with_tiles_a_region_may_be_smaller_than_a_cell_of_the_reduced_frame() -> None:
    tiled = replace(SPEC, tiles=Tiles(rows=4, columns=6, overlap=0, chunk=2))
    small = Masks(region=("4,4,10,10",))

    spec = with_masks(tiled, small, FOUND, cell=8)

    assert isinstance(spec, FrameSpec)
    assert spec.tiles == tiled.tiles
    with pytest.raises(DataError, match="at least one cell of the map, 4 x 4 cells"):
        with_masks(SPEC, small, FOUND, cell=8)
