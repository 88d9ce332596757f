"""A check of a line: what it finds about model, source and sinks, and that it changes nothing."""

import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from tests.runtime.hand_made import FRAME, WINDOW, frame, model_bytes

from andon.foundation.errors import ConfigError, DataError
from andon.monitor.config import ChosenSource, Line, Policy
from andon.monitor.line_check import Finding, LineCheck, check_line
from andon.monitor.loaded_models import LoadedModels
from andon.monitor.sink import sink_from_table
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import InputSpec, Reason
from andon.sources.clock import Clock, SystemClock
from andon.sources.live.camera_settings import CameraSettings
from andon.sources.live.message_rate import advice
from andon.sources.source import Source, find
from andon.sources.stream_settings import NoSettings

LIMIT_S = 0.5


@pytest.fixture
def line(tmp_path: Path) -> Line:
    """Return a line with a hand-made model of frames and a source that gives one good frame."""
    (tmp_path / "frames.onnx").write_bytes(model_bytes(FRAME, threshold=0.25))
    return Line(
        name="press-3",
        model=str(tmp_path / "frames.onnx"),
        source=source(Item(Ref(key="a.png"), frame(0))),
        sinks=(sink_from_table({"kind": "json_lines", "path": str(tmp_path / "v.jsonl")}),),
    )


def source(*items: Item | Lost | Exception | float, endless: bool = False) -> ChosenSource:
    """Return a source that gives items, raises errors and pauses for seconds, in this order."""

    def stream(text: str, spec: InputSpec, settings: Any, clock: Clock, stop: threading.Event) -> Iterator[Item | Lost]:
        for item in items:
            if isinstance(item, Exception):
                raise item
            if isinstance(item, float):
                time.sleep(item)
            else:
                yield item
        if endless:
            stop.wait()

    kind = Source(
        name="script", summary="a script", accepts=lambda text: text == "x", stream=stream, endless=lambda *_: endless
    )
    return ChosenSource(kind, "x", NoSettings())


def found(line: Line) -> dict[str, Finding]:
    return {finding.subject: finding for finding in checked(line).findings}


def checked(line: Line) -> LineCheck:
    return check_line(line, SystemClock(), limit_s=LIMIT_S)


def test_a_line_that_can_run_is_described_and_nothing_is_written(line: Line, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    check = checked(line)
    texts = [finding.text for finding in check.findings]

    assert (check.ok, check.hung) == (True, False)
    assert [finding.subject for finding in check.findings] == ["model", "source", "sink 1 (json_lines)"]
    assert {finding.line for finding in check.findings} == {"press-3"}
    assert "hand made, hand_made v" in texts[0]
    assert "with 95 % confidence" in texts[0]
    assert texts[1].startswith("x: read a.png, 32 x 48 x 3 after 0.")
    assert "verdict OK, score 0.0" in texts[1]
    assert "v.jsonl: will be created; " in texts[2]
    assert texts[2].endswith(" GB free")
    assert sorted(tmp_path.iterdir()) == before


def test_a_model_that_cannot_be_opened_fails_and_the_sinks_are_still_checked(line: Line) -> None:
    findings = found(replace(line, model="no.onnx"))

    assert [finding.ok for finding in findings.values()] == [False, False, True]
    assert "no.onnx" in findings["model"].text
    assert findings["source"].text == "not checked, because the model file is not usable."


def test_a_frame_size_for_a_model_of_windows_fails(line: Line, tmp_path: Path) -> None:
    (tmp_path / "windows.onnx").write_bytes(model_bytes(WINDOW))
    model = found(replace(line, model=str(tmp_path / "windows.onnx"), policy=Policy(frame_size="any")))["model"]

    assert not model.ok
    assert "expected a model file for frames" in model.text


STALE = Lost(Ref(key="s1"), Reason.STALE, "no frame for 2 s")
WARMING = Lost(Ref(key="w1"), Reason.WARMING, "too early")
GOOD = Item(Ref(key="late.png"), frame(1))


@pytest.mark.parametrize(
    ("given", "ok", "text"),
    [
        (source(STALE, WARMING, GOOD), True, "read late.png"),
        (source(WARMING), True, "read w1 after 0.0 s; verdict INVALID (warming): too early"),
        (source(Item(Ref(key="flat.png"), np.full((32, 48, 3), 90, np.uint8))), True, "verdict INVALID (no_contrast)"),
        (source(Item(Ref(key="small.png"), frame(0)[:8])), False, "small.png, 8 x 48 x 3 after 0.0 s, which cannot be judged"),
        (source(Lost(Ref(key="b.png"), Reason.UNREADABLE, "cut short")), False, "cannot be judged (unreadable): cut short"),
        (source(), False, "expected an item, got none: the source ended without an item."),
        (source(STALE, endless=True), False, "expected an item, got none: no frame for 2 s."),
        (source(endless=True), True, "x: no item within 0.5 s. The line would wait for the first one"),
        (source(DataError("the disk is gone")), False, "the disk is gone"),
        (source(GOOD, DataError("later")), True, "read late.png"),
    ],
)  # fmt: skip
def test_the_first_item_of_the_source_decides(line: Line, given: ChosenSource, ok: bool, text: str) -> None:
    finding = found(replace(line, source=given))["source"]

    assert (finding.ok, text in finding.text) == (ok, True), finding.text


@pytest.mark.parametrize(("period_s", "warned"), [(0.001, True), (0.5, False)])
def test_messages_at_a_high_rate_are_warned_about(line: Line, tmp_path: Path, period_s: float, warned: bool) -> None:
    spec = replace(WINDOW, period_s=period_s)
    (tmp_path / "windows.onnx").write_bytes(model_bytes(spec))
    given = source(Item(Ref(key="w"), np.zeros((4, 2), np.float32)))
    broker = ChosenSource(replace(given.kind, advice=advice), given.address, given.settings)
    check = checked(replace(line, model=str(tmp_path / "windows.onnx"), source=broker))
    warnings = [one for one in check.findings if one.warning]

    assert check.ok
    assert [one.subject for one in warnings] == ["source"] * warned
    assert all(
        one.text.startswith("the model file needs 1000 samples of each channel per second: send") for one in warnings
    )


class WaitingStream:
    """A live stream that waits for a trigger until the stop."""

    waiting = True

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def __iter__(self) -> "WaitingStream":
        return self

    def __next__(self) -> Item | Lost:
        self._stop.wait(10.0)
        raise StopIteration


def test_a_camera_that_works_and_waits_for_its_trigger_is_right(line: Line) -> None:
    kind = Source(
        name="script",
        summary="a camera",
        accepts=lambda text: text == "x",
        stream=lambda _text, _spec, _settings, _clock, stop: WaitingStream(stop),
        settings=CameraSettings,
        live=True,
    )
    finding = found(replace(line, source=ChosenSource(kind, "x", CameraSettings(triggered=True))))["source"]

    assert finding.ok
    assert finding.text == "x: it works, but no item within 0.5 s, because the camera waits for its trigger"


def test_a_source_that_hangs_ends_after_the_limit_and_is_reported(line: Line) -> None:
    began_s = time.monotonic()
    check = checked(replace(line, source=source(6.0)))

    assert time.monotonic() - began_s < 5.0
    assert check.hung
    assert "no item within 0.5 s" in check.findings[1].text


def test_an_address_without_data_fails(line: Line) -> None:
    given = ChosenSource(line.source.kind, "y", NoSettings())

    assert "y: expected a script, found none of these" in found(replace(line, source=given))["source"].text


def test_standard_input_is_not_read(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "windows.onnx").write_bytes(model_bytes(WINDOW))
    kind = find("-")
    stdin = io.StringIO("{}\n")
    monkeypatch.setattr(sys, "stdin", stdin)
    given = replace(line, model=str(tmp_path / "windows.onnx"), source=ChosenSource(kind, "-", kind.settings()))

    assert found(given)["source"] == Finding(
        line="press-3", subject="source", ok=True, text="standard input is not read by a check"
    )
    assert stdin.read() == "{}\n"


def test_a_sink_that_could_not_be_opened_fails_without_a_trace(line: Line, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine\n", encoding="utf-8")
    (tmp_path / "pictures").write_text("a file", encoding="utf-8")
    tables = [
        ({"kind": "json_lines", "path": str(tmp_path / "no" / "v.jsonl")}, "No such file or directory"),
        ({"kind": "json_lines", "path": str(tmp_path)}, "expected a file or a new name, got a folder"),
        ({"kind": "json_lines", "path": str(tmp_path / "notes.txt")}, "expected a new file, or one of JSON lines"),
        ({"kind": "pictures", "folder": str(tmp_path / "pictures")}, "expected a folder or a new name, got a file"),
        ({"kind": "pictures", "folder": str(tmp_path / "pictures" / "deep")}, "cannot be written"),
    ]
    before = sorted(tmp_path.rglob("*"))
    sinks = tuple(sink_from_table(table) for table, _ in tables)
    findings = list(found(replace(line, sinks=sinks)).values())[2:]

    for (table, why), finding in zip(tables, findings, strict=True):
        assert not finding.ok, table
        assert why in finding.text
        with pytest.raises(ConfigError):  # the check does not refuse what the monitor accepts
            sink_from_table(table).open(_context(line))
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine\n"
    assert sorted(tmp_path.rglob("*")) == before


def _context(line: Line):  # type: ignore[no-untyped-def]
    from andon.monitor.line import open_model, sink_context

    return sink_context(line, open_model(line, LoadedModels()), SystemClock(), threading.Event())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root can write everywhere")
def test_a_folder_without_permission_fails(line: Line, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    sinks = (sink_from_table({"kind": "json_lines", "path": str(tmp_path / "closed" / "v.jsonl")}),)

    assert not found(replace(line, sinks=sinks))["sink 1 (json_lines)"].ok


def test_targets_that_a_sink_can_use_pass_and_a_missing_folder_is_not_created(line: Line, tmp_path: Path) -> None:
    tables = [
        ({"kind": "json_lines"}, "stdout"),
        ({"kind": "pictures", "folder": str(tmp_path / "new" / "rejects")}, "rejects: will be created; "),
        ({"kind": "pictures", "folder": str(tmp_path)}, ": exists; "),
    ]
    sinks = tuple(sink_from_table(table) for table, _ in tables)
    findings = list(found(replace(line, sinks=sinks)).values())[2:]

    for (_, text), finding in zip(tables, findings, strict=True):
        assert finding.ok
        assert text in finding.text
    assert not (tmp_path / "new").exists()


def test_a_full_disk_fails(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10**9, 10**9 - 99, 99))

    assert "the disk is full: 99 bytes are free" in found(line)["sink 1 (json_lines)"].text


def test_pictures_of_windows_and_pictures_inside_the_watched_folder_fail_as_in_the_monitor(
    line: Line, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    pictures = (sink_from_table({"kind": "pictures", "folder": str(tmp_path / "in" / "r")}),)
    images = find(str(tmp_path / "in"))
    watched = replace(line, source=ChosenSource(images, str(tmp_path / "in"), images.settings()), sinks=pictures)
    (tmp_path / "windows.onnx").write_bytes(model_bytes(WINDOW))

    assert "outside" in found(watched)["sink 1 (pictures)"].text
    windows = replace(line, model=str(tmp_path / "windows.onnx"), sinks=pictures)
    assert "expected a model file for frames" in found(windows)["sink 1 (pictures)"].text
