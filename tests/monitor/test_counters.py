"""The counters: their sums are correct at any time."""

from hypothesis import given
from hypothesis import strategies as st

from andon.monitor.counters import Counters, Dropped, DropReason, count, counters_text
from andon.runtime.schema import Reason, Status
from andon.runtime.verdict import Verdict, invalid

_DROPS: list[DropReason] = ["busy", "source", "stopped"]

outcomes = st.one_of(
    st.sampled_from([Status.OK, Status.REVIEW, Status.REJECT]).map(lambda status: Verdict(status=status, score=1.0)),
    st.sampled_from([reason for reason in Reason if reason is not Reason.NONE]).map(invalid),
    st.builds(Dropped, st.sampled_from(_DROPS), st.integers(0, 1000)),
)


@given(st.lists(outcomes))
def test_grabbed_is_judged_and_invalid_and_dropped_after_every_single_outcome(
    sequence: list[Verdict | Dropped],
) -> None:
    counters = Counters()
    for outcome in sequence:
        counters = count(counters, outcome)

        assert counters.grabbed == counters.judged + counters.invalid + counters.dropped
        assert sum(counters.by_status.values()) == counters.judged
        assert sum(counters.by_reason.values()) == counters.invalid
        assert sum(counters.by_drop.values()) == counters.dropped


@given(st.lists(outcomes))
def test_the_totals_agree_with_a_plain_count_of_the_outcomes(sequence: list[Verdict | Dropped]) -> None:
    counters = Counters()
    for outcome in sequence:
        counters = count(counters, outcome)
    verdicts = [outcome for outcome in sequence if isinstance(outcome, Verdict)]

    assert counters.grabbed == len(verdicts) + sum(o.number for o in sequence if isinstance(o, Dropped))
    assert counters.invalid == sum(verdict.status is Status.INVALID for verdict in verdicts)
    for status in (Status.OK, Status.REVIEW, Status.REJECT):
        assert counters.by_status.get(status.name, 0) == sum(verdict.status is status for verdict in verdicts)
    for reason in Reason:
        assert counters.by_reason.get(reason.name, 0) == sum(
            verdict.reason is reason for verdict in verdicts if verdict.status is Status.INVALID
        )


@given(st.lists(outcomes).flatmap(lambda sequence: st.tuples(st.just(sequence), st.permutations(sequence))))
def test_the_order_of_outcomes_does_not_change_the_totals(
    both: tuple[list[Verdict | Dropped], list[Verdict | Dropped]],
) -> None:
    totals = []
    for sequence in both:
        counters = Counters()
        for outcome in sequence:
            counters = count(counters, outcome)
        totals.append(counters)

    assert totals[0] == totals[1]


@given(st.lists(outcomes, min_size=1))
def test_counters_that_somebody_holds_do_not_change_when_more_is_counted(sequence: list[Verdict | Dropped]) -> None:
    held = count(Counters(), sequence[0])
    before = counters_text(held)
    later = held
    for outcome in sequence:
        later = count(later, outcome)

    assert counters_text(held) == before


def test_the_line_for_people_names_every_number() -> None:
    counters = Counters()
    for outcome in (
        Verdict(status=Status.OK),
        Verdict(status=Status.REJECT),
        invalid(Reason.STALE),
        Dropped("busy", 2),
    ):
        counters = count(counters, outcome)

    assert counters_text(counters) == "grabbed 5 = judged 2 (OK 1, REJECT 1) + invalid 1 (STALE 1) + dropped 2 (busy 2)"
