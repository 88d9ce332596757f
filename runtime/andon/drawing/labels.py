"""Other people's names in pictures: shortened so that they can still be told apart, and never read as formulas."""

import textwrap
import unicodedata


def shortened(text: str, most: int) -> str:
    """Without its middle, where it is longer than that: names differ at the end as often as at the beginning.

    >>> shortened("patchcore --preset fast --size 224", 20)
    'patchcor… --size 224'
    """
    if len(text) <= most:
        return text
    tail = (most - 1) * 3 // 5
    return f"{text[: most - 1 - tail]}…{text[-tail:]}"


def plain(text: str, width: int) -> str:
    """Names are other people's: broken into lines between words, and never read as formulas."""
    short = [" ".join(shortened(word, width) for word in line.split(" ")) for line in text.splitlines()]
    return "\n".join(textwrap.fill(line, width) for line in short).replace("$", r"\$")


def caption(text: str, width: int) -> str:
    """No more lines than it has: what is too long loses its middle, so that it still says whether it is watched."""
    return "\n".join(shortened(line, width) for line in text.splitlines()).replace("$", r"\$")


def without_controls(value: str) -> str:
    """Replace lone surrogates, control and direction-changing characters with U+FFFD, for pictures and pages.

    >>> without_controls("a\\x00b\\u202ec")
    'a\\ufffdb\\ufffdc'
    """
    return "".join("\ufffd" if unicodedata.category(one) in ("Cc", "Cs") or one in _TURNING else one for one in value)


_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that change the direction of writing: with them ``gpj.exe`` reads as a picture."""
