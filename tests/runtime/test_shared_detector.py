"""Threads that share a detector get the verdicts that they would get alone, and always an answer."""

import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.runtime.hand_made import FRAME, frame, model_bytes

from andon.runtime import (
    BatchRule,
    ConfigError,
    Detector,
    InputError,
    JudgeError,
    Reason,
    SharedDetector,
    Status,
    Verdict,
)

FRAMES = [frame(seed, level=level) for seed, level in enumerate((128, 131, 140, 160, 190, 220, 250, 5))]
DATA = model_bytes(FRAME, threshold=0.3)
ALONE = Detector.from_bytes(DATA)


class Held(Detector):
    """A detector whose calls wait until the test opens the gate, and which keeps the sizes of its batches."""

    def hold(self) -> None:
        self.gate, self.entered = threading.Event(), threading.Semaphore(0)
        self.sizes: list[int] = []

    def batch(self, items: Sequence[NDArray[Any]]) -> list[Verdict]:
        self.sizes.append(len(items))
        self.entered.release()
        assert self.gate.wait(20)
        return super().batch(items)


class Failing(Detector):
    """A device that fails for one batch, and works again after it."""

    error: BaseException | None = None

    def batch(self, items: Sequence[NDArray[Any]]) -> list[Verdict]:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return super().batch(items)


def held() -> Held:
    detector = Held.from_bytes(DATA)
    assert isinstance(detector, Held)
    detector.hold()
    return detector


def failing(error: BaseException) -> Failing:
    detector = Failing.from_bytes(DATA)
    assert isinstance(detector, Failing)
    detector.error = error
    return detector


class Hand:
    """A clock that the test turns by hand."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def busy(clock: Hand) -> Iterator[tuple[Held, SharedDetector]]:
    """Return a shared detector whose device is in its first call, so that all later frames wait."""
    detector = held()
    with SharedDetector(detector, rule=BatchRule(max_batch=4, max_wait_s=0.0), clock=clock) as shared:
        shared.submit(FRAMES[0])
        assert detector.entered.acquire(timeout=20)
        yield detector, shared
        detector.gate.set()


def same(one: Verdict, other: Verdict) -> bool:
    return (
        (one.status, one.reason, one.model) == (other.status, other.reason, other.model)
        and one.score == pytest.approx(other.score, rel=1e-5, nan_ok=True)
        and all(np.allclose(one.evidence[name], other.evidence[name], rtol=1e-5) for name in other.evidence)
    )


@given(places=st.lists(st.integers(0, len(FRAMES) - 1), min_size=1, max_size=9), pad=st.booleans())
def test_a_verdict_does_not_depend_on_the_batch(places: list[int], pad: bool) -> None:
    rule = BatchRule(max_batch=8, max_wait_s=0.001, pad=pad)
    with SharedDetector(ALONE, rule=rule) as shared:
        futures = [shared.submit(FRAMES[place]) for place in places]
        verdicts = [future.result(20) for future in futures]

    assert all(same(verdict, ALONE(FRAMES[place])) for verdict, place in zip(verdicts, places, strict=True))


def test_frames_that_arrive_while_the_device_is_busy_share_batches(busy: tuple[Held, SharedDetector]) -> None:
    detector, shared = busy
    futures = [shared.submit(one) for one in FRAMES[1:7]]

    detector.gate.set()
    verdicts = [future.result(20) for future in futures]

    # six wait: four fill a batch, and two are left
    assert detector.sizes == [1, 4, 2]
    assert [verdict.status for verdict in verdicts] == [ALONE(one).status for one in FRAMES[1:7]]


def test_a_padded_batch_gives_no_surplus_verdicts() -> None:
    detector = held()
    with SharedDetector(detector, rule=BatchRule(max_batch=8, max_wait_s=0.0, pad=True)) as shared:
        first = shared.submit(FRAMES[0])
        assert detector.entered.acquire(timeout=20)
        futures = [shared.submit(one) for one in FRAMES[1:6]]
        detector.gate.set()
        wait([first, *futures], 20)

    assert detector.sizes == [1, 8]
    assert all(same(future.result(), ALONE(one)) for future, one in zip(futures, FRAMES[1:6], strict=True))


def test_many_threads_get_their_own_verdicts() -> None:
    with SharedDetector(ALONE, rule=BatchRule(max_batch=8, max_wait_s=0.001)) as shared:

        def camera(number: int) -> bool:
            return all(
                same(shared(FRAMES[(number + turn) % 8]), ALONE(FRAMES[(number + turn) % 8])) for turn in range(20)
            )

        with ThreadPoolExecutor(16) as cameras:
            assert all(cameras.map(camera, range(16)))


def test_frames_of_several_sizes_are_judged_in_their_own_batches() -> None:
    any_size = Detector.from_bytes(DATA, frame_size="any")
    wide = frame(1, size=(40, 64), level=200)
    with SharedDetector(any_size) as shared:
        futures = [shared.submit(one) for one in (FRAMES[0], wide, FRAMES[1], wide)]
        verdicts = [future.result(20) for future in futures]

    assert [same(verdict, any_size(wide)) for verdict in verdicts] == [False, True, False, True]


def test_a_frame_of_the_wrong_type_is_refused_before_it_can_spoil_a_batch() -> None:
    with SharedDetector(ALONE) as shared, pytest.raises(InputError, match="expected a uint8 frame"):
        shared.submit(FRAMES[0].astype(np.float32))


@pytest.mark.parametrize("wrong", [0, -1.0, float("nan")])
def test_a_deadline_must_be_in_the_future(wrong: float) -> None:
    with SharedDetector(ALONE) as shared, pytest.raises(ConfigError, match="deadline_s: expected seconds > 0"):
        shared.submit(FRAMES[0], deadline_s=wrong)


def test_a_frame_that_waits_beyond_its_deadline_is_invalid_and_not_judged(
    busy: tuple[Held, SharedDetector], clock: Hand
) -> None:
    detector, shared = busy
    late, in_time = shared.submit(FRAMES[1], deadline_s=0.04), shared.submit(FRAMES[1])
    clock.now_s += 0.05

    detector.gate.set()
    verdict = late.result(20)

    assert (verdict.status, verdict.reason, verdict.reason.code) == (Status.INVALID, Reason.LATE, "late")
    assert (verdict.threshold, verdict.model) == (ALONE.threshold, ALONE.model.short_digest)
    assert in_time.result(20).status is ALONE(FRAMES[1]).status
    assert detector.sizes == [1, 1]


def test_a_verdict_that_is_ready_after_its_deadline_is_invalid(clock: Hand) -> None:
    detector = held()
    with SharedDetector(detector, rule=BatchRule(max_wait_s=0.0), clock=clock) as shared:
        future = shared.submit(FRAMES[0], deadline_s=0.04)
        assert detector.entered.acquire(timeout=20)
        clock.now_s += 0.05
        detector.gate.set()

        assert future.result(20).reason is Reason.LATE


def test_a_device_that_fails_raises_in_all_callers_of_the_batch_and_then_works_again() -> None:
    detector = failing(JudgeError("out of memory"))
    with SharedDetector(detector, rule=BatchRule(max_batch=3, max_wait_s=10.0)) as shared:
        futures = [shared.submit(one) for one in FRAMES[:3]]

        for future in futures:
            with pytest.raises(JudgeError, match="out of memory"):
                future.result(20)
        again = [shared.submit(one) for one in FRAMES[:3]]
        assert again[0].result(20).status is Status.OK


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_the_end_of_the_thread_reaches_all_waiting_and_all_later_callers(error: BaseException) -> None:
    detector = failing(error)
    shared = SharedDetector(detector, rule=BatchRule(max_batch=2, max_wait_s=10.0))
    futures = [shared.submit(one) for one in FRAMES[:2]]

    for future in futures:
        with pytest.raises(type(error)):
            future.result(20)
    shared.close()
    with pytest.raises(JudgeError, match="the shared detector is closed") as refusal:
        shared.submit(FRAMES[0])
    assert refusal.value.__cause__ is error


def test_a_callback_that_ends_the_thread_leaves_no_frame_without_an_answer() -> None:
    detector = held()
    detector.hold()
    shared = SharedDetector(detector, rule=BatchRule(max_batch=4, max_wait_s=0))
    futures = [shared.submit(FRAMES[0]) for _ in range(10)]
    for future in futures:
        future.add_done_callback(lambda _: sys.exit(1))
    detector.gate.set()

    assert not wait(futures, timeout=20).not_done
    assert futures[0].exception() is None
    assert isinstance(futures[-1].exception(), JudgeError)
    shared.close()


def test_frames_that_wait_at_the_close_are_judged_and_later_ones_are_refused() -> None:
    shared = SharedDetector(ALONE, rule=BatchRule(max_wait_s=10.0))
    futures = [shared.submit(one) for one in FRAMES[:3]]

    shared.close()
    shared.close()

    assert all(future.done() for future in futures)
    assert same(futures[2].result(), ALONE(FRAMES[2]))
    with pytest.raises(JudgeError, match="is closed"):
        shared(FRAMES[0])


def test_a_caller_that_gives_up_costs_no_call_of_the_device(busy: tuple[Held, SharedDetector]) -> None:
    detector, shared = busy
    given_up, other = shared.submit(FRAMES[1]), shared.submit(FRAMES[2])

    assert given_up.cancel()
    detector.gate.set()

    assert same(other.result(20), ALONE(FRAMES[2]))
    assert detector.sizes == [1, 1]
    with pytest.raises(CancelledError):
        given_up.result(0)


def test_warming_up_judges_each_size_and_measures_it() -> None:
    detector = held()
    detector.gate.set()
    with SharedDetector(detector, rule=BatchRule(max_batch=6, pad=True)) as shared:
        taken = shared.warm_up(FRAMES[0])

    assert list(taken) == [1, 2, 4, 6]
    assert detector.sizes == [1, 1, 2, 2, 4, 4, 6, 6]
    assert all(seconds > 0 for seconds in taken.values())


def test_on_the_cpu_nothing_is_padded_by_default() -> None:
    detector = held()
    with SharedDetector(detector) as shared:
        first = shared.submit(FRAMES[0])
        assert detector.entered.acquire(timeout=20)
        futures = [shared.submit(one) for one in FRAMES[1:4]]
        detector.gate.set()
        wait([first, *futures], 20)

    assert detector.sizes == [1, 3]


@pytest.mark.gpu(by="onnxruntime")
def test_a_gpu_decides_in_padded_batches_as_the_cpu_does_alone() -> None:
    detector = Detector.from_bytes(DATA, device="cuda", provider="any")
    with SharedDetector(detector) as shared:
        shared.warm_up(FRAMES[0])
        verdicts = [future.result(20) for future in [shared.submit(one) for one in FRAMES]]

    for verdict, one in zip(verdicts, FRAMES, strict=True):
        assert verdict.status is ALONE(one).status
        assert verdict.score == pytest.approx(ALONE(one).score, rel=1e-3, nan_ok=True)
