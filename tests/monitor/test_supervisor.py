"""Several lines in one process: isolation, shared sources, reload, events, end."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import Struct

from andon.foundation.errors import ConfigError, DataError
from andon.monitor.alarms import AlarmRule
from andon.monitor.config import ChosenSource, Configuration, Line, Policy
from andon.monitor.event import AlarmChanged, Body, ModelChanged, Rejected, SourceChanged, Started, Stopped
from andon.monitor.judging import Outcome
from andon.monitor.sink import ChosenSink, Sink, SinkContext, SinkKind
from andon.monitor.status import ProcessStatus
from andon.monitor.supervisor import END_S, ModelWatch, Origin, Supervisor
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import InputSpec
from andon.sources.clock import Clock, SystemClock
from andon.sources.collection import Stream
from andon.sources.source import Skip, Source
from andon.sources.stream_settings import NoSettings

GOOD = np.random.default_rng(0).integers(90, 160, (24, 24, 1), dtype=np.uint8)
BAD = np.random.default_rng(0).integers(0, 255, (24, 24, 1), dtype=np.uint8)

Opening = Callable[[threading.Event], Stream]


class Kept:
    """A sink that keeps the outcomes of a line."""

    lost = 0
    summary = ""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.closed = 0

    def put(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def close(self) -> None:
        self.closed += 1


class Broken(Kept):
    """A sink of a careless author."""

    def put(self, outcome: Outcome) -> None:
        raise OSError("no such host")


class _None(Struct, frozen=True):
    pass


def sink(kept: Kept) -> ChosenSink:
    def opened(_settings: Any, _context: SinkContext) -> Sink:
        return kept

    return ChosenSink(SinkKind(name="kept", summary="", settings=_None, open=opened), _None())


def source(stream: Opening, *, endless: bool = False) -> ChosenSource:
    def opened(_text: str, _spec: InputSpec, _settings: Any, _clock: Clock, stop: threading.Event) -> Stream:
        return stream(stop)

    kind = Source(
        name="made",
        summary="made",
        accepts=lambda _text: True,
        stream=opened,
        settings=NoSettings,
        endless=lambda _text, _settings: endless,
    )
    return ChosenSource(kind, "made", NoSettings())


def frames(count: int, *, bad: int = 0, pause_s: float = 0.0) -> Opening:
    def stream(_stop: threading.Event) -> Iterator[Item | Lost]:
        for number in range(count):
            time.sleep(pause_s)
            yield Item(Ref(key=f"{number}.png"), BAD if number < bad else GOOD)

    return stream


def line(model: Path, name: str, stream: Opening, kept: Kept, *, endless: bool = False, **policy: Any) -> Line:
    return Line(
        name=name,
        model=str(model),
        source=source(stream, endless=endless),
        sinks=(sink(kept),),
        policy=Policy(**policy),
    )


class Watched:
    """A supervisor in a thread of its own, with its events."""

    def __init__(self, *lines: Line) -> None:
        self.events: list[tuple[Origin, Body]] = []
        self.stop = threading.Event()
        self.statuses: list[ProcessStatus] = []
        self.supervisor = Supervisor(
            Configuration(lines=lines),
            SystemClock(),
            self.stop,
            record=lambda origin, body, _outcome: self.events.append((origin, body)),
            on_status=self.statuses.append,
        )

    def bodies(self, kind: type, line: str | None = None) -> list[Any]:
        return [body for origin, body in self.events if isinstance(body, kind) and line in (None, origin.line)]


def until(condition: Callable[[], object], limit_s: float = 20.0) -> None:
    give_up_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < give_up_s, "the condition did not become true"
        time.sleep(0.01)


def in_thread(watched: Watched) -> threading.Thread:
    thread = threading.Thread(target=watched.supervisor.run)
    thread.start()
    return thread


def endless(stop: threading.Event) -> Iterator[Item | Lost]:
    number = 0
    while not stop.is_set():
        time.sleep(0.005)
        number += 1
        yield Item(Ref(key=f"{number}.png"), GOOD)


def test_each_line_judges_its_own_source_and_the_end_names_all(tiny_model: Path) -> None:
    one, two = Kept(), Kept()
    watched = Watched(line(tiny_model, "a", frames(7), one), line(tiny_model, "b", frames(9, bad=2), two, alarm="2/3"))

    end = watched.supervisor.run()

    assert end.complete
    assert [(each.name, each.finished.counters.judged) for each in end.lines] == [("a", 7), ("b", 9)]
    assert {outcome.line for outcome in one.outcomes} == {"a"}
    assert len(watched.bodies(Rejected, "b")) == 2
    assert [change.change for change in watched.bodies(AlarmChanged, "b")] == ["raised", "cleared"]
    assert watched.bodies(Started)[0].lines == ("a", "b")
    assert [(each.judged, each.grabbed) for each in watched.bodies(Stopped, "b")] == [(9, 9)]
    assert (one.closed, two.closed) == (1, 1)
    assert [each.state for each in watched.statuses[-1].lines] == ["ended", "ended"]


# Complaint 7: one failing source or sink disturbs the rest.
def test_a_source_and_a_sink_that_fail_disturb_no_other_line(tiny_model: Path) -> None:
    def failing(_stop: threading.Event) -> Iterator[Item | Lost]:
        yield Item(Ref(key="0"), GOOD)
        raise RuntimeError("driver")

    one, two, three = Kept(), Kept(), Broken()
    watched = Watched(
        line(tiny_model, "a", frames(40), one),
        line(tiny_model, "b", failing, two),
        line(tiny_model, "c", frames(5), three),
    )

    end = watched.supervisor.run()

    assert not end.complete
    assert {each.name: each.complete for each in end.lines} == {"a": True, "b": False, "c": False}
    assert [each.finished.counters.judged for each in end.lines] == [40, 1, 5]
    assert [each.state for each in watched.bodies(SourceChanged, "b")] == ["open", "failed"]
    states = {each.name: (each.state, each.lost) for each in watched.statuses[-1].lines}
    assert states == {"a": ("ended", 0), "b": ("failed", 0), "c": ("ended", 5)}


def test_a_source_that_cannot_be_opened_ends_its_line_only_and_alone_it_is_the_users_error(tiny_model: Path) -> None:
    def refuse(_stop: threading.Event) -> Stream:
        raise DataError("no such camera")

    kept = Kept()
    watched = Watched(line(tiny_model, "a", refuse, Kept()), line(tiny_model, "b", frames(3), kept))

    end = watched.supervisor.run()

    assert end.failures == {"a": "DataError: no such camera"}
    assert len(kept.outcomes) == 3
    with pytest.raises(DataError, match="no such camera"):
        Watched(line(tiny_model, "a", refuse, Kept())).supervisor.run()


# Complaint 6: a failed start leaves nothing behind.
def test_a_line_that_cannot_be_opened_closes_the_others_and_starts_no_thread(tiny_model: Path, tmp_path: Path) -> None:
    kept = Kept()
    watched = Watched(line(tiny_model, "a", frames(3), kept), line(tmp_path / "missing.onnx", "b", frames(3), Kept()))
    before = threading.active_count()

    with pytest.raises(Exception, match=r"missing\.onnx"):
        watched.supervisor.run()

    assert kept.closed == 1
    assert threading.active_count() == before


# Complaints 5 and 14: the loss of a source is a state, not an end.
def test_an_endless_source_that_fails_is_opened_again_and_the_line_goes_on(tiny_model: Path) -> None:
    opened: list[int] = []

    def flaky(stop: threading.Event) -> Iterator[Item | Lost]:
        opened.append(1)
        for number in range(3):
            yield Item(Ref(key=f"{len(opened)}-{number}"), GOOD)
        if len(opened) < 3:
            raise RuntimeError("cable")
        stop.wait()

    kept = Kept()
    watched = Watched(line(tiny_model, "a", flaky, kept, endless=True))
    thread = in_thread(watched)
    until(lambda: len([one for one in kept.outcomes if one.data is not None]) == 9)
    watched.stop.set()
    thread.join()

    assert len(opened) == 3
    states = [each.state for each in watched.bodies(SourceChanged, "a")]
    assert states[:5] == ["open", "retrying", "open", "retrying", "open"]
    assert [one.detail for one in kept.outcomes if one.data is None] == ["the source failed: RuntimeError: cable"] * 2
    assert watched.statuses[-1].lines[0].restarts == 2


def test_one_source_feeds_two_model_files_and_each_judges_every_item(tiny_model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    shutil.copy(tiny_model, other)
    opened: list[int] = []

    def counted(stop: threading.Event) -> Stream:
        opened.append(1)
        return frames(20)(stop)

    shared = source(counted)
    one, two = Kept(), Kept()
    lines = [
        Line(name=name, model=str(path), source=shared, shared="camera", sinks=(sink(kept),))
        for name, path, kept in (("a", tiny_model, one), ("b", other, two))
    ]

    end = Watched(*lines).supervisor.run()

    assert end.complete
    assert opened == [1]
    assert [outcome.ref.key for outcome in one.outcomes] == [outcome.ref.key for outcome in two.outcomes]
    assert len(one.outcomes) == 20


def test_two_lines_that_need_other_items_cannot_share_a_source(tiny_model: Path) -> None:
    from andon.demo.example_line import MODEL, example

    windows = tiny_model.parent / MODEL
    windows.write_bytes(example(MODEL))
    shared = source(frames(1))
    lines = [
        Line(name=name, model=str(path), source=shared, shared="camera", sinks=(sink(Kept()),))
        for name, path in (("a", tiny_model), ("b", windows))
    ]

    with pytest.raises(ConfigError, match="line b: expected a model file for the same items as line a"):
        Watched(*lines).supervisor.run()


def test_a_new_model_file_is_used_between_two_items_and_no_item_is_lost(
    tiny_model: Path, other_model: Path, tmp_path: Path
) -> None:
    model, kept = tmp_path / "line.onnx", Kept()
    shutil.copy(tiny_model, model)
    watched = Watched(line(model, "a", endless, kept, endless=True))
    thread = in_thread(watched)
    until(lambda: len(kept.outcomes) > 20)
    replacement = tmp_path / "new.onnx"
    shutil.copy(other_model, replacement)
    replacement.replace(model)
    until(lambda: watched.bodies(ModelChanged))
    until(lambda: len({outcome.verdict.model for outcome in kept.outcomes}) == 2)
    watched.stop.set()
    thread.join()

    (change,) = watched.bodies(ModelChanged, "a")
    assert (change.refused, change.before == change.after) == ("", False)
    models = [outcome.verdict.model for outcome in kept.outcomes]
    assert models == sorted(models, key=[change.before, change.after].index)
    assert [outcome.seq for outcome in kept.outcomes] == list(range(1, len(models) + 1))
    assert watched.statuses[-1].lines[0].reloads == 1
    assert all(outcome.card is not None and outcome.verdict.model for outcome in kept.outcomes)


@pytest.mark.parametrize("content", [b"", b"not a model", None])
def test_a_wrong_model_file_is_refused_and_the_old_one_stays(
    tiny_model: Path, tmp_path: Path, content: bytes | None
) -> None:
    model, kept = tmp_path / "line.onnx", Kept()
    shutil.copy(tiny_model, model)
    watched = Watched(line(model, "a", endless, kept, endless=True))
    thread = in_thread(watched)
    until(lambda: len(kept.outcomes) > 5)
    if content is None:
        model.write_bytes(tiny_model.read_bytes()[:-100])
    else:
        model.write_bytes(content)
    until(lambda: watched.bodies(ModelChanged))
    count = len(kept.outcomes)
    until(lambda: len(kept.outcomes) > count + 5)
    watched.stop.set()
    thread.join()

    (change,) = watched.bodies(ModelChanged, "a")
    assert change.before == change.after
    assert change.refused
    assert watched.statuses[-1].lines[0].reload_error == change.refused
    assert len({outcome.verdict.model for outcome in kept.outcomes}) == 1


def test_a_request_reloads_a_file_that_did_not_change(tiny_model: Path) -> None:
    watched = Watched(line(tiny_model, "a", endless, Kept(), endless=True))
    thread = in_thread(watched)
    until(lambda: watched.statuses)
    watched.supervisor.request_reload()
    until(lambda: watched.bodies(ModelChanged))
    watched.stop.set()
    thread.join()

    (change,) = watched.bodies(ModelChanged)
    assert (change.before, change.refused) == (change.after, "")


def test_an_acknowledged_alarm_is_an_event_with_the_person(tiny_model: Path) -> None:
    kept = Kept()

    def stream(stop: threading.Event) -> Iterator[Item | Lost]:
        yield Item(Ref(key="bad"), BAD)
        yield from endless(stop)

    latched = msgspec.structs.replace(
        line(tiny_model, "a", stream, kept, endless=True), alarm=AlarmRule(k=1, n=1, latch=True)
    )
    watched = Watched(latched)
    thread = in_thread(watched)
    until(lambda: len(watched.bodies(AlarmChanged)) == 2)
    assert watched.supervisor.acknowledge("a", "rejects", 1, by="shift lead")
    assert not watched.supervisor.acknowledge("b", "rejects", 1, by="shift lead")
    until(lambda: len(watched.bodies(AlarmChanged)) == 3)
    watched.stop.set()
    thread.join()

    raised, cleared, acked = watched.bodies(AlarmChanged)
    assert "REJECT. Look at the rejected parts" in raised.text
    assert (raised.number, raised.change, cleared.change) == (1, "raised", "cleared")
    assert (acked.change, acked.by) == ("acked", "shift lead")
    assert watched.statuses[-1].lines[0].alarms["rejects"].condition == "normal"


def test_an_alarm_of_a_line_that_has_ended_can_be_acknowledged(tiny_model: Path) -> None:
    def stream(_stop: threading.Event) -> Iterator[Item | Lost]:
        yield Item(Ref(key="bad"), BAD)

    latched = msgspec.structs.replace(line(tiny_model, "a", stream, Kept()), alarm=AlarmRule(k=1, n=1, latch=True))
    watched = Watched(latched, line(tiny_model, "b", endless, Kept(), endless=True))
    thread = in_thread(watched)
    try:
        until(lambda: watched.supervisor.status().lines and watched.supervisor.status().lines[0].state == "ended")
        assert watched.supervisor.acknowledge("a", "rejects", 1, by="shift lead")
        assert [one.change for one in watched.bodies(AlarmChanged, "a")] == ["raised", "acked"]
    finally:
        watched.stop.set()
        thread.join()


def test_a_model_file_counts_as_changed_once_when_it_stays_the_same_for_one_look(tmp_path: Path) -> None:
    watch, path = ModelWatch(), tmp_path / "a.onnx"
    path.write_bytes(b"1")

    assert not watch.changed(path)
    path.write_bytes(b"22")
    assert not watch.changed(path)
    path.write_bytes(b"333")
    assert not watch.changed(path)
    assert watch.changed(path)
    assert not watch.changed(path)
    path.unlink()
    assert not watch.changed(path)


def test_two_lines_with_one_model_file_both_load_its_replacement_and_once(
    tiny_model: Path, other_model: Path, tmp_path: Path
) -> None:
    model, one, two = tmp_path / "line.onnx", Kept(), Kept()
    shutil.copy(tiny_model, model)
    watched = Watched(line(model, "a", endless, one, endless=True), line(model, "b", endless, two, endless=True))
    thread = in_thread(watched)
    until(lambda: one.outcomes and two.outcomes)
    shutil.copy(other_model, tmp_path / "new.onnx")
    (tmp_path / "new.onnx").replace(model)
    until(lambda: len(watched.bodies(ModelChanged)) == 2)
    until(lambda: all(len({each.verdict.model for each in kept.outcomes}) == 2 for kept in (one, two)))
    watched.stop.set()
    thread.join()

    assert len(watched.bodies(ModelChanged, "a")) == len(watched.bodies(ModelChanged, "b")) == 1


def test_a_request_for_a_replaced_file_loads_it_once(tiny_model: Path, other_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "line.onnx"
    shutil.copy(tiny_model, model)
    watched = Watched(line(model, "a", endless, Kept(), endless=True))
    thread = in_thread(watched)
    until(lambda: watched.statuses)
    shutil.copy(other_model, tmp_path / "new.onnx")
    (tmp_path / "new.onnx").replace(model)
    watched.supervisor.request_reload()
    until(lambda: watched.bodies(ModelChanged))
    looks = len(watched.statuses)
    until(lambda: len(watched.statuses) >= looks + 10)  # the watch of the file looks in the meantime
    watched.stop.set()
    thread.join()

    assert len(watched.bodies(ModelChanged)) == 1


def test_a_file_that_is_replaced_while_it_is_loaded_counts_as_changed(tmp_path: Path) -> None:
    watch, path = ModelWatch(), tmp_path / "a.onnx"
    path.write_bytes(b"1")
    watch.remember(path)

    path.write_bytes(b"22")  # after it was read and before the first look

    assert [watch.changed(path) for _ in range(3)] == [False, True, False]


# Complaint 6: `stop` works from every state.
@pytest.mark.slow
def test_a_sink_that_never_returns_is_abandoned_and_the_other_line_ends_in_order(tiny_model: Path) -> None:
    release = threading.Event()

    class Hung(Kept):
        def put(self, outcome: Outcome) -> None:
            super().put(outcome)
            release.wait()

    hung, kept = Hung(), Kept()
    watched = Watched(
        line(tiny_model, "a", endless, hung, endless=True), line(tiny_model, "b", endless, kept, endless=True)
    )
    ends = []
    thread = threading.Thread(target=lambda: ends.append(watched.supervisor.run()))
    thread.start()
    until(lambda: hung.outcomes and kept.outcomes)
    began_s = time.monotonic()
    watched.stop.set()
    thread.join()
    took_s = time.monotonic() - began_s
    watched.supervisor.close()  # does not wait for the sink either
    release.set()

    (end,) = ends
    assert took_s < END_S + 2
    assert (end.hung, end.complete) == (True, False)
    assert "did not return" in end.failures["a"]
    assert [(each.name, each.complete) for each in end.lines] == [("b", True)]
    assert kept.closed == 1


# Complaint 7: one failing source or sink disturbs the rest.
def test_a_sink_of_a_careless_author_ends_its_own_line_only(tiny_model: Path) -> None:
    class Careless(Kept):
        def close(self) -> None:
            raise RuntimeError("closed twice")

        @property
        def lost(self) -> int:  # type: ignore[override]
            raise RuntimeError("no counter")

        @property
        def summary(self) -> str:  # type: ignore[override]
            raise RuntimeError("no text")

    one, two = Careless(), Kept()
    watched = Watched(line(tiny_model, "a", frames(5), one), line(tiny_model, "b", frames(100, pause_s=0.005), two))

    end = watched.supervisor.run()

    assert [(each.name, each.finished.counters.judged) for each in end.lines] == [("a", 5), ("b", 100)]
    assert two.closed == 1


def test_a_callback_that_exits_the_program_fails_its_line_only(tiny_model: Path) -> None:
    class Exits(Kept):
        def put(self, outcome: Outcome) -> None:
            raise SystemExit(3)

    kept = Kept()
    watched = Watched(line(tiny_model, "a", frames(5), Exits()), line(tiny_model, "b", frames(5), kept))

    end = watched.supervisor.run()

    assert end.failures == {"a": "SystemExit: 3"}
    assert len(kept.outcomes) == 5


def test_a_source_that_exits_the_program_is_a_failure_of_the_source(tiny_model: Path) -> None:
    def exits(_stop: threading.Event) -> Iterator[Item | Lost]:
        yield Item(Ref(key="0"), GOOD)
        raise SystemExit(3)

    end = Watched(line(tiny_model, "a", exits, Kept())).supervisor.run()

    assert not end.complete
    assert end.lines[0].finished.failure == "SystemExit: 3"


def test_a_display_that_fails_does_not_end_the_lines(tiny_model: Path) -> None:
    def closed(_status: ProcessStatus) -> None:
        raise OSError("the terminal is gone")

    kept = Kept()
    supervisor = Supervisor(
        Configuration(lines=(line(tiny_model, "a", frames(20, pause_s=0.02), kept),)),
        SystemClock(),
        threading.Event(),
        on_status=closed,
    )

    assert supervisor.run().complete
    assert len(kept.outcomes) == 20


def test_lines_that_share_a_source_skip_what_each_of_them_has_judged_before(tiny_model: Path) -> None:
    judged = {"a": {"0.png", "1.png"}, "b": {"1.png", "2.png"}, "c": set[str]()}
    kept = {name: Kept() for name in judged}
    read: list[str] = []

    def resumed(
        _text: str, _spec: InputSpec, _settings: Any, _clock: Clock, _stop: threading.Event, skip: Skip
    ) -> Stream:
        for number in range(4):
            ref = Ref(key=f"{number}.png", time_s=1.0)
            if not skip(ref):
                read.append(ref.key)
                yield Item(ref, GOOD)

    def stream(text: str, spec: InputSpec, settings: Any, clock: Clock, stop: threading.Event) -> Stream:
        return resumed(text, spec, settings, clock, stop, lambda _ref: False)

    kind = Source(
        name="made", summary="made", accepts=lambda _text: True, stream=stream, resumed=resumed, settings=NoSettings
    )

    def run(*names: str) -> dict[str, list[str]]:
        read.clear()
        for one in kept.values():
            one.outcomes.clear()
        lines = tuple(
            Line(
                name=name,
                model=str(tiny_model),
                source=ChosenSource(kind, "made", NoSettings()),
                shared="camera",
                sinks=(sink(kept[name]),),
            )
            for name in names
        )
        supervisor = Supervisor(
            Configuration(lines=lines),
            SystemClock(),
            threading.Event(),
            judged=lambda line: (lambda ref: ref.key in judged[line.name]) if judged[line.name] else None,
        )
        assert supervisor.run().complete
        return {name: [outcome.ref.key for outcome in kept[name].outcomes] for name in names}

    assert run("a", "b") == {"a": ["2.png", "3.png"], "b": ["0.png", "3.png"]}
    assert read == ["0.png", "2.png", "3.png"]  # what both have judged is not read
    assert run("b", "c") == {"b": ["0.png", "3.png"], "c": ["0.png", "1.png", "2.png", "3.png"]}
