"""One file that opens from a mail attachment, whatever the parts are called."""

import base64
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluation.pages import Read

from andon.drawing.labels import without_controls
from andon.evaluation.report import page
from andon.evaluation.report.page import Exhibit, Page, Picture, Section, Table, Tile
from andon.foundation.errors import ConfigError
from andon.sources.pictures.encode import png

HOSTILE = [
    '"><script>alert(1)</script>',
    "' onerror='alert(1)",
    "<img src=http://example.org/x.png>",
    "&lt;b&gt; & more",
    "</style></title><h1>",
    "a\x00b\x1b[31m\nc",
    "good\udcff.png",
    "\u202egnp.exe",
    "Größe 漢字 🍪",
]


def picture(name: str, level: int = 0, alt: str = "a square") -> Picture:
    return Picture(name=name, png=png(np.full((4, 6, 3), level, np.uint8)), alt=alt)


def page_of(*pictures: Picture, key: str = "good/0.png") -> Page:
    exhibit = Exhibit(key=key, status="REJECT", tone="bad", facts=(("truth", key),), pictures=pictures[1:])
    return Page(
        title=key,
        subtitle=key,
        tone="good",
        headline=key,
        tiles=(Tile(value=key, name=key, note=key),),
        summary=(key,),
        sections=(
            Section(
                title=key,
                text=(key,),
                tables=(Table(head=(key, "n"), rows=((key, key),), stacked=True),),
                pictures=pictures[:1],
                exhibits=(exhibit,),
            ),
            Section(title="more", folded=True, text=(key,)),
        ),
        footer=key,
    )


@pytest.mark.parametrize("key", HOSTILE)
def test_names_from_outside_are_text_and_nothing_else(key: str) -> None:
    plain = page.render(page_of(picture("a.png"), picture("b.png")))
    hostile = page.render(page_of(picture("a.png", alt=key), picture("b.png"), key=key))
    hostile.encode()

    tags = [tag for tag, _ in Read(hostile).tags]
    assert tags == [tag for tag, _ in Read(plain).tags]
    assert [sorted(attributes) for _, attributes in Read(hostile).tags] == [
        sorted(attributes) for _, attributes in Read(plain).tags
    ]
    assert without_controls(key).split()[0] in Read(hostile).text


@given(st.text(st.characters(), max_size=30))
def test_any_name_at_all_leaves_the_page_well_formed(key: str) -> None:
    read = Read(page.render(page_of(picture("a.png", alt=key), picture("b.png"), key=key)))

    assert [image["alt"] for image in read.images] == [without_controls(key), "a square"]


def test_nothing_is_fetched_and_no_script_runs() -> None:
    read = Read(page.render(page_of(picture("a.png"), picture("b.png"))))

    assert not {tag for tag, _ in read.tags} & {"script", "link", "iframe", "object", "base", "form"}
    for tag, attributes in read.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,")), (tag, attributes)
    policy = next(attributes["content"] for _, attributes in read.tags if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'")


def test_every_picture_is_within_the_page_and_beside_it(tmp_path: Path) -> None:
    made = page_of(picture("a.png", 1), picture("b.png", 2), picture("c.png", 3))

    index = page.write(made, tmp_path / "report")

    images = Read(index.read_text(encoding="utf-8")).images
    within = [base64.b64decode(image["src"].partition("base64,")[2]) for image in images]
    assert within == [(index.parent / name).read_bytes() for name in ("a.png", "b.png", "c.png")]
    assert {(image["width"], image["height"]) for image in images} == {("6", "4")}
    assert sorted(path.name for path in index.parent.iterdir()) == ["a.png", "b.png", "c.png", "index.html"]


def test_the_same_page_gives_the_same_bytes() -> None:
    assert page.render(page_of(picture("a.png"))) == page.render(page_of(picture("a.png")))


def test_an_earlier_report_is_replaced_and_its_left_over_pictures_go(tmp_path: Path) -> None:
    page.write(page_of(picture("a.png"), picture("old.png")), tmp_path)
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")

    page.write(page_of(picture("a.png", 9), picture("new.png")), tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "index.html", "new.png", "notes.txt"]
    assert (tmp_path / "a.png").read_bytes() == picture("a.png", 9).png


@pytest.mark.parametrize("name", ["a.png", "index.html", "photo.jpg"])
def test_a_folder_with_other_files_is_refused_and_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")

    with pytest.raises(ConfigError, match="holds no earlier report"):
        page.require_place(tmp_path)
    with pytest.raises(ConfigError, match="holds no earlier report"):
        page.write(page_of(picture("a.png")), tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine"


def test_a_foreign_picture_beside_an_earlier_report_is_not_written_over(tmp_path: Path) -> None:
    page.write(page_of(picture("a.png")), tmp_path)
    (tmp_path / "b.png").write_bytes(b"mine")
    before = (tmp_path / "index.html").read_bytes()

    with pytest.raises(ConfigError, match=r"b\.png: is no picture of an earlier report"):
        page.write(page_of(picture("a.png"), picture("b.png")), tmp_path)

    assert (tmp_path / "b.png").read_bytes() == b"mine"
    assert (tmp_path / "index.html").read_bytes() == before


def test_a_forged_list_of_pictures_deletes_nothing_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "keep.txt").write_text("mine", encoding="utf-8")
    folder = tmp_path / "report"
    index = page.write(page_of(picture("a.png")), folder)
    forged = re.sub('content="a.png"', 'content="a.png ../keep.txt .. notes.txt"', index.read_text(encoding="utf-8"))
    index.write_text(forged, encoding="utf-8")
    (folder / "notes.txt").write_text("mine", encoding="utf-8")

    with pytest.raises(ConfigError, match="holds no earlier report"):
        page.write(page_of(picture("z.png")), folder)

    assert (tmp_path / "keep.txt").is_file()
    assert (folder / "notes.txt").is_file()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("mine", encoding="utf-8")

    with pytest.raises(ConfigError, match="is no folder"):
        page.require_place(tmp_path / "report")


def test_a_new_and_an_empty_folder_are_fine(tmp_path: Path) -> None:
    page.require_place(tmp_path / "new" / "deep")
    page.require_place(tmp_path)

    assert list(tmp_path.iterdir()) == []  # looked at, and left as it was


@pytest.mark.parametrize("name", ["../a.png", "A.png", "a.html", "a b.png", "a.png"])
def test_pictures_have_plain_names_and_no_two_the_same(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="names of their own"):
        page.write(page_of(picture("a.png"), picture(name)), tmp_path)
    assert list(tmp_path.iterdir()) == []
