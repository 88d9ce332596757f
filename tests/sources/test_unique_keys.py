"""Unique keys for several paths."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.conftest import write_picture
from tests.runtime.hand_made import FRAME, frame

from andon.runtime.schema import Channel, WindowSpec
from andon.sources.opening import open_for
from andon.sources.unique_keys import key_prefixes, prefixes

pieces = st.text("ab", min_size=1, max_size=2)
places = st.lists(st.lists(pieces, min_size=1, max_size=3).map(tuple), min_size=1, max_size=4, unique=True)


@given(places, st.data())
def test_keys_in_different_folders_always_differ_and_are_no_longer_than_needed(
    folders: list[tuple[str, ...]], data: st.DataObject
) -> None:
    keys = [data.draw(st.sets(pieces, min_size=1, max_size=3)) for _ in folders]

    before = prefixes(folders, keys)

    whole = [prefix + key for prefix, those in zip(before, keys, strict=True) for key in those]
    bare = [key for those in keys for key in those]
    assert len(set(whole)) == len(whole)
    assert (before == [""] * len(folders)) == (len(set(bare)) == len(bare))
    assert all("/".join(place).endswith(prefix.rstrip("/")) for place, prefix in zip(folders, before, strict=True))


@pytest.fixture
def shifts(tmp_path: Path) -> Path:
    for name in ("early/cam/1.png", "late/cam/1.png", "late/cam/2.png"):
        write_picture(tmp_path / name, frame(1))
    return tmp_path


def test_one_path_keeps_its_keys_as_they_are(shifts: Path) -> None:
    assert key_prefixes([str(shifts)], FRAME) == [""]


def test_folders_of_equal_names_are_told_apart_by_those_above(shifts: Path) -> None:
    found = key_prefixes([str(shifts / "early/cam"), str(shifts / "late/cam")], FRAME)

    assert found == ["early/cam/", "late/cam/"]


def test_files_of_equal_names_are_told_apart_by_their_folders(shifts: Path) -> None:
    assert key_prefixes([str(shifts / "early/cam/1.png"), str(shifts / "late/cam/2.png")], FRAME) == ["", ""]
    assert key_prefixes([str(shifts / "early/cam/1.png"), str(shifts / "late")], FRAME) == ["", ""]
    assert key_prefixes([str(shifts / "early/cam/1.png"), str(shifts / "late/cam")], FRAME) == [
        "early/cam/",
        "late/cam/",
    ]


def test_windows_of_logs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    spec = WindowSpec(steps=4, hop=4, period_s=1.0, channels=(Channel(name="flow"),))
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        rows = "".join(f"{row},{row % 3}\n" for row in range(20))
        (tmp_path / folder / "pump.csv").write_text(f"time,flow\n{rows}", encoding="utf-8")

    assert key_prefixes([str(tmp_path / "one/pump.csv"), str(tmp_path / "two")], spec) == ["one/", "two/"]
    assert open_for(str(tmp_path / "two"), spec).refs[0].key.startswith("pump.csv#")


def test_a_path_that_stands_twice_names_its_items_twice(shifts: Path) -> None:
    early, late = str(shifts / "early/cam"), str(shifts / "late/cam")

    assert key_prefixes([late, f"{late}/../cam"], FRAME) == ["", ""]
    assert key_prefixes([late, early, late], FRAME) == ["late/cam/", "early/cam/", "late/cam/"]


def test_a_file_beside_its_own_folder_is_the_same_item(shifts: Path) -> None:
    assert key_prefixes([str(shifts / "late/cam"), str(shifts / "late/cam/1.png")], FRAME) == ["", ""]
