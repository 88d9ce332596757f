"""The paths of overlays."""

from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.hand_made import FRAME, frame, model_file

from andon.cli._overlays import FreeNames, Overlays, file_name
from andon.runtime.schema import Status
from andon.runtime.verdict import Verdict

CARD = model_file(FRAME, threshold=0.25).card
VERDICT = Verdict(status=Status.OK, evidence={"anomaly_map": np.zeros((8, 8), np.float32)})


@given(key=st.text(alphabet="ab./\\:#*\n \x00", max_size=12))
def test_no_key_leads_out_of_the_folder(key: str) -> None:
    name = file_name(key)

    for path in (PurePosixPath(name), PureWindowsPath(name)):
        assert not path.is_absolute()
        assert not path.drive
        assert ".." not in path.parts
    assert name.endswith(".png")


@pytest.mark.parametrize("key", ["../../evil.png", "/etc/evil.png", "a/../../../evil.png", "..", "", "C:\\evil.png"])
def test_what_is_written_lies_in_the_folder(key: str, tmp_path: Path) -> None:
    folder = tmp_path / "in/here"

    written = Overlays(folder, CARD).write(key, frame(), VERDICT)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [written]
    assert written.resolve().is_relative_to(folder.resolve())


@given(
    keys=st.lists(st.sampled_from(["a.png", "A.png", "a.jpg", "a.jpg.png", "a", "a-2.png", "x/a.png", "a#1", "a_1"]))
)
def test_every_write_has_a_place_of_its_own(keys: list[str]) -> None:
    names = FreeNames()

    places = [names.free(file_name(key)).casefold() for key in keys]

    assert len(set(places)) == len(places)


def test_frames_of_one_video_have_their_numbers_in_their_names() -> None:
    assert [file_name(f"line.mp4#{number}") for number in (1, 2)] == ["line.mp4_1.png", "line.mp4_2.png"]
