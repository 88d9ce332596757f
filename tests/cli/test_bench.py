"""`andon bench`: figures of one file on one machine."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.keys import keys_of

from andon.cli import EXIT_DONE, EXIT_USER, main


def test_the_object_has_the_golden_keys(
    window_model: Path, capsys: pytest.CaptureFixture[str], golden_text: Callable[[str, str], None]
) -> None:
    assert main(["bench", str(window_model), "--seconds", "0.05", "--json"]) == EXIT_DONE

    out, err = capsys.readouterr()
    assert (out.count("\n"), err) == (1, "")
    golden_text("bench.txt", "\n".join(sorted(keys_of(json.loads(out)))) + "\n")


def test_people_read_latency_beside_what_the_machine_can_do(
    frame_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(frame_model), "--seconds", "0.05"]) == EXIT_DONE

    heads = [line[:12].strip() for line in capsys.readouterr().out.splitlines()]
    assert heads == ["model", "latency", "andon adds", "throughput", "machine", "memory"]


@pytest.mark.parametrize("size", ["1080", "8x900", "axb", "10x20x30", "-16x16", ""])
def test_a_size_that_is_none_is_refused(size: str, frame_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(frame_model), f"--frame={size}"]) == EXIT_USER

    assert f"expected HEIGHTxWIDTH of at least 16 pixels each, got {size!r}" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "nan"])
def test_a_time_that_is_none_is_refused(seconds: str, frame_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(frame_model), f"--seconds={seconds}"]) == EXIT_USER

    assert capsys.readouterr().err.count("\n") == 1


def test_a_frame_size_is_refused_for_a_model_of_windows(window_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(window_model), "--frame", "480x640", "--seconds", "0.01"]) == EXIT_USER

    assert "--frame: expected a model file for frames" in capsys.readouterr().err


def test_two_files_are_compared_with_calls_in_turn(window_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "--compare", str(window_model), str(window_model), "--seconds", "0.05"]

    assert main(words) == EXIT_DONE
    text = capsys.readouterr().out
    assert main([*words, "--json"]) == EXIT_DONE

    assert "times as long as A" in text
    keys = {"first", "second", "ratio", "low", "high", "pairs", "device"}
    assert set(json.loads(capsys.readouterr().out)) == keys


@pytest.mark.parametrize("words", [["a.onnx", "--compare", "a.onnx", "b.onnx"], []])
def test_one_file_or_a_pair_is_needed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == EXIT_USER

    assert "expected one model file, or --compare" in capsys.readouterr().err
