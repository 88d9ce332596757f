"""`andon compare`: flags, exit codes, and what a scheduler does to it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.conftest import write_picture

from andon.cli import EXIT_DONE, EXIT_PARTLY, EXIT_USER, main
from andon.cli._long_runs import ends_cleanly_on_sigterm
from andon.training.contract.synthetic_data import synthetic_frame

SMALL = "window_vae --steps 16 --hop 16 --latent 2 --widths 8 --epochs 2"
DATA = "power_converter:runs=60,rows=16 --test power_converter:seed=7,rows=1500,faults=1 --name converter"
FLAGS = ["--threads", "1", "--device", "cpu", "--bench-seconds", "0"]

MISTAKES = [
    (["--detectors", "patchcore"], "expected --detectors and --data, or --plan FILE.toml"),
    (["--detectors", "patchcre", "--data", "a"], "there is no detector 'patchcre' (did you mean 'patchcore'?)"),
    (["--detectors", "patchcore --prset fast", "--data", "a"], "unknown argument '--prset' (did you mean '--preset'?)"),
    (["--detectors", "patchcore", "--data", "a --tst b"], "unknown key 'tst' (did you mean 'test'?)"),
    (["--detectors", "patchcore", "--data", "a", "--seeds", "-1"], "expected an integer from 0"),
    (["--detectors", "patchcore", "--data", "a", "--cell", "4/3"], "--cell: expected I/N"),
    (
        ["--detectors", "patchcore", "--data", "a", "--bench-seconds", "-1"],
        "--bench-seconds: expected 0 to 3600 seconds, got -1",
    ),
    (["--detectors", "patchcore", "--data", "a", "--address", "auto"], "--address: expected it together with --engine"),
    (["--detectors", "patchcore", "--data", "a", "--workers", "2"], "--workers: expected it together with --engine"),
    (["--table", "--engine", "local"], "--table: expected no --engine"),
    (["--plan", "p.toml", "--seeds", "1", "--no-promise"], "got --seeds, --no-promise. Leave them out"),
    (["--plan", "p.toml"], "p.toml: cannot read the file"),
    (["--table"], "expected the folder of a comparison"),
]


@pytest.mark.parametrize(("words", "told"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_is_one_line_and_nothing_is_made(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["compare", *words, "--out", str(tmp_path / "out")])

    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (EXIT_USER, "", 1)
    assert told in err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_failed_cell_is_told_and_the_table_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    diverges = f"{SMALL} --learning-rate 1e30"
    words = ["compare", "--detectors", SMALL, diverges, "--data", DATA, "--out", str(tmp_path), *FLAGS]

    assert main(words) == EXIT_PARTLY

    out, err = capsys.readouterr()
    assert out.startswith("1 of 2 cells done, 1 failed.\n\n| set ")
    assert err.count("\n") == 1
    assert "seed 0: failed: the loss became" in err

    assert main(["compare", "--out", str(tmp_path), "--table", "--json"]) == EXIT_DONE
    table = json.loads(capsys.readouterr().out)
    assert table == json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert (table["cells"], table["done"], len(table["failed"])) == (2, 1, 1)
    assert table["rows"][0]["detector"] == "window_vae --epochs 2 --steps 16 --latent 2 --widths 8"


@pytest.mark.slow
def test_what_is_left_alone_in_a_set_is_told_once_and_not_with_every_cell(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(40):
        frame = synthetic_frame(number, (24, 24))
        write_picture(tmp_path / f"set/{'train' if number < 34 else 'test'}/good/{number}.png", frame)
        if number >= 34:
            write_picture(tmp_path / f"set/test/dark/{number}.png", frame // 3)
    words = ["compare", "--detectors", "pixel_knn --size 24 --rows 30", "--data", str(tmp_path / "set"), "--seeds", "0"]

    assert main(["-v", *words, "1", "--out", str(tmp_path / "out"), *FLAGS, "--no-promise"]) == EXIT_DONE

    told = [record.getMessage() for record in caplog.records if "leaving out" in record.getMessage()]
    assert told == [f"{tmp_path / 'set'}: training on 34 pictures in train/good, leaving out 12"]


@pytest.mark.slow
def test_shares_of_a_plan_are_done_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(f'detectors = ["{SMALL}"]\ndata = ["{DATA}"]\nseeds = [3, 4]\n', encoding="utf-8")
    words = ["compare", "--plan", str(plan), "--out", str(tmp_path / "out"), *FLAGS]

    assert main([*words, "--cell", "2/2"]) == EXIT_DONE
    assert capsys.readouterr().out.startswith("1 of 2 cells done, 1 not started or interrupted.")
    assert main([*words, "--cell", "1/2"]) == EXIT_DONE

    assert capsys.readouterr().out.startswith("2 of 2 cells done.")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM there")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_comparison_that_is_ended_goes_on_by_the_same_command(number: signal.Signals, tmp_path: Path) -> None:
    longer = SMALL.replace("--epochs 2", "--epochs 400")
    words = ["compare", "--detectors", longer, "--data", DATA, "--out", str(tmp_path), *FLAGS]
    with subprocess.Popen([sys.executable, "-m", "andon", *words], stderr=subprocess.PIPE) as running:
        end_s = time.monotonic() + 100
        while not list(tmp_path.glob("*/*/*/run/state.safetensors")) and time.monotonic() < end_s:
            time.sleep(0.05)
        running.send_signal(number)
        _, err = running.communicate(timeout=60)

    (folder,) = tmp_path.glob("*/*/seed-0")
    assert running.returncode == (143 if number == signal.SIGTERM else -number)
    assert [line for line in err.splitlines() if b"calibration windows of" not in line] == []
    assert (folder / "lock").exists() is (number == signal.SIGKILL)
    assert not (folder / "result.json").exists()

    assert main(words) == EXIT_DONE

    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert result["training"]["cpu_s"] is None  # a training that began twice has no honest one
    assert not (folder / "lock").exists()


def test_a_handler_that_python_did_not_install_gives_way_to_the_systems_own(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    monkeypatch.setattr(signal, "signal", lambda _number, handler: given.append(handler))  # answers None, as for such
    with ends_cleanly_on_sigterm():
        pass

    assert given[-1] is signal.SIG_DFL
