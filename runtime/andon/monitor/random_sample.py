"""Choose parts at random for people to confirm. The choice does not depend on the verdict.

A recalibration needs good parts that are typical of the line. Parts that people pick, for example rejects that were good, are
not: they have high scores, and the new threshold would be too high. So the choice depends on three names only: this start of the
monitor, the line, and the item. A hash function turns them into a number, and the smallest share of numbers is chosen. The event
has the name of the start and the number of the item, so that everyone can repeat the choice.
"""

import hashlib
from collections.abc import Callable

from andon.monitor.event import Sampled
from andon.monitor.judging import Outcome
from andon.monitor.records import record
from andon.runtime.schema import Reason


def is_chosen(run: str, line: str, name: str, one_in: int) -> bool:
    """Return whether an item belongs to the sample.

    Args:
        run: random name of this start of the monitor.
        line: name of the line.
        name: the number of the item, or the name of the part if several items show one part.
        one_in: on average one of this many is chosen.

    >>> sum(is_chosen("a", "press-3", str(number), 10) for number in range(1000))
    102
    """
    text = f"{run}\n{line}\n{name}".encode(errors="backslashreplace")
    number = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
    return number * one_in < 1 << 64


class SampleSink:
    """A sink of a line that puts a question about each chosen item into the event store.

    Only items that the model file has judged are asked about, also those that are INVALID by their content. Nothing can be
    learned from an item whose input was lost.

    Args:
        run: random name of this start of the monitor.
        line: name of the line.
        one_in: see `is_chosen`.
        ask: takes the event and the outcome with its frame or window.
    """

    lost = 0
    summary = ""

    def __init__(self, run: str, line: str, one_in: int, ask: Callable[[Sampled, Outcome], None]) -> None:
        self._run = run
        self._line = line
        self._one_in = one_in
        self._ask = ask

    def put(self, outcome: Outcome) -> None:
        """Take one outcome."""
        if outcome.data is None or outcome.verdict.reason >= Reason.UNREADABLE:
            return
        ref = outcome.ref
        name = ref.part if ref.part != ref.key else str(outcome.seq)
        if is_chosen(self._run, self._line, name, self._one_in):
            self._ask(Sampled(verdict=record(outcome), one_in=self._one_in), outcome)

    def close(self) -> None:
        """Do nothing: the event store is closed at the end of the process."""
