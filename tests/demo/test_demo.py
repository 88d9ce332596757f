"""The whole demo: its files and its reports."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from andon.cli import EXIT_USER, main
from andon.demo.demo import REPORT, Events, FaultRow, Size, Summary, demo
from andon.evaluation.figures.chance import within_promise
from andon.monitor.records import Record
from andon.runtime import Detector, Status, TrainingError

SMALL = Size(runs=1100, stream_rows=12_000, faults=3)


class Told:
    """All reports of a demo."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.faults: list[FaultRow] = []
        self.false_rejects: list[float] = []

    def events(self) -> Events:
        return Events(
            stage=self.stages.append,
            fault=self.faults.append,
            false_reject=lambda time_s, _level: self.false_rejects.append(time_s),
        )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary, Told]:
    folder, told = tmp_path_factory.mktemp("demo") / "new", Told()
    return folder, demo(folder, seed=0, date="2026-11-22", size=SMALL, events=told.events()), told


pytestmark = pytest.mark.slow


def test_the_summary_holds_what_was_asked_of_it(finished: tuple[Path, Summary, Told]) -> None:
    folder, summary, _ = finished

    kept = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert kept == json.loads(msgspec.json.encode(summary))
    wanted = {"faults_injected", "faults_caught", "good_windows", "false_rejects", "promise", "seconds", "seed"}
    assert wanted <= set(kept)
    assert kept["promise"] == {"alpha": 0.01, "confidence": 0.95, "n": 330}
    assert kept["seed"] == 0
    assert kept["seconds"] > 0


def test_all_faults_are_caught_and_the_promise_is_kept(finished: tuple[Path, Summary, Told]) -> None:
    _, summary, _ = finished

    assert summary.faults_caught == summary.faults_injected == 3
    assert summary.within_promise is True
    assert summary.false_rejects <= summary.false_rejects_allowed
    assert within_promise(summary.false_rejects_allowed, summary.good_windows, 0.01)
    assert not within_promise(summary.false_rejects_allowed + 1, summary.good_windows, 0.01)
    assert summary.dummy_caught < 1.5


def test_every_fault_is_told_once_with_its_delay(finished: tuple[Path, Summary, Told]) -> None:
    _, summary, told = finished

    assert [row.number for row in told.faults] == [1, 2, 3]
    assert all(row.caught and row.delay_s is not None and row.delay_s >= 0 for row in told.faults)
    assert all(row.highest_level > 1 for row in told.faults)
    assert len(told.false_rejects) == summary.false_rejects
    assert told.stages[0].startswith("simulating 1100 independent runs")


def test_the_verdicts_are_whole_lines_of_the_file_that_judged(finished: tuple[Path, Summary, Told]) -> None:
    folder, summary, _ = finished

    text = (folder / "verdicts.jsonl").read_bytes()
    assert text.endswith(b"\n")
    records = [msgspec.json.decode(line, type=Record) for line in text.splitlines()]
    assert (
        {record.model for record in records}
        == {summary.model}
        == {Detector.load(folder / "model.onnx").model.short_digest}
    )
    assert [record.seq for record in records] == list(range(records[0].seq, records[0].seq + len(records)))
    assert sum(record.status == Status.REJECT.name for record in records) >= summary.faults_caught


def test_the_report_is_a_page_that_agrees_with_the_summary(finished: tuple[Path, Summary, Told]) -> None:
    folder, summary, _ = finished

    page = (folder / REPORT / "index.html").read_text(encoding="utf-8")
    assert f"{summary.faults_caught} of {summary.faults_injected} faults were caught" in page
    assert "simulated hours of the power converter" in page
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]{1,40})', page))


def test_a_folder_that_holds_a_demo_is_refused_and_left_as_it_is(
    finished: tuple[Path, Summary, Told], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = finished[0]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    assert main(["demo", "--out", str(folder)]) == EXIT_USER

    assert f"{folder}: expected a folder without a demo, found run" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize("left", ["run", "model.onnx", "verdicts.jsonl", "summary.json"])
def test_remains_of_a_demo_are_never_written_into(left: str, tmp_path: Path) -> None:
    (tmp_path / left).write_text("", encoding="utf-8")

    with pytest.raises(TrainingError, match=left):
        demo(tmp_path, seed=0, date="2026-11-22")
