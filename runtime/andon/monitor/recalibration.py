"""Propose a recalibration from a random sample of confirmed good parts, and put the new file in place if a person wants it.

A proposal is made by ``andon calibrate`` in a child process (`calibrate_process`). It changes nothing: the new file is in the
state folder. `Recalibration.swap` keeps the old model file under another name, and replaces it in one step. The lines then load
it like any other new file. Each step is an event.
"""

import contextlib
import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from andon.foundation.atomic import write_atomically
from andon.foundation.errors import AndonError, ConfigError
from andon.foundation.printable import printable
from andon.monitor.calibrate_process import Calibrated, HighPart, Move, Statement, calibrate
from andon.monitor.event import Body
from andon.monitor.event import Recalibration as RecalibrationEvent
from andon.monitor.sample_questions import Question, Questions, Tally, scores_text, tally, usable
from andon.monitor.shelving import person
from andon.runtime.model_file.format import ModelFile, parse
from andon.runtime.schema import WindowSpec, json_number
from andon.sources.clock import Clock

logger = logging.getLogger(__name__)

FOLDER = "recalibration"
"""Folder of proposals in the state folder."""
_SHORT = 12
_END_S = 2.0
"""Longest wait at the end for the child process."""

Calibrate = Callable[[Path, Path, Path, str, threading.Event], Calibrated]
"""A function from old file, scores, new file, reason and stop event to the result. It raises `ConfigError` with the reason of a
refusal."""


class Proposal(Struct, frozen=True, kw_only=True):
    """A new model file that a person can put in place."""

    by: str
    """Person who asked for it."""
    wall_s: float
    before: Statement
    after: Statement
    move: Move | None
    sample: Tally
    """The questions from which it was made."""
    highest: tuple[tuple[int, HighPart], ...]
    """The parts with the highest scores, each with the number of its event."""


class Swap(Struct, frozen=True, kw_only=True):
    """A new model file that was put in place."""

    by: str
    wall_s: float
    kept: str
    """Name of the file with the old content."""
    before: str
    after: str
    """Short digests."""


class RecalibrationState(Struct, frozen=True, kw_only=True):
    """The facts that the page shows about one line."""

    lines: tuple[str, ...]
    """The lines that use the model file."""
    one_in: int | None
    """On average, people are asked about one in this many parts. None: they are not asked."""
    sample: Tally
    running: bool
    refused: str
    """Reason why the last proposal was refused. Empty if it was not."""
    proposal: Proposal | None
    swapped: Swap | None


class _Place(Struct, kw_only=True):
    """The state of one model file."""

    path: Path
    lines: tuple[str, ...]
    refused: str = ""
    proposal: Proposal | None = None
    swapped: Swap | None = None


class Recalibration:
    """See the module. All methods may be called from any thread.

    Args:
        clock: for the times of proposals.
        models: path of the model file of each line.
        folder: state folder of the event store. None if events are not kept.
        one_in: see `RecalibrationState.one_in`.
        questions: the random sample.
        running: returns the short digest of the model file with which a line judges now.
        record: takes an event of a line, given by its name.
        loaded: called with the lines after a swap.
        calibrate: another function than the child process, for tests.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        models: Mapping[str, Path],
        folder: Path | None,
        one_in: int | None,
        questions: Questions,
        running: Callable[[str], str],
        record: Callable[[str, Body], None],
        loaded: Callable[[Sequence[str]], None] = lambda _lines: None,
        calibrate: Calibrate | None = None,
    ) -> None:
        self._clock = clock
        self._folder = folder / FOLDER if folder is not None else None
        self._one_in = one_in
        self._questions = questions
        self._running = running
        self._record = record
        self._loaded = loaded
        self._calibrate = calibrate or _in_child
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._busy_line = ""
        self._places: dict[str, _Place] = {}
        by_file: dict[str, _Place] = {}
        for name, path in models.items():
            place = by_file.setdefault(os.path.realpath(path), _Place(path=path, lines=()))
            place.lines = (*place.lines, name)
            self._places[name] = place

    def sample(self, line: str) -> list[Question]:
        """Return the questions about the parts that the present model file of a line has judged, oldest first.

        Raises:
            ConfigError: there is no such line.
            sqlite3.Error: the store cannot be read.
        """
        return self._questions.of(self._place(line).lines, self._running(line))

    def state(self, line: str) -> RecalibrationState:
        """Return what the page shows.

        Raises:
            ConfigError: there is no such line.
            sqlite3.Error: the store cannot be read.
        """
        place, model = self._place(line), self._running(line)
        sample = tally(self.sample(line))
        with self._lock:
            proposal = place.proposal
            if proposal is not None and proposal.before.digest[:_SHORT] != model:
                proposal = None  # the line has loaded another file since
            return RecalibrationState(
                lines=place.lines,
                one_in=self._one_in if self._folder is not None else None,
                sample=sample,
                running=self._is_running() and self._busy_line in place.lines,
                refused=place.refused,
                proposal=proposal,
                swapped=place.swapped,
            )

    def propose(self, line: str, *, by: str) -> None:
        """Begin to make a proposal, and return at once. `state` shows its end.

        Raises:
            ConfigError: there is no such line or no event store, another proposal is being made, or the name is empty or too
                long.
        """
        place, by = self._place(line), person(by)
        if self._folder is None:
            raise ConfigError(
                'recalibration: expected a table [store], got none. Add [store] with path = "state" to the configuration.'
            )
        with self._lock:
            if self._stop.is_set() or self._is_running():
                raise ConfigError("recalibration: expected no other proposal at work, got one. Wait for its end.")
            place.refused, place.proposal, place.swapped = "", None, None
            self._busy_line = line
            self._thread = threading.Thread(
                target=self._work, args=(place, line, by, self._folder / line), name="andon recalibration", daemon=True
            )
            self._thread.start()

    def swap(self, line: str, digest: str, *, by: str) -> None:
        """Put the proposed file in place of the model file. The old file stays next to it under another name.

        Args:
            line: name of the line.
            digest: digest of the new file, so that a person gets the file that the page showed.
            by: name of the person.

        Raises:
            ConfigError: there is no such proposal, the model file was replaced meanwhile, or a file cannot be written. The model
                file is unchanged then.
        """
        place, by = self._place(line), person(by)
        with self._lock:
            proposal = place.proposal
            if proposal is None or proposal.after.digest != digest or self._folder is None:
                raise ConfigError(
                    "recalibration: expected the proposal that the page shows, got another one. Load the page again."
                )
            try:
                old = _read(place.path)
                if old.digest != proposal.before.digest:
                    raise ConfigError(
                        f"{place.path.name}: expected the file {proposal.before.digest[:_SHORT]} of the proposal, found "
                        f"{old.short_digest}. It was replaced meanwhile. Make a new proposal."
                    )
                new = _read(self._folder / line / _NEW)
                if new.digest != digest or new.graph_sha256 != old.graph_sha256:
                    raise ConfigError("recalibration: the proposed file is damaged. Make a new proposal.")
                kept = place.path.with_name(f"{place.path.stem}.{old.short_digest}{place.path.suffix}")
                if kept.is_symlink():
                    raise ConfigError(f"{kept}: expected a new name for the old file, found a link. Remove the link.")
                write_atomically(kept, old.data)
                write_atomically(place.path, new.data)
            except AndonError as error:
                self._refuse(place, line, by, printable(str(error), limit=1000), proposal)
                raise
            place.proposal, place.refused = None, ""
            place.swapped = Swap(
                by=by,
                wall_s=self._clock.wall_s(),
                kept=kept.name,
                before=old.short_digest,
                after=new.short_digest,
            )
        logger.warning("%s: %s put the model file %s in place of %s", line, by, new.short_digest, old.short_digest)
        self._record(line, _event("swapped", by, proposal, kept=kept.name))
        self._loaded(place.lines)

    def close(self) -> None:
        """End the child process. No further proposal begins."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_END_S)

    def _work(self, place: _Place, line: str, by: str, folder: Path) -> None:
        try:
            proposal = self._proposal(place, line, by, folder)
        except AndonError as error:
            self._refuse(place, line, by, printable(str(error), limit=1000))
        except (OSError, sqlite3.Error) as error:
            self._refuse(place, line, by, printable(str(error), limit=1000))
        except Exception as bug:
            logger.exception("%s: the recalibration failed. Report this as a bug.", line)
            self._refuse(place, line, by, f"it failed with an unexpected error ({type(bug).__name__}); see the log")
        else:
            with self._lock:
                place.proposal = proposal
            self._record(line, _event("proposed", by, proposal))

    def _proposal(self, place: _Place, line: str, by: str, folder: Path) -> Proposal:
        model = _read(place.path)
        if model.short_digest != self._running(line):
            raise ConfigError(
                f"{place.path.name}: expected the file {self._running(line)} with which the line judges, found "
                f"{model.short_digest}. Wait until the line has loaded it."
            )
        questions = self._questions.of(place.lines, model.short_digest)
        good = usable(questions)
        _empty(folder)
        old, scores, new = folder / "old.onnx", folder / "scores.jsonl", folder / _NEW
        old.write_bytes(model.data)  # a copy, because the file may be replaced while the child reads it
        scores.write_bytes(scores_text(good, windows=isinstance(model.card.input, WindowSpec)))
        counts = tally(questions)
        reason = (
            f"random sample of {', '.join(place.lines)}: {counts.good} of {counts.asked} asked parts are good; by {by}"
        )
        made = self._calibrate(old, scores, new, reason, self._stop)
        found = _read(new)
        if found.digest != made.after.digest or found.graph_sha256 != model.graph_sha256:
            raise ConfigError(
                "andon calibrate: expected a new file with the same network, got another file. Report this as a bug."
            )
        return Proposal(
            by=by,
            wall_s=self._clock.wall_s(),
            before=made.before,
            after=made.after,
            move=made.move,
            sample=counts,
            highest=tuple(_with_event(one) for one in made.highest),
        )

    def _refuse(self, place: _Place, line: str, by: str, reason: str, proposal: Proposal | None = None) -> None:
        place.refused = reason
        self._record(line, _event("refused", by, proposal, reason=reason))

    def _is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _place(self, line: str) -> _Place:
        if line not in self._places:
            raise ConfigError(f"line: expected one of {', '.join(self._places)}, got {printable(line)}.")
        return self._places[line]


_NEW = "new.onnx"


def _in_child(old: Path, scores: Path, new: Path, reason: str, stop: threading.Event) -> Calibrated:
    return calibrate(old, scores, new, reason=reason, stop=stop)


def _read(path: Path) -> ModelFile:
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}.") from error


def _empty(folder: Path) -> None:
    """Make an empty folder that only this user can read."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)  # it refuses a symbolic link
    folder.mkdir(parents=True, mode=0o700)


def _with_event(part: HighPart) -> tuple[int, HighPart]:
    """Return the number of the event of a part, and the part with its own name. See `scores_text`."""
    number, _, item = part.item.partition(" ")
    return (int(number), HighPart(item=item, score=part.score)) if number.isdigit() else (0, part)


def _event(change: str, by: str, proposal: Proposal | None, *, reason: str = "", kept: str = "") -> RecalibrationEvent:
    facts: dict[str, object] = {}
    if proposal is not None:
        before, after = proposal.before, proposal.after
        facts = {
            "before": before.digest[:_SHORT],
            "after": after.digest[:_SHORT],
            "promise_before": before.promise,
            "promise": after.promise,
            "threshold_before": json_number(before.threshold),
            "threshold": json_number(after.threshold),
            "parts": after.n,
        }
    return RecalibrationEvent(change=change, by=by, reason=reason, kept=kept, **facts)  # type: ignore[arg-type]
