"""Sinks from texts and tables, and their settings."""

import threading
from pathlib import Path

import pytest
from tests.runtime.hand_made import FRAME, WINDOW, model_file
from tests.sources.fake_clock import FakeClock

from andon.foundation import registry
from andon.foundation.errors import ConfigError
from andon.monitor.sink import QueuedSink, SinkContext, sink_from_table, sink_from_text
from andon.monitor.sinks import csv, json_lines, pictures
from andon.runtime.schema import InputSpec


def context(spec: InputSpec = FRAME, *, source: str = "line.mp4", can_wait: bool = True) -> SinkContext:
    card = model_file(spec).card
    return SinkContext(card=card, clock=FakeClock(), stop=threading.Event(), source=source, can_wait=can_wait)


def test_the_sinks_of_andon_are_found_by_their_files() -> None:
    assert dict(registry.members("andon.sinks")) == {
        "csv": csv.SINK,
        "json_lines": json_lines.SINK,
        "pictures": pictures.SINK,
    }


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("json_lines", {"kind": "json_lines"}),
        ("json_lines:path=a, b.jsonl", {"kind": "json_lines", "path": "a, b.jsonl"}),
        ("json_lines:path=rtsp://x:1/y", {"kind": "json_lines", "path": "rtsp://x:1/y"}),
        ("pictures:folder=r,max_pictures=3", {"kind": "pictures", "folder": "r", "max_pictures": 3}),
        ("pictures: max_bytes=5 , folder=r", {"kind": "pictures", "folder": "r", "max_bytes": 5}),
    ],
)
def test_a_text_and_a_table_ask_for_the_same_sink(text: str, table: dict[str, object]) -> None:
    assert sink_from_text(text) == sink_from_table(table)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"path": "a"}, 'sink.kind: expected a kind, for example kind = "json_lines", got nothing.'),
        ({"kind": 3}, "got int."),
        ({"kind": "picture"}, r"there is no sink 'picture' \(did you mean 'pictures'\?\)"),
        ({"kind": "pictures"}, "the sink pictures: expected folder, got nothing."),
        (
            {"kind": "pictures", "folder": "r", "max_bytes": "5"},
            "the sink pictures: max_bytes: expected an integer",
        ),
        (
            {"kind": "json_lines", "pth": "a"},
            r"the sink json_lines: unknown setting 'pth' \(did you mean 'path'\?\)",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_refused_in_words(table: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        sink_from_table(table)


def test_an_opened_sink_has_its_settings_and_what_the_line_is(tmp_path: Path) -> None:
    lines = sink_from_table({"kind": "json_lines", "path": str(tmp_path / "v.jsonl")}).open(context())
    kept = sink_from_table({"kind": "pictures", "folder": str(tmp_path / "rejects")}).open(context())

    assert isinstance(kept, QueuedSink)
    assert not isinstance(lines, QueuedSink)
    for sink in (lines, kept):
        sink.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rejects", "v.jsonl"]


def test_pictures_refuse_a_model_of_windows(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got one for windows"):
        sink_from_table({"kind": "pictures", "folder": str(tmp_path / "r")}).open(context(WINDOW))
