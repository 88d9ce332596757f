"""Text from files, networks and users, made safe for a terminal, a log and a one-line record."""


def printable(text: str, *, limit: int = 300) -> str:
    """Escape every character that a terminal could obey or that could break the line.

    Control characters, line and paragraph separators, direction marks and lone surrogates become backslash escapes.
    Spaces and printable characters of any script stay as they are.

    Args:
        text: any text, for example a name inside a forged model file or a file name.
        limit: the result is cut to this many characters, with an ellipsis at the end.

    >>> print(printable("part\\n\\x1b[2Jok \\u00e9"))
    part\\n\\x1b[2Jok é
    """
    # cut before escaping too: the text may have gigabytes, and an escape is at most ten characters for one
    escaped = "".join(
        character if character == " " or character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text[: limit + 1]
    )
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "…"
