"""Small recommendations that are really run."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from andon.calibration.split import split
from andon.damage.kinds import HELD_OUT, damaged
from andon.foundation.errors import ConfigError
from andon.runtime.detector import Detector
from andon.runtime.items import Ref
from andon.runtime.mask_pixels import pack
from andon.runtime.schema import FrameSpec
from andon.sources.collection import FoundFrames
from andon.training.contract.synthetic_data import synthetic_frame
from andon.training.fitting.frame_masks import Masks
from andon.training.recommendation.menu import menu_for
from andon.training.recommendation.recommend import FEWEST_SEPARATE, Events, Options, keys_for_choice, recommend
from andon.training.recommendation.result import Recommendation
from andon.training.runs.record import read_record

MENU = ("pixel_knn --size 8", "pixel_knn --size 32", "pixel_knn --k 90")
"""The last one needs more good parts than there are."""
OPTIONS = Options(threads=1, device="cpu", bench_s=0.02, menu=MENU)
GOOD = 64


def write_tree(folder: Path, good: int = GOOD) -> Path:
    generator = np.random.default_rng(0)
    for number in range(good + 12):
        frame = synthetic_frame(number, (48, 48))
        place = "train/good" if number < good else "test/good" if number < good + 6 else "test/mark"
        if place == "test/mark":
            drawn = damaged(generator, HELD_OUT[number % len(HELD_OUT)], frame, frame)
            frame = 255 - frame if drawn is None else drawn.picture
        (folder / place).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / place / f"{number:03}.png"), frame)
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("recommend") / "parts")


@pytest.fixture(scope="module")
def finished(tree: Path) -> tuple[Path, Recommendation]:
    out = tree.parent / "out"
    return out, recommend(str(tree), out, budget_ms=5000.0, date="2026-11-30", options=OPTIONS)


def test_the_file_of_the_choice_is_written_with_a_promise(finished: tuple[Path, Recommendation]) -> None:
    out, found = finished
    card = Detector.load(out / "model.onnx").card

    assert found.chosen in MENU[:2]
    assert found.model == str(out / "model.onnx")
    assert card.calibration is not None
    assert card.calibration.promised
    assert found.promise == card.calibration.sentence
    assert (out / "recommendation.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "recommendation.md").read_text(encoding="utf-8").startswith(found.sentence)


def test_every_candidate_has_its_figures_and_a_failed_one_its_reason(finished: tuple[Path, Recommendation]) -> None:
    _, found = finished

    assert {row.name for row in found.rows} == set(MENU[:2])
    assert all(row.auroc is not None and row.real_auroc is not None for row in found.rows)
    assert [row.latency_ms for row in found.rows] == sorted(row.latency_ms for row in found.rows)
    assert (found.judged_good, found.real_good, found.real_defects) == (14, 6, 6)
    assert 0 < found.judged_defects <= 28
    assert [one.name for one in found.failed] == ["pixel_knn --k 90"]
    assert "--k: expected at most" in found.failed[0].why
    assert not found.complete


def test_the_parts_that_calibrate_the_file_took_no_part_in_the_choice(finished: tuple[Path, Recommendation]) -> None:
    out, found = finished
    assert found.separate
    (final,) = (out / "final").glob("*/run")
    calibration = set(read_record(final).split.calibration)

    for run in (out / "candidates").glob("*/run"):
        used = read_record(run).split
        assert calibration.isdisjoint([*used.train, *used.validation, *used.calibration])


@pytest.mark.slow
def test_the_same_call_again_trains_no_candidate(
    finished: tuple[Path, Recommendation], tree: Path, tmp_path: Path
) -> None:
    out, before = shutil.copytree(finished[0], tmp_path / "out"), finished[1]
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("candidates/*size*/run/*") if path.is_file()}

    again = recommend(str(tree), out, budget_ms=5000.0, date="2026-11-30", options=OPTIONS)

    assert {path: path.stat().st_mtime_ns for path in out.glob("candidates/*size*/run/*") if path.is_file()} == stamps
    assert {row.name: row.auroc for row in again.rows} == {row.name: row.auroc for row in before.rows}


@pytest.mark.slow
def test_a_budget_that_nothing_keeps_writes_no_file(
    finished: tuple[Path, Recommendation], tree: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished[0] / "candidates", tmp_path / "candidates")

    found = recommend(str(tree), tmp_path, budget_ms=1e-6, date="2026-11-30", options=OPTIONS)

    assert (found.chosen, found.model, found.rival) == (None, None, None)
    assert found.sentence.startswith("Nothing to ship: no candidate keeps 1e-06 ms.")
    assert not (tmp_path / "model.onnx").exists()
    assert (tmp_path / "recommendation.md").exists()


@pytest.mark.slow
def test_an_interrupted_call_goes_on(finished: tuple[Path, Recommendation], tree: Path, tmp_path: Path) -> None:
    def interrupt(name: str, number: int, of: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recommend(
            str(tree), tmp_path, budget_ms=1e-6, date="2026-11-30", options=OPTIONS, events=Events(started=interrupt)
        )
    model = next((tmp_path / "candidates").glob("*/model.onnx"))
    stamp = model.stat().st_mtime_ns

    found = recommend(str(tree), tmp_path, budget_ms=1e-6, date="2026-11-30", options=OPTIONS)

    assert model.stat().st_mtime_ns == stamp
    assert {row.name: row.auroc for row in found.rows} == {row.name: row.auroc for row in finished[1].rows}


def test_other_good_parts_need_another_folder(finished: tuple[Path, Recommendation], tmp_path: Path) -> None:
    other = write_tree(tmp_path / "parts", GOOD + 1)

    with pytest.raises(ConfigError, match=r"got others \(different: parts\). Give another --out"):
        recommend(str(other), finished[0], budget_ms=5000.0, date="2026-11-30", options=OPTIONS)


def test_sensor_logs_are_refused_with_the_command_to_use() -> None:
    with pytest.raises(ConfigError, match=r"expected pictures, got sensor logs.*andon compare --detectors whitening"):
        recommend("power_converter:runs=4,rows=64", "unused", budget_ms=30.0, date="2026-11-30")


@settings(max_examples=30)
@given(st.integers(17, 200), st.integers(0, 5))
def test_parts_for_the_choice_are_those_that_do_not_calibrate_unless_there_are_few(count: int, seed: int) -> None:
    refs = [Ref(key=f"{number}.png") for number in range(count)]
    keys = keys_for_choice(refs, seed=seed)

    if count < FEWEST_SEPARATE:
        assert len(keys) == count
    else:
        assert set(keys).isdisjoint(split(refs, seed=seed).calibration)
        assert len(keys) >= 42


def test_masks_hold_for_all_candidates_and_for_the_file_of_the_choice(tree: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, menu=MENU[:2], ignore=("0,0,16,16",))

    recommend(str(tree), tmp_path / "out", budget_ms=5000.0, date="2026-11-30", options=options)

    files = [*(tmp_path / "out/candidates").glob("*/model.onnx"), tmp_path / "out/model.onnx"]
    specs = [Detector.load(path).card.input for path in files]
    assert len(specs) == 3
    assert all(isinstance(spec, FrameSpec) and spec.ignore is not None for spec in specs)
    with pytest.raises(ConfigError, match="results for the same parts and settings"):
        recommend(
            str(tree),
            tmp_path / "out",
            budget_ms=5000.0,
            date="2026-11-30",
            options=replace(options, ignore=("0,0,20,16",)),
        )


def test_tiles_that_a_mask_leaves_out_take_no_time_of_the_budget() -> None:
    size = (1080, 1920)
    found = FoundFrames(channels=3, frame_size=size, largest=size)
    marked = np.zeros(size, np.bool_)
    marked[:864] = True

    assert menu_for(found, 300)[-1] == "patchcore --tile 2x3"
    assert menu_for(found, 300, Masks(ignore=pack(marked)))[-1] == "patchcore --tile auto"


@pytest.mark.slow
def test_a_candidate_with_tiles_is_judged_with_the_masks(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    for number in range(GOOD):
        cv2.imwrite(str(tmp_path / f"parts/{number:03}.png"), synthetic_frame(number, (100, 130)))
    tiled = "patchcore --preset fast --size 64 --tile auto --taps 4 --memory-mb 0.02 --candidates 600"
    options = replace(OPTIONS, menu=(MENU[0], tiled), ignore=("0,0,70,70",))

    found = recommend(str(tmp_path / "parts"), tmp_path / "out", budget_ms=5000.0, date="2026-11-30", options=options)

    assert [row.name for row in found.failed] == []
    assert {row.name for row in found.rows} == {MENU[0], tiled}
    specs = [Detector.load(path).card.input for path in (tmp_path / "out/candidates").glob("*/model.onnx")]
    both = [spec for spec in specs if isinstance(spec, FrameSpec) and spec.tiles is not None]
    assert len(both) == 1
    assert both[0].ignore is not None
    assert both[0].tiles is not None
    assert both[0].tiles.left_out > 0
