"""`andon calibrate` and `andon threshold`: new thresholds for a file in use, without PyTorch."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.runtime.hand_made import FRAME, blank_bytes, frame, graph

from andon.calibration.calibrate import calibrate
from andon.calibration.request import CalibrationRequest, PromiseRequest, ShiftRequest
from andon.calibration.scoring import score
from andon.cli import main
from andon.runtime.detector import Detector
from andon.runtime.items import Item, Ref
from andon.runtime.model_file.format import parse, read
from andon.sources.collection import FoundFrames

cv2 = pytest.importorskip("cv2")


class _Parts:
    """Seeded good frames in memory."""

    def __init__(self, count: int, first: int) -> None:
        self.found = FoundFrames(channels=3, frame_size=(32, 48), largest=(32, 48))
        self.refs = [Ref(key=f"{first + number}") for number in range(count)]

    def read(self, ref: Ref) -> Item:
        return Item(ref, frame(int(ref.key)))


@pytest.fixture(autouse=True)
def lowered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return by how much the priority was lowered. The priority of the test process itself stays."""
    steps: list[int] = []
    monkeypatch.setattr(os, "nice", steps.append, raising=False)
    return steps


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a calibrated file of noise frames."""
    blank = blank_bytes(graph(FRAME), FRAME)
    path = tmp_path / "noise.onnx"
    path.write_bytes(calibrate(blank, score(blank, _Parts(80, 0)), CalibrationRequest(date="2026-01-01")))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of 80 new good pictures."""
    return pictures(tmp_path / "shift", 80)


def pictures(folder: Path, count: int, *, first: int = 1000, level: int = 128) -> Path:
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:03}.png"), frame(first + number, level=level))
    return folder


def test_a_new_file_is_written_and_the_old_one_stays(
    file: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = file.read_bytes(), tmp_path / "new.onnx"

    assert main(["calibrate", str(file), "--good", str(folder), "-o", str(new), "--reason", "monthly check"]) == 0

    printed = capsys.readouterr().out
    assert file.read_bytes() == old
    assert read(new).log[-1].reason == "monthly check"
    assert read(new).graph_sha256 == read(file).graph_sha256
    assert "old promise" in printed
    assert "plausible: " in printed
    assert f"{read(new).threshold:.9g}" in printed
    assert Detector.load(new)(frame(5000)).threshold == read(new).threshold


def test_a_calibration_gives_way_to_a_monitor(file: Path, folder: Path, tmp_path: Path, lowered: list[int]) -> None:
    main(["calibrate", str(file), "--good", str(folder), "-o", str(tmp_path / "new.onnx")])

    assert lowered == [10]


def test_the_file_itself_can_be_replaced(file: Path, folder: Path) -> None:
    before = read(file)

    assert main(["calibrate", str(file), "--good", str(folder), "-o", str(file)]) == 0

    assert len(read(file).log) == len(before.log) + 1


def test_of_a_tree_only_its_good_parts_are_used(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree, new = tmp_path / "tree", tmp_path / "new.onnx"
    (tree / "train").mkdir(parents=True)
    (tree / "test").mkdir()
    pictures(tree / "train" / "good", 80)
    pictures(tree / "test" / "dent", 40, level=250)

    assert main(["calibrate", str(file), "--good", str(tree), "-o", str(new)]) == 0
    calibration = read(new).card.calibration
    assert calibration is not None
    assert calibration.n == 80
    assert main(["calibrate", str(file), "--good", str(tree / "test"), "-o", str(new)]) == 2
    assert "expected good parts" in capsys.readouterr().err


def test_programs_read_old_and_new(
    file: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new.onnx"

    assert main(["calibrate", str(file), "--good", str(folder), "-o", str(new), "--json"]) == 0

    facts = json.loads(capsys.readouterr().out)
    assert facts["before"]["threshold"] == read(file).threshold
    assert facts["after"]["threshold"] == read(new).threshold
    assert facts["before"]["graph_sha256"] == facts["after"]["graph_sha256"]
    assert facts["move"]["implausible"] is False
    assert len(facts["highest"]) >= 5


def test_other_light_is_refused_unless_it_is_forced_with_a_reason(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brighter, new = pictures(tmp_path / "brighter", 80, level=140), tmp_path / "new.onnx"
    words = ["calibrate", str(file), "--good", str(brighter), "-o", str(new)]

    assert main(words) == 2
    assert "moved implausibly far" in capsys.readouterr().err
    assert main([*words, "--force"]) == 2
    assert "expected a --reason too" in capsys.readouterr().err
    assert not new.exists()
    assert main([*words, "--force", "--reason", "new lamp"]) == 0
    assert "implausible, accepted by --force" in capsys.readouterr().out


def test_stored_verdicts_calibrate_without_pictures(
    file: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(file), str(folder), "--json"]) == 0
    stored, new, other = tmp_path / "verdicts.jsonl", tmp_path / "new.onnx", tmp_path / "other.onnx"
    stored.write_text(capsys.readouterr().out, encoding="utf-8")

    assert main(["calibrate", str(file), "--from", str(stored), "-o", str(new)]) == 0
    assert main(["calibrate", str(file), "--good", str(folder), "-o", str(other)]) == 0

    assert read(new).threshold == read(other).threshold
    assert main(["calibrate", str(new), "--from", str(stored), "-o", str(other)]) == 2
    assert "expected verdicts of the model file" in capsys.readouterr().err


def test_stored_scores_stay_on_their_device(
    file: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = tmp_path / "verdicts.jsonl"
    assert main(["score", str(file), str(folder), "--json"]) == 0
    stored.write_text(capsys.readouterr().out, encoding="utf-8")

    words = ["calibrate", str(file), "--from", str(stored), "-o", str(tmp_path / "new.onnx")]
    assert main([*words, "--device", "cuda"]) == 2

    assert "--device: expected cpu, on which the stored scores were computed" in capsys.readouterr().err
    assert main([*words, "--device", "cpu"]) == 0


def test_known_defects_make_a_review_band(
    file: Path,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad, new = pictures(tmp_path / "dents", 14, first=3000), tmp_path / "new.onnx"
    words = ["calibrate", str(file), "--good", str(folder), "-o", str(new), "--review-defects", str(bad)]

    assert main([*words, "--missed", "0.05"]) == 2
    assert "expected at least 59 different defects, got 14" in capsys.readouterr().err
    assert main([*words, "--missed", "0.2"]) == 0

    assert "new misses   with 95 % confidence at most 20 % of defects like these 14 pass" in capsys.readouterr().out
    assert read(new).review < read(new).threshold
    # again without the defects: the band is lost, with a warning
    assert main(["calibrate", str(new), "--good", str(folder), "-o", str(new)]) == 0
    assert "To keep this, give --review-defects" in caplog.text
    assert read(new).review == read(new).threshold


def test_good_parts_among_the_defects_are_refused(
    file: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    pictures(tree / "dent", 60, first=3000)
    pictures(tree / "good", 2, first=4000)

    words = ["calibrate", str(file), "--good", str(folder), "-o", str(tmp_path / "new.onnx")]
    assert main([*words, "--review-defects", str(tree)]) == 2
    assert "expected defects only, got 2 items in a folder named good" in capsys.readouterr().err


def test_a_shift_promise_and_a_review_band_are_kept_unless_only_the_rate_is_asked_for(
    folder: Path, tmp_path: Path
) -> None:
    blank, path, new = blank_bytes(graph(FRAME), FRAME), tmp_path / "shift.onnx", tmp_path / "new.onnx"
    wish = PromiseRequest(false_reject=0.1, review=0.3, shift=ShiftRequest(parts=100, rejects=20))
    path.write_bytes(calibrate(blank, score(blank, _Parts(80, 0)), CalibrationRequest(date="2026-01-01", promise=wish)))
    words = ["calibrate", str(path), "--good", str(folder), "-o", str(new)]

    assert main(words) == 0
    assert [name for name, _ in further(new)] == ["shift", "review"]
    assert main([*words, "--review", "0.4"]) == 0
    assert "40 % of good parts do not pass" in dict(further(new))["review"]
    assert main([*words, "--rate-only"]) == 0
    assert further(new) == ()


def further(path: Path) -> tuple[tuple[str, str], ...]:
    calibration = read(path).card.calibration
    assert calibration is not None
    return calibration.further_sentences


def test_a_threshold_by_hand_is_labelled(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = tmp_path / "by-hand.onnx"

    assert main(["threshold", str(file), "--set", "0.5", "-o", str(new), "--reason", "customer A"]) == 0

    assert "no promise: a person set the threshold" in capsys.readouterr().out
    assert read(new).threshold == 0.5
    assert main(["threshold", str(file), "--set", "0.25", "-o", str(new), "--reason", "x", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["threshold"] == 0.25


def _bad(tmp_path: Path, file: Path, folder: Path) -> dict[str, list[str]]:
    """Return the words of commands that must fail, by what is wrong."""
    good, out = str(folder), str(tmp_path / "out.onnx")
    damaged, blank, text, empty = (tmp_path / name for name in ("damaged.onnx", "blank.onnx", "text.onnx", "empty"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    blank.write_bytes(blank_bytes(graph(FRAME), FRAME))
    text.write_text("no model", encoding="utf-8")
    empty.mkdir()
    few = pictures(tmp_path / "few", 5)
    small = tmp_path / "small"
    small.mkdir()
    for number in range(80):
        cv2.imwrite(str(small / f"{number}.png"), frame(number, size=(8, 8)))
    broken = tmp_path / "broken"
    broken.mkdir()
    for number in range(80):
        (broken / f"{number}.png").write_bytes(b"\x89PNG no picture")
    stored = tmp_path / "stored.jsonl"
    stored.write_text('{"item": "a", "score": 1, "model": "0123456789ab"}\n', encoding="utf-8")
    many = pictures(tmp_path / "many", 60, first=5000)
    nothing, table, log = (tmp_path / one for one in ("nothing.jsonl", "table.csv", "log.csv"))
    nothing.write_text("", encoding="utf-8")
    table.write_text("part,value\na,1\n", encoding="utf-8")
    log.write_text("time,flow\n" + "".join(f"{place},1.5\n" for place in range(100)), encoding="utf-8")
    name = str(file)
    return {
        "damaged file": [str(damaged), "--good", good, "-o", out],
        "truncated file": [_truncated(tmp_path, file), "--good", good, "-o", out],
        "blank file": [str(blank), "--good", good, "-o", out],
        "text file": [str(text), "--good", good, "-o", out],
        "missing file": [str(tmp_path / "none.onnx"), "--good", good, "-o", out],
        "folder as file": [good, "--good", good, "-o", out],
        "missing folder": [name, "--good", str(tmp_path / "none"), "-o", out],
        "empty folder": [name, "--good", str(empty), "-o", out],
        "too few parts": [name, "--good", str(few), "-o", out],
        "too small frames": [name, "--good", str(small), "-o", out],
        "unreadable pictures": [name, "--good", str(broken), "-o", out],
        "scores of another file": [name, "--from", str(stored), "-o", out],
        "missing scores": [name, "--from", str(tmp_path / "none.jsonl"), "-o", out],
        "a picture as scores": [name, "--from", str(folder / "000.png"), "-o", out],
        "stricter promise than the parts support": [name, "--good", good, "-o", out, "--false-reject", "0.001"],
        "false-reject of 0": [name, "--good", good, "-o", out, "--false-reject", "0"],
        "false-reject of 1": [name, "--good", good, "-o", out, "--false-reject", "1"],
        "false-reject that is no number": [name, "--good", good, "-o", out, "--false-reject", "few"],
        "confidence of 0": [name, "--good", good, "-o", out, "--confidence", "0"],
        "confidence of 1": [name, "--good", good, "-o", out, "--confidence", "1"],
        "confidence of nan": [name, "--good", good, "-o", out, "--confidence", "nan"],
        "a rule that is no expression": [name, "--good", good, "-o", out, "--group", "("],
        "a rule that matches nothing": [name, "--good", good, "-o", out, "--group", "lot(x)"],
        "neither parts nor scores": [name, "-o", out],
        "both parts and scores": [name, "--good", good, "--from", str(stored), "-o", out],
        "no output": [name, "--good", good],
        "a folder as output": [name, "--good", good, "-o", str(tmp_path)],
        "force without a reason": [name, "--good", good, "-o", out, "--force"],
        "an unknown flag": [name, "--good", good, "-o", out, "--yes"],
        "review of 0": [name, "--good", good, "-o", out, "--review", "0"],
        "review that is no number": [name, "--good", good, "-o", out, "--review", "much"],
        "review below the promised rate": [name, "--good", good, "-o", out, "--review", "0.001"],
        "review from both sides": [name, "--good", good, "-o", out, "--review", "0.5", "--review-defects", str(many)],
        "too few defects": [name, "--good", good, "-o", out, "--review-defects", str(few)],
        "missing defects": [name, "--good", good, "-o", out, "--review-defects", str(tmp_path / "none")],
        "good parts as defects": [name, "--good", good, "-o", out, "--review-defects", good],
        "unreadable defects": [name, "--good", good, "-o", out, "--review-defects", str(broken)],
        "missed without defects": [name, "--good", good, "-o", out, "--missed", "0.1"],
        "missed of 0": [name, "--good", good, "-o", out, "--review-defects", str(many), "--missed", "0"],
        "missed that is no number": [name, "--good", good, "-o", out, "--review-defects", str(many), "--missed", "x"],
        "defects with stored scores": [name, "--from", str(stored), "-o", out, "--review-defects", str(many)],
        "another device for stored scores": [name, "--from", str(stored), "-o", out, "--device", "cuda"],
        "confidence that is no number": [name, "--good", good, "-o", out, "--confidence", "sure"],
        "empty scores": [name, "--from", str(nothing), "-o", out],
        "a table without its columns": [name, "--from", str(table), "-o", out],
        "confidence above 1": [name, "--good", good, "-o", out, "--confidence", "1.5"],
        "negative false-reject": [name, "--good", good, "-o", out, "--false-reject", "-0.1"],
        "a log for a file of frames": [name, "--good", str(log), "-o", out],
        "a missing table of groups": [name, "--good", good, "-o", out, "--group", str(tmp_path / "none.csv")],
        "an unknown device": [name, "--good", good, "-o", out, "--device", "tpu"],
    }


def _truncated(tmp_path: Path, file: Path) -> str:
    path = tmp_path / "truncated.onnx"
    path.write_bytes(file.read_bytes()[:-100])
    return str(path)


@pytest.mark.parametrize("count", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_bad_input_is_refused_with_one_line_and_nothing_is_written(
    count: int, file: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = file.read_bytes()
    bad = list(_bad(tmp_path, file, folder).items())
    assert len(bad) == 50
    for what, words in bad[:count]:
        assert main(["calibrate", *words]) == 2, what
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("andon: "), what
        assert len(error) > 30, what
        assert not (tmp_path / "out.onnx").exists(), what
    assert file.read_bytes() == before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_calibration_leaves_the_old_file_or_the_new_one(file: Path, folder: Path) -> None:
    old = file.read_bytes()
    words = [sys.executable, "-m", "andon", "calibrate", str(file), "--good", str(folder), "-o", str(file)]
    begin = time.monotonic()
    subprocess.run(words, check=True, capture_output=True)
    took = time.monotonic() - begin
    new = parse(file.read_bytes())
    dice = random.Random(0)
    outcomes = set()
    for _ in range(30):
        file.write_bytes(old)
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(dice.uniform(0.3 * took, 1.1 * took))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        data = file.read_bytes()
        outcomes.add("old" if data == old else "new")
        assert data == old or parse(data).threshold == new.threshold
    assert "old" in outcomes
