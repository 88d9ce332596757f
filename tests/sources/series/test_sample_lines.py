"""The content of one line of sensor samples."""

import numpy as np
import pytest

from andon.sources.series.line_reader import Oddity
from andon.sources.series.sample_lines import Block, NoSample, UnreadableError, decode

PLACES = {"voltage": 0, "current": 1}


def decoded(text: str) -> Block | NoSample:
    return decode(text.encode(), PLACES, 1.0, PLACES.__contains__)


def test_names_are_put_in_the_order_of_the_model_file() -> None:
    block = decoded('{"t": 1.5, "values": {"current": 2, "flow": 9, "voltage": null}}')

    assert isinstance(block, Block)
    assert block.places == (0, 1)
    assert block.times_s[0].tolist() == [1.5]
    np.testing.assert_array_equal(block.values[0], np.array([[np.nan, 2]], np.float32))


def test_a_block_has_one_row_a_time() -> None:
    block = decoded('{"t": [1, 2], "values": [[3, 4], [5, null]]}')

    assert isinstance(block, Block)
    np.testing.assert_array_equal(block.values[0], np.array([[3, 4], [5, np.nan]], np.float32))


@pytest.mark.parametrize(
    ("text", "names"),
    [('{"t": 1, "values": {"flow": 1}}', ("flow",)), ('{"t": 1, "values": {}}', ()), ('{"t": [], "values": []}', ())],
)
def test_a_line_without_a_known_channel_is_no_sample_and_says_which_it_has(text: str, names: tuple[str, ...]) -> None:
    result = decoded(text)

    assert isinstance(result, NoSample)
    assert tuple(result.names) == names


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"t": 1e300, "values": [1, 2]}', "expected times in seconds, got 1e"),
        (b'{"t": 1e999, "values": [1, 2]}', "out of range"),
        (b'{"t": 1, "values": [1]}', "expected 1 rows of 2 values"),
        (b'{"t": [1], "values": [[[1], 2]]}', "."),
        (b'{"t": 1, "values": [1, 2], "more": ' + b"[" * 100_000, "deeply nested"),
        (Oddity.TOO_LONG, "expected at most 1000000 bytes"),
    ],
)
def test_a_line_that_is_no_sample_is_refused_with_the_reason(line: bytes | Oddity, why: str) -> None:
    with pytest.raises(UnreadableError, match=why):
        decode(line, PLACES, 1.0, PLACES.__contains__)
