"""Masks in a comparison: their pixels are read once for each set, reach each cell, and identify it."""

import shutil
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from tests.training.comparison.test_compare import where, write_picture

from andon.calibration.request import PromiseRequest
from andon.foundation.errors import ConfigError, DataError
from andon.runtime.schema import FrameSpec, Mask
from andon.training.comparison.cell_job import CellJob, JobConditions, run_job
from andon.training.comparison.compare import compare
from andon.training.comparison.plan import Cell, Plan, cells, parse_data, parse_detector
from andon.training.comparison.results import RUN_FOLDER, reserve_folder
from andon.training.comparison.set_masks import with_pixels_read
from andon.training.contract.synthetic_data import synthetic_frame
from andon.training.runs.record import read_record

SIZE = (40, 56)
DETECTOR = "pixel_knn --size 16"


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a data set and a mask in the working folder. A printed mark in the upper left corner differs from part to part."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for folder, count, first in (("train/good", 20, 0), ("test/good", 4, 100), ("test/stain", 4, 200)):
        for number in range(count):
            frame = synthetic_frame(first + number, SIZE)
            frame[:12, :20] = random.integers(0, 256, (12, 20, 3))
            if folder == "test/stain":
                frame[20:36, 20:40] = 250
            write_picture(tmp_path / f"parts/{folder}/{number:03}.png", frame)
    write_mask(20)
    return tmp_path / "parts"


def write_mask(right: int) -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[:12, :right] = 255
    assert cv2.imwrite("date.png", mask)


def plan(*sets: str, detector: str = DETECTOR) -> Plan:
    return Plan(
        choices=(parse_detector(detector),),
        sets=tuple(parse_data(text) for text in sets),
        promise=PromiseRequest(no_promise=True),
    )


def read_cell(text: str, detector: str = DETECTOR) -> Cell:
    (cell,) = cells(with_pixels_read(plan(text, detector=detector)))
    return cell


def ignored(folder: Path) -> Mask | None:
    spec = read_record(folder / RUN_FOLDER).input
    assert isinstance(spec, FrameSpec)
    return spec.ignore


@pytest.mark.slow
def test_a_masked_and_an_unmasked_set_are_compared_and_the_table_names_the_masks(parts: Path, tmp_path: Path) -> None:
    both = plan("parts --ignore date.png --ignore 18,18,42,38 --name masked", "parts")

    compared = compare(both, tmp_path / "out", where())

    assert compared.complete
    found = {row.set: row.figures["auroc"].mean for row in compared.table.rows}
    assert found["parts"] == 1.0
    assert found["masked"] < 1.0  # the stain is ignored
    (masks,) = compared.table.masks
    share = 1 - (12 * 20 + 20 * 24) / (40 * 56)
    assert (masks.set, masks.region) == ("masked", None)
    assert masks.judged_share == pytest.approx(share)
    of_run = ignored(tmp_path / f"out/masked/{DETECTOR.replace(' --', '--').replace(' ', '-')}/seed-0")
    assert of_run is not None
    assert of_run.sha256 == masks.ignore
    assert f"masked {100 * share:.1f} % of the pixels count (ignore sha256 {masks.ignore[:12]})" in (
        tmp_path / "out/table.md"
    ).read_text(encoding="utf-8")

    again = compare(both, tmp_path / "out", where())

    assert (again.done, len(again.before)) == ((), 2)


def test_the_same_pixels_are_the_same_cell_and_other_pixels_another_one(parts: Path) -> None:
    drawn = read_cell("parts --ignore date.png").key

    assert read_cell("parts --ignore 0,0,20,12").key == drawn
    assert read_cell("parts").key.data == {key: text for key, text in drawn.data.items() if key != "ignore"}
    write_mask(21)
    assert read_cell("parts --ignore date.png").key != drawn


@pytest.mark.parametrize(
    "now", ["parts --ignore date.png", "parts --ignore 0,0,21,12", "parts --region 0,0,20,12", "parts"]
)
@pytest.mark.parametrize("detector", [DETECTOR, "pixel_knn --size 24"])
def test_a_set_with_other_masks_does_not_get_into_the_same_table(
    now: str, detector: str, parts: Path, tmp_path: Path
) -> None:
    cell = read_cell("parts --ignore date.png")
    reserve_folder(tmp_path / "out" / cell.folder, cell.key)
    write_mask(21)  # the same picture, drawn again

    with pytest.raises(ConfigError, match=r"set parts: expected the masks .*\(ignore with sha256 .*--name parts-2"):
        compare(plan(now, detector=detector), tmp_path / "out", where())


def test_a_job_carries_the_pixels_and_does_not_need_the_picture(parts: Path, tmp_path: Path) -> None:
    cell = read_cell("parts --ignore date.png")
    out = tmp_path / "out"
    reserve_folder(out / cell.folder, cell.key)
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(CellJob.of(cell)), type=CellJob)
    assert hash(sent) == hash(CellJob.of(cell))
    (tmp_path / "date.png").unlink()
    conditions = JobConditions(out=str(out), folder=str(tmp_path), where=where(), driver="mine")

    assert run_job(sent, conditions=conditions).state == "done"

    assert ignored(out / cell.folder) == cell.data.ignore


def test_good_parts_of_several_sizes_are_refused_with_the_name_of_the_set(parts: Path, tmp_path: Path) -> None:
    write_picture(parts / "train/good/900.png", synthetic_frame(0, (48, 56)))

    with pytest.raises(DataError, match="set parts: --ignore: expected frames of one size"):
        compare(plan("parts --ignore date.png"), tmp_path / "out", where())
    assert not (tmp_path / "out").exists()


def test_labelled_frames_of_another_size_are_refused_before_the_training(parts: Path, tmp_path: Path) -> None:
    shutil.rmtree(parts / "test")
    for kind in ("good", "stain"):
        write_picture(parts / f"test/{kind}/0.png", synthetic_frame(0, (48, 56)))

    with pytest.raises(
        DataError, match=r"expected labelled frames of the size of the masks, 40 x 56 .*, got 48 x 56\."
    ):
        compare(plan("parts --ignore date.png"), tmp_path / "out", where())
    assert not (tmp_path / "out").exists()
