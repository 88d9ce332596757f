"""The policy of batches keeps its limits, loses nothing, and agrees with a slow reference that looks at everything."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.runtime import ConfigError
from andon.runtime.micro_batching import BatchRule, Cost, MicroBatcher

INF = float("inf")
RULE = BatchRule(max_batch=4, max_wait_s=0.010, pad=False)


def costing(a: float, b: float) -> Cost:
    """Return a cost that was measured without noise."""
    cost = Cost()
    for size in (1, 2, 4):
        cost.add(size, a + b * size)
    return cost


def batcher(rule: BatchRule = RULE, *, a: float = 0.001, b: float = 0.001) -> MicroBatcher[str]:
    return MicroBatcher(rule, costing(a, b))


def test_a_lone_frame_waits_for_others_until_the_limit() -> None:
    queue = batcher()
    queue.offer("one", 1.0)

    assert queue.next_batch(1.0).wake_at_s == pytest.approx(1.010)
    assert queue.next_batch(1.009).batch is None
    assert queue.next_batch(1.010).batch == (None, ("one",), 1)
    assert queue.next_batch(1.010) == ((), None, None)


def test_a_full_batch_does_not_wait() -> None:
    queue = batcher()
    for name in "abcde":
        queue.offer(name, 1.0)

    assert queue.next_batch(1.0).batch == (None, ("a", "b", "c", "d"), 4)
    assert queue.next_batch(1.0).batch is None


def test_a_deadline_ends_the_waiting_early_enough_for_the_device() -> None:
    queue = batcher()
    queue.offer("a", 1.0, due_s=1.006)

    # a batch of one costs 2 ms
    assert queue.next_batch(1.0).wake_at_s == pytest.approx(1.004)
    assert queue.next_batch(1.00401).batch is not None


def test_a_batch_is_made_smaller_for_a_deadline() -> None:
    queue = batcher()
    queue.offer("urgent", 1.0, due_s=1.0035)
    queue.offer("b", 1.0)
    queue.offer("c", 1.0)

    # two cost 3 ms and three cost 4 ms
    assert queue.next_batch(1.0).batch == (None, ("urgent", "b"), 2)


def test_frames_of_other_shapes_are_not_mixed_and_the_earliest_deadline_is_first() -> None:
    queue = batcher()
    queue.offer("wide", 1.0, group="wide", due_s=1.100)
    queue.offer("high", 1.001, group="high", due_s=1.050)

    assert queue.next_batch(1.020).batch == ("high", ("high",), 1)
    assert queue.next_batch(1.020).batch == ("wide", ("wide",), 1)


def test_a_group_without_deadlines_is_not_left_waiting_for_ever() -> None:
    queue = batcher(BatchRule(max_batch=1))
    queue.offer("patient", 1.0, group="patient")
    now_s = 1.0
    for number in range(200):
        queue.offer(str(number), now_s, group="urgent", due_s=now_s + 0.040)
        step = queue.next_batch(now_s)
        assert step.batch is not None
        if step.batch.group == "patient":
            break
        now_s += 0.010

    assert now_s == pytest.approx(1.97, abs=0.02)


def test_a_frame_that_cannot_be_finished_in_time_is_late_and_not_judged() -> None:
    queue = batcher()
    queue.offer("late", 1.0, due_s=1.011)
    queue.offer("in time", 1.0, due_s=1.1)

    step = queue.next_batch(1.0105)

    assert step.late == ("late",)
    assert step.batch is not None
    assert step.batch.items == ("in time",)


def test_a_wrong_estimate_does_not_stop_the_judging_for_ever() -> None:
    # one measurement of a second, with deadlines of 40 ms
    queue: MicroBatcher[int] = MicroBatcher(BatchRule(max_batch=4, max_wait_s=0.0, pad=False))
    queue.cost.add(1, 1.0)
    now_s, judged = 1.0, 0
    for number in range(600):
        queue.offer(number, now_s, due_s=now_s + 0.04)
        step = queue.next_batch(now_s)
        now_s += 0.01
        if step.batch is not None:
            judged += len(step.batch.items)
            queue.cost.add(step.batch.size, 0.002)

    assert judged == 600
    assert queue.cost.estimate_s(1) == pytest.approx(0.002, rel=0.1)


@pytest.mark.parametrize(("count", "size"), [(1, 1), (2, 2), (3, 4), (5, 8), (9, 12), (12, 12)])
def test_batches_are_padded_to_a_few_sizes(count: int, size: int) -> None:
    queue = batcher(BatchRule(max_batch=12, max_wait_s=0))
    for number in range(count):
        queue.offer(str(number), 1.0)

    batch = queue.next_batch(1.0).batch

    assert batch is not None
    assert (len(batch.items), batch.size) == (count, size)


@pytest.mark.parametrize("wrong", [{"max_batch": 0}, {"max_batch": 1025}, {"max_batch": True}, {"max_wait_s": -1.0}])
def test_a_rule_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"expected .*got"):
        BatchRule(**wrong)  # type: ignore[arg-type]


@given(
    a=st.floats(0, 0.01),
    b=st.floats(1e-5, 0.001),
    sizes=st.lists(st.integers(1, 32), min_size=2, max_size=60).filter(lambda sizes: len(set(sizes)) > 1),
)
def test_a_linear_cost_is_found_exactly(a: float, b: float, sizes: list[int]) -> None:
    cost = Cost()
    for size in sizes:
        cost.add(size, a + b * size)

    for size in (1, 7, 32):
        assert cost.estimate_s(size) == pytest.approx(a + b * size, rel=1e-3)


def test_sizes_that_were_never_measured_are_not_underestimated() -> None:
    cost = Cost()
    cost.add(4, 0.004)

    assert cost.estimate_s(8) == pytest.approx(0.008)
    assert Cost().estimate_s(8) == 0


def test_a_stall_of_the_machine_raises_the_estimate_by_a_few_per_cent_only() -> None:
    cost = costing(0.001, 0.001)
    for _ in range(100):
        cost.add(2, 0.003)
    cost.add(2, 30.0)

    assert cost.estimate_s(2) < 1.2 * 0.003


@dataclass
class Reference:
    """The same rules without a queue: all items in one list, and every condition written out over it."""

    rule: BatchRule
    cost: Cost
    items: list[tuple[str, float, float, int]] = field(default_factory=list)  # group, arrival, deadline, number

    def step(self, now_s: float, *, flush: bool) -> tuple[list[int], list[int]]:
        late: list[int] = []
        most = self.rule.max_batch
        for group in sorted({item[0] for item in self.items}):
            of_group = [item for item in self.items if item[0] == group]
            missed = [item for item in of_group if item[2] < now_s + self.cost.estimate_s(1)]
            left = [item for item in of_group if item not in missed]
            for item in sorted(left, key=lambda item: item[2]):
                if len(left) >= most and item[2] < now_s + self.cost.estimate_s(most):
                    missed.append(item)
                    left.remove(item)
            if len(missed) == len(of_group):
                last = max(missed, key=lambda item: (item[2], -item[3]))
                missed = [item for item in missed if item is not last or last[2] < now_s]
            late += [item[3] for item in missed]
            self.items = [item for item in self.items if item not in missed]
        choices = []
        for group in {item[0] for item in self.items}:
            first = [item for item in self.items if item[0] == group][:most]
            due_s = min(item[2] for item in first)
            latest_s = due_s - self.cost.safe_s(self.rule.bucket(len(first)))
            waited = now_s >= first[0][1] + self.rule.max_wait_s
            if flush or waited or len(first) == most or now_s >= latest_s:
                choices.append((min(due_s, first[0][1] + 1.0), first[0][3], first))
        if not choices:
            return late, []
        first = min(choices)[2]
        fitting = [
            count
            for count in range(1, len(first) + 1)
            if now_s + self.cost.safe_s(self.rule.bucket(count)) <= min(item[2] for item in first[:count])
        ]
        taken = first[: max(fitting)] if fitting else first
        self.items = [item for item in self.items if item not in taken]
        return late, [item[3] for item in taken]


ACTIONS = st.lists(
    st.tuples(
        st.integers(0, 6),  # milliseconds until the action
        st.one_of(
            st.tuples(st.sampled_from("ab"), st.sampled_from([2, 4, 7, 15, 40, None])),  # offer: group, deadline in ms
            st.sampled_from(["step", "flush"]),
        ),
    ),
    max_size=60,
)
RULES = st.builds(
    BatchRule, max_batch=st.integers(1, 6), max_wait_s=st.sampled_from([0.0, 0.002, 0.005]), pad=st.booleans()
)


@given(rule=RULES, actions=ACTIONS)
def test_the_queue_decides_as_the_reference_and_every_item_leaves_once(
    rule: BatchRule, actions: list[tuple[int, tuple[str, int | None] | str]]
) -> None:
    cost = costing(0.0015, 0.00025)
    queue: MicroBatcher[int] = MicroBatcher(rule, cost)
    reference = Reference(rule, cost)
    # times in 1/1024 s are exact, so that both add up to the same numbers
    now_s, offered, left = 1.0, 0, []
    for pause, action in [*actions, *([(50, "flush")] * (len(actions) + 1))]:
        now_s += pause / 1024
        if isinstance(action, tuple):
            due_s = INF if action[1] is None else now_s + action[1] / 1024
            queue.offer(offered, now_s, group=action[0], due_s=due_s)
            reference.items.append((action[0], now_s, due_s, offered))
            offered += 1
            continue
        step = queue.next_batch(now_s, flush=action == "flush")
        late, taken = reference.step(now_s, flush=action == "flush")
        assert sorted(step.late) == sorted(late)
        assert list(step.batch.items if step.batch else ()) == taken
        assert step.batch is None or len(step.batch.items) <= step.batch.size <= rule.max_batch
        left += [*step.late, *(step.batch.items if step.batch else ())]
    assert sorted(left) == list(range(offered))
    assert len(queue) == 0


@given(
    rule=RULES,
    offers=st.lists(st.tuples(st.integers(0, 2), st.sampled_from([4, 15, 40, None])), min_size=1, max_size=5),
)
def test_nothing_happens_before_the_time_to_wake_and_something_happens_then(
    rule: BatchRule, offers: list[tuple[int, int | None]]
) -> None:
    queue: MicroBatcher[int] = MicroBatcher(rule, costing(0.0015, 0.00025))
    now_s = 1.0
    for number, (pause, deadline) in enumerate(offers):
        now_s += pause / 1024
        queue.offer(number, now_s, due_s=INF if deadline is None else now_s + deadline / 1024)
    step = queue.next_batch(now_s)
    if step.wake_at_s is None:
        return
    for share in (0.25, 0.5, 0.99):
        assert queue.next_batch(now_s + share * (step.wake_at_s - now_s)).batch is None
    assert queue.next_batch(step.wake_at_s).batch is not None
