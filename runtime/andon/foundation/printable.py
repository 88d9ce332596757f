"""Make text from files, networks and users safe: escape it for a terminal or log, clean it for a picture or page."""

import unicodedata


def printable(text: str, *, limit: int = 300) -> str:
    """Escape all characters that a terminal could interpret as commands or that could break the line.

    Control characters, line and paragraph separators, direction marks and lone surrogates become backslash escapes.
    Spaces and printable characters of any script stay as they are.

    Args:
        text: any text, for example a name inside a forged model file or a file name.
        limit: largest number of characters in the result. A longer text is cut and ends with an ellipsis.

    >>> print(printable("part\\n\\x1b[2Jok \\u00e9"))
    part\\n\\x1b[2Jok é
    """
    # also cut before escaping: the text may have gigabytes, and an escape is at most ten characters long
    escaped = "".join(
        character if character == " " or character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text[: limit + 1]
    )
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "…"


def without_controls(text: str) -> str:
    """Replace lone surrogates, control characters and direction marks with U+FFFD, for pictures and pages.

    Unlike `printable` it keeps characters that join the letters of a script, because browsers can display them.

    >>> without_controls("a\\x00b\\u202ec")
    'a\\ufffdb\\ufffdc'
    """
    if text.isprintable():
        return text
    return "".join("\ufffd" if unicodedata.category(one) in ("Cc", "Cs") or one in _TURNING else one for one in text)


_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that change the direction of writing. They can make the name ``gpj.exe`` look like a picture."""
