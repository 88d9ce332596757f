"""A session is made by the server, lasts twelve hours, and cannot be guessed, chosen or piled up."""

from hypothesis import given
from hypothesis import strategies as st

from andon.monitor.web.sessions import (
    LONGEST_NAME,
    MOST_SESSIONS,
    SESSION_S,
    Session,
    Sessions,
    clean_name,
    is_csrf_of,
)

TOKEN = b"digest of a token"


def test_a_session_is_found_by_its_identifier_until_its_end() -> None:
    sessions = Sessions()
    identifier, session = sessions.begin(TOKEN, "Ada", 100.0)

    assert sessions.find(identifier, 100.0) == session
    assert sessions.find(identifier, 100.0 + SESSION_S - 0.1) == session
    assert sessions.find(identifier, 100.0 + SESSION_S) is None
    assert len(sessions) == 0


def test_a_session_is_not_extended_by_use() -> None:
    sessions = Sessions()
    identifier, _ = sessions.begin(TOKEN, "", 0.0)
    for hour in range(12):
        assert sessions.find(identifier, hour * 3600.0) is not None
    assert sessions.find(identifier, 12 * 3600.0) is None


def test_a_logout_ends_this_session_only() -> None:
    sessions = Sessions()
    first, _ = sessions.begin(TOKEN, "", 0.0)
    second, _ = sessions.begin(TOKEN, "", 0.0)
    sessions.end(first)
    sessions.end("unknown")

    assert sessions.find(first, 1.0) is None
    assert sessions.find(second, 1.0) is not None


def test_identifiers_and_csrf_texts_are_long_and_all_different() -> None:
    sessions = Sessions()
    begun = [sessions.begin(TOKEN, "", 0.0) for _ in range(50)]
    texts = {identifier for identifier, _ in begun} | {session.csrf for _, session in begun}

    assert len(texts) == 100
    assert min(map(len, texts)) >= 43  # 256 bits in base64


def test_the_number_of_sessions_is_bounded_and_the_oldest_ends() -> None:
    sessions = Sessions()
    identifiers = [sessions.begin(TOKEN, "", float(number))[0] for number in range(MOST_SESSIONS + 1)]

    assert len(sessions) == MOST_SESSIONS
    assert sessions.find(identifiers[0], 100.0) is None
    assert all(sessions.find(identifier, 100.0) for identifier in identifiers[1:])


def test_neither_the_identifier_nor_a_printed_session_is_kept_readable() -> None:
    sessions = Sessions()
    identifier, session = sessions.begin(TOKEN, "Ada", 0.0)

    assert identifier not in repr(vars(sessions))
    assert session.csrf not in repr(session)


def test_the_csrf_text_must_be_exactly_that_of_the_session() -> None:
    session = Session(csrf="abc", token_digest=TOKEN, until_s=1.0)

    assert is_csrf_of(session, "abc")
    assert not any(is_csrf_of(session, given) for given in (None, "", "ab", "abcd", "ABC", "äbc"))


@given(st.text())
def test_a_name_has_no_control_characters_and_is_short(text: str) -> None:
    name = clean_name(text)

    assert len(name) <= LONGEST_NAME
    assert name == name.strip()
    assert name.isprintable()
    assert clean_name(name) == name


@given(st.lists(st.tuples(st.sampled_from(["begin", "end", "find"]), st.floats(0, 4 * 3600)), max_size=60))
def test_whatever_happens_no_ended_session_is_found_and_memory_is_bounded(steps: list[tuple[str, float]]) -> None:
    sessions, now_s, begun = Sessions(), 0.0, dict[str, float]()
    for what, pause_s in steps:
        now_s += pause_s
        if what == "begin":
            begun[sessions.begin(TOKEN, "", now_s)[0]] = now_s
        elif begun and what == "end":
            sessions.end(begun.popitem()[0])
        for identifier, since_s in begun.items():
            found = sessions.find(identifier, now_s)
            assert (found is not None) == (now_s < since_s + SESSION_S)
        assert len(sessions) <= MOST_SESSIONS
