"""Read from the event store which parts people were asked about, and what they answered.

`Questions` reads. `tally`, `usable` and `scores_text` are pure functions.
"""

import threading
from collections.abc import Callable, Collection, Sequence

import msgspec
from msgspec import UNSET, Struct

from andon.foundation.errors import ConfigError
from andon.monitor.event import Answer, Confirmed, Event, Sampled
from andon.monitor.records import Record, line
from andon.monitor.store import StoreReader

MOST = 20_000
"""Largest number of questions in memory. The oldest are dropped."""
MOST_LEFT_OUT = 0.05
"""Largest share of the asked parts that may have no usable answer. `andon calibrate` has the same limit for lost parts."""
_PAGE = 1000
_KINDS = ("sample", "confirmation")


class Question(Struct, kw_only=True):
    """A part that was chosen at random."""

    seq: int
    """Number of its event."""
    run: str
    line: str
    wall_us: int
    verdict: Record
    answer: Answer | None = None
    """The last answer. None if no person has answered."""


class Tally(Struct, frozen=True, kw_only=True):
    """Numbers of questions."""

    asked: int = 0
    good: int = 0
    defective: int = 0
    unclear: int = 0
    open: int = 0
    """Questions without an answer."""


class Questions:
    """The questions of all lines, oldest first. All methods may be called from any thread.

    Args:
        reader: returns the event store. None if events are not kept.
    """

    def __init__(self, reader: Callable[[], StoreReader | None]) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._seen = 0
        self._by_seq: dict[int, Question] = {}

    def of(self, lines: Collection[str], model: str) -> list[Question]:
        """Return the questions about parts of some lines that one model file has judged.

        Args:
            lines: names of lines.
            model: short digest of the model file.

        Raises:
            sqlite3.Error: the store cannot be read.
        """
        with self._lock:
            self._read()
            return [one for one in self._by_seq.values() if one.line in lines and one.verdict.model == model]

    def _read(self) -> None:
        """Read the events that are new since the last call."""
        reader = self._reader()
        while reader is not None:
            events = reader.after(self._seen, kinds=_KINDS, limit=_PAGE)
            for event in events:
                self._take(event)
            if len(events) < _PAGE:
                return

    def _take(self, event: Event) -> None:
        self._seen = event.seq
        body = event.body
        if isinstance(body, Sampled):
            self._by_seq[event.seq] = Question(
                seq=event.seq, run=event.run, line=event.line, wall_us=event.wall_us, verdict=body.verdict
            )
            if len(self._by_seq) > MOST:
                del self._by_seq[next(iter(self._by_seq))]
        elif isinstance(body, Confirmed) and isinstance(body.event, int) and body.event in self._by_seq:
            self._by_seq[body.event].answer = body.truth


def tally(questions: Sequence[Question]) -> Tally:
    """Count the questions by answer."""
    answers = [one.answer for one in questions]
    return Tally(
        asked=len(answers),
        good=answers.count("good"),
        defective=answers.count("defective"),
        unclear=answers.count("unclear"),
        open=answers.count(None),
    )


def usable(questions: Sequence[Question]) -> list[Question]:
    """Return the questions about confirmed good parts that make a random sample.

    Questions are used up to the newest answered one. If too many of them have no clear answer, the others are not a random sample
    any more. People answer more easily about parts that look normal.

    Args:
        questions: all questions, oldest first.

    Raises:
        ConfigError: no part is confirmed as good, or too many questions have no usable answer.
    """
    last = max((place for place, one in enumerate(questions) if one.answer is not None), default=-1)
    considered = questions[: last + 1]
    good = [one for one in considered if one.answer == "good"]
    if not good:
        raise ConfigError(
            f"confirmed parts: expected parts of the random sample that a person has confirmed as good, got none of "
            f"{len(questions)}. Answer the questions first."
        )
    left_out = sum(one.answer in (None, "unclear") for one in considered)
    if left_out > MOST_LEFT_OUT * len(considered):
        raise ConfigError(
            f"confirmed parts: expected at most {MOST_LEFT_OUT * 100:g} % of the {len(considered)} asked parts without a clear "
            f"answer, got {left_out}. The others are not a random sample then. Answer these questions, or ask about more parts."
        )
    return good


def scores_text(questions: Sequence[Question], *, windows: bool) -> bytes:
    """Return the stored scores as JSON lines for ``andon calibrate --from``.

    Each item gets the number of its event in its name, because a camera counts from 1 again after each start. All windows of one
    start of the monitor belong together: neighbouring windows depend on each other.
    """

    def named(one: Question) -> Record:
        part = f"run {one.run}" if windows else one.verdict.part
        return msgspec.structs.replace(
            one.verdict, item=f"{one.seq:012d} {one.verdict.item}", part=part if part else UNSET
        )

    return b"".join(line(named(one)) for one in questions)
