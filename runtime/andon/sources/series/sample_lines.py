"""Parse sensor samples from JSON lines. One line is a sample or a block of samples.

A line is an object with the source time ``t`` in seconds and the values, in one of four forms:

* ``{"t": 12.3, "values": {"voltage": 48.1, "current": 9.7}}``
* ``{"t": 12.3, "values": [48.1, 9.7, 55.0]}``
* ``{"t": [12.3, 12.4], "values": [[48.1, 9.7, 55.0], [48.0, 9.8, 55.0]]}``
* ``{"t": [12.3, 12.4], "values": {"voltage": [48.1, 48.0]}}``

Values by name may leave out channels; an absent channel does not count as a missing sample. A list has all channels in the order
of the model file; null is a missing sample.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.foundation.printable import printable
from andon.sources.series.grid import Values, on_scale
from andon.sources.series.line_reader import MOST_BYTES, Oddity

Row = list[float | None]


class Line(Struct, frozen=True):
    """The content of one line."""

    t: float | list[float]
    values: dict[str, float | Row | None] | list[float | Row | None]


class UnreadableError(Exception):
    """The line cannot be read. The message states what was expected."""


class NoSample(Struct, frozen=True):
    """A line without a sample of a channel that the model file has."""

    names: Iterable[str]
    """The channels in the line."""


@dataclass
class Block:
    """Samples of the same channels."""

    places: tuple[int, ...]
    """Places of the channels in the model file."""
    times_s: list[NDArray[np.float64]]
    """Source times, each array ``[n]``."""
    values: list[Values]
    """Values, each array ``[n, C]`` with C as in `places`."""


def decode(
    line: bytes | Oddity, places: Mapping[str, int], period_s: float, known: Callable[[str], bool]
) -> Block | NoSample:
    """Return the samples of a line.

    Args:
        line: a result of `read_lines`.
        places: places of the channels in the model file, by name.
        period_s: period of the model file. Times outside its grid are refused.
        known: returns whether the model file has a channel; called once for each name in the line.

    Raises:
        UnreadableError: the line is not a sample.
    """
    if isinstance(line, Oddity):
        raise UnreadableError(f"expected at most {MOST_BYTES} bytes, got more")
    try:
        sample = _DECODER.decode(line)
    except RecursionError as error:
        raise UnreadableError("expected at most three levels of lists and objects, got a deeply nested line") from error
    except (msgspec.MsgspecError, UnicodeError) as error:
        # for a name in Latin-1, msgspec raises UnicodeDecodeError, which is not a MsgspecError
        raise UnreadableError(printable(str(error))) from error
    times_s = np.atleast_1d(np.asarray(sample.t, dtype=np.float64))
    if not np.isfinite(times_s).all():
        raise UnreadableError("expected finite times, got NaN or infinity")
    if not on_scale(times_s, period_s).all():
        raise UnreadableError(f"expected times in seconds, got {float(np.abs(times_s).max()):g}")
    if isinstance(sample.values, dict):
        return _by_name(sample.values, times_s, places, known)
    return _in_order(sample.values, times_s, len(places), as_block=isinstance(sample.t, list))


def _by_name(
    values: Mapping[str, float | Row | None],
    times_s: NDArray[np.float64],
    places: Mapping[str, int],
    known: Callable[[str], bool],
) -> Block | NoSample:
    names = sorted((name for name in values if known(name)), key=places.__getitem__)
    columns = [_numbers(values[name], f"values.{printable(name)}") for name in names]
    if any(column.shape != times_s.shape for column in columns):
        raise UnreadableError(
            f"expected one value per channel for each of {len(times_s)} times, got another number of values"
        )
    if not columns or not len(times_s):
        return NoSample(tuple(values))
    return Block(tuple(places[name] for name in names), [times_s], [np.stack(columns, axis=1)])


def _in_order(
    rows: list[float | Row | None], times_s: NDArray[np.float64], channels: int, *, as_block: bool
) -> Block | NoSample:
    values = [_numbers(row, f"values[{at}]") for at, row in enumerate(rows)] if as_block else [_numbers(rows, "values")]
    if len(values) != len(times_s) or any(row.shape != (channels,) for row in values):
        raise UnreadableError(
            f"expected {len(times_s)} rows of {channels} values, one per channel of the model file, got another number of values"
        )
    if not values:
        return NoSample(())
    return Block(tuple(range(channels)), [times_s], [np.stack(values)])


def _numbers(values: float | list[float | Row | None] | Row | None, where: str) -> Values:
    """Return the values as an array ``[n]``, with NaN for null."""
    flat = values if isinstance(values, list) else [values]
    if any(isinstance(value, list) for value in flat):
        raise UnreadableError(f"expected numbers or null at {where}, got a list within a list")
    with np.errstate(over="ignore"):
        return np.array(flat, dtype=np.float64).astype(np.float32)


_DECODER = msgspec.json.Decoder(Line)
