"""Remove secrets from text: every value that was revealed, in all its spellings, and the user info of URLs.

A library may print a password in another spelling than the one that andon gave it, for example percent-decoded. Therefore a
value is found if any of its characters is percent-encoded, escaped as in JSON, or escaped as in Python.

This module keeps the revealed values, because it cannot find them otherwise. No other object does.
"""

import base64
import re
import threading
import urllib.parse
from collections.abc import Iterator

SHORTEST = 4
"""Values of fewer characters are not removed, because such short texts occur in many harmless messages."""
LONGEST = 256
"""Number of characters of one line of a value that are compared. The rest of the word is removed with them."""
MOST = 256
"""Largest number of values in memory. The oldest are forgotten: they were replaced many times since."""
HIDDEN = "***"

# one slash is enough: pathlib reduces the two slashes of an address to one
_USER_INFO = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]+:/{1,2})\S*@")
_AUTHORIZATION = re.compile(r"(\bauthorization\W{1,6}(?:basic|bearer|digest)\s+)[^\s'\"]+", re.IGNORECASE)
_SECRET_KEY = re.compile(r"(?:^|[-_])(?:auth|key|pass|passwd|password|pwd|secret|sig|signature|token)$", re.IGNORECASE)
_NAMED_ESCAPES = {"\t": "t", "\n": "n", "\r": "r", "\b": "b", "\f": "f", "\v": "v", "\a": "a", "\0": "0"}
_LONG_PATH = 12
"""Shortest path of a secret URL that is removed where it stands alone. Paths of webhooks contain the secret."""


class Redactor:
    """A set of secret values that can be removed from text. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, None] = {}
        self._pattern: re.Pattern[str] | None = None
        self._changed = False

    def __repr__(self) -> str:
        """Return the number of values. The values are not shown."""
        return f"Redactor({len(self._values)} values)"

    def register(self, value: str) -> None:
        """Remove this value from all later texts. A second call with the same value has no effect."""
        with self._lock:
            if value in self._values:
                return
            self._values[value] = None
            while len(self._values) > MOST:
                del self._values[next(iter(self._values))]
            self._changed = True

    def redact(self, text: str) -> str:
        """Return the text with ``***`` in place of each secret, user info of a URL, and content of an Authorization header."""
        pattern = self._compiled()
        if pattern is not None:
            text = pattern.sub(HIDDEN, text)
        if "@" in text:
            text = _USER_INFO.sub(rf"\g<1>{HIDDEN}@", text)
        return _AUTHORIZATION.sub(rf"\g<1>{HIDDEN}", text)

    def _compiled(self) -> re.Pattern[str] | None:
        """Return the pattern of all values. It is made when it is first needed, because that takes milliseconds."""
        if not self._changed:
            return self._pattern
        with self._lock:
            pieces = {piece for value in self._values for piece in _pieces(value)}
            # the longest first: a password may be part of another secret
            spellings = [_spellings(piece) for piece in sorted(pieces, key=lambda piece: (-len(piece), piece))]
            self._pattern = re.compile("|".join(spellings), re.IGNORECASE) if spellings else None
            self._changed = False
            return self._pattern


REVEALED = Redactor()
"""The values of all secrets that this process has read (`andon.foundation.secret.Secret.reveal`)."""


def redact(text: str) -> str:
    """Return the text without any secret that this process has read. See `Redactor.redact`.

    >>> redact("cannot open rtsp://admin:hunter2@10.0.0.7/live")
    'cannot open rtsp://***@10.0.0.7/live'
    """
    return REVEALED.redact(text)


def _pieces(value: str) -> Iterator[str]:
    """Yield the texts to look for: the lines of a value, each also percent-decoded, and the secret parts of a URL."""
    for line in value.splitlines():
        for text in {line.strip(), *_parts_of_url(line.strip())}:
            for piece in {text, urllib.parse.unquote(text), urllib.parse.unquote_plus(text)}:
                if len(piece) >= SHORTEST:
                    yield piece


def _parts_of_url(text: str) -> Iterator[str]:
    scheme, separator, rest = text.partition("://")
    if not separator or not scheme:
        return
    # split by hand: urllib refuses some passwords, and a typed password may contain any delimiter
    user_info, at, place = rest.rpartition("@")
    if at:
        yield user_info
        yield user_info.partition(":")[2]
        for spelling in (user_info, urllib.parse.unquote(user_info)):  # as in a header of HTTP
            yield base64.b64encode(spelling.encode("utf-8", "surrogatepass")).decode("ascii")
    path = "/" + re.split(r"[?#]", place.partition("/")[2])[0]
    if len(path) >= _LONG_PATH:
        yield path
    query = place.partition("?")[2].partition("#")[0]
    for piece in query.split("&"):
        key, _, value = piece.partition("=")
        if _SECRET_KEY.search(key):
            yield value


def _spellings(piece: str) -> str:
    """Return a pattern that finds the text with any of its characters encoded or escaped."""
    pattern = "".join(map(_spellings_of_character, piece[:LONGEST]))
    return pattern + r"\S*" if len(piece) > LONGEST else pattern


def _spellings_of_character(character: str) -> str:
    code = ord(character)
    # %40, and also %2540 if it was encoded twice
    encoded = "".join(f"%(?:25)*{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
    ways = [re.escape(character), encoded]
    if not character.isascii():
        # a capital of several letters (ß becomes SS), which a search without regard to case does not find
        cases = {character.upper(), character.lower()}
        ways += [re.escape(case) for case in sorted(cases) if not re.fullmatch(ways[0], case, re.IGNORECASE)]
    if character == " ":
        ways.append(r"\+")
    if character in "\"'\\/":
        ways.insert(0, re.escape("\\" + character))
    if character in _NAMED_ESCAPES:
        ways.append(re.escape("\\" + _NAMED_ESCAPES[character]))
    if not (character.isascii() and character.isalnum()):
        units = character.encode("utf-16-be", "surrogatepass").hex()
        ways.append("".join(rf"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)))
        ways.append(rf"\\U{code:08x}")
        ways.append(rf"\\x{code:02x}")
    return f"(?:{'|'.join(ways)})"
