"""Events are encoded with stable keys and decoded again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.monitor.event import AlarmChanged, Event, Rejected, Stopped, decode, encode, new_key
from andon.monitor.records import Record


def _event(body: object, **changes: object) -> Event:
    facts: dict[str, object] = {
        "key": new_key(),
        "run": "r",
        "boot": "b",
        "line": "press-3",
        "mono_ns": 1,
        "wall_us": 2,
    }
    return Event(**facts | changes, body=body)  # type: ignore[arg-type]


_RECORD = Record(
    seq=7,
    at="",
    item="a.png",
    time_s=None,
    status="REJECT",
    reason="",
    score=2.0,
    level=1.5,
    p_value=0.0,
    threshold=1.0,
    model="m",
)


@given(seq=st.integers(0, 2**53), detail=st.text(max_size=20))
def test_an_event_survives_json(seq: int, detail: str) -> None:
    for body in (Rejected(verdict=_RECORD), AlarmChanged(alarm="rejects", change="raised", number=3, text=detail)):
        event = _event(body, seq=seq, source=detail)

        assert decode(encode(event)) == event


def test_the_kind_is_a_key_of_the_body() -> None:
    event = _event(Rejected(verdict=_RECORD))

    assert event.kind == "reject"
    assert b'"body":{"kind":"reject",' in encode(event)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_other_content_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="expected an event as JSON"):
        decode(data)


def test_an_event_of_a_newer_schema_is_refused() -> None:
    event = encode(_event(Stopped())).replace(b'"schema":1', b'"schema":2')

    with pytest.raises(ValueError, match="expected 1, got 2"):
        decode(event)


def test_keys_are_different_each_time() -> None:
    assert len({new_key() for _ in range(100)}) == 100
