"""The outbox in memory keeps the rules of the interface."""

from hypothesis import given
from hypothesis import strategies as st
from tests.monitor.receivers import put

from andon.monitor.memory_outbox import Dead, MemoryOutbox


@given(
    numbers=st.sets(st.integers(1, 100)),
    after=st.integers(0, 110),
    limit=st.integers(1, 20),
    up_to=st.integers(0, 110),
    bad=st.integers(1, 100),
)
def test_pages_deliveries_and_deaths_agree_with_a_sorted_list(
    numbers: set[int], after: int, limit: int, up_to: int, bad: int
) -> None:
    outbox, expected = MemoryOutbox(), sorted(numbers)
    put(outbox, *expected)
    outbox.bury(bad, "no")
    expected = [seq for seq in expected if seq != bad]
    assert outbox.dead == ((Dead(bad, "no"),) if bad in numbers else ())
    assert [one.seq for one in outbox.page(after, limit)] == [seq for seq in expected if seq > after][:limit]
    outbox.done(up_to)

    assert [one.seq for one in outbox.page(0, 1000)] == [seq for seq in expected if seq > up_to]
    assert outbox.backlog() == sum(seq > up_to for seq in expected)


def test_refusals_are_counted_for_each_event() -> None:
    outbox = MemoryOutbox()
    put(outbox, 1, 2)
    outbox.refused(2)
    outbox.refused(2)
    outbox.refused(3)

    assert [one.refusals for one in outbox.page(0, 10)] == [0, 2]
