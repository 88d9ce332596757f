"""The page is one file that opens from a mail attachment, with any names of parts."""

import re
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from tests.evaluation.pages import Read
from tests.evaluation.report.small_page import page_of, picture

from andon.evaluation.report import html
from andon.foundation.printable import without_controls

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


@pytest.mark.parametrize("key", HOSTILE)
def test_names_from_outside_are_text_and_nothing_else(key: str) -> None:
    plain = html.render(page_of(picture("a.png", caption="x"), picture("b.png")))
    hostile = html.render(page_of(picture("a.png", alt=key, caption=key), picture("b.png"), key=key))
    hostile.encode()

    tags = [tag for tag, _ in Read(hostile).tags]
    assert tags == [tag for tag, _ in Read(plain).tags]
    assert [sorted(attributes) for _, attributes in Read(hostile).tags] == [
        sorted(attributes) for _, attributes in Read(plain).tags
    ]
    shown = " ".join(without_controls(key).split())
    assert Read(hostile).text.count(shown) == Read(plain).text.count("good/0.png") + Read(plain).text.count(" x ")


@given(st.text(st.characters(), max_size=30))
def test_any_name_at_all_leaves_the_page_well_formed(key: str) -> None:
    read = Read(html.render(page_of(picture("a.png", alt=key), picture("b.png"), key=key)))

    assert [image["alt"] for image in read.images] == [without_controls(key), "a square"]


def test_nothing_is_fetched_and_no_script_runs() -> None:
    read = Read(html.render(page_of(picture("a.png"), picture("b.png"))))

    assert not {tag for tag, _ in read.tags} & {"script", "link", "iframe", "object", "base", "form"}
    for tag, attributes in read.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,")), (tag, attributes)
    policy = next(attributes["content"] for _, attributes in read.tags if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'")


def test_templates_and_styles_are_part_of_the_package() -> None:
    templates = resources.files("andon.evaluation.report").joinpath("templates")

    assert sorted(file.name for file in templates.iterdir()) == ["page.html.j2", "parts.html.j2", "report.css"]
    assert resources.files("andon.drawing").joinpath("page.css").is_file()


def test_a_page_begins_with_its_doctype_and_holds_both_styles() -> None:
    made = html.render(page_of(picture("a.png")))

    assert made.startswith("<!DOCTYPE html>\n")
    assert "--text-soft:" in made
    assert ".exhibits {" in made


def test_a_name_that_the_templates_do_not_know_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        html._environment().from_string("{{ page.titel }}").render(page=page_of())


def test_every_colour_is_a_variable() -> None:
    sheets = [
        resources.files(package).joinpath(name).read_text(encoding="utf-8")
        for package, name in (("andon.drawing", "page.css"), ("andon.evaluation.report", "templates/report.css"))
    ]

    for line in "\n".join(sheets).splitlines():
        assert not re.search(r"#[0-9a-f]{3,8}\b", line) or re.fullmatch(r"\s+--[a-z-]+: #[0-9a-f]{6};", line), line


def test_the_same_page_gives_the_same_bytes() -> None:
    assert html.render(page_of(picture("a.png"))) == html.render(page_of(picture("a.png")))
