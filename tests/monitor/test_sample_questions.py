"""Questions about parts that were chosen at random: what is read from the store, and which answers make a random sample."""

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.monitor.outcomes import some_outcome
from tests.monitor.some_event import some_event

from andon.foundation.errors import ConfigError
from andon.monitor.event import Answer, Confirmed, Sampled
from andon.monitor.records import record
from andon.monitor.sample_questions import MOST_LEFT_OUT, Question, Questions, scores_text, tally, usable
from andon.monitor.store import Settings
from andon.monitor.store_writer import StoreWriter
from andon.sources.clock import SystemClock

GOOD: Answer = "good"


def questions(answers: Sequence[Answer | None]) -> list[Question]:
    return [
        Question(seq=seq, run="r", line="press-3", wall_us=0, verdict=record(some_outcome(seq)), answer=answer)
        for seq, answer in enumerate(answers, 1)
    ]


def test_answers_are_read_from_the_store_and_the_last_one_counts(tmp_path: Path) -> None:
    with closing(StoreWriter(Settings(path=str(tmp_path), ballast_bytes=1 << 18), SystemClock())) as store:
        for seq in (1, 2, 3):
            store.put(some_event(Sampled(verdict=record(some_outcome(seq)), one_in=20)), ())
        other = msgspec.structs.replace(record(some_outcome(4)), model="77b1")
        store.put(some_event(Sampled(verdict=other, one_in=20)), ())
        assert store.flush(10.0)
        book = Questions(store.reader)
        assert [one.answer for one in book.of(["press-3"], "0f3a")] == [None, None, None]

        for truth in ("defective", "good"):
            store.put(some_event(Confirmed(item="x", truth=truth, event=2)), ())
        store.put(some_event(Confirmed(item="x", truth="good", event=1000)), ())
        store.put(some_event(Confirmed(item="x", truth="good")), ())
        assert store.flush(10.0)

        assert [one.answer for one in book.of(["press-3"], "0f3a")] == [None, "good", None]
        assert [one.seq for one in book.of(["press-3"], "77b1")] == [4]
        assert book.of(["other"], "0f3a") == []
        assert [one.answer for one in Questions(store.reader).of(["press-3"], "0f3a")] == [None, "good", None]
    assert Questions(lambda: None).of(["press-3"], "0f3a") == []


@given(st.lists(st.sampled_from(["good", "defective", "unclear", None]), max_size=60))
def test_the_numbers_of_answers_add_up(answers: list[Answer | None]) -> None:
    found = tally(questions(answers))

    assert found.asked == len(answers) == found.good + found.defective + found.unclear + found.open


@given(st.lists(st.sampled_from([*["good"] * 30, "defective", "unclear", None]), max_size=80))
def test_a_sample_is_used_only_if_nearly_all_questions_before_the_newest_answer_are_answered(
    answers: list[Answer | None],
) -> None:
    given_answers = [place for place, answer in enumerate(answers) if answer is not None]
    considered = answers[: given_answers[-1] + 1] if given_answers else []
    left_out = sum(answer in (None, "unclear") for answer in considered)

    try:
        found = usable(questions(answers))
    except ConfigError:
        assert "good" not in considered or left_out > MOST_LEFT_OUT * len(considered)
    else:
        assert left_out <= MOST_LEFT_OUT * len(considered)
        assert [one.seq for one in found] == [seq for seq, answer in enumerate(answers, 1) if answer == "good"]


def test_questions_after_the_newest_answer_are_not_missing() -> None:
    assert len(usable(questions([GOOD] * 20 + [None] * 100))) == 20


def test_skipped_questions_are_refused_with_their_number() -> None:
    """Answers only about parts that look normal would make the threshold too low."""
    with pytest.raises(ConfigError, match="at most 5 % of the 20 asked parts without a clear answer, got 2"):
        usable(questions([None, "unclear", *[GOOD] * 18]))
    with pytest.raises(ConfigError, match="confirmed as good, got none of 2"):
        usable(questions([None, "defective"]))


def test_the_scores_have_unique_names_and_windows_of_one_start_belong_together() -> None:
    same = questions([GOOD, GOOD])
    same[1].verdict = same[0].verdict  # a camera counts from 1 again after a restart

    frames = [json.loads(line) for line in scores_text(same, windows=False).splitlines()]
    windows = [json.loads(line) for line in scores_text(same, windows=True).splitlines()]

    assert [one["item"] for one in frames] == ["000000000001 line.mp4#1", "000000000002 line.mp4#1"]
    assert all("part" not in one for one in frames)
    assert [one["part"] for one in windows] == ["run r", "run r"]
    assert {one["model"] for one in frames} == {"0f3a"}
