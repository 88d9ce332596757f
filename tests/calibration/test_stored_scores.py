"""Scores of good parts that a file judged earlier, from JSON lines or CSV."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.calibration.scores import scores_of
from tests.runtime.hand_made import FRAME, blank_bytes, graph

from andon.calibration.calibrate import calibrate
from andon.calibration.request import CalibrationRequest
from andon.calibration.stored_scores import read_scores
from andon.foundation.errors import DataError
from andon.runtime.model_file.format import parse
from andon.runtime.schema import Reason, Status

MODEL = parse(
    calibrate(
        blank_bytes(graph(FRAME), FRAME), scores_of(np.arange(1, 101) / 100), CalibrationRequest(date="2026-01-01")
    )
)
ME = MODEL.short_digest


def lines(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


def test_json_lines_of_score_are_read(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "v.jsonl",
        {"item": "a.png", "status": "OK", "reason": "", "score": 0.25, "level": 0.1, "model": ME},
        {"item": "b.png", "status": "INVALID", "reason": "other_scene", "score": None, "model": ME},
        {"item": "c.png", "status": "INVALID", "reason": "unreadable", "score": None, "model": ME},
    )

    scores = read_scores(path, MODEL)

    assert [ref.key for ref in scores.refs] == ["a.png", "b.png", "c.png"]
    assert scores.score[0] == 0.25
    assert scores.status.tolist() == [Status.OK, Status.INVALID, Status.INVALID]
    assert scores.reason.tolist() == [Reason.NONE, Reason.OTHER_SCENE, Reason.UNREADABLE]
    assert scores.lost.tolist() == [False, False, True]


def test_a_csv_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(f"item,score,model,part\na,0.5,{ME},p1\nb,0.75,{ME},p1\n", encoding="utf-8")

    scores = read_scores(path, MODEL)

    assert scores.score.tolist() == [0.5, 0.75]
    assert [ref.part for ref in scores.refs] == ["p1", "p1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"item": "a", "score": 1.0, "model": "0123456789ab"}', "expected verdicts of the model file"),
        ('{"item": "a", "score": "high", "model": "x"}', "line 1: expected a verdict"),
        ("nonsense", "line 1: expected a verdict"),
        ("", "got an empty file"),
        (
            f'{{"item": "a", "score": 1, "model": "{ME}"}}\n{{"item": "a", "score": 2, "model": "{ME}"}}',
            "'a' more than once",
        ),
    ],
    ids=["another file", "no number", "no JSON", "empty", "twice"],
)
def test_wrong_lines_are_refused_with_their_number(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(DataError, match=message):
        read_scores(path, MODEL)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item,score\na,1\n", "found no model"),
        (f"item,score,model\na,x,{ME}\n", "line 2: expected a number as score, got 'x'"),
    ],
)
def test_a_wrong_table_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(DataError, match=message):
        read_scores(path, MODEL)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl: cannot be read"):
        read_scores(tmp_path / "none.jsonl", MODEL)


def test_scores_of_another_device_are_refused(tmp_path: Path) -> None:
    row = {"item": "a.png", "status": "OK", "score": 0.25, "model": ME, "outside_promise": ["provider"]}

    with pytest.raises(DataError, match=r"line 1: expected scores of the device type .*--device DEVICE"):
        read_scores(lines(tmp_path / "v.jsonl", row), MODEL)
