"""The wire format: what is written is read back, and nothing is read beyond its bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.runtime import ModelFileError
from andon.runtime.model_file.protobuf import BYTES, VARINT, bytes_field, varint_field, walk


@given(st.lists(st.tuples(st.integers(1, 2**29 - 1), st.binary(max_size=300))))
def test_fields_that_were_written_are_walked_in_order(fields: list[tuple[int, bytes]]) -> None:
    data = b"".join(bytes_field(number, payload) for number, payload in fields)

    walked = [(field.number, data[field.value : field.end]) for field in walk(data, 0, len(data))]

    assert walked == fields


@given(st.integers(0, 2**64 - 1))
def test_a_number_that_was_written_is_read_back(value: int) -> None:
    data = varint_field(3, value)

    assert [(field.wire, field.varint) for field in walk(data, 0, len(data))] == [(VARINT, value)]


@given(st.binary(max_size=200))
def test_any_bytes_are_walked_without_gaps_or_refused(data: bytes) -> None:
    at = 0
    try:
        for field in walk(data, 0, len(data)):
            assert field.start == at
            assert field.start < field.value <= field.end <= len(data)
            at = field.end
    except ModelFileError:
        return
    assert at == len(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x0a\x05abc", "would end at byte"),
        (b"\x0a", "cut off"),
        (b"\x08\x80", "cut off"),
        (b"\x0d\x00\x00", "would end at byte"),
        (b"\x09\x00", "would end at byte"),
        (b"\x0b\x0c", "wire type 3"),
        (b"\x02\x00", "field number 0"),
        (b"\x08\x80\x00", "longer than necessary"),
        (b"\x8a\x00\x00", "longer than necessary"),
        (b"\x08" + b"\xff" * 9 + b"\x02", "longer than necessary"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "longer than necessary"),
        (b"\xff\xff\xff\xff\xff\x01\x00", "field number"),
    ],
)
def test_what_two_readers_could_take_differently_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ModelFileError, match=why):
        list(walk(data, 0, len(data)))


def test_a_message_ends_where_its_parent_says() -> None:
    data = bytes_field(1, b"ab") + bytes_field(2, b"cd")

    assert [field.wire for field in walk(data, 0, 4)] == [BYTES]
