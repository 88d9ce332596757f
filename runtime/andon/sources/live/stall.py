"""Detect a stalled stream of samples: no bytes arrive, or bytes arrive but no window can be judged.

A stream is alive if it makes progress towards a verdict. Arriving bytes are not enough: a gateway with a stopped clock still
sends a line every second.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from andon.foundation.printable import printable

_MOST_NAMES = 8


class StallWatch:
    """Decides when to report a stalled stream. Time is always an argument.

    Args:
        silent_s: report after this long without a byte, and again after each further period of this length.
        patience_s: report after this long without progress while bytes arrive. At least `silent_s`.
        now_s: monotonic seconds.
    """

    def __init__(self, *, silent_s: float, patience_s: float, now_s: float) -> None:
        self._silent_s = silent_s
        self._patience_s = patience_s
        self._bytes_s = self._progress_s = self._reported_s = now_s

    def bytes_arrived(self, now_s: float) -> None:
        """Record that bytes arrived."""
        self._bytes_s = now_s

    def progress(self, now_s: float) -> None:
        """Record that the stream made progress towards a verdict."""
        self._progress_s = self._reported_s = now_s

    def due(self, now_s: float) -> bool:
        """Return whether to report now; the next report is due `silent_s` later."""
        if now_s - self._reported_s < self._silent_s:
            return False
        if now_s - self._bytes_s < self._silent_s and now_s - self._progress_s < self._patience_s:
            return False
        self._reported_s = now_s
        return True

    def why(self, now_s: float, refused: "Refused") -> str:
        """Describe in words what is wrong, and for how long."""
        silent_s, without_s = now_s - self._bytes_s, now_s - self._progress_s
        if silent_s >= self._silent_s:
            return f"no data for {silent_s:.1f} s"
        return f"no window could be judged for {without_s:.1f} s: {refused.causes() or 'data, but no complete line'}"


@dataclass
class Refused:
    """Counts of the data that arrived since the last progress, by the reason why they had no effect."""

    lines: int = 0
    blank: int = 0
    unreadable: int = 0
    empty: int = 0
    """Lines without any sample."""
    unknown: int = 0
    """Lines in which all channels are unknown to the model file."""
    rows: int = 0
    """Rows with values of at least one known channel."""
    stuck: int = 0
    """Rows that repeat the newest time stamp of their channels, or whose stamp is in a sealed cell."""
    future: int = 0
    ahead_s: float = 0.0
    newest_s: float = 0.0
    names: tuple[str, ...] = ()
    """Channels of the last line without a known channel. At most `_MOST_NAMES`."""
    expected: tuple[str, ...] = ()

    @property
    def without_effect(self) -> int:
        """Number of rows and lines that had no effect. Rows from the future are reported separately, when they arrive."""
        return self.empty + self.unknown + self.stuck

    @property
    def useful(self) -> int:
        """Number of rows that may still fill a point."""
        return self.rows - self.stuck - self.future

    def count_without_sample(self, names: Iterable[str], expected: Mapping[str, int]) -> None:
        """Count a line that contains no sample of a known channel."""
        self.names = tuple(names)[:_MOST_NAMES]
        self.expected = tuple(expected)[:_MOST_NAMES]
        if any(name not in expected for name in self.names):
            self.unknown += 1
        else:
            self.empty += 1

    def causes(self) -> str:
        """Describe in words, with counts, why nothing could be judged; return an empty text if no line arrived."""
        causes = [
            (self.future, f"with a time stamp {self.ahead_s:.1f} s ahead of this machine's clock"),
            (self.stuck, f"with a time stamp that does not advance (last t = {self.newest_s:.10g})"),
        ]
        parts = [f"{number} of {self.rows} rows {why}" for number, why in causes if number]
        if self.unknown:
            parts.append(f"{self.unknown} lines without a channel of the model file (got {_listed(self.names)}; ")
            parts[-1] += f"expected {_listed(self.expected)})"
        parts += [
            f"{number} {what}"
            for number, what in (
                (self.empty, "lines without values"),
                (self.blank, "blank lines"),
                (self.unreadable, "unreadable lines"),
            )
            if number
        ]
        if not parts and self.lines:
            parts.append(f"{self.rows} rows in {self.lines} lines, too few to fill a point")
        return ", ".join(parts)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(printable(name, limit=40)) for name in names)
