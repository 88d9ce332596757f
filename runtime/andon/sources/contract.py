"""Checks that all sources must pass. Each check is a function that takes a `Specimen` of a source.

The tests of andon run them on all sources of this package. Other packages can run them on their own sources::

    @pytest.fixture(scope="session")
    def specimen(tmp_path_factory): return Specimen(SOURCE, text=str(small_data(tmp_path_factory.mktemp("mine"))))

    @pytest.mark.parametrize("check", CHECKS)
    def test_the_contract(check, specimen): check(specimen)

The data of a specimen should be small: a few items are enough. A failed check raises an AssertionError that states what was
expected. A check that does not apply to a source, for example because the source only streams, passes.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import PurePath
from typing import Any

import msgspec
import numpy as np
from msgspec import inspect
from numpy.typing import NDArray

from andon.foundation.errors import AndonError, ConfigError
from andon.foundation.settings import Setting, fields
from andon.runtime.items import Data, Item, Lost, Ref
from andon.runtime.schema import Channel, FrameSpec, InputSpec, Reason, WindowSpec
from andon.sources.clock import SystemClock
from andon.sources.collection import Collection, FoundFrames
from andon.sources.series.log import Log
from andon.sources.series.windows import cut, window_spec
from andon.sources.source import Source
from andon.sources.subset import Subset

MOST_READ = 40
"""Upper limit of items that a check reads from a collection. They are spread evenly over it."""
STOP_S = 5.0
"""Longest time from a stop to the end of a stream, in seconds. Sources aim at two; the rest is for a busy machine."""
ARRIVAL_S = 20.0
"""Longest time until the items of a specimen have arrived, in seconds."""
STEPS, HOP = 8, 4
"""Length and distance of the windows that the checks cut from a log, in rows."""


class Specimen:
    """A source with small data.

    Args:
        source: the record of the source.
        text: text that opens sound data with at least three items.
        damaged: text that opens data in which at least one item cannot be read and at least one can. None if one item alone
            cannot be damaged, for example because a damaged file is refused as a whole.
        spec: input specification for `stream`. Default: the frames or windows that `collect` finds. A source that only
            streams needs it.
        settings: settings of `stream`. Default: the defaults of the source.
        items: number of items that `stream` gives for `text`. Default: the number of items of the collection. 0 if nothing
            arrives, for example because there is no camera: a live source must then report that it is stale.
        feed: called before each opening of a stream, for a source that gets its data from a process. The argument is true if
            damaged data are wanted.
    """

    def __init__(
        self,
        source: Source,
        text: str,
        *,
        damaged: str | None = None,
        spec: InputSpec | None = None,
        settings: Any = None,
        items: int | None = None,
        feed: Callable[[bool], None] | None = None,
    ) -> None:
        if source.collect is None and (spec is None or items is None):
            raise ConfigError(
                f"specimen of {source.name}: expected `spec` and `items`, because the source only streams; got neither or one."
            )
        self.source = source
        self.text = text
        self.damaged = damaged
        self.settings = source.settings() if settings is None else settings
        self._spec = spec
        self._items = items
        self._feed = feed

    @cached_property
    def opened(self) -> Collection | Log | None:
        """The sound data, opened once; None if the source only streams."""
        return None if self.source.collect is None else self.source.collect(self.text)

    @cached_property
    def collection(self) -> Collection | None:
        """The sound data as a collection. A log is cut into windows."""
        return self._as_collection(self.opened)

    @cached_property
    def spec(self) -> InputSpec:
        """The input specification of a model file that could judge these data."""
        if self._spec is not None:
            return self._spec
        assert self.opened is not None
        if isinstance(self.opened, Log):
            return window_spec(self.opened.found, STEPS, HOP)
        assert isinstance(self.opened.found, FoundFrames)
        return FrameSpec(channels=1 if self.opened.found.channels == 1 else 3, size=(16, 16))

    @property
    def items(self) -> int:
        """Number of items that `stream` should give."""
        if self._items is not None:
            return self._items
        expected = self.streamed_collection
        assert expected is not None
        return len(expected.refs)

    @cached_property
    def streamed_collection(self) -> Collection | None:
        """The collection that has the items of `stream`: all labelled items, if the source knows the truth."""
        return self.open_streamed(self.text)

    def open(self, text: str) -> Collection | None:
        """Open a text as a collection; None if the source only streams."""
        return None if self.source.collect is None else self._as_collection(self.source.collect(text))

    def open_streamed(self, text: str) -> Collection | None:
        """Open the collection that has the items of `stream` for this text."""
        return self.open(text) if self.source.labelled is None else self.source.labelled(text, None)[0]

    def streamed(self, *, damaged: bool = False, count: int | None = None) -> tuple[list[Item | Lost], float | None]:
        """Stream until `count` items have arrived (default: until the end, or `ARRIVAL_S`), then stop.

        Returns:
            The items, and the time in seconds from the stop to the end of the stream. The time is None if the stream did not
            end within `STOP_S`.
        """
        stream, text = self.source.stream, self.damaged if damaged else self.text
        assert stream is not None
        assert text is not None
        if self._feed is not None:
            self._feed(damaged)
        stop, arrived = threading.Event(), threading.Condition()
        items: list[Item | Lost] = []
        errors: list[BaseException] = []
        ended = threading.Event()

        def follow() -> None:
            try:
                for item in stream(text, self.spec, self.settings, SystemClock(), stop):
                    with arrived:
                        items.append(item)
                        arrived.notify()
            except BaseException as error:  # noqa: BLE001 - raised again below, in the thread of the check
                errors.append(error)
            with arrived:
                ended.set()
                arrived.notify()

        threading.Thread(target=follow, name=f"contract {self.source.name}", daemon=True).start()
        with arrived:
            arrived.wait_for(lambda: ended.is_set() or (count is not None and len(items) >= count), ARRIVAL_S)
        stop.set()
        stopped_s = time.monotonic()
        finished = ended.wait(STOP_S)
        for error in errors:
            raise error
        return items, time.monotonic() - stopped_s if finished else None

    def _as_collection(self, opened: Collection | Log | None) -> Collection | None:
        if not isinstance(opened, Log):
            return opened
        assert isinstance(self.spec, WindowSpec)
        return cut(opened, self.spec)


def its_settings_are_described_with_their_units(specimen: Specimen) -> None:
    """Check that each setting has a description, that each number has a unit, and that the settings survive JSON."""
    source = specimen.source
    for setting in fields(source.settings):
        assert setting.description, f"the setting {setting.name} needs a description"
        assert setting.unit or not _is_number(setting), (
            f'the setting {setting.name} is a number: expected a unit, got none. Add extra={{"unit": "s"}} to its Meta.'
        )
    again = msgspec.convert(msgspec.to_builtins(specimen.settings), source.settings)
    assert again == specimen.settings, "settings must survive JSON"


def it_accepts_its_own_text_only(specimen: Specimen) -> None:
    """Check that `accepts` returns true for the specimen and false for other texts, however odd."""
    accepts = specimen.source.accepts
    assert accepts(specimen.text) is True, f"accepts({specimen.text!r}): expected True"
    for text in ("no such source, file or folder", "x" * 10_000, "a\0b"):
        try:
            answer = accepts(text)
        except (OSError, ValueError):  # andon takes these two as False
            continue
        assert answer is False, f"accepts({text[:40]!r}): expected False, got {answer!r}"


def data_that_do_not_exist_are_refused(specimen: Specimen) -> None:
    """Check that `collect` raises an error of andon for data that do not exist."""
    if specimen.source.collect is None:
        return
    missing = specimen.text + "-missing"
    try:
        opened = specimen.source.collect(missing)
    except AndonError:
        return
    raise AssertionError(f"collect({missing!r}): expected a DataError or ConfigError, got {opened!r}")


def keys_are_unique_and_the_same_each_time(specimen: Specimen) -> None:
    """Check that keys are unique, not empty, relative, and equal if the same data are opened again."""
    if specimen.collection is None:
        return
    refs = list(specimen.collection.refs)
    assert len(refs) >= 3, f"the specimen: expected at least 3 items, got {len(refs)}"
    keys = [ref.key for ref in refs]
    for key in keys:
        assert key, "a key is empty"
        assert not PurePath(key).is_absolute(), f"the key {key!r}: expected a name relative to the opened path"
        key.encode("utf-8")  # verdict logs are UTF-8
    double = [key for key, count in Counter(keys).items() if count > 1]
    assert not double, f"keys: expected unique ones, got {double[:3]} several times"
    again = specimen.open(specimen.text)
    assert again is not None
    assert list(again.refs) == refs, "the same data opened twice: expected equal refs in the same order"


def reading_twice_gives_the_same_data(specimen: Specimen) -> None:
    """Check that each item has the same data each time, in any order, and that later reads do not change its array."""
    collection = specimen.collection
    if collection is None:
        return
    refs = _some(collection.refs)
    first = [_item(collection, ref) for ref in refs]
    copies = [item.data.copy() for item in first]
    for ref, copy in reversed(list(zip(refs, copies, strict=True))):
        _assert_equal(ref, _item(collection, ref).data, copy, "read again, in reverse order")
    for item, copy in zip(first, copies, strict=True):
        _assert_equal(item.ref, item.data, copy, "the array of an earlier read, after later reads")


def found_tells_the_truth(specimen: Specimen) -> None:
    """Check the description of the data against the data: channels, sizes, rows, period."""
    opened = specimen.opened
    if isinstance(opened, Log):
        _check_log(opened)
    elif opened is not None:
        _check_frames(opened)


def a_part_of_the_items_reads_like_the_whole(specimen: Specimen) -> None:
    """Check that items can be skipped and read backwards, as the split into training and calibration parts does."""
    collection = specimen.collection
    if collection is None:
        return
    refs = _some(collection.refs)
    whole = {ref.key: _item(collection, ref).data.copy() for ref in refs}
    part = Subset(collection, refs[::-2])
    for ref in part.refs:
        _assert_equal(ref, _item(part, ref).data, whole[ref.key], "read as part of a subset")


def a_damaged_item_is_lost_with_a_reason_and_the_others_are_read(specimen: Specimen) -> None:
    """Check that a damaged item gives `Lost` with a reason and a detail, and does not stop the collection or the stream."""
    if specimen.damaged is None:
        return
    collection = specimen.open(specimen.damaged)
    if collection is not None:
        assert collection.found is not None  # must not raise because of the damaged item
        _check_damaged([collection.read(ref) for ref in collection.refs], "collection")
    if specimen.source.stream is not None:
        # a stream may go on for ever: it has as many items as the collection, or as the sound data
        expected = specimen.open_streamed(specimen.damaged)
        items, _ = specimen.streamed(damaged=True, count=specimen.items if expected is None else len(expected.refs))
        _check_damaged(items, "stream")


def the_stream_gives_the_items_of_the_collection(specimen: Specimen) -> None:
    """Check that training and monitoring see the same data: equal keys and equal arrays, in the same order."""
    if specimen.source.stream is None or specimen.items == 0:
        return
    streamed, _ = specimen.streamed(count=specimen.items)
    items = [item for item in streamed if isinstance(item, Item)]
    lost = [item for item in streamed if isinstance(item, Lost) and item.reason is not Reason.WARMING]
    assert not lost, f"stream of sound data: expected no lost items, got {lost[:3]}"
    expected = specimen.streamed_collection
    if expected is None:
        assert len(items) >= specimen.items, f"stream: expected {specimen.items} items, got {len(items)}"
        keys = [item.ref.key for item in items]
        assert len(set(keys)) == len(keys), f"keys of the stream: expected unique ones, got {keys}"
        return
    keys = [ref.key for ref in expected.refs]
    assert [item.ref.key for item in items] == keys, (
        f"stream: expected the keys {keys[:5]}..., got {[item.ref.key for item in items][:5]}..."
    )
    for item in items:
        _assert_equal(item.ref, item.data, _item(expected, item.ref).data, "streamed, and read from the collection")


def a_stream_ends_soon_after_the_stop(specimen: Specimen) -> None:
    """Check that the stop event ends the stream, also while it waits for new data."""
    if specimen.source.stream is None:
        return
    _, ended_s = specimen.streamed(count=min(1, specimen.items))
    assert ended_s is not None, f"stream: expected its end within {STOP_S:g} s of the stop, but it still runs"


def a_silent_live_source_is_reported_as_stale(specimen: Specimen) -> None:
    """Check that a live source from which nothing arrives gives `Lost` (STALE) instead of waiting silently."""
    if not specimen.source.live or specimen.items:
        return
    items, _ = specimen.streamed(count=1)
    assert items, f"silent live source: expected a Lost (STALE) within {ARRIVAL_S:g} s, got nothing"
    assert isinstance(items[0], Lost), f"silent live source: expected a Lost (STALE), got {items[0]}"
    assert items[0].reason is Reason.STALE, f"silent live source: expected a Lost (STALE), got {items[0]}"


def a_model_file_of_the_other_kind_is_refused(specimen: Specimen) -> None:
    """Check that `stream` raises a ConfigError if the source gives frames and the model file judges windows, or vice versa."""
    stream = specimen.source.stream
    if stream is None:
        return
    other: InputSpec = FrameSpec(channels=3, size=(16, 16))
    if isinstance(specimen.spec, FrameSpec):
        other = WindowSpec(steps=STEPS, hop=HOP, period_s=1.0, channels=(Channel(name="x"),))
    try:
        opened = stream(specimen.text, other, specimen.settings, SystemClock(), threading.Event())
    except ConfigError:
        return
    raise AssertionError(
        f"stream for a {type(other).__name__}: expected a ConfigError when it is opened, got {opened!r}"
    )


def the_truth_belongs_to_the_items(specimen: Specimen) -> None:
    """Check, for a source that knows the truth, that each item to evaluate has a label and that training has good parts only."""
    if specimen.source.labelled is None:
        return
    evaluated, truth = specimen.source.labelled(specimen.text, None)
    unknown = [ref.key for ref in evaluated.refs if ref.key not in truth.defective]
    assert not unknown, f"truth: expected a label for each item, got none for {unknown[:3]}"
    assert specimen.collection is not None
    trained = {ref.key for ref in specimen.collection.refs}
    bad = [key for key in trained if truth.defective.get(key, False)]
    assert not bad, f"collect: expected good parts only, got the defective {bad[:3]}"
    both = trained & {ref.key for ref in evaluated.refs}
    assert not both, f"items to evaluate: expected none of the items to train on, got {sorted(both)[:3]}"


CHECKS: tuple[Callable[[Specimen], None], ...] = (
    its_settings_are_described_with_their_units,
    it_accepts_its_own_text_only,
    data_that_do_not_exist_are_refused,
    keys_are_unique_and_the_same_each_time,
    reading_twice_gives_the_same_data,
    found_tells_the_truth,
    a_part_of_the_items_reads_like_the_whole,
    a_damaged_item_is_lost_with_a_reason_and_the_others_are_read,
    the_stream_gives_the_items_of_the_collection,
    a_stream_ends_soon_after_the_stop,
    a_silent_live_source_is_reported_as_stale,
    a_model_file_of_the_other_kind_is_refused,
    the_truth_belongs_to_the_items,
)
"""All checks of the contract."""


def _is_number(setting: Setting) -> bool:
    members = setting.kind.types if isinstance(setting.kind, inspect.UnionType) else (setting.kind,)
    return any(isinstance(member, inspect.IntType | inspect.FloatType) for member in members)


def _some(refs: Sequence[Ref]) -> list[Ref]:
    step = -(-len(refs) // MOST_READ)
    return list(refs[:: max(1, step)])


def _item(collection: Collection, ref: Ref) -> Item:
    read = collection.read(ref)
    assert isinstance(read, Item), f"{ref.key}: expected an item of the sound data, got {read}"
    assert read.ref.key == ref.key, f"read({ref.key!r}): expected the item of this key, got {read.ref.key!r}"
    _check_data(read)
    return read


def _check_data(item: Item) -> None:
    data = item.data
    if data.ndim == 3:
        known = data.dtype in (np.uint8, np.uint16)
        assert known, f"{item.ref.key}: expected a frame uint8 or uint16 [H, W, C], got {data.dtype}"
        assert data.shape[2] in (1, 3), f"{item.ref.key}: expected 1 or 3 channels, got {data.shape[2]}"
    else:
        assert data.ndim == 2, f"{item.ref.key}: expected a frame [H, W, C] or a window [T, C], got {list(data.shape)}"
        assert data.dtype == np.float32, f"{item.ref.key}: expected a window float32 [T, C], got {data.dtype}"


def _assert_equal(ref: Ref, got: Data, expected: Data, what: str) -> None:
    equal = got.shape == expected.shape and np.array_equal(got, expected, equal_nan=got.dtype == np.float32)
    assert equal, f"{ref.key}, {what}: expected the same data, got other data"


def _check_frames(collection: Collection) -> None:
    found = collection.found
    assert isinstance(found, FoundFrames), f"found: expected FoundFrames for a collection of frames, got {found}"
    frames: list[NDArray[Any]] = [_item(collection, ref).data for ref in _some(collection.refs)]
    channels = {frame.shape[2] for frame in frames}
    assert channels == {found.channels}, f"found.channels: expected {channels}, got {found.channels}"
    sizes = Counter(frame.shape[:2] for frame in frames)
    if found.frame_size is not None:
        assert set(sizes) == {found.frame_size}, f"found.frame_size: expected {set(sizes)}, got {found.frame_size}"
    largest = max(height * width for height, width in sizes)
    stated = found.largest[0] * found.largest[1]
    if len(frames) < len(collection.refs):
        assert stated >= largest, f"found.largest: expected at least {largest} pixels, got {found.largest}"
        return
    assert stated == largest, f"found.largest: expected a frame with {largest} pixels, got {found.largest}"
    assert (len(sizes) == 1) == (found.frame_size is not None), f"found.frame_size: got None, but all have {set(sizes)}"
    if found.sizes:
        assert dict(found.sizes) == dict(sizes), f"found.sizes: expected {dict(sizes)}, got {found.sizes}"
        counts = [count for _, count in found.sizes]
        assert counts == sorted(counts, reverse=True), f"found.sizes: expected the most frequent first, got {counts}"


def _check_log(log: Log) -> None:
    found = log.found
    assert found.runs == len(log.runs), f"found.runs: expected {len(log.runs)}, got {found.runs}"
    rows = sum(len(run.times_s) for run in log.runs)
    assert found.rows == rows, f"found.rows: expected {rows}, got {found.rows}"
    names = [run.name for run in log.runs]
    assert len(set(names)) == len(names), f"names of runs: expected unique ones, got {names}"
    for run in log.runs:
        shape = (len(run.times_s), len(found.channels))
        assert run.values.shape == shape, f"{run.name}: expected values {list(shape)}, got {list(run.values.shape)}"
        assert run.values.dtype == np.float32, f"{run.name}: expected float32 values, got {run.values.dtype}"
        assert (np.diff(run.times_s) >= 0).all(), f"{run.name}: expected ascending times"
    period_s = float(np.median(np.concatenate([np.diff(run.times_s) for run in log.runs])))
    assert abs(found.period_s - period_s) <= 0.01 * period_s, (
        f"found.period_s: expected about {period_s:g}, got {found.period_s:g}"
    )


def _check_damaged(items: Sequence[Item | Lost], where: str) -> None:
    lost = [item for item in items if isinstance(item, Lost) and item.reason is not Reason.WARMING]
    read = [item for item in items if isinstance(item, Item)]
    assert lost, f"damaged data, {where}: expected a Lost for the damaged item, got none"
    assert read, f"damaged data, {where}: expected the sound items as well, got none"
    for item in lost:
        assert item.reason is not Reason.NONE, f"{item.ref.key}: expected a reason, got Reason.NONE"
        assert item.detail, f"{item.ref.key}: expected a detail that says what is wrong, got an empty text"
