"""Keep the sessions of people who have logged in. A session ends after twelve hours, at logout, or when its token is replaced.

The identifier of a session is random and is made by the server. An identifier that a client has chosen is never accepted, so
that an attacker cannot prepare a session for another person (session fixation). Only a digest of it is kept in memory. A lookup
compares digests, so that its duration shows nothing about stored identifiers.
"""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

SESSION_S = 12 * 3600.0
"""Duration of a session. It is not extended: each shift logs in."""
MOST_SESSIONS = 64
"""Largest number of sessions. The oldest ends if there is one more."""
LONGEST_NAME = 40
"""Characters of the name that a person can give at login."""


class Session(Struct, frozen=True, kw_only=True):
    """One login."""

    csrf: str
    """Random text that a page sends back with each change. Other sites cannot read it."""
    token_digest: bytes
    """Digest of the token that opened the session. The session ends when this token is replaced."""
    name: str = ""
    """The name that the person gave. It is a claim, not a proof: all people share one token."""
    until_s: float
    """Monotonic time of its end."""

    def __repr__(self) -> str:
        """Return the name and the end. The random texts are not shown."""
        return f"Session(name={self.name!r}, until_s={self.until_s:g})"


class Sessions:
    """All sessions. It has no clock: each call has the monotonic time. Used by one thread.

    Args:
        random_text: makes identifiers. The default has 256 random bits.
    """

    def __init__(self, random_text: Callable[[], str] = secrets.token_urlsafe) -> None:
        self._random_text = random_text
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of sessions in memory."""
        return len(self._sessions)

    def begin(self, token_digest: bytes, name: str, now_s: float) -> tuple[str, Session]:
        """Begin a session. Return its new identifier, for the cookie, and the session."""
        self._remove_ended(now_s)
        identifier = self._random_text()
        session = Session(
            csrf=self._random_text(), token_digest=token_digest, name=clean_name(name), until_s=now_s + SESSION_S
        )
        self._sessions[_digest(identifier)] = session
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return identifier, session

    def find(self, identifier: str, now_s: float) -> Session | None:
        """Return the session with this identifier, or None if there is none or it has ended."""
        self._remove_ended(now_s)
        return self._sessions.get(_digest(identifier))

    def end(self, identifier: str) -> None:
        """End a session. An unknown identifier has no effect."""
        self._sessions.pop(_digest(identifier), None)

    def _remove_ended(self, now_s: float) -> None:
        # all sessions have the same duration, so the first one ends first
        while self._sessions and next(iter(self._sessions.values())).until_s <= now_s:
            self._sessions.popitem(last=False)


def is_csrf_of(session: Session, given: str | None) -> bool:
    """Return whether a text is the CSRF text of the session. The duration does not depend on the content."""
    return hmac.compare_digest(_digest(given or ""), _digest(session.csrf))


def clean_name(text: str) -> str:
    """Return a name without control characters, with single spaces, and of at most `LONGEST_NAME` characters.

    >>> clean_name("  Ada\\n  L. ")
    'Ada L.'
    """
    words = "".join(character if character.isprintable() else " " for character in text[: 4 * LONGEST_NAME]).split()
    return " ".join(words)[:LONGEST_NAME].strip()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
