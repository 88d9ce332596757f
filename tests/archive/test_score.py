"""An archive: each item has one row, equal to a plain loop, also after interruptions."""

import hashlib
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace
from tests.archive.conftest import write_picture
from tests.archive.one_process import OneProcess
from tests.runtime.hand_made import FRAME, frame, model_bytes

from andon.archive.block import Job, Task
from andon.archive.judging import Receipt, score_block, write_or_find
from andon.archive.results import PLAN, block_path, identity_of, open_results
from andon.archive.score import Archive, Outcome, open_archive, score_archive
from andon.engines.engine import UnfitWorkerError, open_engine
from andon.foundation.errors import ConfigError, DataError, DeviceError
from andon.runtime.detector import Detector
from andon.runtime.judge import judge_items
from andon.runtime.model_file.format import Tail, parse, seal
from andon.sources.opening import open_for


def scored(model: Path, address: Path | str, out: Path, **options: Any) -> Outcome:
    return score_archive(open_archive(model, str(address), out, **options), OneProcess())


def rows(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = open_results(out).table().to_pylist()
    return found


def test_the_rows_are_those_of_a_plain_loop(frame_model: Path, pictures: Path, tmp_path: Path) -> None:
    outcome = scored(frame_model, pictures, tmp_path / "out", block_rows=7)

    detector = Detector.load(frame_model)
    items = open_for(str(pictures), detector.card.input)
    loop = list(judge_items(detector, map(items.read, items.refs)))
    got = rows(tmp_path / "out")
    assert outcome.complete
    assert [row["item_id"] for row in got] == [one.ref.key for one in loop]
    assert [row["status"] for row in got] == [one.verdict.status.name for one in loop]
    for row, one in zip(got, loop, strict=True):
        for name in ("score", "level", "p_value", "threshold"):
            wanted = np.float32(getattr(one.verdict, name))
            assert (row[name] is None and np.isnan(wanted)) or np.float32(row[name]) == wanted
    assert (outcome.counts.rows, outcome.counts.rejects, outcome.counts.invalid) == (31, 10, 1)


def test_a_damaged_picture_is_a_row_with_its_reason(frame_model: Path, pictures: Path, tmp_path: Path) -> None:
    scored(frame_model, pictures, tmp_path / "out")

    (broken,) = (row for row in rows(tmp_path / "out") if row["item_id"] == "bright/broken.png")
    assert (broken["status"], broken["reason"], broken["score"]) == ("INVALID", "unreadable", None)
    assert "broken.png" in broken["detail"]
    assert broken["uri"] == str(pictures / "bright/broken.png")
    assert broken["label"] == "bright"


def test_two_processes_write_the_same_rows_as_one(frame_model: Path, pictures: Path, tmp_path: Path) -> None:
    scored(frame_model, pictures, tmp_path / "one", block_rows=4)
    with open_engine("local", workers=2) as engine:
        score_archive(open_archive(frame_model, str(pictures), tmp_path / "two", block_rows=4), engine)

    assert (tmp_path / "one/_manifest.json").read_bytes() == (tmp_path / "two/_manifest.json").read_bytes()
    assert open_results(tmp_path / "one").table().equals(open_results(tmp_path / "two").table())


def test_all_kinds_of_input_give_the_same_scores(frame_model: Path, pictures: Path, tmp_path: Path) -> None:
    files = sorted(pictures.rglob("*.png"))
    names = [path.relative_to(pictures).as_posix() for path in files]
    (tmp_path / "list.txt").write_text("\n".join(map(str, files)))
    facts = {"label": ["good"] * 31, "lot": ["A"] * 31, "captured_at": [datetime(2026, 11, 1, tzinfo=UTC)] * 31}
    data = pa.table({"item_id": names, "bytes": [path.read_bytes() for path in files], **facts})
    pq.write_table(data, tmp_path / "bytes.parquet", row_group_size=9)
    pq.write_table(pa.table({"item_id": names, "uri": [str(path) for path in files]}), tmp_path / "uri.parquet")

    scores = {}
    for address in (pictures, tmp_path / "list.txt", tmp_path / "bytes.parquet", tmp_path / "uri.parquet"):
        out = tmp_path / f"out-{address.stem}"
        scored(frame_model, address, out, block_rows=8)
        scores[address.name] = {
            (row["item_id"].removeprefix(f"{pictures}/"), row["status"], row["score"]) for row in rows(out)
        }

    assert len({frozenset(one) for one in scores.values()}) == 1
    first = rows(tmp_path / "out-bytes")[0]
    assert (first["label"], first["lot"], first["uri"]) == ("good", "A", None)
    assert first["captured_at"] == datetime(2026, 11, 1, tzinfo=UTC)
    assert rows(tmp_path / "out-uri")[0]["uri"] == str(files[0])


def test_the_same_command_again_judges_nothing(frame_model: Path, pictures: Path, tmp_path: Path) -> None:
    first = scored(frame_model, pictures, tmp_path / "out", block_rows=7)
    manifest = (tmp_path / "out/_manifest.json").read_bytes()
    again = scored(frame_model, pictures, tmp_path / "out", block_rows=7)

    assert (first.judged, first.before, again.judged, again.before) == (5, 0, 0, 5)
    assert (tmp_path / "out/_manifest.json").read_bytes() == manifest


def test_a_limit_leaves_blocks_open_and_the_next_run_continues(
    frame_model: Path, pictures: Path, tmp_path: Path
) -> None:
    archive = open_archive(frame_model, str(pictures), tmp_path / "out", block_rows=7)

    first = score_archive(archive, OneProcess(), limit_blocks=2)
    assert (first.judged, first.open, first.complete) == (2, 3, False)
    assert not open_results(tmp_path / "out").manifest.complete
    assert len(rows(tmp_path / "out")) == 14

    second = score_archive(archive, OneProcess(), limit_blocks=2)
    third = score_archive(archive, OneProcess())
    assert (second.judged, third.judged, third.complete) == (2, 1, True)
    assert len(rows(tmp_path / "out")) == 31


def test_a_damaged_block_is_judged_again(frame_model: Path, pictures: Path, tmp_path: Path) -> None:
    scored(frame_model, pictures, tmp_path / "out", block_rows=7)
    broken = next((tmp_path / "out/blocks").iterdir())
    broken.write_bytes(broken.read_bytes()[:100])

    assert scored(frame_model, pictures, tmp_path / "out", block_rows=7).judged == 1
    assert len(rows(tmp_path / "out")) == 31


def test_another_plan_is_refused_and_new_plan_keeps_the_blocks_of_both(
    frame_model: Path, pictures: Path, tmp_path: Path
) -> None:
    scored(frame_model, pictures, tmp_path / "out", block_rows=7)
    other = open_archive(frame_model, str(pictures), tmp_path / "out", block_rows=31)

    with pytest.raises(ConfigError, match=r"expected a folder of the same plan.*--block-rows.*--new-plan"):
        score_archive(other, OneProcess())
    score_archive(other, OneProcess(), new_plan=True)

    assert len(rows(tmp_path / "out")) == 31
    assert len(list((tmp_path / "out/blocks").glob("*.parquet"))) == 6
    back = open_archive(frame_model, str(pictures), tmp_path / "out", block_rows=7)
    assert score_archive(back, OneProcess(), new_plan=True).judged == 0


def test_another_model_file_gives_other_keys(frame_model: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(model_bytes(FRAME, threshold=0.3))

    keys = {task.key for task in open_archive(frame_model, str(pictures), tmp_path, block_rows=7).tasks()}
    others = {task.key for task in open_archive(tmp_path / "other.onnx", str(pictures), tmp_path, block_rows=7).tasks()}

    assert len(keys) == len(others) == 5
    assert not keys & others


def test_a_folder_with_other_files_is_refused(frame_model: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()

    with pytest.raises(ConfigError, match=r"with other files\. Give another folder"):
        scored(frame_model, pictures, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_picture_that_changed_after_planning_fails_its_block(frame_model: Path, tmp_path: Path) -> None:
    for number in range(4):
        write_picture(tmp_path / f"in/{number}.png", frame(number))
    archive = open_archive(frame_model, str(tmp_path / "in"), tmp_path / "out", block_rows=2)
    (tmp_path / "in/3.png").write_bytes(b"another content")

    outcome = score_archive(archive, OneProcess())

    (failed,) = outcome.failed
    assert "3.png: expected the file as it was when the blocks were planned" in failed.error
    assert failed.items == "2.png to 3.png"
    assert not outcome.complete
    manifest = open_results(tmp_path / "out").manifest
    assert (manifest.complete, manifest.missing, len(manifest.blocks)) == (False, (failed,), 1)


def fail_at_two(job: Job, task: Task) -> Receipt:
    return Receipt(key=task.key, error="a broken cable") if task.number == 2 else score_block(job, task)


def test_a_failed_block_is_reported_and_tried_again_by_the_next_run(
    frame_model: Path, pictures: Path, tmp_path: Path
) -> None:
    archive = open_archive(frame_model, str(pictures), tmp_path / "out", block_rows=7)

    first = score_archive(archive, OneProcess(), judge=fail_at_two)
    assert [(failed.error, first.judged) for failed in first.failed] == [("a broken cable", 4)]
    second = score_archive(archive, OneProcess())

    assert (second.judged, second.before, second.complete) == (1, 4, True)
    assert open_results(tmp_path / "out").manifest.complete


def test_a_run_without_any_fit_worker_stops_early(frame_model: Path, pictures: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(frame_model.read_bytes())
    archive = open_archive(model, str(pictures), tmp_path / "out", block_rows=2)
    model.write_bytes(
        model_bytes(FRAME, threshold=0.3)
    )  # another file at the same path, as on a node without the update

    outcome = score_archive(archive, OneProcess())

    assert outcome.stopped == "no worker"
    assert (len(outcome.failed), outcome.open) == (2, 14)
    assert "expected the model file with the sha256" in outcome.failed[0].error
    assert not (tmp_path / "out/_manifest.json").exists()


@pytest.fixture
def wrong_golden(tmp_path: Path) -> Path:
    """Return a model file whose golden sample has another score than the graph."""
    model = parse(model_bytes(FRAME, threshold=0.25))
    assert model.golden is not None
    data = seal(
        model.data,
        card=model.card,
        golden=replace(model.golden, score=model.golden.score + 1),
        log=model.log,
        tail=Tail(threshold=model.threshold, review=model.review, x=model.tail_x, p=model.tail_p),
    )
    (tmp_path / "wrong.onnx").write_bytes(data)
    return tmp_path / "wrong.onnx"


def test_the_golden_sample_decides_before_anything_is_judged(
    wrong_golden: Path, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(DeviceError, match="golden sample"):
        open_archive(wrong_golden, str(pictures), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_worker_that_does_not_reproduce_the_golden_sample_refuses_work(
    frame_model: Path, pictures: Path, wrong_golden: Path, tmp_path: Path
) -> None:
    archive = open_archive(frame_model, str(pictures), tmp_path / "out")
    data = wrong_golden.read_bytes()
    job = replace(archive.job, model=str(wrong_golden), model_sha256=hashlib.sha256(data).hexdigest())

    with pytest.raises(UnfitWorkerError, match="golden sample: expected the score"):
        score_block(job, next(archive.tasks()))
    assert not (tmp_path / "out").exists()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_stops_the_run_and_the_next_one_is_whole(frame_model: Path, pictures: Path, tmp_path: Path) -> None:
    archive = open_archive(frame_model, str(pictures), tmp_path / "out", block_rows=7)
    with largest_file(2000):
        outcome = score_archive(archive, OneProcess())

    assert outcome.stopped == "disk full"
    assert (len(outcome.failed), outcome.judged) == (1, 0)
    assert list((tmp_path / "out/blocks").glob("*")) == []

    assert score_archive(archive, OneProcess()).complete
    assert len(rows(tmp_path / "out")) == 31


def test_what_killed_workers_left_is_removed_at_the_end(frame_model: Path, pictures: Path, tmp_path: Path) -> None:
    archive = open_archive(frame_model, str(pictures), tmp_path / "out", block_rows=7)
    score_archive(archive, OneProcess(), limit_blocks=1)
    (tmp_path / "out/blocks/.0123456789abcdef.tmp").write_bytes(b"half of a bl")

    score_archive(archive, OneProcess())

    assert all(path.suffix == ".parquet" for path in (tmp_path / "out/blocks").iterdir())


def test_heat_maps_are_written_for_rejects_only(frame_model: Path, pictures: Path, tmp_path: Path) -> None:
    scored(frame_model, pictures, tmp_path / "out", maps="rejects")

    got = rows(tmp_path / "out")
    assert {row["status"] for row in got if row["map"]} == {"REJECT"}
    assert all(row["map"].startswith(b"\x89PNG") for row in got if row["status"] == "REJECT")


def test_heat_maps_need_a_model_file_that_has_them(window_model: Path, log: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--maps: expected a model file with a heat map"):
        open_archive(window_model, str(log), tmp_path / "out", maps="all")


@pytest.mark.parametrize("stretches", [3, 7, 50])
def test_a_log_has_the_same_scores_at_any_cut(window_model: Path, log: Path, tmp_path: Path, stretches: int) -> None:
    whole = score_archive(open_archive(window_model, str(log), tmp_path / "whole", stretches=1), OneProcess())
    parts = score_archive(open_archive(window_model, str(log), tmp_path / "cut", stretches=stretches), OneProcess())

    columns = [name for name in open_results(tmp_path / "whole").table().column_names if name != "block"]
    one, other = (open_results(tmp_path / name).table(columns).to_pylist() for name in ("whole", "cut"))
    assert (whole.judged, parts.judged) == (1, stretches)
    assert one == other
    # the log has windows of all kinds: judged, rejected, and lost in a gap
    assert {row["status"] for row in one} == {"OK", "REJECT", "INVALID"}
    assert one[0]["captured_at"] == datetime(2026, 11, 1, 0, 0, 1, 500000, tzinfo=UTC)


def test_an_item_that_is_twice_in_a_block_fails_it(frame_model: Path, pictures: Path, tmp_path: Path) -> None:
    data = (pictures / "good/0.png").read_bytes()
    pq.write_table(pa.table({"item_id": ["a", "b", "a"], "bytes": [data] * 3}), tmp_path / "in.parquet")

    (failed,) = scored(frame_model, tmp_path / "in.parquet", tmp_path / "out").failed

    assert "expected each item_id once, got 'a' twice" in failed.error


def test_a_row_without_a_picture_is_lost(frame_model: Path, tmp_path: Path) -> None:
    table = pa.table({"item_id": ["a", "b"], "bytes": pa.array([None, None], pa.binary()), "uri": [None, "absent.png"]})
    pq.write_table(table, tmp_path / "in.parquet")

    scored(frame_model, tmp_path / "in.parquet", tmp_path / "out")

    got = rows(tmp_path / "out")
    assert [(row["status"], row["reason"]) for row in got] == [("INVALID", "lost")] * 2
    assert got[1]["uri"] == str(tmp_path / "absent.png")


def test_a_row_with_an_address_of_another_place_fails_its_block(frame_model: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"item_id": ["a"], "uri": ["s3://bucket/a.png"]}), tmp_path / "in.parquet")

    (failed,) = scored(frame_model, tmp_path / "in.parquet", tmp_path / "out").failed

    assert "s3://bucket/a.png: expected files where the input is (a disk)" in failed.error


def test_a_uri_may_be_a_file_url(frame_model: Path, pictures: Path, tmp_path: Path) -> None:
    uris = [(pictures / "good/0.png").as_uri()]
    pq.write_table(pa.table({"item_id": ["a"], "uri": uris}), tmp_path / "in.parquet")

    assert scored(frame_model, tmp_path / "in.parquet", tmp_path / "out").counts.invalid == 0
    assert rows(tmp_path / "out")[0]["uri"] == str(pictures / "good/0.png")


def test_numbers_as_item_id_and_times_without_a_zone_are_read(
    frame_model: Path, pictures: Path, tmp_path: Path
) -> None:
    data = (pictures / "good/0.png").read_bytes()
    times = pa.array([datetime(2026, 1, 2, 3, 4, 5)], pa.timestamp("ms"))  # noqa: DTZ001 - without a zone on purpose
    pq.write_table(pa.table({"item_id": [7], "bytes": [data], "captured_at": times}), tmp_path / "in.parquet")

    scored(frame_model, tmp_path / "in.parquet", tmp_path / "out")

    (row,) = rows(tmp_path / "out")
    assert (row["item_id"], row["captured_at"]) == ("7", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


@pytest.mark.parametrize("address", ["gs://bucket/results", "s3://bucket/*", "file:///results"])
def test_results_need_a_disk_or_a_prefix_in_s3(frame_model: Path, pictures: Path, address: str) -> None:
    with pytest.raises(ConfigError, match="expected a folder or an address such as s3://bucket/results"):
        open_archive(frame_model, str(pictures), address)


def receipt_only(job: Job, task: Task) -> Receipt:
    """Judge nothing, and fail so that nothing is kept but the plan."""
    return Receipt(key=task.key, error="dry")


def test_the_plan_is_written_first(frame_model: Path, pictures: Path, tmp_path: Path) -> None:
    archive = open_archive(frame_model, str(pictures), tmp_path / "out", block_rows=31)

    score_archive(archive, OneProcess(), judge=receipt_only)

    assert [path.name for path in (tmp_path / "out").iterdir()] == [PLAN]
    assert not any(block_path(tmp_path / "out", task.key).exists() for task in archive.tasks())


def test_the_order_of_tasks_is_the_same_every_time(frame_model: Path, pictures: Path, tmp_path: Path) -> None:
    archive: Archive = open_archive(frame_model, str(pictures), tmp_path / "out", block_rows=3)

    assert list(archive.tasks()) == list(archive.tasks())
    assert archive.plan() == archive.plan()


@pytest.mark.parametrize("listed", [True, False], ids=["in a list", "in a table"])
@pytest.mark.parametrize("name", ["folder", "pipe", "loop", "good.png/below", "a" * 300, "nul\0byte", "/dev/zero"])
def test_a_path_that_is_no_regular_file_is_one_invalid_row(
    frame_model: Path, tmp_path: Path, name: str, listed: bool
) -> None:
    write_picture(tmp_path / "good.png", frame(1))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    if listed:
        (tmp_path / "in.txt").write_text(f"good.png\n{name}\n")
    else:
        pq.write_table(pa.table({"item_id": ["1", "2"], "uri": ["good.png", name]}), tmp_path / "in.parquet")

    outcome = scored(frame_model, next(tmp_path.glob("in.*")), tmp_path / "out")

    assert outcome.complete
    assert [row["status"] for row in rows(tmp_path / "out")] == ["OK", "INVALID"]


@pytest.mark.parametrize(
    ("column", "values", "problem"),
    [
        ("captured_at", pa.array([1_764_500_000]), "expected timestamp[us, tz=UTC], got int64"),
        ("captured_at", pa.array([2**62], pa.timestamp("us", tz="UTC")), "date value out of range"),
        ("label", pa.array([{"name": "good"}]), "expected string, got struct<name: string>"),
        ("lot", pa.array([b"\xff\xfe"]).view(pa.string()), "expected string, got string: 'utf-8' codec"),
        ("bytes", pa.array([[137, 80]]), "expected binary, got list<element: int64>"),
    ],
)
def test_a_column_of_another_type_fails_its_block_with_its_name(
    frame_model: Path, tmp_path: Path, column: str, values: Any, problem: str
) -> None:
    columns = {"item_id": ["a"], "bytes": [b"x"]} | {column: values}
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")

    (failed,) = scored(frame_model, tmp_path / "in.parquet", tmp_path / "out").failed

    assert f"in.parquet: the column {column}: " in failed.error
    assert problem in failed.error


def test_names_of_logs_that_are_not_utf_8_are_stored_with_escapes(
    window_model: Path, log: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / os.fsdecode(b"pump-\xff.csv")).write_bytes(log.read_bytes())

    assert scored(window_model, tmp_path / "in", tmp_path / "out").complete
    assert all(row["item_id"].startswith("pump-\\xff.csv#") for row in rows(tmp_path / "out"))


def test_results_inside_of_a_folder_of_tables_are_refused_because_they_would_become_input(
    frame_model: Path, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"item_id": ["a"], "bytes": [b"x"]}), tmp_path / "in.parquet")

    with pytest.raises(ConfigError, match=r"--out: expected a folder outside of the input, got .*Give another folder"):
        open_archive(frame_model, str(tmp_path), tmp_path / "out")


def test_results_inside_of_a_folder_of_pictures_are_not_taken_for_input(frame_model: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.png", frame(1))

    first = scored(frame_model, tmp_path / "in", tmp_path / "in/out")
    again = scored(frame_model, tmp_path / "in", tmp_path / "in/out")

    assert (first.judged, again.judged, again.before) == (1, 0, 1)


def test_a_block_that_another_run_wrote_meanwhile_is_not_missing(
    frame_model: Path, pictures: Path, tmp_path: Path
) -> None:
    scored(frame_model, pictures, tmp_path / "out")
    (path,) = (tmp_path / "out/blocks").iterdir()
    identity = identity_of(Detector.load(frame_model))

    with largest_file(100):  # stands for the temporary file that the other run removed
        entry, found = write_or_find(tmp_path / "out", path.stem, [], identity)
        with pytest.raises(ConfigError, match="cannot be written"):
            write_or_find(tmp_path / "out", "0123", [], identity)

    assert (entry.key, entry.counts.rows, found) == (path.stem, 31, True)


def test_an_empty_text_in_the_input_is_no_value(frame_model: Path, tmp_path: Path) -> None:
    names = ("line", "part_id", "lot", "label")
    pq.write_table(
        pa.table({"item_id": ["a"], "bytes": [b"x"]} | {name: [""] for name in names}), tmp_path / "in.parquet"
    )

    scored(frame_model, tmp_path / "in.parquet", tmp_path / "out")

    # otherwise all rows would be one part in an audit
    assert [rows(tmp_path / "out")[0][name] for name in names] == [None] * 4


def test_a_run_that_was_killed_while_it_wrote_the_plan_does_not_block_the_folder(
    frame_model: Path, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.0123456789abcdef.tmp").write_bytes(b"half of a pl")

    assert scored(frame_model, pictures, tmp_path / "out").complete


@pytest.mark.parametrize("new_plan", [False, True])
def test_a_plan_that_is_a_link_to_nowhere_is_refused_at_once(
    frame_model: Path, pictures: Path, tmp_path: Path, new_plan: bool
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/_plan.json").symlink_to("absent/plan.json")

    with pytest.raises(
        DataError, match=r"_plan\.json: expected the plan of earlier results, got a link to a file that"
    ):
        score_archive(open_archive(frame_model, str(pictures), tmp_path / "out"), OneProcess(), new_plan=new_plan)


def test_the_path_of_the_results_need_not_be_utf_8(frame_model: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"r\xe9sultats")

    assert scored(frame_model, pictures, out, block_rows=20).complete
    assert len(rows(out)) == 31
    assert scored(frame_model, pictures, out, block_rows=20).before == 2
