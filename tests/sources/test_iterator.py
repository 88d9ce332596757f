"""Any Python iterator is a stream: keys, times, errors, laziness."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sources.fake_clock import FakeClock

from andon.foundation.errors import DataError
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import Reason
from andon.sources.iterator import stream_of

FRAME = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


def test_arrays_become_items_with_keys_and_the_time_of_their_arrival() -> None:
    clock = FakeClock(100.0)

    def frames() -> Iterator[np.ndarray]:
        for _ in range(3):
            clock.sleep(0.5)
            yield FRAME

    items = list(stream_of(frames(), name="cam", clock=clock))
    assert [(item.ref.key, item.ref.group, item.ref.time_s) for item in items] == [
        ("cam#0", "cam", 100.5),
        ("cam#1", "cam", 101.0),
        ("cam#2", "cam", 101.5),
    ]


def test_nothing_is_asked_for_before_the_first_item_and_nothing_ahead() -> None:
    asked: list[int] = []

    def frames() -> Iterator[np.ndarray]:
        for number in range(5):
            asked.append(number)
            yield FRAME

    stream = stream_of(frames())
    assert asked == []
    next(stream)
    assert asked == [0]


@pytest.mark.parametrize(
    ("element", "shape", "dtype"),
    [
        (np.zeros((4, 6), np.uint8), (4, 6, 1), np.uint8),
        (np.zeros((4, 6, 1), np.uint8), (4, 6, 1), np.uint8),
        (np.zeros((4, 6, 3), np.uint8), (4, 6, 3), np.uint8),
        (np.zeros((4, 6), np.uint16), (4, 6, 1), np.uint16),
        (np.zeros((9, 2), np.float64), (9, 2), np.float32),
        (np.zeros((9, 2), np.float32), (9, 2), np.float32),
    ],
)
def test_frames_and_windows_are_recognised(element: np.ndarray, shape: tuple[int, ...], dtype: Any) -> None:
    item = next(stream_of([element]))

    assert isinstance(item, Item)
    assert (item.data.shape, item.data.dtype) == (shape, dtype)


@pytest.mark.parametrize(
    "element",
    [
        np.zeros((4, 6, 4), np.uint8),
        np.zeros((4, 6), np.int64),
        np.zeros(3, np.float32),
        np.zeros((0, 6), np.uint8),
        "x",
        [1],
    ],
    ids=["alpha", "integers", "one axis", "empty", "text", "list"],
)
def test_another_element_is_invalid_and_the_stream_goes_on(element: object) -> None:
    wrong, good = stream_of([element, FRAME])

    assert isinstance(wrong, Lost)
    assert wrong.reason is Reason.WRONG_INPUT
    assert "expected a frame uint8" in wrong.detail
    assert isinstance(good, Item)


def test_no_data_is_lost_and_items_pass_as_they_are() -> None:
    mine, damaged = Item(Ref(key="mine"), FRAME), Lost(Ref(key="bad"), Reason.CORRUPT, "why")
    none, one, two = stream_of([None, mine, damaged])

    assert isinstance(none, Lost)
    assert none.reason is Reason.LOST
    assert one is mine
    assert two is damaged


def test_a_buffer_that_the_iterator_uses_again_does_not_change_an_item() -> None:
    # complaint 13: buffers are copied out before they are released
    buffer = np.zeros((2, 2, 3), np.uint8)

    def frames() -> Iterator[np.ndarray]:
        for number in range(3):
            buffer[:] = number
            yield buffer

    values = [int(item.data[0, 0, 0]) for item in list(stream_of(frames())) if isinstance(item, Item)]
    assert values == [0, 1, 2]
    assert all(item.data is FRAME for item in stream_of([FRAME], copy=False) if isinstance(item, Item))


def test_an_exception_of_the_iterator_is_an_error_of_andon_with_its_cause() -> None:
    def frames() -> Iterator[np.ndarray]:
        yield FRAME
        raise OSError("camera unplugged")

    stream = stream_of(frames(), name="cam")
    next(stream)
    with pytest.raises(
        DataError, match="cam: the iterator failed after 1 elements: OSError: camera unplugged"
    ) as failed:
        next(stream)
    assert isinstance(failed.value.__cause__, OSError)


def test_an_object_that_cannot_be_iterated_is_an_error_of_andon() -> None:
    broken: Any = 7
    with pytest.raises(DataError, match="TypeError"):
        next(stream_of(broken))


def test_a_stop_ends_the_stream_and_closes_the_iterator() -> None:
    closed, stop = threading.Event(), threading.Event()

    def frames() -> Iterator[np.ndarray]:
        try:
            while True:
                yield FRAME
        finally:
            closed.set()

    stream = stream_of(frames(), stop=stop.is_set)
    next(stream)
    stop.set()

    assert list(stream) == []
    assert closed.is_set()


@given(st.lists(st.sampled_from([FRAME, None, "x", np.zeros((3, 2), np.float32)]), max_size=20))
def test_every_element_becomes_exactly_one_item_with_a_key_of_its_own(elements: list[Any]) -> None:
    keys = [item.ref.key for item in stream_of(elements)]

    assert keys == [f"iterator#{number}" for number in range(len(elements))]
