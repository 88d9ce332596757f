"""The output of `andon inspect`, for people and for programs."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.cli.keys import keys_of
from tests.runtime.hand_made import FRAME, WINDOW, model_bytes

from andon.cli import main
from andon.cli.inspect import facts, render
from andon.runtime.model_file.format import parse, read


def _steady(text: str) -> str:
    """Without what depends on the last digit of a score: the golden sample is part of every digest and of the size."""
    text = re.sub(r"(digest +)\w{12}   file \w{12}   graph \w{12}", r"\1DIGEST   file DIGEST   graph DIGEST", text)
    text = re.sub(r'("(?:digest|file_sha256|graph_sha256)": )"\w{64}"', r'\1"DIGEST"', text)
    return re.sub(r'("size_bytes": )\d+|(size +)[\d.]+', r"\1\2SIZE", text)


@pytest.mark.parametrize("name", ["frame", "window"])
def test_people_read_the_golden_text(name: str, golden_text: Callable[[str, str], None]) -> None:
    spec, threshold = (FRAME, 0.5) if name == "frame" else (WINDOW, 4.0)

    golden_text(f"inspect_{name}.txt", _steady(render(parse(model_bytes(spec, threshold=threshold)))) + "\n")


def test_programs_read_the_golden_keys(golden_text: Callable[[str, str], None]) -> None:
    told = facts(parse(model_bytes(WINDOW)))

    golden_text("inspect_window.json", _steady(json.dumps(told, indent=1, sort_keys=True)) + "\n")


def test_json_is_one_object_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes())

    assert main(["inspect", str(path), "--json"]) == 0

    assert json.loads(capsys.readouterr().out)["threshold"] == 4.0


def test_the_keys_of_a_file_for_frames_are_the_golden_ones(
    frame_model: Path, golden_text: Callable[[str, str], None]
) -> None:
    golden_text("inspect_frame_keys.txt", "\n".join(sorted(keys_of(facts(read(frame_model))))) + "\n")


def test_digests_size_and_promise_are_those_of_the_file(frame_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(frame_model), "--json"]) == 0

    told, model = json.loads(capsys.readouterr().out), read(frame_model)
    assert told["file_sha256"] == hashlib.sha256(frame_model.read_bytes()).hexdigest()
    assert (told["graph_sha256"], told["digest"]) == (model.graph_sha256, model.digest)
    assert told["size_bytes"] == frame_model.stat().st_size
    assert told["promise"] == (
        "with 95 % confidence at most 5 % of good parts are rejected or INVALID by their content; from 60 parts"
    )


def test_a_damaged_file_is_one_line_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes()[:-1])

    assert main(["inspect", str(path)]) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"andon: {path}: ")
    assert captured.err.count("\n") == 1


def test_people_read_the_notes_of_the_detector_and_which_epoch_the_weights_are_of() -> None:
    model = parse(model_bytes(WINDOW))
    card = replace(model.card, notes=("beta 0: a plain autoencoder; the prior has no effect",), checkpoint_epoch=20)

    assert "note " not in render(model).replace("note        One window", "")
    text = render(replace(model, card=card))
    assert "note        beta 0: a plain autoencoder; the prior has no effect\n" in text
    assert "note        weights of the checkpoint of epoch 20, not the final weights of the training\n" in text
