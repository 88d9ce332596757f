"""Messages of the process of a camera: every message survives, and nothing else is accepted."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.foundation.errors import DataError
from andon.sources.live.capture_messages import (
    HEADER_BYTES,
    MOST_BYTES,
    MOST_TEXT,
    SLOTS,
    Kind,
    Message,
    check_frame,
    check_number,
    check_size,
    decode,
    encode,
)

uint32 = st.integers(0, 2**32 - 1)
messages = st.builds(
    Message,
    kind=st.sampled_from(Kind),
    number=st.integers(0, 2**64 - 1),
    slot=st.integers(0, 255),
    size=uint32,
    width=uint32,
    height=uint32,
    code=uint32,
    skipped=uint32,
    stamp_ns=st.none() | st.integers(-(2**63) + 1, 2**63 - 1),
    text=st.text(st.characters(categories=("L", "N")), max_size=200),
)
SOUND = Message(Kind.FRAME, number=1, slot=0, size=24, width=8, height=3, code=0x01080001)


@given(messages, messages, st.binary(max_size=HEADER_BYTES - 1))
def test_messages_survive_the_connection_one_after_the_other(one: Message, other: Message, rest: bytes) -> None:
    data = encode(one) + encode(other) + rest
    first = decode(data)
    assert first is not None
    assert first[0] == one
    second = decode(data[first[1] :])
    assert second is not None
    assert second[0] == other
    assert data[first[1] + second[1] :] == rest


@given(messages, st.data())
def test_a_part_of_a_message_is_not_a_message_yet(message: Message, data: st.DataObject) -> None:
    whole = encode(message)
    assert decode(whole[: data.draw(st.integers(0, len(whole) - 1))]) is None


@given(st.binary(min_size=HEADER_BYTES, max_size=2 * HEADER_BYTES))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="not a message"):
        decode(data)


@pytest.mark.parametrize(("place", "value"), [(0, 0), (4, 0), (4, 99), (6, 255)], ids=["magic", "kind", "kind", "text"])
def test_a_header_with_one_wrong_field_is_refused(place: int, value: int) -> None:
    data = bytearray(encode(SOUND))
    data[place] = value
    data[7] = 255 if place == 6 else data[7]
    with pytest.raises(DataError, match="not a message"):
        decode(data)


def test_a_long_text_is_cut_and_control_characters_are_not_passed_on() -> None:
    decoded = decode(encode(Message(Kind.FAILED, text="\x1b[31m" + "é" * MOST_TEXT)))
    assert decoded is not None
    assert len(decoded[0].text) < MOST_TEXT
    assert "\x1b" not in decoded[0].text


@pytest.mark.parametrize(
    "change",
    [
        {"slot": SLOTS},
        {"size": 25},
        {"size": 0, "width": 0},
        {"width": 9},
        {"height": 2**32 - 1},
        {"code": 0x02180014},
    ],
    ids=str,
)
def test_a_frame_whose_header_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    check_frame(SOUND, slot_bytes=24)
    with pytest.raises(DataError, match="wrong header"):
        check_frame(SOUND._replace(**change), slot_bytes=24)


def test_a_frame_that_is_larger_than_its_slot_is_refused() -> None:
    with pytest.raises(DataError, match="wrong header"):
        check_frame(SOUND, slot_bytes=23)


def test_a_frame_of_an_unknown_format_is_refused() -> None:
    with pytest.raises(DataError, match=r"^pixel format: expected one of Mono8, .*, got 0x1100007 from the camera"):
        check_frame(SOUND._replace(code=0x01100007), slot_bytes=24)


@given(st.integers(0, 2**40), st.integers(0, 1000), st.integers(0, 2**40))
def test_a_number_follows_the_last_one_and_the_skipped_ones(last: int, skipped: int, number: int) -> None:
    check_number(SOUND._replace(number=last + skipped + 1, skipped=skipped), last)
    if number != last + skipped + 1:
        with pytest.raises(DataError, match="wrong number"):
            check_number(SOUND._replace(number=number, skipped=skipped), last)


@pytest.mark.parametrize("size", [0, MOST_BYTES + 1])
def test_a_picture_of_an_impossible_size_is_refused(size: int) -> None:
    assert check_size(MOST_BYTES) == MOST_BYTES
    with pytest.raises(DataError, match=f"expected from 1 to {MOST_BYTES} bytes, got {size}"):
        check_size(size)
