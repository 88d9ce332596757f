"""Two machines have one fingerprint of a data set only if names and contents of all its files are equal."""

import shutil
from pathlib import Path

import pytest

from andon.training.comparison.data_fingerprint import data_fingerprint
from andon.training.comparison.plan import DataSet


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Return a folder with three files."""
    folder = tmp_path / "parts"
    for name in ("train/good/a.png", "train/good/b.png", "test/chip/c.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def of(train: Path | str, **more: str) -> str:
    return data_fingerprint(DataSet(train=str(train), name="parts", **more))  # type: ignore[arg-type]


def test_a_copy_in_another_place_has_the_same_fingerprint(parts: Path, tmp_path: Path) -> None:
    shutil.copytree(parts, tmp_path / "copy")

    assert of(parts) == of(tmp_path / "copy")


def test_a_changed_renamed_missing_or_added_file_has_another_fingerprint(parts: Path) -> None:
    seen = {of(parts)}
    (parts / "train/good/a.png").write_bytes(b"changed")
    seen.add(of(parts))
    (parts / "train/good/a.png").rename(parts / "train/good/z.png")
    seen.add(of(parts))
    (parts / "train/good/z.png").unlink()
    seen.add(of(parts))
    (parts / "train/good/new.png").write_bytes(b"")
    seen.add(of(parts))

    assert len(seen) == 5


def test_the_labels_count(parts: Path, tmp_path: Path) -> None:
    table = tmp_path / "truth.csv"
    table.write_text("key,label\n", encoding="utf-8")
    before = of(parts, truth=str(table))
    table.write_text("key,label\na,1\n", encoding="utf-8")

    assert len({of(parts), before, of(parts, truth=str(table))}) == 3


def test_an_address_is_its_text_and_a_missing_path_differs_from_a_present_one(parts: Path, tmp_path: Path) -> None:
    assert of("power_converter:runs=60") == of("power_converter:runs=60") != of("power_converter:runs=61")
    present = of(parts)
    parts.rename(tmp_path / "moved")
    assert of(parts) != present
