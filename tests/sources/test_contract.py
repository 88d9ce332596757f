"""The contract of sources itself: a sound source keeps each check, and a source with a fault breaks the check for it."""

import threading
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from msgspec import Meta, Struct

from andon.foundation.errors import AndonError, ConfigError, DataError
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import FrameSpec, InputSpec, Reason
from andon.sources import contract
from andon.sources.clock import Clock, pause
from andon.sources.collection import Collection, FoundFrames
from andon.sources.contract import Specimen
from andon.sources.source import Source
from andon.sources.stream_settings import StaleAfter
from andon.sources.truth import Truth

Fault = Literal[
    "none", "no unit", "greedy", "foreign error", "double keys", "new keys", "random", "one buffer", "channels", "size",
    "only forwards", "raises", "no detail", "hides damage", "stream order", "stream data", "deaf", "any kind",
    "defects", "unlabelled",
]  # fmt: skip


class Settings(Struct, frozen=True, kw_only=True):
    rate_hz: Annotated[float, Meta(ge=0.0, description="frames per second", extra={"unit": "Hz"})] = 0.0
    stale_after_s: StaleAfter = 0.2


class NoUnit(Struct, frozen=True, kw_only=True):
    rate: Annotated[float, Meta(ge=0.0, description="how fast")] = 0.0
    stale_after_s: StaleAfter = 0.2


class Frames:
    """Six frames; the frame 3 of damaged data cannot be read."""

    def __init__(self, fault: Fault, damaged: bool) -> None:
        self._fault = fault
        self._damaged = damaged
        self._buffer = np.zeros((8, 6, 3), np.uint8)
        self._last = -1
        self.found = FoundFrames(
            channels=1 if fault == "channels" else 3, frame_size=(9, 6) if fault == "size" else (8, 6), largest=(8, 6)
        )
        names = [number // 2 * 2 if fault == "double keys" else number for number in range(6)]
        salt = f"-{id(self)}" if fault == "new keys" else ""
        self.refs: Sequence[Ref] = [Ref(key=f"{number}{salt}.raw") for number in names]

    def read(self, ref: Ref) -> Item | Lost:
        number = int(ref.key[0])
        if self._damaged and number == 3 and self._fault != "hides damage":
            if self._fault == "raises":
                raise DataError("damaged")
            return Lost(ref, Reason.UNREADABLE, "" if self._fault == "no detail" else "frame 3: cut short")
        if self._fault == "only forwards" and number < self._last:
            return Lost(ref, Reason.LOST, "already read")
        self._last = number
        seed = None if self._fault == "random" else number
        frame = np.random.default_rng(seed).integers(0, 256, (8, 6, 3), dtype=np.uint8)
        if self._fault == "one buffer":
            self._buffer[:] = frame
            return Item(ref, self._buffer)
        return Item(ref, frame)


def source(fault: Fault) -> Source:
    def collect(text: str) -> Collection:
        if text not in ("made:sound", "made:damaged"):
            raise (
                KeyError(text)
                if fault == "foreign error"
                else DataError(f"{text}: expected made:sound or made:damaged")
            )
        return Frames(fault, text == "made:damaged")

    def stream(
        text: str, spec: InputSpec, _settings: Any, clock: Clock, stop: threading.Event
    ) -> Iterator[Item | Lost]:
        if not isinstance(spec, FrameSpec) and fault != "any kind":
            raise ConfigError(f"{text}: expected a model file for frames")
        return follow(collect(text), clock, stop)

    def follow(frames: Collection, clock: Clock, stop: threading.Event) -> Iterator[Item | Lost]:
        for ref in reversed(frames.refs) if fault == "stream order" else frames.refs:
            read = frames.read(ref)
            yield Item(ref, read.data // 2) if fault == "stream data" and isinstance(read, Item) else read
        until_s = clock.mono_s() + (1.0 if fault == "deaf" else 0.0)
        while clock.mono_s() < until_s or not stop.is_set():
            pause(clock, 0.05, lambda: False)

    def labelled(_text: str, _channels: object) -> tuple[Collection, Truth]:
        refs = {ref.key: True for ref in Frames("none", damaged=False).refs}
        return Frames("none", damaged=False), Truth(defective=refs if fault == "defects" else {}, kind={})

    return Source(
        name="made",
        summary="",
        accepts=lambda text: fault == "greedy" or text.startswith("made:"),
        collect=collect,
        settings=NoUnit if fault == "no unit" else Settings,
        stream=stream,
        labelled=labelled if fault in ("defects", "unlabelled") else None,
    )


def specimen(fault: Fault) -> Specimen:
    return Specimen(source(fault), "made:sound", damaged="made:damaged")


def silent(*, stale: bool) -> Specimen:
    """Return a live source from which nothing arrives, and which reports that or does not."""

    def stream(_text: str, spec: InputSpec, _settings: Settings, clock: Clock, stop: threading.Event) -> Iterator[Lost]:
        if not isinstance(spec, FrameSpec):
            raise ConfigError("expected a model file for frames")
        return wait(clock, stop)

    def wait(clock: Clock, stop: threading.Event) -> Iterator[Lost]:
        while not stop.is_set():
            pause(clock, 0.05, stop.is_set)
            if stale:
                yield Lost(Ref(key="silence"), Reason.STALE, "no frame for 0.05 s")

    record = Source(
        name="mute", summary="", accepts=lambda text: text == "mute", settings=Settings, stream=stream, live=True
    )
    return Specimen(record, "mute", spec=FrameSpec(channels=3, size=(16, 16)), items=0)


@pytest.mark.parametrize("check", [pytest.param(check, id=check.__name__) for check in contract.CHECKS])
@pytest.mark.parametrize("sound", [specimen("none"), silent(stale=True)], ids=["frames", "silent"])
def test_a_sound_source_keeps_the_contract(check, sound) -> None:  # type: ignore[no-untyped-def]
    check(sound)


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("no unit", contract.its_settings_are_described_with_their_units),
        ("greedy", contract.it_accepts_its_own_text_only),
        ("foreign error", contract.data_that_do_not_exist_are_refused),
        ("double keys", contract.keys_are_unique_and_the_same_each_time),
        ("new keys", contract.keys_are_unique_and_the_same_each_time),
        ("random", contract.reading_twice_gives_the_same_data),
        ("one buffer", contract.reading_twice_gives_the_same_data),
        ("only forwards", contract.reading_twice_gives_the_same_data),
        ("only forwards", contract.a_part_of_the_items_reads_like_the_whole),
        ("channels", contract.found_tells_the_truth),
        ("size", contract.found_tells_the_truth),
        ("raises", contract.a_damaged_item_is_lost_with_a_reason_and_the_others_are_read),
        ("no detail", contract.a_damaged_item_is_lost_with_a_reason_and_the_others_are_read),
        ("hides damage", contract.a_damaged_item_is_lost_with_a_reason_and_the_others_are_read),
        ("stream order", contract.the_stream_gives_the_items_of_the_collection),
        ("stream data", contract.the_stream_gives_the_items_of_the_collection),
        ("deaf", contract.a_stream_ends_soon_after_the_stop),
        ("any kind", contract.a_model_file_of_the_other_kind_is_refused),
        ("defects", contract.the_truth_belongs_to_the_items),
        ("unlabelled", contract.the_truth_belongs_to_the_items),
    ],
)
def test_a_faulty_source_breaks_the_contract(fault: Fault, check, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(contract, "STOP_S", 0.3)

    with pytest.raises((AssertionError, AndonError, KeyError)):
        check(specimen(fault))


def test_a_live_source_that_says_nothing_about_its_silence_breaks_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "ARRIVAL_S", 0.3)

    with pytest.raises(AssertionError, match=r"expected a Lost \(STALE\) within 0.3 s"):
        contract.a_silent_live_source_is_reported_as_stale(silent(stale=False))


def test_a_source_that_only_streams_needs_a_specification_and_a_number_of_items() -> None:
    with pytest.raises(ConfigError, match="expected `spec` and `items`"):
        Specimen(silent(stale=True).source, "mute")
