"""The monitor as a process: killed, stopped, measured for memory, and run as users run it."""

import fcntl
import json
import math
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from tests.runtime.hand_made import WINDOW, model_bytes

from andon.monitor.records import Record

FOR_EVER = 10**9
PIPE_BYTES = 65_536
ANDON = "import sys; from andon.cli import main; sys.exit(main())"
COUNTERS = re.compile(r"grabbed (\d+) = judged (\d+)(?: \(.*?\))? \+ invalid (\d+)(?: \(.*?\))? \+ dropped (\d+)")


def start(model: Path, out: Path, frames: int) -> subprocess.Popen[str]:
    script = Path(__file__).with_name("watch_noise.py")
    command = [sys.executable, str(script), str(model), str(out), str(frames)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def command_line(*words: object, **how: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", ANDON, "monitor"]
    return subprocess.Popen(
        [*command, *(str(word) for word in words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how
    )


def records(text: bytes) -> list[Record]:
    """Return all lines as records. Fail if a line is incomplete."""
    assert text == b"" or text.endswith(b"\n")
    return [msgspec.json.decode(line, type=Record) for line in text.splitlines()]


def wait_for_bytes(path: Path, size: int) -> None:
    until_s = time.monotonic() + 60
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < until_s, "no lines came"
        time.sleep(0.01)


def wait_until_full(pipe: int) -> None:
    """Wait until a writer has filled the pipe: what it holds is more than half of its capacity and grows no more."""
    until_s, before, now = time.monotonic() + 60, -1, 0
    while now != before or now < PIPE_BYTES // 2:
        assert time.monotonic() < until_s, f"the pipe holds {now} bytes"
        time.sleep(0.1)
        before, now = now, int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def counted(stderr: str) -> tuple[int, int, int, int]:
    found = COUNTERS.findall(stderr)
    assert found, stderr
    grabbed, judged, invalid, dropped = (int(number) for number in found[-1])
    return grabbed, judged, invalid, dropped


def test_kill_9_leaves_only_whole_lines_and_the_next_run_appends_to_them(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.jsonl"
    held, runs = 0, ""
    for extra in (20_000, 33_333):
        process = start(tiny_model, out, FOR_EVER)
        wait_for_bytes(out, held + extra)
        process.send_signal(signal.SIGKILL)
        process.communicate()

        held = out.stat().st_size
        runs = "".join("|" if one.seq == 1 else "." for one in records(out.read_bytes()))
        assert process.returncode == -signal.SIGKILL

    assert runs.count("|") == 2
    assert runs[0] == "|"


@pytest.mark.parametrize("limit_s", [math.inf, pytest.param(10.0, marks=pytest.mark.timing)])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_counters_that_agree_with_the_lines(
    tiny_model: Path, tmp_path: Path, number: signal.Signals, limit_s: float
) -> None:
    out = tmp_path / "v.jsonl"
    process = start(tiny_model, out, FOR_EVER)
    wait_for_bytes(out, 20_000)
    told_s = time.monotonic()
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)

    assert time.monotonic() - told_s < limit_s  # two seconds, and the interpreter's own end on a busy machine
    assert process.returncode == 0, stderr
    lines = records(out.read_bytes())
    grabbed, judged, invalid, dropped = counted(stderr)
    assert grabbed == judged + invalid + dropped
    assert [one.seq for one in lines] == list(range(1, judged + invalid + 1))
    assert sum(one.status == "INVALID" for one in lines) == invalid
    assert dropped <= 6


@pytest.mark.slow
def test_memory_is_flat_over_20_000_frames_and_none_of_them_is_lost(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.jsonl"
    process = start(tiny_model, out, 20_000)
    _, stderr = process.communicate(timeout=250)

    assert process.returncode == 0, stderr
    lines = records(out.read_bytes())
    assert [one.seq for one in lines] == list(range(1, 20_001))
    assert [one.item for one in lines] == [f"noise#{number}" for number in range(20_000)]
    assert sum(one.status == "INVALID" for one in lines) == 2000
    assert counted(stderr) == (20_000, 18_000, 2000, 0)
    weights = {int(at): kb for at, kb in json.loads(stderr.splitlines()[-1])["weights"].items()}
    later = [kb for at, kb in weights.items() if at >= 4000]
    assert len(later) == 17
    assert max(later) - min(later) < 2048, weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five good frames, a bright one, one of a wrong size, a flat one, half a file."""
    path = tmp_path_factory.mktemp("line")
    rng = np.random.default_rng(1)
    for number in range(5):
        cv2.imwrite(str(path / f"{number}.png"), rng.integers(90, 160, (24, 24), dtype=np.uint8))
    cv2.imwrite(str(path / "5.png"), rng.integers(0, 255, (24, 24), dtype=np.uint8))
    cv2.imwrite(str(path / "6.png"), rng.integers(90, 160, (30, 24), dtype=np.uint8))
    cv2.imwrite(str(path / "7.png"), np.full((24, 24), 90, np.uint8))
    whole = (path / "0.png").read_bytes()
    (path / "8.png").write_bytes(whole[: len(whole) // 2])
    return path


def test_a_folder_gives_one_line_a_picture_in_order_and_keeps_the_reject(
    tiny_model: Path, tmp_path: Path, folder: Path
) -> None:
    process = command_line(tiny_model, folder, "--no-follow", "--pictures", tmp_path / "rejects")
    stdout, stderr = process.communicate(timeout=60)

    assert process.returncode == 0, stderr
    lines = records(stdout)
    assert [one.item for one in lines] == [f"{number}.png" for number in range(9)]
    assert [one.status for one in lines] == ["OK"] * 5 + ["REJECT"] + ["INVALID"] * 3
    assert "expected frames of 24 x 24" in str(lines[6].detail)
    assert lines[7].reason == "no_contrast"
    assert lines[8].reason.startswith("unreadable")
    assert counted(stderr.decode()) == (9, 6, 3, 0)
    assert [path.name[-18:] for path in (tmp_path / "rejects").iterdir()] == ["-00000006-5-png.jpg"[-18:]]


def test_a_picture_that_arrives_while_it_follows_a_folder_is_judged_when_it_is_whole(
    tiny_model: Path, tmp_path: Path, folder: Path
) -> None:
    arriving, out = tmp_path / "in", tmp_path / "v.jsonl"
    arriving.mkdir()
    process = command_line(tiny_model, arriving, "--out", out, "--settle-s", 2, "--poll-s", 0.05)
    whole = (folder / "1.png").read_bytes()
    try:
        until_s = time.monotonic() + 30
        while not out.exists():
            assert time.monotonic() < until_s
            time.sleep(0.02)
        with (arriving / "late.png").open("wb") as file:
            for begin in range(0, len(whole), 200):  # written slowly, far from silent for as long as settles
                file.write(whole[begin : begin + 200])
                file.flush()
                time.sleep(0.1)
        wait_for_bytes(out, 100)
    finally:
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=20)

    assert process.returncode == 0, stderr
    assert [(one.item, one.status) for one in records(out.read_bytes())] == [("late.png", "OK")]
    assert counted(stderr.decode()) == (1, 1, 0, 0)


def test_a_reader_that_takes_one_line_and_leaves_ends_it_without_a_failure(
    tiny_model: Path, tmp_path: Path, folder: Path
) -> None:
    line = Path(shutil.copytree(folder, tmp_path / "line"))
    process = command_line(tiny_model, line)
    assert process.stdout is not None
    assert len(records(process.stdout.readline())) == 1
    process.stdout.close()
    shutil.copy(folder / "2.png", line / "late.png")  # it notices with the next line that it writes
    _, stderr = process.communicate(timeout=30)

    assert process.returncode == 0, stderr
    grabbed, judged, invalid, dropped = counted(stderr.decode())
    assert grabbed == judged + invalid + dropped


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_does_not_end_it_but_shows_in_the_exit_code(tiny_model: Path, folder: Path) -> None:
    process = command_line(tiny_model, folder, "--no-follow", "--out", "/dev/full")
    _, stderr = process.communicate(timeout=60)

    assert process.returncode == 3
    assert b"9 lines lost at /dev/full" in stderr
    assert counted(stderr.decode()) == (9, 6, 3, 0)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["{model}", "{folder}/nothing"], "nothing: does not exist"),
        (["{folder}/nothing.onnx", "{folder}"], "nothing.onnx"),
        (["{model}", "{folder}", "--settle-s", "-1"], "--settle-s"),
        (["{model}", "power_converter", "--speed", "warp"], "--speed: expected one of max, recorded"),
        (["{model}", "{folder}", "--limit", "0"], "--limit: expected an integer >= 1"),
        (["{model}", "{folder}", "--out", "{model}"], "expected a new file, or a file of JSON lines"),
    ],
)
def test_a_mistake_is_answered_in_one_line_with_exit_code_2(
    tiny_model: Path, folder: Path, words: list[str], complaint: str
) -> None:
    process = command_line(*(word.format(model=tiny_model, folder=folder) for word in words))
    stdout, stderr = process.communicate(timeout=60)

    assert process.returncode == 2
    assert stdout == b""
    assert complaint in stderr.decode()
    assert stderr.count(b"\n") == 1


def test_the_second_signal_ends_it_at_once_even_while_it_finishes(tiny_model: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # never read from: the monitor fills it and waits
    process = start(tiny_model, pipe, FOR_EVER)
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    wait_until_full(reading)
    until_s = time.monotonic() + 20
    while process.poll() is None:  # two of them become one where it had no time to take the first
        assert time.monotonic() < until_s, "it outlived the second signal"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)

    assert process.returncode == -signal.SIGTERM
    process.stderr.close()
    os.close(reading)


def test_each_reject_of_a_finite_folder_has_its_picture(tiny_model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    line = tmp_path / "line"
    line.mkdir()
    for number in range(12):
        cv2.imwrite(str(line / f"{number}.png"), rng.integers(0, 255, (24, 24), dtype=np.uint8))
    process = command_line(tiny_model, line, "--no-follow", "--pictures", tmp_path / "rejects")
    stdout, stderr = process.communicate(timeout=60)

    assert process.returncode == 0, stderr
    assert [one.status for one in records(stdout)] == ["REJECT"] * 12
    assert b"12 pictures" in stderr
    assert len(list((tmp_path / "rejects").iterdir())) == 12


def test_reject_pictures_that_are_lost_show_in_the_exit_code(tiny_model: Path, tmp_path: Path, folder: Path) -> None:
    process = command_line(
        tiny_model,
        folder,
        "--no-follow",
        "--pictures",
        tmp_path / "rejects",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),  # as a disk that is full
    )
    stdout, stderr = process.communicate(timeout=60)

    assert process.returncode == 3, stderr
    assert len(records(stdout)) == 9
    assert b"0 pictures, 1 without" in stderr


@pytest.mark.parametrize("place", ["rejects", ".", "deep/er"])
def test_pictures_within_the_watched_folder_are_refused_as_they_would_be_judged_again(
    tiny_model: Path, tmp_path: Path, folder: Path, place: str
) -> None:
    line = Path(shutil.copytree(folder, tmp_path / "line"))
    (tmp_path / "link").symlink_to(line)
    process = command_line(tiny_model, line, "--no-follow", "--pictures", tmp_path / "link" / place)
    stdout, stderr = process.communicate(timeout=60)

    assert (process.returncode, stdout) == (2, b"")
    assert b"would be judged again" in stderr.replace(b"\n", b" ")
    assert not (line / "rejects").exists()


def test_pictures_in_a_hidden_folder_within_the_watched_one_are_kept(
    tiny_model: Path, tmp_path: Path, folder: Path
) -> None:
    line = Path(shutil.copytree(folder, tmp_path / "line"))
    for _ in range(2):
        process = command_line(tiny_model, line, "--no-follow", "--pictures", line / ".rejects")
        stdout, stderr = process.communicate(timeout=60)

        assert process.returncode == 0, stderr
        assert len(records(stdout)) == 9
    assert len(list((line / ".rejects").iterdir())) == 2


def test_a_closed_stderr_does_not_stop_judging_and_nothing_but_verdicts_gets_into_the_file(
    tiny_model: Path, tmp_path: Path, folder: Path
) -> None:
    out = tmp_path / "v.jsonl"
    words = [sys.executable, "-c", ANDON, "monitor", tiny_model, folder, "--no-follow", "--out", out]
    shell = f"{shlex.join(map(str, words))} 2>&-"
    done = subprocess.run(["/bin/sh", "-c", shell], timeout=60, check=False)

    assert done.returncode == 0
    assert len(records(out.read_bytes())) == 9


@pytest.fixture(scope="module")
def windows_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("windows") / "win.onnx"
    path.write_bytes(model_bytes(WINDOW))
    return path


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ('{"t": 5.0, "values": [0.1, 0.2]}', "with a time stamp that does not advance"),
        ('{"t": %d, "values": {"Pressure": 0.1}}', "lines without a channel of the model file (got 'Pressure'"),
        ('{"t": %d, "values": {}}', "lines without values"),
        ("", "blank lines"),
    ],
    ids=["frozen clock", "renamed channel", "no values", "blank lines"],
)
def test_sensor_lines_that_lead_to_no_window_are_an_invalid_line_and_exit_code_3(
    windows_model: Path, row: str, why: str
) -> None:
    text = "".join(f"{row % number if '%d' in row else row}\n" for number in range(100))
    process = command_line(windows_model, "-", stdin=subprocess.PIPE)
    stdout, stderr = process.communicate(text.encode(), timeout=60)

    assert process.returncode == 3, stderr
    last = records(stdout)[-1]
    assert (last.status, last.reason, last.unit) == ("INVALID", "stale", "window")
    assert why in str(last.detail)


def test_sensor_data_that_end_in_a_frozen_clock_are_exit_code_3_although_windows_were_judged(
    windows_model: Path,
) -> None:
    rows = [min(0.5 * number, 20.0) for number in range(200)]
    text = "".join(f'{{"t": {t}, "values": [0.1, 0.2]}}\n' for t in rows)
    process = command_line(windows_model, "-", stdin=subprocess.PIPE)
    stdout, stderr = process.communicate(text.encode(), timeout=60)

    assert process.returncode == 3, stderr
    assert {one.status for one in records(stdout)} == {"OK", "INVALID"}
    assert records(stdout)[-1].reason == "stale"
