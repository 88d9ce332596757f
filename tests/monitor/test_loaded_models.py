"""Lines that use the same model file in the same way share one session, and get the verdicts that they would get alone."""

import gc
import shutil
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper
from tests.monitor.test_supervisor import Kept, Watched, in_thread, line, until
from tests.runtime import forge
from tests.runtime.hand_made import FRAME, frame, model_bytes

from andon.foundation.errors import ModelFileError
from andon.monitor.event import ModelChanged
from andon.monitor.judging import Outcome
from andon.monitor.loaded_models import LoadedModels
from andon.runtime import Detector, Reason, Status, Verdict
from andon.runtime.items import Item, Lost, Ref
from andon.sources.collection import Stream

LEVELS = (128, 131, 140, 160, 180, 5, 250)
FRAMES = [frame(seed, level=level) for seed, level in enumerate(LEVELS)]
DATA = model_bytes(FRAME, threshold=0.3)
OTHER = model_bytes(FRAME, threshold=0.2)


def changed(*nodes: NodeProto, **weights: NDArray[Any]) -> bytes:
    """Return `DATA` with more nodes. They add ``extra`` to its evidence. ``place`` is 1 for the brightest frame, else 0."""

    def change(model: Any) -> None:
        graph = model.graph
        (last,) = [node for node in graph.node if "score_peak" in node.output]
        last.output[0] = "peak"
        numbers = {"bright": np.array([200], np.float32), **weights}
        graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in numbers.items())
        graph.node.extend(
            [
                helper.make_node("ReduceMax", ["small", "inner"], ["highest"], keepdims=0),
                helper.make_node("Div", ["highest", "bright"], ["relative"]),
                helper.make_node("Cast", ["relative"], ["place"], to=7),
                *nodes,
                helper.make_node("Add", ["peak", "extra"], ["score_peak"]),
            ]
        )

    return forge.onnx_edit(DATA, change)


BREAKS = changed(helper.make_node("Gather", ["only", "place"], ["extra"]), only=np.zeros(1, np.float32))
"""A file that fails for the last frame."""
SLOW = changed(
    helper.make_node("Gather", ["lengths", "place"], ["length"]),
    helper.make_node("Concat", ["length", "length"], ["sides"], axis=0),
    helper.make_node("Expand", ["only", "sides"], ["square"]),
    helper.make_node("MatMul", ["square", "square"], ["product"]),
    helper.make_node("ReduceMax", ["product"], ["extra"], keepdims=0),
    only=np.zeros(1, np.float32),
    lengths=np.array([1, 3000], np.int64),
)
"""A file that needs a second for the last frame."""


def use(models: LoadedModels, path: Path, **changes: Any) -> Detector:
    return models.load(path, **{"device": "cpu", "threads": 1, "frame_size": "calibrated", **changes})


def sessions() -> int:
    """Return the number of sessions of ONNX Runtime in this process."""
    gc.collect()
    return sum(issubclass(type(one), onnxruntime.InferenceSession) for one in gc.get_objects())


def equal(one: Verdict, other: Verdict) -> bool:
    """Return whether two verdicts are the same, bit for bit."""
    return (
        (one.status, one.reason, one.model) == (other.status, other.reason, other.model)
        and np.float64(one.score).tobytes() == np.float64(other.score).tobytes()
        and np.float64(one.p_value).tobytes() == np.float64(other.p_value).tobytes()
        and set(one.evidence) == set(other.evidence)
        and all(np.array_equal(one.evidence[name], other.evidence[name], equal_nan=True) for name in other.evidence)
    )


def given_frames(places: list[int], wait: threading.Barrier | None = None) -> Any:
    """Return a source of these frames. The sources of several lines start together at the barrier."""

    def stream(_stop: threading.Event) -> Iterator[Item | Lost]:
        if wait is not None:
            wait.wait(20)
        for place in places:
            yield Item(Ref(key=f"{place}"), FRAMES[place])

    return stream


def until_stopped(stop: threading.Event) -> Stream:
    while not stop.wait(0.003):
        yield Item(Ref(key="0"), FRAMES[0])


@contextmanager
def running(watched: Watched) -> Iterator[None]:
    """Run a supervisor in a thread of its own, and end it also after a failed check."""
    thread = in_thread(watched)
    try:
        yield
    finally:
        watched.stop.set()
        thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "parts.onnx"
    path.write_bytes(DATA)
    return path


def test_sixteen_lines_with_one_file_hold_one_session(path: Path) -> None:
    kept, before = [Kept() for _ in range(16)], sessions()
    watched = Watched(
        *(line(path, f"line-{number}", until_stopped, one, endless=True) for number, one in enumerate(kept))
    )
    watched.supervisor.open()
    opened = sessions() - before
    with running(watched):
        until(lambda: all(len(one.outcomes) >= 3 for one in kept))
        judging = sessions() - before

    assert (opened, judging) == (1, 1)
    assert all(outcome.verdict.status is Status.OK for one in kept for outcome in one.outcomes)


def test_a_copy_of_the_file_shares_too_and_another_use_or_content_does_not(path: Path, tmp_path: Path) -> None:
    copy, other = tmp_path / "copy.onnx", tmp_path / "other.onnx"
    shutil.copy(path, copy)
    other.write_bytes(OTHER)
    models = LoadedModels()
    detector = use(models, path)

    assert use(models, copy) is detector
    assert use(models, path, device="auto") is not detector  # another file may replace this one, on another device
    assert use(models, path, threads=2) is not detector
    assert use(models, path, frame_size="any") is not detector
    assert use(models, other) is not detector


def test_a_file_that_is_damaged_while_it_is_in_use_is_refused(path: Path) -> None:
    models = LoadedModels()
    detector = use(models, path)
    path.write_bytes(DATA[:-1])

    with pytest.raises(ModelFileError, match=r"parts\.onnx: "):
        use(models, path)
    path.write_bytes(DATA)
    assert use(models, path) is detector


def test_a_file_that_no_line_uses_is_freed(path: Path) -> None:
    models = LoadedModels()
    detector = use(models, path)
    gone = weakref.ref(detector)
    del detector

    assert gone() is None
    assert isinstance(use(models, path), Detector)


def test_a_replaced_file_is_shared_again_and_the_old_session_is_freed(path: Path, tmp_path: Path) -> None:
    kept, before = [Kept() for _ in range(4)], sessions()
    ended = Kept()
    watched = Watched(
        line(path, "ended", given_frames([0]), ended),
        *(line(path, f"line-{number}", until_stopped, one, endless=True) for number, one in enumerate(kept)),
    )
    with running(watched):
        until(lambda: ended.closed and all(one.outcomes for one in kept))
        (tmp_path / "new.onnx").write_bytes(OTHER)
        (tmp_path / "new.onnx").replace(path)
        watched.supervisor.request_reload()
        until(lambda: all(len({outcome.verdict.model for outcome in one.outcomes}) == 2 for one in kept))
        until(lambda: len(watched.bodies(ModelChanged)) == 5)
        judging = sessions() - before

    assert judging == 1
    assert all(not change.refused for change in watched.bodies(ModelChanged))
    for one in kept:
        assert [outcome.seq for outcome in one.outcomes] == list(range(1, len(one.outcomes) + 1))


class SlowToClose(Kept):
    """A sink that delivers for a long time after the last item."""

    def __init__(self) -> None:
        super().__init__()
        self.closing, self.delivered = threading.Event(), threading.Event()

    def close(self) -> None:
        self.closing.set()
        assert self.delivered.wait(20)


def test_a_line_that_still_delivers_after_its_last_item_has_the_new_file(path: Path, tmp_path: Path) -> None:
    kept = SlowToClose()
    watched = Watched(
        line(path, "line", given_frames([0]), kept), line(path, "other", until_stopped, Kept(), endless=True)
    )
    with running(watched):
        until(kept.closing.is_set)
        (tmp_path / "new.onnx").write_bytes(OTHER)
        (tmp_path / "new.onnx").replace(path)
        watched.supervisor.request_reload()
        try:
            until(lambda: len(watched.bodies(ModelChanged)) == 2)
        finally:
            kept.delivered.set()
        until(lambda: watched.supervisor.status().lines[0].state == "ended")
        new = Detector.from_bytes(OTHER).model.short_digest

        assert [one.model for one in watched.supervisor.status().lines] == [new, new]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.lists(st.integers(0, len(FRAMES) - 1), min_size=1, max_size=6), min_size=2, max_size=6))
def test_each_line_gets_the_verdicts_that_it_would_get_alone(tmp_path: Path, places: list[list[int]]) -> None:
    path = tmp_path / "breaks.onnx"
    path.write_bytes(BREAKS)
    kept, together = [Kept() for _ in places], threading.Barrier(len(places))
    watched = Watched(
        *(line(path, f"line-{number}", given_frames(of, together), kept[number]) for number, of in enumerate(places))
    )
    watched.supervisor.run()

    for of, one in zip(places, kept, strict=True):
        assert [outcome.ref.key for outcome in one.outcomes] == [str(place) for place in of]  # one verdict for each
        assert all(map(as_alone, one.outcomes))


ALONE = Detector.from_bytes(BREAKS)


def as_alone(outcome: Outcome) -> bool:
    """Return whether an outcome is that of a line with a session of its own."""
    place = int(outcome.ref.key)
    if place == len(FRAMES) - 1:  # the session fails for this frame
        return outcome.verdict.reason is Reason.FAILED and "ONNX Runtime failed" in outcome.detail
    return equal(outcome.verdict, ALONE(FRAMES[place]))


def judged_by_threads(detector: Detector, threads: int, calls: int) -> list[tuple[int, Verdict]]:
    """Judge frames in several threads at the same time, and return the place of each frame and its verdict."""
    together = threading.Barrier(threads)

    def judge(place: int) -> list[tuple[int, Verdict]]:
        together.wait(20)
        return [(place % len(FRAMES), detector(FRAMES[place % len(FRAMES)])) for _ in range(calls)]

    with ThreadPoolExecutor(threads) as pool:
        return [pair for pairs in pool.map(judge, range(threads)) for pair in pairs]


@pytest.mark.parametrize("threads", [1, 2])
def test_calls_of_several_threads_are_equal_to_calls_of_one_bit_for_bit(path: Path, threads: int) -> None:
    detector = use(LoadedModels(), path, threads=threads)
    alone = [detector(one) for one in FRAMES]

    assert all(equal(verdict, alone[place]) for place, verdict in judged_by_threads(detector, 8, 50))


@pytest.mark.gpu(by="onnxruntime")
def test_on_a_gpu_threads_that_share_a_session_get_the_verdicts_of_one_thread(tmp_path: Path) -> None:
    path = tmp_path / "cuda.onnx"
    path.write_bytes(model_bytes(FRAME, threshold=0.3, provider="cuda"))
    detector = Detector.load(path, device="cuda", provider="any")
    alone = [detector(one) for one in FRAMES]

    assert all(equal(verdict, alone[place]) for place, verdict in judged_by_threads(detector, 8, 50))


def test_a_long_call_of_one_line_holds_up_no_call_of_another_line(tmp_path: Path) -> None:
    path = tmp_path / "slow.onnx"
    path.write_bytes(SLOW)
    detector = use(LoadedModels(), path)
    thread = threading.Thread(target=detector, args=(FRAMES[-1],))
    thread.start()
    during = 0
    while thread.is_alive():
        detector(FRAMES[0])
        during += thread.is_alive()
    thread.join()

    assert during > 10
