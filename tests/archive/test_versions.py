"""Pictures that are replaced by others of equal size: between plan and run, and between a stopped run and the next one."""

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.archive.conftest import write_picture
from tests.archive.one_process import OneProcess
from tests.runtime.hand_made import frame

from andon.archive.results import open_results
from andon.archive.score import Archive, open_archive, score_archive
from andon.foundation.errors import ConfigError

OLD_NS = 1_700_000_000_000_000_000
KINDS = ["folder", "list", "table"]


def rewrite(path: Path, level: int) -> None:
    """Replace a picture by one of equal size."""
    size = path.stat().st_size
    write_picture(path, frame(1, level=level))
    assert path.stat().st_size == size


@pytest.fixture(params=KINDS)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return an input of four pictures without compression: their folder, a list, or a table with their paths."""
    folder = tmp_path / "in"
    paths = [folder / f"{number}.bmp" for number in range(4)]
    for number, path in enumerate(paths):
        write_picture(path, frame(number))
        os.utime(path, ns=(OLD_NS, OLD_NS))
    if request.param == "list":
        (tmp_path / "list.txt").write_text("\n".join(map(str, paths)))
        return tmp_path / "list.txt"
    if request.param == "table":
        pq.write_table(
            pa.table({"item_id": [path.name for path in paths], "uri": list(map(str, paths))}), tmp_path / "t.pq"
        )
        return tmp_path / "t.pq"
    return folder


def opened(model: Path, address: Path, out: Path) -> Archive:
    return open_archive(model, str(address), out, block_rows=2)


def statuses(out: Path) -> list[str]:
    found: list[str] = open_results(out).table(["status"])["status"].to_pylist()
    return found


def test_a_picture_replaced_between_plan_and_run_fails_its_block(
    frame_model: Path, address: Path, tmp_path: Path
) -> None:
    archive = opened(frame_model, address, tmp_path / "out")
    rewrite(tmp_path / "in/3.bmp", level=220)

    outcome = score_archive(archive, OneProcess())

    (failed,) = outcome.failed
    assert "as they were when" in failed.error or "as it was when" in failed.error
    assert "--new-plan" in failed.error
    assert (outcome.judged, outcome.complete) == (1, False)


def test_a_picture_replaced_between_two_runs_is_another_plan_and_only_its_block_is_judged_again(
    frame_model: Path, address: Path, tmp_path: Path
) -> None:
    score_archive(opened(frame_model, address, tmp_path / "out"), OneProcess())
    rewrite(tmp_path / "in/3.bmp", level=220)

    with pytest.raises(ConfigError, match="expected a folder of the same plan"):
        score_archive(opened(frame_model, address, tmp_path / "out"), OneProcess())
    outcome = score_archive(opened(frame_model, address, tmp_path / "out"), OneProcess(), new_plan=True)

    assert (outcome.judged, outcome.before) == (1, 1)
    assert statuses(tmp_path / "out") == ["OK", "OK", "OK", "REJECT"]


def test_a_picture_that_appears_is_another_plan(frame_model: Path, address: Path, tmp_path: Path) -> None:
    (tmp_path / "in/3.bmp").rename(tmp_path / "3.bmp")
    score_archive(opened(frame_model, address, tmp_path / "out"), OneProcess())
    (tmp_path / "3.bmp").rename(tmp_path / "in/3.bmp")

    with pytest.raises(ConfigError, match="expected a folder of the same plan"):
        score_archive(opened(frame_model, address, tmp_path / "out"), OneProcess())


def test_an_input_that_does_not_change_has_the_same_plan(frame_model: Path, address: Path, tmp_path: Path) -> None:
    plans = {opened(frame_model, address, tmp_path / "out").plan().digest for _ in range(2)}

    assert len(plans) == 1


def test_a_table_with_the_bytes_does_not_look_at_its_uris(frame_model: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "1.bmp", frame(0))
    data = (tmp_path / "1.bmp").read_bytes()
    pq.write_table(
        pa.table({"item_id": ["a"], "bytes": [data], "uri": [str(tmp_path / "1.bmp")]}), tmp_path / "t.parquet"
    )
    score_archive(opened(frame_model, tmp_path / "t.parquet", tmp_path / "out"), OneProcess())
    (tmp_path / "1.bmp").unlink()

    assert score_archive(opened(frame_model, tmp_path / "t.parquet", tmp_path / "out"), OneProcess()).before == 1


def test_a_copied_folder_is_another_plan_because_the_rows_name_its_paths(frame_model: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "in/1.bmp", frame(0))
    score_archive(opened(frame_model, tmp_path / "in", tmp_path / "out"), OneProcess())
    shutil.copytree(tmp_path / "in", tmp_path / "copy")  # keeps the times

    with pytest.raises(ConfigError, match="different: input"):
        score_archive(opened(frame_model, tmp_path / "copy", tmp_path / "out"), OneProcess())
