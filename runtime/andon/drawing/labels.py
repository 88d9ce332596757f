"""Prepare text for pictures and pages: remove control characters, shorten, and escape formulas."""

import textwrap
from collections.abc import Callable

from andon.foundation.printable import without_controls

MOST_LETTERS = 22
"""Upper limit of characters of a name next to an axis or in a legend."""


def shortened(text: str, most: int) -> str:
    """Replace the middle of a longer text by an ellipsis, because names may differ at the end or at the beginning.

    >>> shortened("patchcore --preset fast --size 224", 20)
    'patchcor… --size 224'
    """
    text = without_controls(text)
    if len(text) <= most:
        return text
    tail = (most - 1) * 3 // 5
    return f"{text[: most - 1 - tail]}…{text[-tail:]}" if tail else f"{text[: most - 1]}…"


def short(name: str) -> str:
    """Return a name for an axis or a legend. Draw it with ``parse_math=False``."""
    return shortened(name, MOST_LETTERS)


def fitting(text: str, length: Callable[[str], float], most: float) -> str:
    """Cut a text so that its measured length fits. A cut text ends with an ellipsis.

    >>> fitting("scratch (watched)", len, 10)
    'scratch (…'
    """
    text = without_controls(text)
    if length(text) <= most:
        return text
    while text and length(text + "…") > most:
        text = text[:-1]
    return text + "…"


def plain(text: str, width: int) -> str:
    """Break the lines of a text between words, shorten longer words, and escape formulas."""
    lines = [" ".join(shortened(word, width) for word in line.split(" ")) for line in text.splitlines()]
    return _no_formula("\n".join(textwrap.fill(line, width) for line in lines))


def caption(text: str, width: int) -> str:
    """Shorten each line of a text, without adding lines, and escape formulas."""
    return _no_formula("\n".join(shortened(line, width) for line in text.splitlines()))


def _no_formula(text: str) -> str:
    return text.replace("$", r"\$")
