"""When a stream of samples has stalled: bytes arrive, and still no window can be judged.

Liveness is progress towards a verdict, never the arrival of bytes: a gateway whose clock has stopped sends a line a second.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from andon.foundation.printable import printable

_MOST_NAMES = 8


class StallWatch:
    """Decide when a stalled stream is reported; pure: time comes in as an argument.

    Args:
        silent_s: a report is due after this long without a byte, and again after each further period of this length.
        patience_s: a report is due after this long without progress while bytes arrive. At least `silent_s`.
        now_s: monotonic seconds.
    """

    def __init__(self, *, silent_s: float, patience_s: float, now_s: float) -> None:
        self._silent_s = silent_s
        self._patience_s = patience_s
        self._heard_s = self._progress_s = self._reported_s = now_s

    def heard(self, now_s: float) -> None:
        """Note that bytes arrived."""
        self._heard_s = now_s

    def progress(self, now_s: float) -> None:
        """Note that the stream came closer to a verdict."""
        self._progress_s = self._reported_s = now_s

    def due(self, now_s: float) -> bool:
        """Return whether to report now; the next report is due `silent_s` later."""
        if now_s - self._reported_s < self._silent_s:
            return False
        if now_s - self._heard_s < self._silent_s and now_s - self._progress_s < self._patience_s:
            return False
        self._reported_s = now_s
        return True

    def why(self, now_s: float, refused: "Refused") -> str:
        """Return for people what is wrong and for how long."""
        silent_s, without_s = now_s - self._heard_s, now_s - self._progress_s
        if silent_s >= self._silent_s:
            return f"nothing came for {silent_s:.1f} s"
        return f"no window could be judged for {without_s:.1f} s: {refused.causes() or 'bytes came, but no whole line'}"


@dataclass
class Refused:
    """What arrived since the last progress, and why it led to nothing."""

    lines: int = 0
    blank: int = 0
    unreadable: int = 0
    empty: int = 0
    """Lines without any sample."""
    unknown: int = 0
    """Lines with channels that the model file does not have, and no other."""
    rows: int = 0
    """Rows of values of at least one known channel."""
    stuck: int = 0
    """Rows with the newest time stamp of their channels again, or with one in a cell that is closed."""
    future: int = 0
    ahead_s: float = 0.0
    newest_s: float = 0.0
    names: tuple[str, ...] = ()
    """Unknown channels of the last such line."""
    expected: tuple[str, ...] = ()

    @property
    def without_effect(self) -> int:
        """Rows and lines that say something and change nothing; rows from the future are reported when they come."""
        return self.empty + self.unknown + self.stuck

    @property
    def useful(self) -> int:
        """Rows that may still fill a point."""
        return self.rows - self.stuck - self.future

    def foreign(self, names: Iterable[str], expected: Mapping[str, int]) -> None:
        """Count a line that has no sample of a known channel."""
        self.names = tuple(names)[:_MOST_NAMES]
        self.expected = tuple(expected)[:_MOST_NAMES]
        if any(name not in expected for name in self.names):
            self.unknown += 1
        else:
            self.empty += 1

    def causes(self) -> str:
        """Return for people why nothing could be judged, with counts; empty if no line arrived."""
        causes = [
            (self.future, f"stamped {self.ahead_s:.1f} s ahead of this machine's clock"),
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
