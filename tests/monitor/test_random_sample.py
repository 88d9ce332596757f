"""Parts are chosen at random for people to confirm. The choice does not depend on the verdict."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.monitor.outcomes import some_outcome

from andon.monitor.event import Sampled
from andon.monitor.judging import Outcome
from andon.monitor.random_sample import SampleSink, is_chosen
from andon.monitor.records import record
from andon.runtime.items import Ref
from andon.runtime.schema import Reason, Status
from andon.runtime.verdict import Verdict


def chosen(outcomes: list[Outcome], one_in: int = 4) -> list[int]:
    """Return the numbers of the items about which people are asked."""
    asked: list[Outcome] = []
    sink = SampleSink("run", "press-3", one_in, lambda _body, outcome: asked.append(outcome))
    for outcome in outcomes:
        sink.put(outcome)
    sink.close()
    return [outcome.seq for outcome in asked]


@given(
    verdicts=st.lists(
        st.tuples(st.sampled_from([Status.OK, Status.REVIEW, Status.REJECT]), st.floats(0, 1e6)),
        min_size=1,
        max_size=50,
    )
)
def test_the_choice_does_not_depend_on_verdict_or_score(verdicts: list[tuple[Status, float]]) -> None:
    """Test it, because high scores make the threshold too high, and low ones break the promise."""
    judged = [some_outcome(seq, status, score) for seq, (status, score) in enumerate(verdicts)]
    plain = [some_outcome(seq) for seq in range(len(verdicts))]

    assert chosen(judged) == chosen(plain)


@pytest.mark.parametrize("one_in", [1, 2, 20])
def test_the_share_of_chosen_items_is_as_configured(one_in: int) -> None:
    number = sum(is_chosen("run", "press-3", str(seq), one_in) for seq in range(20_000))

    share = 1 / one_in
    assert abs(number / 20_000 - share) <= 4 * np.sqrt(share * (1 - share) / 20_000)


def test_lines_and_starts_have_choices_of_their_own() -> None:
    def of(run: str, line: str) -> list[bool]:
        return [is_chosen(run, line, str(seq), 2) for seq in range(100)]

    assert of("a", "b") == of("a", "b")
    assert of("a", "b") != of("a", "c")
    assert of("a", "b") != of("c", "b")
    assert is_chosen("a\udcff", "b", "c\udcff", 1)


def test_all_frames_of_a_part_are_chosen_or_none() -> None:
    frames = [some_outcome(seq, ref=Ref(key=f"{seq}.png", part=f"part {seq // 3}")) for seq in range(90)]

    found = chosen(frames)

    assert found
    assert len(found) < 90
    assert all((3 * (seq // 3) + place in found) for seq in found for place in range(3))


def test_a_part_that_is_invalid_by_its_content_is_asked_about_and_lost_input_is_not() -> None:
    """Such a part counts as rejected in a calibration, so leaving it out would make the promise false."""

    def invalid(reason: Reason) -> Outcome:
        return some_outcome(1, verdict=Verdict(status=Status.INVALID, reason=reason, model="0f3a"))

    assert chosen([invalid(Reason.NO_CONTRAST)], 1) == [1]
    for reason in (Reason.WARMING, Reason.BLACK, Reason.UNREADABLE, Reason.FAILED):
        assert chosen([invalid(reason)], 1) == []
    assert chosen([some_outcome(1, data=None)], 1) == []


def test_everyone_can_repeat_the_choice_from_the_event() -> None:
    bodies: list[Sampled] = []
    sink = SampleSink("run", "press-3", 5, lambda body, _outcome: bodies.append(body))
    for seq in range(1, 101):
        sink.put(some_outcome(seq))

    assert [body.verdict.seq for body in bodies] == [
        seq for seq in range(1, 101) if is_chosen("run", "press-3", str(seq), bodies[0].one_in)
    ]
    assert bodies[0].verdict == record(some_outcome(bodies[0].verdict.seq))
