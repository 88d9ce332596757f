"""Small comparisons that are really run. Interrupted, shared or failing runs give the same table in the end."""

import gc
import shutil
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from tests.training.comparison.made_up import key

from andon.calibration.request import PromiseRequest
from andon.foundation.errors import AndonError, ConfigError, DataError
from andon.training.comparison.cell import Figure, Surroundings
from andon.training.comparison.compare import Compared, Events, compare, write_table
from andon.training.comparison.plan import Plan, cells, parse_data, parse_detector
from andon.training.comparison.results import (
    CELL,
    COST,
    ERROR,
    EVALUATION,
    RESULT,
    Cost,
    Failure,
    Result,
    read,
    reserve_folder,
)
from andon.training.contract.synthetic_data import synthetic_frame
from andon.training.detectors.window_vae import WindowVAE
from andon.training.runs.folder_lock import LOCK, Owner
from andon.training.runs.record import read_record

SMALL = "window_vae --steps 16 --hop 16 --latent 2 --widths 8 --epochs 4"
DIVERGES = f"{SMALL} --learning-rate 1e30"
CONVERTER = "power_converter:runs=60,rows=16 --test power_converter:seed=7,rows=1500,faults=1 --name converter"
ELSEWHERE = Owner(host="another", space="pid:[1]", pid=1, began="7", token="t")


def plan(
    *detectors: str, seeds: tuple[int, ...] = (0,), data: str = CONVERTER, promise: PromiseRequest | None = None
) -> Plan:
    return Plan(
        choices=tuple(parse_detector(text) for text in detectors),
        sets=(parse_data(data),),
        seeds=seeds,
        promise=promise or PromiseRequest(),
    )


def where(**more: Figure) -> Surroundings:
    return Surroundings(date="2026-11-25", threads=1, device="cpu", bench_s=0.0, more=more)


class Recorder:
    """Records the events of a comparison, and can interrupt it."""

    def __init__(self, stop_at: tuple[str, int] | None = None) -> None:
        self.cells: list[str] = []
        self.steps: list[tuple[str, int]] = []
        self._stop_at = stop_at

    def events(self) -> Events:
        return Events(
            started=lambda cell, number, of: self.cells.append(f"{number}/{of} {cell.seed}"),
            done=lambda _cell, number, _of, _result: self._step("done", number),
            progress=lambda what, done, _total: self._step(what, done),
        )

    def _step(self, what: str, done: int) -> None:
        self.steps.append((what, done))
        if (what, done) == self._stop_at:
            raise KeyboardInterrupt


def stopped(out: Path, at: tuple[str, int], seeds: tuple[int, ...] = (0,)) -> None:
    with pytest.raises(KeyboardInterrupt):
        compare(plan(SMALL, seeds=seeds), out, where(), events=Recorder(at).events())
    assert not list(out.glob(f"*/*/*/{LOCK}"))


def result_of(out: Path, detector: str = SMALL, seed: int = 0) -> Result:
    (cell,) = cells(plan(detector, seeds=(seed,)))
    found = read(out / cell.folder / RESULT, Result)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Compared]:
    out = tmp_path_factory.mktemp("compare") / "out"
    return out, compare(plan(SMALL, seeds=(0, 1)), out, where())


def test_every_cell_leaves_its_figures_and_costs(finished: tuple[Path, Compared]) -> None:
    out, compared = finished
    result = result_of(out)

    assert compared.complete
    assert len(compared.done) == 2
    assert 0 <= result.figures["mean_auroc"] <= 1
    assert (result.n_train, result.n_validation, result.n_calibration) == (36, 6, 18)
    assert (result.kind, result.threads, result.cell.seed) == ("window", 1, 0)
    assert result.training.wall_s is not None
    assert result.training.cpu_s is not None
    assert result.latency_ms is None
    assert result.figures["promised"] == 0.2
    assert [
        *out.rglob("reel"),
        *out.rglob("epoch_*.png"),
    ] == []  # cells draw no pictures, so their time does not contain drawing


def test_the_table_is_made_from_the_folders(finished: tuple[Path, Compared]) -> None:
    out, compared = finished

    assert (compared.table.done, compared.table.cells) == (2, 2)
    assert (out / "table.md").read_text(encoding="utf-8").startswith("2 of 2 cells done.")
    assert (out / "table.png").read_bytes().startswith(b"\x89PNG")
    assert write_table(out) == compared.table
    (row,) = compared.table.rows
    assert row.figures["mean_auroc"].mean == pytest.approx(
        np.mean([result_of(out, seed=seed).figures["mean_auroc"] for seed in (0, 1)])
    )


@pytest.mark.slow
def test_another_share_for_calibration_is_another_cell(finished: tuple[Path, Compared], tmp_path: Path) -> None:
    halved = plan(SMALL, data=f"{CONVERTER} --calibration-share 0.5")

    compare(halved, tmp_path, where())
    result = read(tmp_path / cells(halved)[0].folder / RESULT, Result)

    assert result is not None
    assert (result.n_train, result.n_validation, result.n_calibration) == (24, 6, 30)
    with pytest.raises(ConfigError, match=r"contains another cell \(calibration_share: contains None, got 0\.5\)"):
        compare(halved, finished[0], where())


def test_what_is_done_is_not_done_again(finished: tuple[Path, Compared]) -> None:
    out, _ = finished
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*/*/*")}
    recorder = Recorder()

    again = compare(plan(SMALL, seeds=(0, 1)), out, where(), events=recorder.events())

    assert (again.done, len(again.before), recorder.cells) == ((), 2, [])
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/*/*/*")} == before


@pytest.mark.slow
def test_a_comparison_grows_by_what_is_new(finished: tuple[Path, Compared], tmp_path: Path) -> None:
    stopped(tmp_path, ("done", 1), seeds=(0, 1))
    recorder = Recorder()

    compared = compare(plan(SMALL, seeds=(0, 1)), tmp_path, where(), events=recorder.events())

    assert recorder.cells == ["2/2 1"]
    assert (len(compared.before), len(compared.done)) == (1, 1)
    assert result_of(tmp_path, seed=1).figures == result_of(finished[0], seed=1).figures


def test_a_training_that_was_interrupted_goes_on_and_ends_as_if_it_had_not_been(
    finished: tuple[Path, Compared], tmp_path: Path
) -> None:
    stopped(tmp_path, ("training", 2))
    recorder = Recorder()

    compared = compare(plan(SMALL), tmp_path, where(), events=recorder.events())

    assert compared.complete
    assert [done for what, done in recorder.steps if what == "training"] == [3, 4]
    assert result_of(tmp_path).figures == result_of(finished[0]).figures
    assert result_of(tmp_path).fingerprint == result_of(finished[0]).fingerprint
    cost = result_of(tmp_path).training
    assert cost.cpu_s is None
    assert cost.wall_s is not None
    assert cost.wall_s > sum(row["seconds"] for row in _history(tmp_path))


@pytest.mark.slow
def test_what_was_interrupted_after_training_is_not_trained_again(
    finished: tuple[Path, Compared], tmp_path: Path
) -> None:
    stopped(tmp_path, ("evaluating", 5))
    (kept,) = (read(path, Cost) for path in tmp_path.glob(f"*/*/*/{COST}"))
    recorder = Recorder()

    compare(plan(SMALL), tmp_path, where(), events=recorder.events())

    assert not [step for step in recorder.steps if step[0] == "training"]
    assert result_of(tmp_path).training == kept
    assert result_of(tmp_path).figures == result_of(finished[0]).figures


def test_a_cell_that_fails_leaves_the_others_and_is_tried_again(tmp_path: Path) -> None:
    compared = compare(plan(DIVERGES, SMALL), tmp_path, where())
    (failed,) = compared.failed

    assert not compared.complete
    assert (len(compared.done), compared.table.done, compared.table.cells) == (1, 1, 2)
    failure = read(tmp_path / failed / ERROR, Failure)
    assert failure is not None
    assert (failure.kind, failure.traceback) == ("TrainingError", "")
    assert "training diverged" in failure.message
    assert f"- {failed}: {failure.message}" in (tmp_path / "table.md").read_text(encoding="utf-8")
    again = compare(plan(DIVERGES, SMALL), tmp_path, where())
    assert (again.failed, len(again.before)) == ((failed,), 1)


@pytest.mark.slow
def test_a_bug_in_one_cell_costs_no_other_and_keeps_its_traceback(tmp_path: Path) -> None:
    def broken(_detector: object, _kept_back: object, seed: int) -> float:
        return 1.0 / seed

    compared = compare(plan(SMALL, seeds=(0, 1)), tmp_path, where(odd=broken))

    (failed,) = compared.failed
    failure = read(tmp_path / failed / ERROR, Failure)
    assert failure is not None
    assert "in broken" in failure.traceback
    assert failure.message.startswith("ZeroDivisionError: ")
    assert len(compared.done) == 1
    mended = compare(plan(SMALL, seeds=(0, 1)), tmp_path, where(odd=lambda *_: 0.5))
    assert mended.complete
    assert not (tmp_path / failed / ERROR).exists()


def test_further_figures_see_the_file_and_the_parts_that_calibration_kept_back(tmp_path: Path) -> None:
    seen = []

    def synthetic_auroc(detector: object, kept_back: object, seed: int) -> float | None:
        seen.append((detector.card.detector, len(kept_back.refs), seed))  # type: ignore[attr-defined]
        return 0.625

    compared = compare(plan(SMALL), tmp_path, where(synthetic_auroc=synthetic_auroc))

    assert seen == [("window_vae", 18, 0)]
    assert compared.table.rows[0].figures["synthetic_auroc"].mean == 0.625
    with pytest.raises(ConfigError, match=r"more: contains .*synthetic_auroc"):
        compare(plan(SMALL), tmp_path, where())


@pytest.mark.slow
def test_a_cell_that_another_process_works_on_is_left_to_it(tmp_path: Path) -> None:
    one, other = (cell.folder for cell in cells(plan(SMALL, seeds=(0, 1))))
    (tmp_path / one).mkdir(parents=True)
    (tmp_path / one / LOCK).write_bytes(msgspec.json.encode(ELSEWHERE))

    compared = compare(plan(SMALL, seeds=(0, 1)), tmp_path, where())

    assert (compared.elsewhere, compared.done, compared.complete) == ((one,), (other,), False)
    assert compared.table.busy == 1
    assert sorted(path.name for path in (tmp_path / one).iterdir()) == [CELL, LOCK]


@pytest.mark.slow
def test_a_cell_that_another_process_finishes_meanwhile_is_not_left_over(
    finished: tuple[Path, Compared], tmp_path: Path
) -> None:
    one, other = (cell.folder for cell in cells(plan(SMALL, seeds=(0, 1))))
    (tmp_path / one).mkdir(parents=True)
    (tmp_path / one / LOCK).write_bytes(msgspec.json.encode(ELSEWHERE))

    def finish(_cell: object, _number: int, _of: int) -> None:
        shutil.copy(finished[0] / one / RESULT, tmp_path / one / RESULT)

    compared = compare(plan(SMALL, seeds=(0, 1)), tmp_path, where(), events=Events(started=finish))

    assert (compared.before, compared.done, compared.elsewhere) == ((one,), (other,), ())
    assert compared.complete


@pytest.mark.slow
def test_a_cell_that_was_taken_over_gets_no_second_result(tmp_path: Path) -> None:
    def taken_over(what: str, done: int, _total: int | None) -> None:
        if (what, done) == ("evaluating", 1):
            for lock in tmp_path.glob(f"*/*/*/{LOCK}"):
                lock.write_bytes(msgspec.json.encode(ELSEWHERE))

    compared = compare(plan(SMALL), tmp_path, where(), events=Events(progress=taken_over))

    assert (len(compared.failed), compared.table.done) == (1, 0)
    assert [path.name for path in tmp_path.glob(f"*/*/*/{LOCK}")] == [LOCK]


@pytest.mark.slow
def test_shares_together_do_all(finished: tuple[Path, Compared], tmp_path: Path) -> None:
    first = compare(plan(SMALL, seeds=(0, 1)), tmp_path, where(), part=(1, 2))
    assert (first.complete, first.table.done, first.table.cells) == (True, 1, 2)

    second = compare(plan(SMALL, seeds=(0, 1)), tmp_path, where(), part=(2, 2))

    assert (second.complete, second.table.done) == (True, 2)
    assert [row.figures["mean_auroc"] for row in second.table.rows] == [
        row.figures["mean_auroc"] for row in finished[1].table.rows
    ]


@pytest.mark.slow
def test_nothing_of_a_cell_stays_in_memory(tmp_path: Path) -> None:
    before = scorers_alive()  # scorers that fixtures of other tests keep alive
    compare(plan(SMALL, DIVERGES), tmp_path, where())

    assert [thing for thing in scorers_alive() if not any(thing is other for other in before)] == []


def scorers_alive() -> list[WindowVAE]:
    return [thing for thing in gc.get_objects() if type(thing) is WindowVAE]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a tree with 48 good training frames, and for the test 16 good and 5 stained frames with masks."""
    root = tmp_path_factory.mktemp("tree") / "rings"
    mask = np.zeros((40, 56), np.uint8)
    mask[10:22, 14:30] = 255
    for number in range(48):
        write_picture(root / f"train/good/{number:03}.png", synthetic_frame(number))
    for number in range(16):
        write_picture(root / f"test/good/{number:03}.png", synthetic_frame(100 + number))
    for number in range(5):
        stained = synthetic_frame(200 + number)
        stained[mask > 0] = 250
        write_picture(root / f"test/stain/{number:03}.png", stained)
        write_picture(root / f"ground_truth/stain/{number:03}_mask.png", mask)
    return root


def write_picture(path: Path, pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


NO_PROMISE = PromiseRequest()
REFUSALS = [
    ("patchcore", CONVERTER, NO_PROMISE, "Detectors for windows: .*window_vae"),
    (SMALL, "TREE", NO_PROMISE, "Detectors for frames: .*patchcore"),
    ("patchcore", "nowhere", NO_PROMISE, "set nowhere: nowhere: does not exist"),
    ("patchcore", "TREE/test/good", NO_PROMISE, "test/TYPE"),
    ("patchcore", "TREE --truth none.csv", NO_PROMISE, "cannot be read as a CSV"),
    ("patchcore", "TREE --test TREE/train", NO_PROMISE, "good and defective parts for the evaluation, found only good"),
    ("patchcore --taps 99", "TREE", NO_PROMISE, "set rings: "),
    ("patchcore", "TREE", PromiseRequest(false_reject=0.01), "set rings: .*--false-reject"),
    ("patchcore", "TREE", PromiseRequest(false_reject=2.0), "a fraction between 0 and 1"),
    (SMALL, "power_converter", NO_PROMISE, "expected test logs that are not trained on"),
    (SMALL, "power_converter --test power_converter:seed=3,runs=5,rows=16", NO_PROMISE, "labelled as faulty"),
    (SMALL, f"{CONVERTER} --calibration-share 0.9", NO_PROMISE, "set converter: --calibration-share: expected a share"),
    (SMALL, "power_converter --test TREE", NO_PROMISE, "expected a log, got frames .* labelled logs are needed"),
    (SMALL, f"{CONVERTER} --ignore 0,0,9,9", NO_PROMISE, "set converter: --ignore: expected frames, got sensor logs"),
    (
        "patchcore",
        "TREE --ignore date.png",
        NO_PROMISE,
        "set rings: --ignore date.png: expected a black and white picture",
    ),
    ("patchcore", "TREE --region 0,0,57,9", NO_PROMISE, "set rings: --region 0,0,57,9: expected x from 0 to 56"),
    ("patchcore", "TREE --region 0,0,1,1", NO_PROMISE, "set rings: masks: expected a region of at least one cell"),
    (SMALL, f"{CONVERTER} --truth a.csv", NO_PROMISE, "a.csv: expected a table of intervals for logs"),
]


@pytest.mark.parametrize(
    ("detector", "data", "promise", "message"), REFUSALS, ids=[f"{d}: {r}" for d, r, _, _ in REFUSALS]
)
def test_a_mistake_is_told_before_anything_has_begun(
    detector: str, data: str, promise: PromiseRequest, message: str, tree: Path
) -> None:
    out, recorder = tree.parent / "never", Recorder()

    with pytest.raises(AndonError, match=message):
        compare(
            plan(detector, data=data.replace("TREE", str(tree)), promise=promise),
            out,
            where(),
            events=recorder.events(),
        )

    assert recorder.cells == []
    assert not out.exists()


def test_a_set_is_never_evaluated_on_what_it_learns_from(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected test parts that are not trained on"):
        compare(
            plan("patchcore", data=f"{tree}/test --name t", promise=PromiseRequest(no_promise=True)), tmp_path, where()
        )


def test_a_folder_of_another_cell_is_refused_before_anything_has_begun(tmp_path: Path) -> None:
    (cell,) = cells(plan(SMALL))
    reserve_folder(tmp_path / cell.folder, key(SMALL, "converter"))

    with pytest.raises(ConfigError, match="contains another cell"):
        compare(plan(SMALL), tmp_path, where())


@pytest.mark.slow
def test_frames_are_compared_with_masks_speed_and_size(tree: Path, tmp_path: Path) -> None:
    detectors = [f"unet_autoencoder --size 32 --narrow 8 --epochs {epochs}" for epochs in (1, 2)]
    small = plan(*detectors, data=str(tree))

    compared = compare(small, tmp_path, msgspec.structs.replace(where(), bench_s=0.05))

    assert compared.complete
    assert [(row.set, row.n) for row in compared.table.rows] == [("rings", 1), ("rings", 1)]
    for row in compared.table.rows:
        assert {"auroc", "aupro", "pixel_auroc", "latency_ms", "file_mb", "train_s"} <= set(row.figures)
    areas = [row.figures["auroc"].mean for row in compared.table.rows]
    assert areas == sorted(areas, reverse=True)


def _history(out: Path) -> tuple[dict[str, float], ...]:
    (run,) = out.glob("*/*/*/run")
    return read_record(run).history


@pytest.mark.slow
def test_views_of_one_part_are_evaluated_as_the_one_part_that_they_were_calibrated_as(tmp_path: Path) -> None:
    for folder, count in (("train/good", 24), ("test/good", 3), ("test/hole", 2)):
        for part in range(count):
            for view in "ab":
                path = tmp_path / f"tree/{folder}/p{part}_{view}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture = np.random.default_rng(len(folder) * 1000 + 10 * part + ord(view)).integers(90, 160, (32, 32))
                picture[8:20, 8:20] = 250 if folder == "test/hole" and view == "b" else picture[8:20, 8:20]
                cv2.imwrite(str(path), picture.astype(np.uint8))
    grouped = f"{tmp_path / 'tree'} --group (?P<part>[a-z]+/p[0-9]+)_ --name tree"

    compared = compare(
        plan("autoencoder --epochs 1 --size 16 --narrow 32", data=grouped, promise=PromiseRequest(no_promise=True)),
        tmp_path / "out",
        where(),
        events=Recorder().events(),
    )

    assert compared.complete
    (place,) = (tmp_path / "out").rglob(EVALUATION)
    figures = msgspec.json.decode(place.read_bytes())
    assert (figures["n_good"], figures["n_defect"], figures["frames"]) == (3, 2, 10)
