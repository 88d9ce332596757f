"""A report as one HTML file that opens from a mail attachment: pictures within, no script, nothing fetched.

All text is escaped here and nowhere else: names of parts are names of files, and those may be anything.
"""

import base64
import html
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from andon.drawing.labels import without_controls
from andon.foundation.atomic import write_atomically
from andon.foundation.errors import ConfigError
from andon.runtime.schema import Status

Tone = Literal["good", "bad", "plain"]

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\.png")
_GENERATOR = '<meta name="generator" content="andon evaluate">'
_FILES = re.compile(r'<meta name="andon-files" content="([a-z0-9. -]*)">')
_HEAD_BYTES = 65_536
INDEX = "index.html"


def status_tone(status: Status) -> Tone:
    """Return the colour of a verdict's badge: it shows the verdict, and never whether the verdict was right."""
    tones: dict[Status, Tone] = {Status.OK: "good", Status.REJECT: "bad"}
    return tones.get(status, "plain")


class Picture(Struct, frozen=True, kw_only=True):
    """A PNG, shown within the page and written beside it."""

    name: str
    """Of its file: small letters, digits and hyphens, ``.png``."""
    png: bytes
    alt: str
    caption: str = ""
    shown: Literal["plot", "wide", "bar", "photo"] = "plot"
    """A plot of one column or of the whole width, a colour bar, or a photograph, which keeps its colours on a dark screen."""


class Table(Struct, frozen=True, kw_only=True):
    """Rows of text under a head; `words` names the columns that are words and not figures."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: tuple[int, ...] = (0,)
    stacked: bool = False
    """On a narrow screen the last column goes below the others."""


class Exhibit(Struct, frozen=True, kw_only=True):
    """One part, window or stretch, with its pictures side by side."""

    key: str
    status: str
    """Shown as a badge; empty: none."""
    tone: Tone
    facts: tuple[tuple[str, str], ...]
    pictures: tuple[Picture, ...]


class Tile(Struct, frozen=True, kw_only=True):
    """One figure that is seen first."""

    value: str
    name: str
    note: str
    tone: Tone = "plain"


class Section(Struct, frozen=True, kw_only=True):
    """A heading and what stands under it, in this order."""

    title: str
    folded: bool = False
    """Opened by whoever wants to see it."""
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    exhibits: tuple[Exhibit, ...] = ()


class Page(Struct, frozen=True, kw_only=True):
    """A whole report."""

    title: str
    subtitle: str
    tone: Tone
    headline: str
    tiles: tuple[Tile, ...]
    summary: tuple[str, ...]
    sections: tuple[Section, ...]
    footer: str = ""

    @property
    def pictures(self) -> list[Picture]:
        """All, in the order of the page."""
        return [
            picture
            for section in self.sections
            for some in (section.pictures, *(exhibit.pictures for exhibit in section.exhibits))
            for picture in some
        ]


def require_place(folder: Path) -> None:
    """Refuse a folder that holds anything but an earlier report; one that is not there yet is fine.

    Raises:
        ConfigError: no folder, or something else is in it.
    """
    _earlier(folder)


def write(page: Page, folder: Path) -> Path:
    """Write ``index.html`` and the pictures; gives the place of the page. An earlier report there is replaced.

    The page comes first: it is whole by itself, and tells a later run which pictures are ours if this one is interrupted.

    Raises:
        ConfigError: the folder holds something else, or cannot be written to.
    """
    pictures = {picture.name: picture.png for picture in page.pictures}
    if len(pictures) != len(page.pictures) or not all(_NAME.fullmatch(name) for name in pictures):
        raise ValueError(f"pictures need names of their own, like roc.png; got {[p.name for p in page.pictures]}")
    earlier = _earlier(folder)
    foreign = sorted(name for name in pictures if name not in earlier and (folder / name).exists())
    if foreign:
        raise ConfigError(f"{folder / foreign[0]}: is no picture of an earlier report; give --report another folder.")
    write_atomically(folder / INDEX, render(page).encode())
    for name, png in pictures.items():
        write_atomically(folder / name, png)
    for name in earlier - pictures.keys():
        (folder / name).unlink(missing_ok=True)
    return folder / INDEX


def render(page: Page) -> str:
    """The page as HTML. The same page gives the same text."""
    body = "".join(_section(number, section) for number, section in enumerate(page.sections))
    contents = "".join(
        f'<li><a href="#s{number}">{text(section.title)}</a></li>' for number, section in enumerate(page.sections)
    )
    files = " ".join(sorted(picture.name for picture in page.pictures))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{_GENERATOR}\n'
        f'<meta name="andon-files" content="{files}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        # a report is mailed around: whatever a file name managed to smuggle in, the browser would fetch and run nothing
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{text(page.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<header>\n<p class="over">{text(page.subtitle)}</p>\n<h1>{_isolated(page.title)}</h1>\n'
        f'<p class="verdict {page.tone}">{text(page.headline)}</p>\n'
        f'<div class="tiles">{"".join(_tile(tile) for tile in page.tiles)}</div>\n'
        f"{_paragraphs(page.summary)}</header>\n<nav><ul>{contents}</ul></nav>\n"
        f"<main>\n{body}</main>\n<footer>{text(page.footer)}</footer>\n</body>\n</html>\n"
    )


def text(value: str) -> str:
    """Text for HTML: escaped, without characters that no page can hold (a file's name may have them)."""
    return html.escape(without_controls(value), quote=True)


def counted(n: int, what: str) -> str:
    """``1 part``, ``2 parts``."""
    return f"{n} {what}" + ("" if n == 1 else "s")


def _earlier(folder: Path) -> set[str]:
    """Names of the pictures of the report that stands in the folder."""
    try:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return set()
        head = ""
        if (folder / INDEX).is_file():
            with (folder / INDEX).open("rb") as stream:
                head = stream.read(_HEAD_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error.strerror or error}.") from error
    files = _FILES.search(head)
    if _GENERATOR not in head or files is None:
        what = "is not empty and holds no earlier report" if folder.is_dir() else "is no folder"
        raise ConfigError(f"{folder}: {what}; give --report a folder that is new or empty.")
    return {name for name in files[1].split() if _NAME.fullmatch(name)}


def _tile(tile: Tile) -> str:
    return (
        f'<div class="tile {tile.tone}"><span class="name">{text(tile.name)}</span>'
        f'<span class="value">{text(tile.value)}</span><span class="note">{text(tile.note)}</span></div>\n'
    )


def _section(number: int, section: Section) -> str:
    pictures = "".join(_figure(picture) for picture in section.pictures)
    exhibits = "".join(_exhibit(exhibit) for exhibit in section.exhibits)
    photos = all(picture.shown == "photo" for exhibit in section.exhibits for picture in exhibit.pictures)
    inside = (
        _paragraphs(section.text)
        + "".join(_table(table) for table in section.tables)
        + (f'<div class="figures">\n{pictures}</div>\n' if pictures else "")
        + (f'<div class="exhibits{" photos" if photos else ""}">\n{exhibits}</div>\n' if exhibits else "")
    )
    if section.folded:
        inside = f"<details><summary><h2>{text(section.title)}</h2></summary>\n{inside}</details>\n"
    else:
        inside = f"<h2>{text(section.title)}</h2>\n{inside}"
    return f'<section id="s{number}">\n{inside}</section>\n'


def _paragraphs(lines: Sequence[str]) -> str:
    return "".join(f"<p>{text(line)}</p>\n" for line in lines)


def _table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        made = [
            f'<{tag} class="{"word" if place in table.words else "number"}">{_isolated(cell)}</{tag}>'
            for place, cell in enumerate(cells)
        ]
        return f"<tr>{''.join(made)}</tr>\n"

    body = "".join(row(cells, "td") for cells in table.rows)
    return (
        f'<div class="scroll"><table{" class=stacked" if table.stacked else ""}>\n<thead>{row(table.head, "th")}</thead>\n'
        f"<tbody>\n{body}</tbody></table></div>\n"
    )


def _exhibit(exhibit: Exhibit) -> str:
    facts = "".join(f"<div><dt>{text(name)}</dt><dd>{_isolated(value)}</dd></div>" for name, value in exhibit.facts)
    badge = f'<span class="badge {exhibit.tone}">{text(exhibit.status)}</span>' if exhibit.status else ""
    pictures = "".join(_figure(picture) for picture in exhibit.pictures)
    return (
        f'<article><h3>{_isolated(exhibit.key)} {badge}</h3>\n<dl>{facts}</dl>\n<div class="panels">\n{pictures}</div>'
        "</article>\n"
    )


def _figure(picture: Picture) -> str:
    width, height = struct.unpack(">II", picture.png[16:24])  # the header chunk of a PNG always stands here
    caption = f"<figcaption>{text(picture.caption)}</figcaption>" if picture.caption else ""
    return (
        f'<figure class="{picture.shown}"><img src="data:image/png;base64,{base64.b64encode(picture.png).decode()}" '
        f'width="{width}" height="{height}" alt="{text(picture.alt)}">{caption}</figure>\n'
    )


def _isolated(value: str) -> str:
    """A name from outside: its direction of writing must not turn what stands around it."""
    return f"<bdi>{text(value)}</bdi>"


_STYLE = """
:root{--ink:#1c2430;--soft:#5a6675;--line:#d8dee6;--paper:#fff;--back:#f3f5f8;--good:#0b6b4f;--goodback:#e0f3ec;
--bad:#9c2f00;--badback:#fdeadf;--plainback:#e9edf2}
@media (prefers-color-scheme:dark){:root{--ink:#e4e9ef;--soft:#9fabb9;--line:#36404c;--paper:#1b222b;--back:#12171d;
--good:#7ddcbb;--goodback:#12382c;--bad:#ffb38a;--badback:#4a2312;--plainback:#2a333e}
.plot img,.wide img{filter:invert(.91) hue-rotate(180deg)}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:72rem;padding:1.5rem 1rem 3rem;background:var(--back);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
p{overflow-wrap:anywhere}
header p,section>p{max-width:46rem}
h1{margin:.1rem 0 .7rem;font-size:1.9rem;line-height:1.2;overflow-wrap:anywhere}
h2{margin:0 0 .6rem;font-size:1.25rem}
h3{margin:0 0 .4rem;font-size:1rem;overflow-wrap:anywhere}
.over{margin:0;color:var(--soft)}
.verdict{max-width:none!important;margin:0 0 1rem;padding:.8rem 1rem;border-left:6px solid;border-radius:6px;
font-size:1.15rem;font-weight:600}
.good{color:var(--good);background:var(--goodback)}
.bad{color:var(--bad);background:var(--badback)}
.plain{color:var(--ink);background:var(--plainback)}
nav ul{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;margin:1rem 0 1.4rem;padding:0;list-style:none}
a{color:inherit;text-underline-offset:.2em}
section{margin:0 0 1.2rem;padding:1.1rem;background:var(--paper);border:1px solid var(--line);border-radius:10px}
section>p:first-of-type{margin-top:0}
.scroll{overflow-x:auto}
table{width:100%;margin:.4rem 0 1rem;border-collapse:collapse;font-size:.95rem}
th,td{padding:.35rem .6rem;border-bottom:1px solid var(--line);vertical-align:top;text-align:left}
th{color:var(--soft);font-weight:600}
.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
th.number{white-space:normal}
td.word{overflow-wrap:anywhere;min-width:6rem}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));gap:1rem 1.2rem}
figure{margin:0;min-width:0}
figure.wide,figure.bar{grid-column:1/-1}
figure.bar{max-width:30rem}
img{display:block;width:100%;height:auto;border-radius:4px}
.plot img{max-width:34rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(48%,11rem),1fr));gap:.7rem;margin:0 0 1rem}
.tile{display:flex;flex-direction:column;padding:.6rem .9rem;border-radius:8px}
.tile .value{font-size:1.6rem;font-weight:650;line-height:1.25;font-variant-numeric:tabular-nums}
.tile .note{font-size:.85rem}
summary{cursor:pointer}
summary h2{display:inline}
details[open]>summary{margin-bottom:.8rem}
figcaption{margin:.25rem 0 0;font-size:.85rem;color:var(--soft)}
.exhibits{display:grid;grid-template-columns:minmax(0,1fr);gap:1.3rem 1.6rem;margin-top:1rem}
.photos{grid-template-columns:repeat(auto-fill,minmax(min(100%,28rem),1fr))}
article{min-width:0;padding-top:1rem;border-top:1px solid var(--line)}
.badge{display:inline-block;margin-left:.3rem;padding:.05rem .5rem;border-radius:1rem;font-size:.8rem}
dl{display:flex;flex-wrap:wrap;gap:.1rem 1.4rem;margin:0 0 .5rem;font-size:.9rem}
dl div{display:flex;gap:.4rem}
dt{color:var(--soft)}
dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(48%,7rem),1fr));gap:.6rem}
.panels .photo{max-width:15rem}
footer{color:var(--soft);font-size:.85rem}
@media (max-width:44rem){
section{padding:.9rem .8rem}
th,td{padding:.3rem .4rem}
figure.wide{overflow-x:auto}
figure.wide img{width:44rem;max-width:none}
.stacked thead{display:none}
.stacked tr{display:grid;grid-template-columns:1fr auto auto;border-bottom:1px solid var(--line)}
.stacked td{border:0}
.stacked td:last-child{grid-column:1/-1;padding-top:0;color:var(--soft)}
}
@media print{body{background:#fff}section,article{break-inside:avoid}nav{display:none}}
"""
