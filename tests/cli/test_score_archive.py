"""`andon score --out` and `andon pack` as people run them: what they print, and their exit codes."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.running import andon

from andon.archive.results import open_results
from andon.cli import EXIT_DONE, EXIT_PARTLY, EXIT_USER, main


def test_an_archive_is_judged_and_summarised(
    frame_model: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["score", str(frame_model), str(parts / "test"), "--out", str(out), "--block-rows", "5", "--workers", "2"]

    assert main(words) == EXIT_DONE

    assert capsys.readouterr().out == (
        f"{out}: 3 of 3 blocks have results (3 judged now)\n12 items: 6 OK, 0 REVIEW, 6 REJECT, 0 INVALID\n"
    )
    assert open_results(out).table().num_rows == 12


def test_invalid_items_are_rows_and_not_an_error(
    frame_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/broken.png").write_bytes(b"hello")
    words = ["score", str(frame_model), str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--json"]

    assert main(words) == EXIT_DONE

    outcome = json.loads(capsys.readouterr().out)
    assert outcome["counts"] == {"rows": 1, "rejects": 0, "reviews": 0, "invalid": 1}
    assert outcome["complete"]


def test_missing_blocks_are_exit_code_3_with_what_to_do(
    frame_model: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["score", str(frame_model), str(parts / "test"), "--out", str(tmp_path / "out"), "--block-rows", "5"]

    assert main([*words, "--limit-blocks", "1"]) == EXIT_PARTLY

    captured = capsys.readouterr()
    assert "1 of 3 blocks have results" in captured.out
    assert captured.err.endswith("andon: 2 blocks are missing. Run the same command again to try the missing blocks.\n")
    assert main(words) == EXIT_DONE
    assert "3 of 3 blocks have results (2 judged now)" in capsys.readouterr().out


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    frame_model: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["score", str(frame_model), str(parts / "test"), "--out", str(tmp_path / "out"), "--dry-run"]

    assert main([*words, "--block-rows", "5"]) == EXIT_DONE

    assert capsys.readouterr().out.endswith(": 3 blocks, 12 items; 0 blocks have results, 3 are to do\n")
    assert not (tmp_path / "out").exists()
    assert main([*words, "--json"]) == EXIT_DONE
    plan = json.loads(capsys.readouterr().out)
    assert (plan["plan"]["blocks"], plan["plan"]["rows"], plan["done"]) == (1, 12, 0)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--engine", "ray"], "--engine: expected it together with --out RESULTS"),
        (["--dry-run"], "--dry-run: expected it together with --out RESULTS"),
        (["--out", "o", "--evidence", "--json"], "--evidence: expected it without --out"),
        (["--out", "o", "--overlay", "d"], "--overlay: expected it without --out"),
        (["more", "--out", "o"], "--out: expected one INPUT, got 2"),
        (["--out", "o", "--gpus-per-worker", "1"], "--gpus-per-worker: expected it together with --engine ray"),
        (
            ["--out", "o", "--engine", "ray", "--gpus-per-worker", "-1"],
            "expected a number above 0 and up to 64, got -1",
        ),
        (["--out", "o", "--address", "auto"], "--address: expected it together with --engine ray"),
    ],
)
def test_flags_without_effect_are_refused(  # noqa: PLR0917
    frame_model: Path,
    parts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["score", str(frame_model), str(parts), *words]) == EXIT_USER
    assert problem in capsys.readouterr().err


def test_without_pyarrow_the_extra_is_named(frame_model: Path, parts: Path, tmp_path: Path) -> None:
    done = andon("score", frame_model, parts, "--out", tmp_path / "out", hidden=["pyarrow"])

    assert done.returncode == EXIT_USER
    assert "judging an archive needs pyarrow" in done.stderr
    assert "[archive]" in done.stderr


def test_without_ray_the_extra_is_named(frame_model: Path, parts: Path, tmp_path: Path) -> None:
    done = andon("score", frame_model, parts, "--out", tmp_path / "out", "--engine", "ray", hidden=["ray"])

    assert done.returncode == EXIT_USER
    assert "--engine ray needs ray" in done.stderr
    assert "[cluster]" in done.stderr


def test_packing_prints_the_address_for_score(parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", str(parts / "test"), str(tmp_path / "p.parquet")]) == EXIT_DONE

    assert capsys.readouterr().out == (
        f"packed 12 pictures, with labels from their folders: {tmp_path / 'p.parquet'}\n"
    )


def test_packing_accepts_names_that_are_not_utf_8(
    parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.parquet")

    assert main(["pack", str(parts / "test"), out, "--json", "--line", os.fsdecode(b"\xe4")]) == EXIT_DONE

    assert json.loads(capsys.readouterr().out)["address"] == out
    assert os.fsencode(tmp_path) + b"/\xff.parquet" in [os.fsencode(path) for path in tmp_path.iterdir()]


def test_threads_are_checked_for_every_device(
    frame_model: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["score", str(frame_model), str(parts), "--out", str(tmp_path / "out"), "--threads", "0"]

    assert main([*words, "--device", "cuda"]) == EXIT_USER
    assert "threads: expected an integer from 1 to 64, got 0" in capsys.readouterr().err


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2500, resource.RLIM_INFINITY))


@pytest.mark.slow
def test_a_full_disk_in_a_worker_is_exit_code_3_and_the_same_command_finishes(
    frame_model: Path, parts: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "andon",
        "score",
        str(frame_model),
        str(parts / "test"),
        "--out",
        str(tmp_path / "out"),
    ]

    full = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, preexec_fn=_limited)
    again = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    assert full.returncode == EXIT_PARTLY
    assert "The disk is full. Free space, and run the same command again" in full.stderr
    assert again.returncode == EXIT_DONE
    assert open_results(tmp_path / "out").table().num_rows == 12


def _ended(group: int) -> bool:
    """Return whether all processes of a group have ended, after at most ten seconds."""
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_ctrl_c_ends_the_workers_and_the_same_command_continues(frame_model: Path, tmp_path: Path) -> None:
    from tests.cli.conftest import write_picture
    from tests.runtime.hand_made import frame

    for number in range(400):
        write_picture(tmp_path / f"in/{number}.png", frame(number))
    command = [
        sys.executable,
        "-m",
        "andon",
        "score",
        str(frame_model),
        str(tmp_path / "in"),
        "--out",
        str(tmp_path / "out"),
    ]
    command += ["--block-rows", "2", "--workers", "2"]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as driver:
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s and len(list((tmp_path / "out").glob("blocks/*.parquet"))) < 5:
            time.sleep(0.05)
        os.killpg(driver.pid, signal.SIGINT)
        _, error = driver.communicate(timeout=60)

    assert driver.returncode == 130
    assert error.decode().strip().endswith("andon: interrupted")
    assert b"Traceback" not in error
    assert _ended(driver.pid)
    again = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert again.returncode == EXIT_DONE
    assert open_results(tmp_path / "out").table().num_rows == 400
