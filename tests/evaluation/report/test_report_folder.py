"""The folder of a report: files that are written, replaced or left unchanged."""

import base64
import re
from pathlib import Path

import pytest
from tests.evaluation.pages import Read
from tests.evaluation.report.small_page import page_of, picture

from andon.evaluation.report import report_folder
from andon.foundation.errors import ConfigError


def test_every_picture_is_within_the_page_and_beside_it(tmp_path: Path) -> None:
    made = page_of(picture("a.png", 1), picture("b.png", 2), picture("c.png", 3))

    index = report_folder.write(made, tmp_path / "report")

    images = Read(index.read_text(encoding="utf-8")).images
    within = [base64.b64decode(image["src"].partition("base64,")[2]) for image in images]
    assert within == [(index.parent / name).read_bytes() for name in ("a.png", "b.png", "c.png")]
    assert {(image["width"], image["height"]) for image in images} == {("6", "4")}
    assert sorted(path.name for path in index.parent.iterdir()) == ["a.png", "b.png", "c.png", "index.html"]


def test_an_earlier_report_is_replaced_and_its_left_over_pictures_go(tmp_path: Path) -> None:
    report_folder.write(page_of(picture("a.png"), picture("old.png")), tmp_path)
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")

    report_folder.write(page_of(picture("a.png", 9), picture("new.png")), tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "index.html", "new.png", "notes.txt"]
    assert (tmp_path / "a.png").read_bytes() == picture("a.png", 9).png


@pytest.mark.parametrize("name", ["a.png", "index.html", "photo.jpg"])
def test_a_folder_with_other_files_is_refused_and_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")

    with pytest.raises(ConfigError, match="or an earlier report, got other files"):
        report_folder.require_place(tmp_path)
    with pytest.raises(ConfigError, match="or an earlier report, got other files"):
        report_folder.write(page_of(picture("a.png")), tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine"


def test_a_foreign_picture_beside_an_earlier_report_is_not_written_over(tmp_path: Path) -> None:
    report_folder.write(page_of(picture("a.png")), tmp_path)
    (tmp_path / "b.png").write_bytes(b"mine")
    before = (tmp_path / "index.html").read_bytes()

    with pytest.raises(ConfigError, match=r"b\.png: expected a picture of an earlier report"):
        report_folder.write(page_of(picture("a.png"), picture("b.png")), tmp_path)

    assert (tmp_path / "b.png").read_bytes() == b"mine"
    assert (tmp_path / "index.html").read_bytes() == before


def test_a_forged_list_of_pictures_deletes_nothing_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "keep.txt").write_text("mine", encoding="utf-8")
    folder = tmp_path / "report"
    index = report_folder.write(page_of(picture("a.png")), folder)
    forged = re.sub('content="a.png"', 'content="a.png ../keep.txt .. notes.txt"', index.read_text(encoding="utf-8"))
    index.write_text(forged, encoding="utf-8")
    (folder / "notes.txt").write_text("mine", encoding="utf-8")

    with pytest.raises(ConfigError, match="or an earlier report, got other files"):
        report_folder.write(page_of(picture("z.png")), folder)

    assert (tmp_path / "keep.txt").is_file()
    assert (folder / "notes.txt").is_file()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("mine", encoding="utf-8")

    with pytest.raises(ConfigError, match="or an earlier report, got a file"):
        report_folder.require_place(tmp_path / "report")


def test_a_new_and_an_empty_folder_are_fine(tmp_path: Path) -> None:
    report_folder.require_place(tmp_path / "new" / "deep")
    report_folder.require_place(tmp_path)

    assert list(tmp_path.iterdir()) == []  # checked, and left unchanged


@pytest.mark.parametrize("name", ["../a.png", "A.png", "a.html", "a b.png", "a.png"])
def test_pictures_have_plain_names_and_no_two_the_same(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unique names"):
        report_folder.write(page_of(picture("a.png"), picture(name)), tmp_path)
    assert list(tmp_path.iterdir()) == []
