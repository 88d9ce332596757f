"""andon events and andon reload: what happened on the lines, and new model files for a running monitor."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from andon.cli import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_PARTLY, EXIT_USER, main
from andon.demo.example_line import MODEL, example

LINE = """
[store]
path = "state"
ballast_bytes = 262144
[[line]]
name = "example"
model = "power_converter.onnx"
alarm = "3/10"
[line.source]
kind = "power_converter"
address = "power_converter:seed=3,rows=3000,faults=1"
[[line.sinks]]
kind = "json_lines"
path = "v.jsonl"
"""
ANDON = "import sys; from andon.cli import main; sys.exit(main())"


@pytest.fixture
def plant(tmp_path: Path) -> Path:
    (tmp_path / MODEL).write_bytes(example(MODEL))
    file = tmp_path / "line.toml"
    file.write_text(LINE, encoding="utf-8")
    return file


def test_events_are_listed_oldest_first_with_filters(plant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitor", str(plant)]) == EXIT_DONE
    capsys.readouterr()

    assert main(["events", str(plant)]) == EXIT_DONE
    lines = capsys.readouterr().out.splitlines()
    numbers = [int(line.split()[0]) for line in lines]
    assert numbers == list(range(1, len(lines) + 1))
    assert "(monitor)  start: andon" in lines[0]
    assert "(monitor)  stop: the monitor stopped" in lines[-1]

    assert main(["events", str(plant), "--kind", "reject", "--line", "example", "--limit", "2", "--json"]) == EXIT_DONE
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(events) == 2
    assert {(event["line"], event["body"]["kind"]) for event in events} == {("example", "reject")}
    assert all(event["evidence"] for event in events)

    assert main(["events", str(plant), "--dead"]) == EXIT_DONE
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--kind", "rejct"], "--kind: expected a kind of event, got 'rejct' (did you mean 'reject'?)"),
        (["--again", "plant:1"], "--again: expected OUTPUT:SEQ with an output of"),
        ([], "expected a folder with events.sqlite, found none"),
        (["--again", "hook:1"], "expected a folder with events.sqlite, found none"),
        (["--again", "hook:" + "9" * 30], "--again: expected OUTPUT:SEQ with an output of"),
    ],
)
def test_a_mistake_is_one_line(plant: Path, capsys: pytest.CaptureFixture[str], words: list[str], why: str) -> None:
    hook = '[[output]]\nname = "hook"\nkind = "webhook"\nurl = "http://127.0.0.1:9/events"\n'
    plant.write_text(hook + LINE, encoding="utf-8")

    assert main(["events", str(plant), *words]) == EXIT_USER
    assert why in capsys.readouterr().err
    assert not (plant.parent / "state").exists()


@pytest.mark.parametrize("command", ["events", "reload"])
def test_without_a_store_both_commands_say_what_is_missing(
    command: str, plant: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant.write_text(LINE[LINE.index("[[line]]") :], encoding="utf-8")

    assert main([command, str(plant)]) == EXIT_USER
    assert "expected a table [store], found none" in capsys.readouterr().err


def test_a_reload_needs_a_running_monitor(plant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitor", str(plant)]) == EXIT_DONE
    assert main(["reload", str(plant)]) == EXIT_USER

    assert "expected a running monitor that uses this folder, found none" in capsys.readouterr().err


@pytest.mark.slow
def test_a_running_monitor_reloads_on_request_and_refuses_a_wrong_file(
    plant: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endless = LINE.replace("rows=3000,faults=1", "rows=1000000,faults=1") + "\n"
    text = endless.replace('address = "', 'speed = "recorded"\naddress = "').replace('alarm = "3/10"', "reload = false")
    plant.write_text(text, encoding="utf-8")
    process = subprocess.Popen([sys.executable, "-c", ANDON, "monitor", str(plant)], stderr=subprocess.PIPE)
    try:
        until_s = time.monotonic() + 60
        while main(["events", str(plant)]) != EXIT_DONE or "source:" not in capsys.readouterr().out:
            assert time.monotonic() < until_s
            assert process.poll() is None
            time.sleep(0.1)
        assert main(["reload", str(plant), "--timeout-s", "30"]) == EXIT_DONE
        assert "example  model: " in capsys.readouterr().out
        (plant.parent / MODEL).write_bytes(b"damaged")
        assert main(["reload", str(plant), "--timeout-s", "30"]) == EXIT_CHECK_FAILED
        assert "refused, " in capsys.readouterr().out
    finally:
        os.kill(process.pid, signal.SIGTERM)
        _, stderr = process.communicate(timeout=20)
    # 3: at the recorded rate, perhaps no whole window was judged before the end
    assert process.returncode in (EXIT_DONE, EXIT_PARTLY), stderr


def test_a_damaged_store_is_one_error_for_events_a_finding_for_check_and_no_reason_not_to_judge(
    plant: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["monitor", str(plant)]) == EXIT_DONE
    database = plant.parent / "state" / "events.sqlite"
    content = database.read_bytes()
    # the page that describes the tables stays, so that the file still opens
    database.write_bytes(content[:8192] + b"\x55" * (len(content) - 8192))
    capsys.readouterr()

    assert main(["events", str(plant)]) == EXIT_USER
    assert "If the file is damaged, move the folder away" in capsys.readouterr().err
    assert main(["check", str(plant)]) == EXIT_CHECK_FAILED
    assert "store: FAILED:" in capsys.readouterr().out

    assert main(["monitor", str(plant)]) == EXIT_DONE  # judging does not depend on the store
    assert "a new store begins" in caplog.text
    capsys.readouterr()
    assert main(["events", str(plant), "--kind", "lost"]) == EXIT_DONE
    assert "an unknown number of events at store" in capsys.readouterr().out
