"""Evidence: which pictures are kept, and that files and rows agree."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.monitor.some_event import some_event

from andon.monitor.event import Event, Evidence, new_key
from andon.monitor.evidence import (
    ORPHAN_S,
    QUEUE,
    EvidenceSettings,
    EvidenceWriter,
    encode_picture,
    sweep,
    window_text,
    write_file,
)
from andon.runtime.schema import FrameSpec
from andon.sources.clock import SystemClock

Frame = NDArray[np.uint8]


class _Rows:
    """The rows that a store would get."""

    def __init__(self) -> None:
        self.found: list[tuple[str, int, Evidence, int]] = []

    def evidence(self, key: str, place: int, evidence: Evidence, size: int) -> None:
        self.found.append((key, place, evidence, size))

    def of(self, event: Event) -> list[Evidence]:
        return [evidence for key, _, evidence, _ in sorted(self.found, key=lambda row: row[1]) if key == event.key]


@pytest.fixture
def rows() -> _Rows:
    """Return rows of a store."""
    return _Rows()


@pytest.fixture
def writer(tmp_path: Path, rows: _Rows) -> Iterator[EvidenceWriter]:
    """Return a writer with two pictures a second, two seconds before and after an event."""
    opened = EvidenceWriter(tmp_path, rows, EvidenceSettings(), SystemClock(), known=set)
    yield opened
    opened.close()


def _frame(level: int = 100, height: int = 720) -> Frame:
    return np.full((height, height * 16 // 9, 3), level, np.uint8)


def _offered(writer: EvidenceWriter, seconds: Sequence[float], line: str = "press-3") -> None:
    for second in seconds:
        writer.offer(line, _frame(int(second * 10) % 250), second)
        assert writer.drain(10)


def test_the_frame_of_the_event_is_stored_in_full_resolution(
    writer: EvidenceWriter, rows: _Rows, tmp_path: Path
) -> None:
    event = some_event(wall_us=1_796_040_000_000_000)

    writer.event(event, _frame(height=1080), 10.0)
    assert writer.drain(10)

    (found,) = rows.of(event)
    assert found == Evidence(name=f"2026/11/30/{event.key}-0.jpg", moment="at")
    picture = cv2.imread(str(tmp_path / found.name))
    assert picture is not None
    assert picture.shape == (1080, 1920, 3)


def test_small_pictures_before_and_after_the_event_are_stored_with_their_times(
    writer: EvidenceWriter, rows: _Rows, tmp_path: Path
) -> None:
    event = some_event()
    _offered(writer, [n * 0.5 for n in range(12)])  # up to 5.5 s
    writer.event(event, None, 5.6)
    _offered(writer, [6.0, 6.5, 7.0, 7.5, 8.0, 8.5])

    found = rows.of(event)
    assert [(one.moment, round(one.offset_s, 2)) for one in found] == [
        ("before", -1.6),
        ("before", -1.1),
        ("before", -0.6),
        ("before", -0.1),
        ("after", 0.4),
        ("after", 0.9),
        ("after", 1.4),
        ("after", 1.9),
    ]
    picture = cv2.imread(str(tmp_path / found[0].name))
    assert picture is not None
    assert picture.shape == (540, 960, 3)


def test_more_frames_than_the_rate_are_ignored(writer: EvidenceWriter, rows: _Rows) -> None:
    event = some_event()
    _offered(writer, [n * 0.04 for n in range(50)])  # 25 frames a second for 2 s
    writer.event(event, None, 1.99)
    assert writer.drain(10)

    assert len(rows.of(event)) == 4


def test_pictures_of_another_line_do_not_belong_to_the_event(writer: EvidenceWriter, rows: _Rows) -> None:
    event = some_event(line="press-3")
    _offered(writer, [0.0, 0.5], line="press-4")
    writer.event(event, None, 0.6)
    _offered(writer, [1.0], line="press-4")

    assert rows.of(event) == []


# complaint 11: losing the camera cancels the running recording
def test_c11_evidence_is_durable_when_the_camera_is_lost_after_the_event(
    writer: EvidenceWriter, rows: _Rows, tmp_path: Path
) -> None:
    event = some_event()
    _offered(writer, [0.0, 0.5])
    writer.event(event, _frame(), 0.6)
    _offered(writer, [1.0])  # then no frame arrives any more

    assert [one.moment for one in rows.of(event)] == ["at", "before", "before", "after"]
    assert all((tmp_path / one.name).is_file() for one in rows.of(event))


def test_a_window_is_stored_as_csv_with_the_names_of_its_channels(
    writer: EvidenceWriter, rows: _Rows, tmp_path: Path
) -> None:
    event = some_event()
    window = np.array([[1.0, 2.5], [3.0, np.nan]], np.float32)

    writer.event(event, window, 1.0, channels=["current", "voltage"])
    assert writer.drain(10)

    (found,) = rows.of(event)
    assert found.name.endswith("-0.csv")
    assert (tmp_path / found.name).read_text() == "current,voltage\n1.0,2.5\n3.0,nan\n"


def test_a_window_without_names_has_numbered_columns() -> None:
    assert window_text(np.zeros((1, 2), np.float32), ["one"]) == b"channel_0,channel_1\n0.0,0.0\n"


def test_a_full_queue_drops_pictures_and_states_it(tmp_path: Path, rows: _Rows) -> None:
    gate = threading.Event()

    class SlowRows(_Rows):
        def evidence(self, key: str, place: int, evidence: Evidence, size: int) -> None:
            if not evidence.dropped:
                gate.wait(20)  # as a slow disk does
            super().evidence(key, place, evidence, size)

    slow = SlowRows()
    writer = EvidenceWriter(tmp_path, slow, EvidenceSettings(), SystemClock(), known=set)
    events = [some_event() for _ in range(QUEUE + 10)]
    began_s = time.monotonic()
    for event in events:
        writer.event(event, _frame(height=90), 1.0)
    assert time.monotonic() - began_s < 2
    gate.set()
    assert writer.drain(20)
    writer.close()

    dropped = [evidence for _, _, evidence, _ in slow.found if evidence.dropped]
    assert len(slow.found) == QUEUE + 10
    assert 9 <= len(dropped) <= 10  # one file is already being written
    assert {(one.name, one.moment, one.dropped) for one in dropped} == {("", "at", "queue_full")}


def test_a_file_that_cannot_be_written_is_stated_and_the_next_is_tried(
    writer: EvidenceWriter, rows: _Rows, tmp_path: Path
) -> None:
    first, second = some_event(wall_us=0), some_event()
    (tmp_path / "1970").write_text("not a folder")

    writer.event(first, _frame(), 1.0)
    writer.event(second, _frame(), 1.0)
    assert writer.drain(10)

    assert rows.of(first) == [Evidence(name="", moment="at", dropped="disk")]
    assert rows.of(second)[0].dropped == ""


def test_after_closing_evidence_is_dropped_and_stated(writer: EvidenceWriter, rows: _Rows) -> None:
    writer.close()
    event = some_event()

    writer.event(event, _frame(), 1.0)

    assert [one.dropped for one in rows.of(event)] == ["stopped"]


def test_a_grey_frame_is_stored(writer: EvidenceWriter, rows: _Rows, tmp_path: Path) -> None:
    event = some_event()
    writer.event(event, np.full((80, 60, 1), 200, np.uint8), 1.0)
    assert writer.drain(10)

    picture = cv2.imread(str(tmp_path / rows.of(event)[0].name), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    assert picture.shape == (80, 60)
    assert abs(float(picture.mean()) - 200) < 2


def test_colours_are_stored_in_their_order() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[:, :, 0] = 255

    decoded = cv2.imdecode(np.frombuffer(encode_picture(red, 90), np.uint8), cv2.IMREAD_COLOR)

    assert decoded is not None
    assert decoded[8, 8, 2] > 240  # OpenCV has blue first
    assert decoded[8, 8, 0] < 15


def test_a_written_file_is_complete_and_leaves_no_other_file(tmp_path: Path) -> None:
    name = f"2026/11/30/{new_key()}-0.jpg"

    write_file(tmp_path, name, b"first")
    write_file(tmp_path, name, b"second")

    assert (tmp_path / name).read_bytes() == b"second"
    assert [path.name for path in (tmp_path / name).parent.iterdir()] == [Path(name).name]


def _file(folder: Path, name: str, *, age_s: float) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    old = time.time() - age_s
    os.utime(path, (old, old))
    return path


def _known(*names: str) -> Callable[[Sequence[str]], set[str]]:
    return lambda asked: set(asked) & set(names)


def test_a_sweep_deletes_old_orphans_and_unfinished_files_only(tmp_path: Path) -> None:
    key = "a" * 32
    orphan = _file(tmp_path, f"2025/01/02/{key}-0.jpg", age_s=2 * ORPHAN_S)
    unfinished = _file(tmp_path, f"2026/11/30/.{key}-1.jpg.tmp", age_s=2 * ORPHAN_S)
    kept = [
        _file(tmp_path, f"2026/11/30/{key}-2.jpg", age_s=2 * ORPHAN_S),  # has a row
        _file(tmp_path, f"2026/11/30/{key}-3.jpg", age_s=60),  # may still get its row
        _file(tmp_path, "2026/11/30/holiday.jpg", age_s=2 * ORPHAN_S),  # not ours
        _file(tmp_path, "notes.txt", age_s=2 * ORPHAN_S),
    ]

    assert sweep(tmp_path, _known(f"2026/11/30/{key}-2.jpg")) == 2

    assert not orphan.exists()
    assert not orphan.parent.exists()
    assert not unfinished.exists()
    assert all(path.exists() for path in kept)


def test_a_sweep_does_not_follow_links(tmp_path: Path) -> None:
    outside = _file(tmp_path, f"outside/{'a' * 32}-0.jpg", age_s=2 * ORPHAN_S)
    folder = tmp_path / "evidence"
    (folder / "2026/11").mkdir(parents=True)
    (folder / "2026/11/30").symlink_to(outside.parent)

    assert sweep(folder, _known()) == 0
    assert outside.exists()


def test_a_sweep_of_a_missing_folder_does_nothing(tmp_path: Path) -> None:
    assert sweep(tmp_path / "missing", _known()) == 0


def test_orphans_are_swept_at_the_start(tmp_path: Path, rows: _Rows) -> None:
    orphan = _file(tmp_path, f"2025/01/02/{'a' * 32}-0.jpg", age_s=2 * ORPHAN_S)

    writer = EvidenceWriter(tmp_path, rows, EvidenceSettings(), SystemClock(), known=_known())
    until_s = time.monotonic() + 10
    while orphan.exists() and time.monotonic() < until_s:
        time.sleep(0.02)
    writer.close()

    assert not orphan.exists()


def test_memory_does_not_grow_with_events_of_a_line_without_frames(writer: EvidenceWriter) -> None:
    for second in range(1000):
        writer.event(some_event(), None, float(second))
        writer.event(some_event(line="camera"), None, 1.0)
    writer.offer("camera", _frame(height=90), 1.0)
    for _ in range(1000):
        writer.event(some_event(line="camera"), None, 1.5)

    assert all(len(state.open) <= QUEUE + 1 for state in writer._lines.values())


def test_a_deep_frame_is_stored_in_the_grey_levels_of_the_model_file(
    writer: EvidenceWriter, rows: _Rows, tmp_path: Path
) -> None:
    spec = FrameSpec(channels=1, size=(8, 8), dtype="uint16", black=1000.0, white=5000.0)
    frame = np.full((720, 1280, 1), 3000, np.uint16)
    event = some_event(seq=1)
    writer.offer("press-3", frame, 0.0, spec=spec)
    assert writer.drain(10)
    writer.event(event, frame, 0.1, spec=spec)
    assert writer.drain(10)

    stored = [cv2.imread(str(tmp_path / one.name), cv2.IMREAD_UNCHANGED) for one in rows.of(event)]
    assert len(stored) == 2
    for picture in stored:
        assert picture is not None
        assert picture.dtype == np.uint8
        assert abs(picture.astype(int) - 128).max() <= 2
