"""Types of registers, and the requests that read them."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.sources.modbus.registers import (
    LAST_ADDRESS,
    MOST_REGISTERS,
    Register,
    RegisterType,
    WordOrder,
    decode,
    encode,
    parse_registers,
    plan,
    registers_of,
)

ORDERS: list[WordOrder] = ["big", "little"]
TYPES: list[RegisterType] = ["int16", "uint16", "int32", "uint32", "float32"]
VALUES = {
    "int16": st.integers(-(2**15), 2**15 - 1),
    "uint16": st.integers(0, 2**16 - 1),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "uint32": st.integers(0, 2**32 - 1),
    "float32": st.floats(width=32, allow_nan=False),
}
REGISTERS = st.builds(
    Register,
    address=st.integers(0, 300) | st.just(LAST_ADDRESS - 1),
    kind=st.sampled_from(["holding", "input"]),
    type=st.sampled_from(TYPES),
)


@given(data=st.data(), kind=st.sampled_from(TYPES), order=st.sampled_from(ORDERS))
def test_a_value_is_read_as_it_was_written(data: st.DataObject, kind: RegisterType, order: WordOrder) -> None:
    value = data.draw(VALUES[kind])
    words = encode(value, kind, order)

    assert len(words) == registers_of(kind)
    assert all(0 <= word <= 0xFFFF for word in words)
    assert decode(words, kind, order) == value


@given(kind=st.sampled_from(TYPES), words=st.lists(st.integers(0, 0xFFFF), min_size=2, max_size=2))
def test_the_other_word_order_is_the_other_order_of_registers(kind: RegisterType, words: list[int]) -> None:
    if registers_of(kind) == 2:
        big, little = decode(words, kind, "big"), decode(words[::-1], kind, "little")
        assert struct.pack(">d", big) == struct.pack(">d", little)  # also for NaN


@given(value=st.integers(0, 2**40))
def test_a_counter_keeps_its_low_bits(value: int) -> None:
    assert decode(encode(value, "uint16", "big"), "uint16", "big") == value % 2**16
    assert decode(encode(value, "uint32", "little"), "uint32", "little") == value % 2**32


@given(registers=st.dictionaries(st.text(max_size=3), REGISTERS, max_size=30))
def test_the_requests_read_every_channel_and_no_register_that_no_channel_needs(registers: dict[str, Register]) -> None:
    def content(kind: str, address: int) -> int:
        return (address * 31 + (kind == "input")) % 2**16

    needed = {
        (one.kind, address) for one in registers.values() for address in range(one.address, one.address + one.count)
    }
    read: dict[str, float] = {}
    asked = set()
    for request in plan(registers):
        assert 1 <= request.count <= MOST_REGISTERS
        places = range(request.address, request.address + request.count)
        asked |= {(request.kind, address) for address in places}
        read |= request.values([content(request.kind, address) for address in places], "big")

    assert asked == needed
    direct = {
        name: one.value([content(one.kind, one.address + place) for place in range(one.count)], "big")
        for name, one in registers.items()
    }
    assert read.keys() == direct.keys()
    assert all(math.isnan(read[name]) or read[name] == direct[name] for name in direct if not math.isnan(direct[name]))


def test_neighbouring_registers_are_one_request_and_a_hole_begins_another() -> None:
    requests = plan(
        {
            "a": Register(address=10, type="float32"),
            "b": Register(address=12),
            "c": Register(address=14),
            "d": Register(address=10, kind="input"),
        }
    )

    assert [(one.kind, one.address, one.count) for one in requests] == [
        ("holding", 10, 3),
        ("holding", 14, 1),
        ("input", 10, 1),
    ]


def test_a_long_run_of_registers_is_cut_where_the_protocol_ends_and_not_within_a_value() -> None:
    requests = plan({f"{at:03}": Register(address=2 * at, type="int32") for at in range(63)})

    assert [(one.address, one.count) for one in requests] == [(0, 124), (124, 2)]


def test_registers_can_be_written_as_text() -> None:
    assert parse_registers("pressure=holding:100:float32, oil=temp=input:7:int16:0.1:-40") == {
        "pressure": Register(address=100, type="float32"),
        "oil=temp": Register(address=7, kind="input", type="int16", scale=0.1, offset=-40.0),
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", r"expected CHANNEL=KIND:ADDRESS.*, got ''"),
        ("a", "expected CHANNEL=KIND:ADDRESS"),
        ("=holding:1", "expected CHANNEL=KIND:ADDRESS"),
        ("a=holding", "expected CHANNEL=KIND:ADDRESS"),
        ("a=holding:1:int16:1:0:9", "expected CHANNEL=KIND:ADDRESS"),
        ("a=hold:1", r"a: expected the kind holding or input, got 'hold' \(did you mean 'holding'\?\)"),
        ("a=input:-1", "a: expected an address from 0 to 65535, got '-1'"),
        ("a=input:65536", "a: expected an address from 0 to 65535"),
        ("a=input:1:float", r"a: expected one of the types .*\(did you mean 'float32'\?\)"),
        ("a=input:1:int16:much", "a: expected numbers as scale and offset, got 'much:0'"),
        ("a=input:1:int16:nan", "a: scale and offset: expected finite numbers"),
        ("a=input:1:int16:0", "a scale other than 0"),
        ("a=input:65535:int32", "a: address: expected two registers up to 65535 for int32, got 65535"),
        ("a=input:1,a=input:2", "expected each channel once, got a twice"),
    ],
)
def test_a_text_that_is_wrong_is_refused_with_its_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_registers(text)
