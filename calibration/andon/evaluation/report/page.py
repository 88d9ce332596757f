"""The content of a report page as data: sections with tables, pictures and exhibits. `html` renders it."""

import base64
import struct
from typing import Literal

from msgspec import Struct

from andon.runtime.schema import Status

Tone = Literal["good", "bad", "plain"]


def status_tone(status: Status) -> Tone:
    """Return the colour of a verdict's badge. It shows the verdict, not whether the verdict was right."""
    tones: dict[Status, Tone] = {Status.OK: "good", Status.REJECT: "bad"}
    return tones.get(status, "plain")


class ReportPicture(Struct, frozen=True, kw_only=True):
    """A PNG. It is embedded in the page and also written as a file next to it."""

    name: str
    """File name: lower-case letters, digits and hyphens, then ``.png``."""
    png: bytes
    alt: str
    caption: str = ""
    shown: Literal["plot", "wide", "bar", "photo"] = "plot"
    """Kind of picture: a plot of one column (plot) or of the full width (wide), a colour bar, or a photo. Only photos keep their
    colours in dark mode."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width, height = struct.unpack(">II", self.png[16:24])  # the header chunk of a PNG always stands here
        return width, height

    @property
    def base64(self) -> str:
        """The PNG in base64, for a data URL."""
        return base64.b64encode(self.png).decode()


class ReportTable(Struct, frozen=True, kw_only=True):
    """Rows of text under a header. `words` lists the columns that hold words instead of numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: tuple[int, ...] = (0,)
    stacked: bool = False
    """If true, the last column goes below the others on a narrow screen."""


class Exhibit(Struct, frozen=True, kw_only=True):
    """One part, window or stretch of a log, with its pictures side by side."""

    key: str
    status: str
    """Text of the badge; empty: no badge."""
    tone: Tone
    facts: tuple[tuple[str, str], ...]
    pictures: tuple[ReportPicture, ...]


class Tile(Struct, frozen=True, kw_only=True):
    """One of the most important results at the top of the page."""

    value: str
    name: str
    note: str
    tone: Tone = "plain"


class Section(Struct, frozen=True, kw_only=True):
    """A heading with its contents, which appear in the order of the fields."""

    title: str
    folded: bool = False
    """If true, the section is closed until the reader opens it."""
    text: tuple[str, ...] = ()
    tables: tuple[ReportTable, ...] = ()
    pictures: tuple[ReportPicture, ...] = ()
    exhibits: tuple[Exhibit, ...] = ()

    @property
    def photos_only(self) -> bool:
        """True if all pictures of its exhibits are photos. Two exhibits then fit next to each other."""
        return all(picture.shown == "photo" for exhibit in self.exhibits for picture in exhibit.pictures)


class Page(Struct, frozen=True, kw_only=True):
    """A whole report page."""

    title: str
    subtitle: str
    tone: Tone
    headline: str
    tiles: tuple[Tile, ...]
    summary: tuple[str, ...]
    sections: tuple[Section, ...]
    footer: str = ""

    @property
    def pictures(self) -> list[ReportPicture]:
        """All pictures of the page, in order."""
        return [
            picture
            for section in self.sections
            for some in (section.pictures, *(exhibit.pictures for exhibit in section.exhibits))
            for picture in some
        ]


def counted(n: int, what: str) -> str:
    """Return a count with its noun, for example ``1 part`` or ``2 parts``."""
    return f"{n} {what}" + ("" if n == 1 else "s")
