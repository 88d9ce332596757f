"""A cell runs in a folder of its own and is moved into its place at once, so that a worker can die at any moment."""

import os
import shutil
import socket
from pathlib import Path

import msgspec
import pytest
from tests.training.comparison.test_compare import CONVERTER, DIVERGES, ELSEWHERE, SMALL, plan, where

from andon.engines.engine import UnfitWorkerError
from andon.training.comparison.cell_job import CellJob, JobConditions, remove_dead_parts, run_job
from andon.training.comparison.data_fingerprint import data_fingerprint
from andon.training.comparison.plan import Cell, cells, parse_data
from andon.training.comparison.results import (
    ERROR,
    EVALUATION,
    MODEL,
    RESULT,
    RUN_FOLDER,
    Failure,
    Result,
    cell_statuses,
    part_folders,
    read,
    reserve_folder,
)
from andon.training.runs.folder_lock import LOCK, lock_folder

(CELL,) = cells(plan(SMALL))
FILES = sorted(["cell.json", "cost.json", "evaluation.json", "model.onnx", "result.json", "run"])


@pytest.fixture(autouse=True)
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a comparison with one reserved cell. A job changes the working folder."""
    monkeypatch.chdir(tmp_path)
    reserve_folder(tmp_path / "out" / CELL.folder, CELL.key)
    return tmp_path / "out"


def conditions(out: Path, driver: str = "mine", **fingerprints: str) -> JobConditions:
    return JobConditions(out=str(out), folder=str(out.parent), where=where(), driver=driver, fingerprints=fingerprints)


def test_a_job_keeps_the_whole_cell_on_its_way() -> None:
    for cell in cells(plan(SMALL, "patchcore --preset fast", "whitening --steps auto --hop 2s", seeds=(0, 3))):
        sent = msgspec.msgpack.decode(msgspec.msgpack.encode(CellJob.of(cell)), type=CellJob)
        assert sent.cell().key == cell.key
        assert sent.cell().folder == cell.folder


def test_a_finished_cell_is_complete_and_nothing_else_remains(out: Path) -> None:
    place = out / CELL.folder

    assert run_job(CellJob.of(CELL), conditions=conditions(out)).state == "done"

    assert sorted(path.name for path in place.iterdir()) == FILES
    assert list(place.parent.iterdir()) == [place]
    assert run_job(CellJob.of(CELL), conditions=conditions(out)).state == "before"


@pytest.mark.slow
def test_what_a_dead_try_has_left_is_not_resumed_and_is_removed(out: Path) -> None:
    place = out / CELL.folder
    left = place.with_name("seed-0.part-other-dead")
    (left / RUN_FOLDER).mkdir(parents=True)
    (left / RUN_FOLDER / "run.json").write_text("half", encoding="utf-8")
    (place / RUN_FOLDER).mkdir()
    (place / RUN_FOLDER / "run.json").write_text("half", encoding="utf-8")

    assert run_job(CellJob.of(CELL), conditions=conditions(out)).state == "done"
    remove_dead_parts(iter([place]))

    assert part_folders(place) == []
    assert (place / RUN_FOLDER / "run.json").read_text(encoding="utf-8") != "half"


def test_a_cell_on_which_another_driver_works_is_left_to_it_and_its_folder_is_kept(out: Path) -> None:
    place = out / CELL.folder
    left = place.with_name("seed-0.part-other-1")
    with lock_folder(left):
        assert run_job(CellJob.of(CELL), conditions=conditions(out)).state == "elsewhere"
        remove_dead_parts(iter([place]))
        assert part_folders(place) == [left]
        assert [status.busy for status in cell_statuses(out)] == [True]
    with lock_folder(place):
        assert run_job(CellJob.of(CELL), conditions=conditions(out)).state == "elsewhere"


@pytest.mark.slow
def test_a_try_does_not_wait_for_the_dead_one_before_it_on_another_machine(out: Path) -> None:
    left = (out / CELL.folder).with_name("seed-0.part-mine-1")
    left.mkdir()
    # it looks alive for ten minutes, because its machine cannot be asked
    (left / LOCK).write_bytes(msgspec.json.encode(ELSEWHERE))

    assert run_job(CellJob.of(CELL), conditions=conditions(out)).state == "done"


def test_a_node_with_other_data_is_refused_with_its_name(out: Path) -> None:
    parts = out.parent / "parts"
    parts.mkdir()
    (parts / "a.png").write_bytes(b"as on the node")
    data = parse_data(f"{parts} --name parts")
    job = CellJob.of(Cell(choice=CELL.choice, data=data, seed=0, promise=CELL.promise))

    with pytest.raises(UnfitWorkerError, match=f"set parts: .* got other data on node {socket.gethostname()}"):
        run_job(job, conditions=conditions(out, parts="f" * 64))
    assert part_folders(out / CELL.folder) == []
    assert data_fingerprint(data) != "f" * 64


def test_a_node_that_does_not_see_the_folders_is_refused_with_its_name(out: Path) -> None:
    moved = msgspec.structs.replace(conditions(out), folder=str(out / "missing"))
    with pytest.raises(UnfitWorkerError, match=f"node {socket.gethostname()}: expected the working folder"):
        run_job(CellJob.of(CELL), conditions=moved)

    shutil.rmtree(out)
    with pytest.raises(UnfitWorkerError, match="expected the folder of the comparison"):
        run_job(CellJob.of(CELL), conditions=conditions(out))


@pytest.mark.slow
def test_the_data_are_found_relative_to_the_folder_of_the_driver(out: Path, tmp_path: Path) -> None:
    os.chdir("/")
    fingerprint = data_fingerprint(parse_data(CONVERTER))

    assert run_job(CellJob.of(CELL), conditions=conditions(out, converter=fingerprint)).state == "done"
    assert Path.cwd() == tmp_path


def test_a_cell_that_fails_leaves_its_error_and_no_folder(out: Path) -> None:
    (cell,) = cells(plan(DIVERGES))
    place = out / cell.folder
    reserve_folder(place, cell.key)

    outcome = run_job(CellJob.of(cell), conditions=conditions(out))

    failure = read(place / ERROR, Failure)
    assert failure is not None
    assert (outcome.state, outcome.error) == ("failed", failure.message)
    assert "training diverged" in failure.message
    assert part_folders(place) == []
    assert not any((place / name).exists() for name in (RUN_FOLDER, MODEL, EVALUATION, RESULT))
    assert read(place / RESULT, Result) is None
