"""Memory that two processes share: what is written is read, and its size stays."""

import os
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.sources.live.capture_messages import SLOTS
from andon.sources.live.shared_frames import SharedFrames, new_memory, resize


@pytest.fixture
def memory() -> Iterator[int]:
    number = new_memory()
    yield number
    os.close(number)


@given(height=st.integers(1, 9), row_bytes=st.integers(1, 9), padding=st.integers(0, 5), slot=st.integers(0, SLOTS - 1))
def test_a_picture_is_read_as_it_was_written_without_its_padding(
    height: int, row_bytes: int, padding: int, slot: int
) -> None:
    memory = new_memory()
    resize(memory, height * row_bytes)
    into, out = (SharedFrames(memory, height * row_bytes, write=write) for write in (True, False))
    picture = np.random.default_rng(0).integers(0, 256, (height, row_bytes + padding), np.uint8)
    into.put(slot, picture.tobytes(), height, row_bytes, padding)
    seen = out.copy(slot, height, row_bytes)
    into.put(slot, np.zeros_like(picture), height, row_bytes, padding)

    assert (seen == picture[:, :row_bytes]).all()
    assert (out.copy((slot + 1) % SLOTS, height, row_bytes) == 0).all()
    for frames in (into, out):
        frames.close()
    os.close(memory)


def test_a_buffer_that_is_too_short_is_refused(memory: int) -> None:
    resize(memory, 100)
    frames = SharedFrames(memory, 100, write=True)
    with pytest.raises(ValueError, match="buffer is smaller"):
        frames.put(0, b"short", 10, 10, 0)
    frames.close()


def test_the_monitor_cannot_write(memory: int) -> None:
    resize(memory, 100)
    frames = SharedFrames(memory, 100, write=False)
    with pytest.raises(ValueError, match="read-only"):
        frames.put(0, bytes(100), 10, 10, 0)
    frames.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can seal the size of memory")
@pytest.mark.parametrize("size", [0, 10**6])
def test_the_size_of_the_memory_cannot_change_later(memory: int, size: int) -> None:
    resize(memory, 100)
    with pytest.raises(PermissionError):
        os.ftruncate(memory, size)
