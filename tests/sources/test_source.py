"""Find the source for a text: paths, names, and texts that could be both or neither."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from andon.foundation.errors import DataError
from andon.runtime.schema import FrameSpec
from andon.sources.opening import good_for, labelled_for, open_for, shown, truth_of
from andon.sources.source import collect, find, named

FRAMES = FrameSpec(channels=3, size=(8, 8))


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((6, 8, 3), np.uint8))


@pytest.mark.parametrize(
    "name", ["camera", "camera:1", "0", "video", "logs", "images", "classes", "stdin", "mnist", "power_converter"]
)
def test_a_folder_wins_over_a_source_of_the_same_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / name / "part.png")
    monkeypatch.chdir(tmp_path)

    assert find(name).name == find(f"./{name}").name == "images"
    assert [ref.key for ref in open_for(name, FRAMES).refs] == ["part.png"]


def test_a_log_wins_over_a_source_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "camera").mkdir()
    (tmp_path / "camera/log.csv").write_text("time,a\n0,1\n1,2\n")
    monkeypatch.chdir(tmp_path)

    assert find("camera").name == "logs"


@pytest.mark.parametrize(("text", "name"), [("camera", "camera"), ("0", "camera"), ("stdin", "stdin"), ("-", "stdin")])
def test_a_name_without_a_path_is_the_source(
    text: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert find(text).name == name


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_text_is_refused_and_not_taken_for_the_working_folder(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "part.png")
    monkeypatch.chdir(tmp_path)

    for opened in (find, collect, truth_of, lambda path: open_for(path, FRAMES), lambda path: good_for(path, FRAMES)):
        with pytest.raises(DataError, match="got an empty text"):
            opened(text)
    with pytest.raises(DataError, match="got an empty text"):
        labelled_for(text, FRAMES)


@pytest.mark.parametrize(
    "text", ["x" * 300, "folder/" + "x" * 300 + ".png", "x" * 5000, "classes:" + "x" * 300 + ",normal=a", "a\0b"]
)
def test_a_text_that_the_system_takes_for_no_path_is_refused_in_words(text: str) -> None:
    with pytest.raises(DataError):
        open_for(text, FRAMES)
    with pytest.raises(DataError):
        labelled_for(text, FRAMES)
    with pytest.raises(DataError):
        collect(text)
    assert shown(text)


def test_a_long_text_that_names_a_simulation_is_that_simulation() -> None:
    text = "power_converter:runs=1,rows=8," + ",".join(f"seed={seed}" for seed in range(100, 101)) + " " * 300

    assert find(text).name == "power_converter"
    assert shown(text)


@pytest.mark.parametrize(
    "text", ["fwe", "parts/god", "./camra", "pump.csv", "logs/pump.parquet", "line.mp4", "part.png"]
)
def test_a_path_that_does_not_exist_is_said_not_to_exist(text: str) -> None:
    with pytest.raises(DataError, match=f"^{text}: does not exist"):
        find(text)


def test_a_mistyped_name_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(DataError, match="did you mean 'camera'"):
        find("camra")


def test_a_path_that_holds_nothing_readable_is_not_said_to_be_missing(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")

    with pytest.raises(DataError, match="found none of these"):
        find(str(tmp_path))


def test_the_name_before_a_colon_is_no_source_where_the_whole_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "mnist:normal=0" / "part.png")
    monkeypatch.chdir(tmp_path)

    assert named("mnist:normal=0") is None
    assert named("mnist:normal=1") is not None
