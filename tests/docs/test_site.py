"""The documentation site builds without warnings, fetches nothing, and covers what the code has."""

import ast
import importlib.util
import inspect
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from andon.foundation import errors
from andon.foundation.registry import members, names
from andon.foundation.settings import fields
from andon.monitor.reject import RejectRule
from andon.runtime import Reason

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
needs_sphinx = pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="no sphinx: extra [docs]")


def test_troubleshooting_has_every_error_class() -> None:
    page = (DOCS / "how-to" / "troubleshooting.md").read_text(encoding="utf-8")
    classes = [
        name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, errors.AndonError)
    ]

    assert len(classes) > 8
    assert [name for name in classes if f"\n## {name}\n" not in page] == []


def test_troubleshooting_has_every_reason_that_is_given() -> None:
    page = (DOCS / "how-to" / "troubleshooting.md").read_text(encoding="utf-8")
    given = {reason.code for reason in Reason if reason}

    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == given


def _messages() -> list[str]:
    """Return all texts of the code, with ``{}`` for what a message fills in."""
    texts = []
    for path in ROOT.glob("*/andon/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                texts.append(
                    "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def test_troubleshooting_quotes_messages_that_exist() -> None:
    page = (DOCS / "how-to" / "troubleshooting.md").read_text(encoding="utf-8")
    table = page.partition("| message contains |")[2].partition("\n\n")[0]
    quoted = re.findall(r"^\| ([^|-]+) \|", table, re.MULTILINE)
    messages = _messages()

    assert len(quoted) > 4
    assert [words for words in quoted if not any(words in text for text in messages)] == []


def test_the_glossary_is_sorted() -> None:
    lines = (DOCS / "glossary.md").read_text(encoding="utf-8").splitlines()
    terms = [term.lower() for term, meaning in itertools.pairwise(lines) if meaning.startswith(": ")]

    assert len(terms) > 25
    assert terms == sorted(terms)


@needs_sphinx
def test_the_reference_has_every_command_detector_setting_source_sink_output_controller_reject_device_and_trigger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    import andon_docs  # type: ignore[import-not-found]

    from andon.cli import commands

    generated = {name: make() for name, make in andon_docs.GENERATED.items()}
    assert re.findall(r"^## andon (\w+)$", generated["commands"], re.MULTILINE) == commands()
    assert re.findall(r"^## (\w+)$", generated["detectors"], re.MULTILINE) == names("andon.detectors")
    assert re.findall(r"^## (\w+)$", generated["sources"], re.MULTILINE) == names("andon.sources")
    assert re.findall(r"^## (\w+)$", generated["sinks"], re.MULTILINE) == names("andon.sinks")
    assert re.findall(r"^## (\w+)$", generated["outputs"], re.MULTILINE) == names("andon.outputs")
    assert re.findall(r"^## (\w+)$", generated["rejects"], re.MULTILINE) == names("andon.rejects")
    assert re.findall(r"^## (\w+)$", generated["controllers"], re.MULTILINE) == names("andon.controllers")
    assert "`every_s`" in generated["controllers"]
    assert re.findall(r"^## (\w+)$", generated["triggers"], re.MULTILINE) == names("andon.triggers")
    rejects = [kind.settings for _, kind in members("andon.rejects")]
    keys = [setting.name for struct in (RejectRule, *rejects) for setting in fields(struct)]
    assert re.findall(r"^`(\w+)`(?: `.*`)?$", generated["rejects"], re.MULTILINE) == keys
    settings = [setting.flag for _, recipe in members("andon.detectors") for setting in fields(recipe.settings)]
    assert re.findall(r"^`(--[\w-]+)`(?: `.*`)?$", generated["detectors"], re.MULTILINE) == settings


@needs_sphinx
def test_a_link_that_leaves_the_documentation_leads_to_a_page_or_becomes_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    from andon_docs import fill

    text = "[a](../../CONTRIBUTING.md#tests) [b](../../tests/node) [c](promise.md) [d](#here) [e](https://example.com)"

    assert fill(text, "how-to/page") == (
        "[a](/contributing/guide.md#tests) `b` [c](/how-to/promise.md) [d](#here) [e](https://example.com)"
    )


@needs_sphinx
def test_a_generated_page_tells_readers_of_the_repository_how_to_see_it_and_the_site_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    from andon_docs import GENERATED, fill

    pages = [path for path in sorted(DOCS.rglob("*.md")) if "<!-- generated: " in path.read_text(encoding="utf-8")]

    assert len(pages) == len(GENERATED)
    for page in [*pages, DOCS / "reference" / "python.md"]:
        text = page.read_text(encoding="utf-8")
        note = text.partition("<!-- repository only -->\n")[2].partition("\n\n")[0]
        assert "python -m sphinx docs site" in note, page
        assert "Without the site" in note, page
        assert note not in fill(text, f"reference/{page.stem}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors. This also checks all internal links."""
    out = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "--keep-going",
            "-q",
            "-d",
            str(out / "doctrees"),
            str(DOCS),
            str(out / "html"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert built.returncode == 0, built.stderr
    return out / "html"


@needs_sphinx
@pytest.mark.slow
def test_a_page_of_the_site_fetches_nothing_from_the_network(site: Path) -> None:
    fetched = re.compile(
        r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=[\"'](?:https?:)?//[^\"']+|@import\s+[\"'](?:https?:)?//|url\([\"']?(?:https?:)?//"
    )
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]

    assert len(pages) > 25
    assert [
        (page.name, found[0]) for page in pages for found in fetched.finditer(page.read_text(encoding="utf-8"))
    ] == []


@needs_sphinx
@pytest.mark.slow
def test_the_site_shows_the_docstrings_of_the_public_names(site: Path) -> None:
    import andon.runtime

    page = (site / "reference" / "python.html").read_text(encoding="utf-8")

    assert [name for name in andon.runtime.__all__ if f".{name}" not in page] == []
