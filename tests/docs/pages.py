"""Read the fenced code blocks of a Markdown page, with the markers that state how a test runs them.

A marker is an HTML comment on a line of its own, directly before the block. Readers of the page do not see it.

* ``<!-- not run: REASON -->``: the block is not run.
* ``<!-- in tests: A => B -->``: the test replaces the text A by B, for example to use less data.
* ``<!-- fails: CODE -->``: the block is expected to end with this exit code.
* ``<!-- given: PYTHON -->``: a line that the test runs before a Python block.
* ``<!-- saved as: FILE -->``: the block is the content of this file. A later block runs it.
* ``<!-- needs: PACKAGE -->``: the page is skipped if this package is not installed.
* ``<!-- files: tutorial -->``: the page starts with the files of the tutorial.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MARKERS = frozenset({"not run", "in tests", "fails", "given", "saved as", "needs", "files"})
RUN = frozenset({"sh", "python"})

_MARKER = re.compile(r"^ *<!-- ([\w ]+): (.*) -->$")
_FENCE = re.compile(r"^( *)```(.*)$")


class Block(NamedTuple):
    """One fenced code block."""

    language: str
    """As on the fence: ``sh``, ``python``, ``text``, or empty."""
    text: str
    line: int
    """Line of the opening fence, from 1."""
    markers: tuple[tuple[str, str], ...]
    """Name and text of each marker, in order."""

    def marker(self, name: str) -> str | None:
        """Return the text of a marker, or None if the block does not have it."""
        return next((text for known, text in self.markers if known == name), None)

    @property
    def runs(self) -> bool:
        """True if a test runs this block, or saves it for a later one."""
        return (self.language in RUN or self.marker("saved as") is not None) and self.marker("not run") is None

    @property
    def code(self) -> str:
        """The text with the replacements for tests, and with the lines that are given."""
        text = self.text
        for name, replacement in self.markers:
            if name == "in tests":
                old, _, new = replacement.partition(" => ")
                if old not in text:
                    raise ValueError(f"line {self.line}: 'in tests' replaces {old!r}, which is not in the block.")
                text = text.replace(old, new)
        given = "".join(f"{line}\n" for name, line in self.markers if name == "given")
        return given + text


def blocks(page: Path) -> list[Block]:
    """Return all fenced code blocks of a page, in order."""
    return list(_blocks(page.read_text(encoding="utf-8").splitlines()))


def _blocks(lines: list[str]) -> Iterator[Block]:
    markers: list[tuple[str, str]] = []
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        if fence:
            margin, language = fence.groups()
            end = next(end for end in range(at + 1, len(lines)) if lines[end].strip() == "```")
            text = "".join(f"{line.removeprefix(margin)}\n" for line in lines[at + 1 : end])
            yield Block(language.strip(), text, at + 1, tuple(markers))
            markers, at = [], end
        elif marker := _MARKER.match(lines[at]):
            markers.append((marker[1], marker[2]))
        elif lines[at].strip():
            markers = []
        at += 1
