"""A recalibration changes nothing before a person wants it, and then replaces the model file in one step."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path

import pytest
from tests.monitor.confirmed_parts import answered_store
from tests.sources.fake_clock import FakeClock

from andon.calibration.recalibrate import recalibrate_from_scores, same_promise
from andon.calibration.request import CalibrationRequest
from andon.calibration.stored_scores import read_scores
from andon.demo.example_line import MODEL, example
from andon.foundation.errors import AndonError, ConfigError
from andon.monitor.calibrate_process import Calibrated, HighPart, Statement
from andon.monitor.event import Answer, Body
from andon.monitor.event import Recalibration as RecalibrationEvent
from andon.monitor.recalibration import Calibrate, Recalibration, RecalibrationState
from andon.monitor.sample_questions import Questions
from andon.runtime.model_file.format import parse, read

GOOD: list[Answer | None] = ["good"] * 340
RUNNING = parse(example(MODEL)).short_digest


def in_process(old: Path, scores: Path, new: Path, reason: str, _stop: threading.Event) -> Calibrated:
    """Calibrate as the command does, but in this process. It needs no second interpreter."""
    model = read(old)
    request = CalibrationRequest(
        promise=same_promise(model), date=date(2026, 11, 30).isoformat(), grouped=False, reason=reason
    )
    try:
        result = recalibrate_from_scores(model.data, read_scores(scores, model), request)
    except AndonError as error:
        raise ConfigError(str(error)) from error
    new.write_bytes(result.data)

    def statement(digest: str, threshold: float, n: int) -> Statement:
        return Statement(promise="p", threshold=threshold, n=n, date="2026-11-30", digest=digest)

    return Calibrated(
        before=statement(result.before.digest, result.before.threshold, 300),
        after=statement(result.after.digest, result.after.threshold, len(read_scores(scores, model))),
        highest=tuple(HighPart(item=key, score=score) for key, score in result.top_parts),
    )


class Place:
    """A line ``example`` with its model file and its store. Lines in `more` use the same file."""

    def __init__(
        self,
        folder: Path,
        answers: Sequence[Answer | None],
        calibrate: Calibrate | None = in_process,
        more: Sequence[str] = (),
    ) -> None:
        self.model = folder / "models" / MODEL
        self.model.parent.mkdir()
        self.model.write_bytes(example(MODEL))
        self.store = answered_store(folder / "state", RUNNING, answers)
        self.events: list[tuple[str, Body]] = []
        self.running = RUNNING
        self.loaded: list[Sequence[str]] = []
        self.recalibration = Recalibration(
            FakeClock(),
            models=dict.fromkeys(["example", *more], self.model) | {"other": folder / "other.onnx"},
            folder=folder / "state",
            one_in=20,
            questions=Questions(self.store.reader),
            running=lambda _line: self.running,
            record=lambda line, body: self.events.append((line, body)),
            loaded=self.loaded.append,
            calibrate=calibrate,
        )

    def proposed(self) -> RecalibrationState:
        """Ask for a proposal and return the state at its end."""
        self.recalibration.propose("example", by="Ana")
        until_s = time.monotonic() + 60
        while self.recalibration.state("example").running:
            assert time.monotonic() < until_s
            time.sleep(0.01)
        return self.recalibration.state("example")

    def changes(self) -> list[str]:
        return [body.change for _, body in self.events if isinstance(body, RecalibrationEvent)]

    def close(self) -> None:
        self.recalibration.close()
        self.store.close()


Made = Callable[..., Place]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    places: list[Place] = []

    def make(answers: Sequence[Answer | None] = GOOD, **how: object) -> Place:
        places.append(Place(tmp_path, answers, **how))  # type: ignore[arg-type]
        return places[-1]

    yield make
    for place in places:
        place.close()


def test_a_proposal_shows_old_and_new_and_changes_nothing(made: Made) -> None:
    place = made(["defective", *GOOD])

    state = place.proposed()

    assert state.refused == ""
    assert state.proposal is not None
    assert state.proposal.before.digest[:12] == RUNNING
    assert state.proposal.after.digest[:12] != RUNNING
    assert state.proposal.after.n == 340
    assert (state.proposal.sample.good, state.proposal.sample.defective) == (340, 1)
    seq, part = state.proposal.highest[0]
    asked = next(one for one in place.recalibration.sample("example") if one.seq == seq)
    assert part.item == asked.verdict.item
    assert part.score == pytest.approx(asked.verdict.score)
    assert place.model.read_bytes() == example(MODEL)
    assert place.changes() == ["proposed"]


def test_a_swap_keeps_the_old_file_and_records_who_did_it(made: Made) -> None:
    place = made(more=["second"])
    proposal = place.proposed().proposal
    assert proposal is not None

    place.recalibration.swap("example", proposal.after.digest, by="Ben")

    assert read(place.model).digest == proposal.after.digest
    kept = place.model.with_name(f"power_converter.{RUNNING}.onnx")
    assert kept.read_bytes() == example(MODEL)
    assert sorted(one.name for one in place.model.parent.iterdir()) == sorted([MODEL, kept.name])
    line, body = place.events[-1]
    assert isinstance(body, RecalibrationEvent)
    assert (line, body.change, body.by, body.kept) == ("example", "swapped", "Ben", kept.name)
    assert (body.before, body.after) == (RUNNING, proposal.after.digest[:12])
    assert place.loaded == [("example", "second")]
    state = place.recalibration.state("second")
    assert state.proposal is None
    assert state.swapped is not None
    assert (state.swapped.by, state.swapped.kept) == ("Ben", kept.name)
    with pytest.raises(ConfigError, match="expected the proposal that the page shows"):
        place.recalibration.swap("example", proposal.after.digest, by="Ben")


def test_too_few_parts_are_refused_with_the_number_that_is_needed(made: Made) -> None:
    place = made(["good"] * 20)

    state = place.proposed()

    assert state.proposal is None
    assert "needs" in state.refused
    assert "got 20" in state.refused
    assert place.changes() == ["refused"]


def test_confirmed_rejects_that_nobody_chose_at_random_are_never_used(made: Made) -> None:
    place = made([None, None])

    state = place.proposed()

    assert "confirmed as good, got none of 2" in state.refused
    assert not (place.model.parents[1] / "state" / "recalibration" / "example").exists()


def test_a_file_that_was_replaced_meanwhile_is_not_replaced_again(made: Made) -> None:
    place = made()
    proposal = place.proposed().proposal
    assert proposal is not None
    other = example(MODEL) + b"\x00"
    place.model.write_bytes(other)

    with pytest.raises(AndonError):
        place.recalibration.swap("example", proposal.after.digest, by="Ana")

    assert place.model.read_bytes() == other
    assert place.changes() == ["proposed", "refused"]
    assert place.recalibration.state("example").refused


def test_a_proposal_that_was_changed_on_the_disk_is_not_used(made: Made) -> None:
    place = made()
    proposal = place.proposed().proposal
    assert proposal is not None
    (place.model.parents[1] / "state" / "recalibration" / "example" / "new.onnx").write_bytes(example(MODEL))

    with pytest.raises(ConfigError, match="the proposed file is damaged"):
        place.recalibration.swap("example", proposal.after.digest, by="Ana")

    assert place.model.read_bytes() == example(MODEL)


def test_a_link_in_place_of_the_kept_file_is_not_followed(made: Made, tmp_path: Path) -> None:
    place = made()
    proposal = place.proposed().proposal
    assert proposal is not None
    precious = tmp_path / "precious"
    precious.write_text("x")
    place.model.with_name(f"power_converter.{RUNNING}.onnx").symlink_to(precious)

    with pytest.raises(ConfigError, match="found a link"):
        place.recalibration.swap("example", proposal.after.digest, by="Ana")

    assert precious.read_text() == "x"
    assert place.model.read_bytes() == example(MODEL)


def test_an_old_file_that_cannot_be_kept_stays_in_place_and_the_page_shows_the_reason(made: Made) -> None:
    place = made()
    proposal = place.proposed().proposal
    assert proposal is not None
    place.model.with_name(f"power_converter.{RUNNING}.onnx").mkdir()

    with pytest.raises(ConfigError, match="expected a regular file"):
        place.recalibration.swap("example", proposal.after.digest, by="Ana")

    assert place.model.read_bytes() == example(MODEL)
    state = place.recalibration.state("example")
    assert "expected a regular file" in state.refused
    assert state.proposal == proposal  # after the reason is gone, the person can try again
    assert place.changes() == ["proposed", "refused"]


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_leaves_the_old_file_and_says_so(made: Made) -> None:
    place = made()
    proposal = place.proposed().proposal
    assert proposal is not None
    place.model.parent.chmod(0o500)
    try:
        with pytest.raises(ConfigError, match="cannot be written"):
            place.recalibration.swap("example", proposal.after.digest, by="Ana")
    finally:
        place.model.parent.chmod(0o700)

    assert place.model.read_bytes() == example(MODEL)
    assert place.changes()[-1] == "refused"


def test_a_line_that_has_loaded_another_file_shows_no_old_proposal(made: Made) -> None:
    place = made()
    assert place.proposed().proposal is not None

    place.running = "77b177b177b1"

    assert place.recalibration.state("example").proposal is None
    assert place.recalibration.state("example").sample.asked == 0
    assert "expected the file 77b177b177b1 with which the line judges" in place.proposed().refused


def test_only_one_proposal_is_made_at_a_time_and_the_end_stops_it(made: Made) -> None:
    begun = threading.Event()

    def slow(_old: Path, _scores: Path, _new: Path, _reason: str, stop: threading.Event) -> Calibrated:
        begun.set()
        stop.wait(30.0)
        raise ConfigError("stopped")

    place = made(calibrate=slow)
    place.recalibration.propose("example", by="Ana")
    assert begun.wait(30.0)
    assert place.recalibration.state("example").running
    assert not place.recalibration.state("other").running
    with pytest.raises(ConfigError, match="expected no other proposal at work"):
        place.recalibration.propose("other", by="Ana")

    place.recalibration.close()

    assert not place.recalibration.state("example").running
    with pytest.raises(ConfigError, match="expected no other proposal at work"):
        place.recalibration.propose("example", by="Ana")


def test_wrong_names_and_a_monitor_without_a_store_are_refused(made: Made) -> None:
    place = made(["good"])
    with pytest.raises(ConfigError, match="line: expected one of example, other, got press"):
        place.recalibration.propose("press", by="Ana")
    with pytest.raises(ConfigError, match="by: expected 1 to 64 characters"):
        place.recalibration.propose("example", by=" ")
    without = Recalibration(
        FakeClock(),
        models={"example": place.model},
        folder=None,
        one_in=20,
        questions=Questions(lambda: None),
        running=lambda _line: RUNNING,
        record=lambda _line, _body: None,
    )
    assert without.state("example").one_in is None
    with pytest.raises(ConfigError, match=r"expected a table \[store\]"):
        without.propose("example", by="Ana")


@pytest.mark.slow
def test_the_command_makes_the_proposal_in_a_child_process(made: Made) -> None:
    place = made(calibrate=None)

    state = place.proposed()

    assert state.refused == ""
    assert state.proposal is not None
    assert "at most 1 % of good windows" in state.proposal.after.promise
    assert state.proposal.after.n == 340
    assert state.proposal.move is not None
    place.recalibration.swap("example", state.proposal.after.digest, by="Ana")
    assert read(place.model).card.calibration is not None
