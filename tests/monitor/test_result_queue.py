"""The choice of the image to write: in order, never an old result as a new one, never a lower number."""

from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from andon.monitor.process_image import LATE, LineResult, ProcessImage, ResultCode
from andon.monitor.result_queue import CAPACITY, ResultQueue

MAX_AGE_S = 2.0
JUDGED = [code for code in ResultCode if code]


def result(at_s: float, code: ResultCode = ResultCode.OK) -> LineResult:
    return LineResult(result=code, part=f"at {at_s:g}", judged_wall_s=at_s, at_s=at_s)


def written(queue: ResultQueue, now_s: float) -> ProcessImage:
    image = queue.next_image(now_s)
    queue.confirmed(image, now_s)
    return image


class Written(RuleBasedStateMachine):
    """A queue, and a PLC that may miss writes, lose its replies, and acknowledge results."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = ResultQueue("a", MAX_AGE_S)
        self.now_s = 100.0
        self.results: list[LineResult] = []
        self.seen: list[ProcessImage] = []
        self.confirmed: ProcessImage | None = None
        self.confirmed_s = 0.0
        self.acknowledged = 0

    @rule(code=st.sampled_from(JUDGED))
    def a_result_comes(self, code: ResultCode) -> None:
        self.results.append(result(self.now_s, code))
        self.queue.add(self.results[-1])

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.5]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(fate=st.sampled_from(["confirmed", "missed", "reply lost"]))
    def an_image_is_written(self, fate: Literal["confirmed", "missed", "reply lost"]) -> None:
        image = self.queue.next_image(self.now_s)
        if fate != "missed":
            self.plc_sees(image)
        if fate == "confirmed":
            if self.confirmed is None or image.number != self.confirmed.number:
                self.confirmed, self.confirmed_s = image, self.now_s
            self.queue.confirmed(image, self.now_s)

    def plc_sees(self, image: ProcessImage) -> None:
        before = self.seen[-1] if self.seen else ProcessImage(line="a")
        self.seen.append(image)
        assert image.number >= before.number, "a number went back"
        assert all(getattr(before, name) <= getattr(image, name) for name in ("ok", "review", "reject", "invalid")), (
            "a counter went back"
        )
        if image.number == before.number:
            return
        made = self.results[image.number - 1]
        if image.reason == LATE:
            assert image.result is ResultCode.INVALID
        else:
            assert (image.result, image.part) == (made.result, made.part)
            assert self.now_s - made.at_s <= MAX_AGE_S, "an old result looks new"
            assert image.total == image.number

    @rule()
    def the_plc_acknowledges(self) -> None:
        if self.seen:
            self.acknowledged = self.seen[-1].number
        self.queue.hear(self.acknowledged)

    @invariant()
    def each_result_waits_is_written_or_is_late(self) -> None:
        assert self.queue.written + self.queue.late + self.queue.waiting == len(self.results)

    @precondition(lambda self: self.queue.asks and self.now_s - self.confirmed_s <= MAX_AGE_S)
    @rule()
    def the_next_result_waits_for_the_acknowledgement(self) -> None:
        assert self.queue.due_s(self.now_s) is None


TestWritten = Written.TestCase
TestWritten.settings = settings(max_examples=60, stateful_step_count=40)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_results_that_come_in_time_are_written_once_and_in_order(gaps: list[float]) -> None:
    queue, now_s, numbers = ResultQueue("a", MAX_AGE_S), 0.0, []
    queue.hear(None)
    for gap in gaps:
        now_s += gap
        queue.add(result(now_s))
        numbers.append(written(queue, now_s).number)

    assert numbers == list(range(1, len(gaps) + 1))
    assert (queue.written, queue.late) == (len(gaps), 0)


def test_a_result_that_is_too_old_is_skipped_and_its_number_is_missing() -> None:
    queue = ResultQueue("a", MAX_AGE_S)
    queue.add(result(0.0))
    first = written(queue, 0.1)
    queue.add(result(1.0, ResultCode.REJECT))
    queue.add(result(4.0))

    later = written(queue, 4.1)

    assert [first.number, later.number] == [1, 3]
    assert (later.total, later.reject) == (3, 1)
    assert queue.late == 1


def test_the_last_result_stays_when_a_later_one_is_too_old_and_the_counters_go_on() -> None:
    queue = ResultQueue("a", MAX_AGE_S)
    queue.add(result(0.0))
    written(queue, 0.1)
    queue.add(result(1.0, ResultCode.REJECT))

    image = written(queue, 10.0)

    assert (image.number, image.result) == (1, ResultCode.OK)
    assert (image.total, image.reject) == (2, 1)


def test_a_result_whose_confirmation_was_lost_is_written_again_while_it_is_fresh_and_is_invalid_afterwards() -> None:
    queue = ResultQueue("a", MAX_AGE_S)
    queue.add(result(0.0))
    tried = queue.next_image(0.1)

    assert queue.next_image(1.0) == tried
    late = queue.next_image(3.0)
    assert (late.number, late.result, late.reason) == (1, ResultCode.INVALID, LATE)


def test_a_result_waits_for_the_acknowledgement_of_the_last_one_and_not_longer_than_it_may_be_old() -> None:
    queue = ResultQueue("a", MAX_AGE_S)
    queue.add(result(0.0))
    written(queue, 0.0)
    queue.add(result(1.0))
    assert queue.asks
    queue.hear(0)
    assert queue.due_s(1.0) is None

    assert queue.due_s(2.1) == 1.0
    queue.hear(1)
    assert queue.due_s(1.0) == 1.0


def test_a_controller_that_does_not_acknowledge_is_asked_once() -> None:
    queue = ResultQueue("a", MAX_AGE_S)
    asked = 0
    for number in range(5):
        queue.add(result(float(number)))
        if queue.asks:
            asked += 1
            queue.hear(None)
        written(queue, float(number))

    assert asked == 1


def test_the_queue_is_bounded_and_keeps_the_newest_results() -> None:
    queue = ResultQueue("a", MAX_AGE_S)
    for _ in range(CAPACITY + 5):
        queue.add(result(0.0))

    assert (queue.waiting, queue.late) == (CAPACITY, 5)
    assert written(queue, 0.1).number == 6
