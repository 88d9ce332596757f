"""Video files are read frame by frame."""

import struct
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.runtime import hand_made
from tests.sources.fake_clock import FakeClock

from andon.cli import EXIT_PARTLY, main
from andon.foundation.errors import DataError
from andon.runtime.items import Item, Lost
from andon.runtime.schema import FrameSpec, Reason
from andon.sources.collection import FoundFrames
from andon.sources.kinds import video
from andon.sources.stream_settings import ReplaySettings

RGB = FrameSpec(channels=3, size=(8, 8))
N = 20


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Twenty lossless frames at 10 a second, each a step brighter, red above green and blue."""
    path = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"FFV1"), 10.0, (32, 16))
    assert writer.isOpened()
    for number in range(N):
        frame = np.full((16, 32, 3), 10 * number, np.uint8)
        frame[..., 2] += 9
        writer.write(frame)
    writer.release()
    return path


def number_of(item: Item | Lost) -> int:
    assert isinstance(item, Item)
    red, green = int(item.data[0, 0, 0]), int(item.data[0, 0, 1])
    assert abs(red - green - 9) <= 3, "not RGB"
    return round(green / 10)


def test_every_frame_comes_in_order_with_its_key_and_time(clip: Path) -> None:
    items = list(video.stream(str(clip), RGB, ReplaySettings(), FakeClock(), threading.Event()))

    assert [number_of(item) for item in items] == list(range(N))
    assert [item.ref.key for item in items] == [f"line.avi#{number}" for number in range(N)]
    assert [item.ref.time_s for item in items] == pytest.approx([number / 10 for number in range(N)])
    assert {item.ref.group for item in items} == {"line.avi"}


def test_recorded_speed_paces_by_the_clock_and_loses_nothing(clip: Path) -> None:
    clock = FakeClock(start_s=100.0)
    stream = video.stream(str(clip), RGB, ReplaySettings(speed="recorded"), clock, threading.Event())

    seen = [(number_of(item), clock.now_s) for item in stream]
    assert [number for number, _ in seen] == list(range(N))
    assert [time_s for _, time_s in seen] == pytest.approx([100.0 + number / 10 for number in range(N)])


def test_a_slow_consumer_is_waited_for(clip: Path) -> None:
    clock = FakeClock()
    seen = []
    for item in video.stream(str(clip), RGB, ReplaySettings(speed="recorded"), clock, threading.Event()):
        clock.sleep(5.0)
        seen.append(number_of(item))

    assert seen == list(range(N))


def test_stopping_ends_the_stream(clip: Path) -> None:
    stop = threading.Event()
    stream = video.stream(str(clip), RGB, ReplaySettings(speed="recorded"), FakeClock(), stop)
    next(stream)
    stop.set()

    assert list(stream) == []


def test_a_model_file_of_one_channel_gets_grey_levels(clip: Path) -> None:
    spec = FrameSpec(channels=1, size=(8, 8))
    item = next(video.stream(str(clip), spec, ReplaySettings(), FakeClock(), threading.Event()))

    assert isinstance(item, Item)
    assert item.data.shape == (16, 32, 1)


def test_a_video_is_a_collection_too(clip: Path) -> None:
    collection = video.collect(str(clip))

    assert collection.found == FoundFrames(channels=3, frame_size=(16, 32), largest=(16, 32))
    assert [ref.time_s for ref in collection.refs] == pytest.approx([number / 10 for number in range(N)])
    assert [number_of(collection.read(ref)) for ref in collection.refs] == list(range(N))


@pytest.mark.parametrize("order", [[5, 5, 5], [7, 3, 4, 19, 0], list(range(N))[::-1], [19, 19, 18]])
def test_frames_of_a_collection_can_be_read_in_any_order(clip: Path, order: list[int]) -> None:
    collection = video.collect(str(clip))

    assert [number_of(collection.read(collection.refs[number])) for number in order] == order


def test_frames_that_were_given_do_not_change_afterwards(clip: Path) -> None:
    collection = video.collect(str(clip))
    items = [collection.read(ref) for ref in collection.refs]

    assert [number_of(item) for item in items] == list(range(N))


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Twenty frames of noise as MJPEG."""
    path = tmp_path / "whole.avi"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (128, 96))
    for frame in np.random.default_rng(0).integers(0, 256, (N, 96, 128, 3), np.uint8):
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture
def cut(whole: Path) -> Path:
    """Return the first half of the bytes of a video, as left by a recorder that lost its power."""
    path = whole.with_name("cut.avi")
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return path


def test_a_video_that_breaks_off_ends_in_a_lost_frame(cut: Path) -> None:
    items = list(video.stream(str(cut), RGB, ReplaySettings(), FakeClock(), threading.Event()))

    assert isinstance(items[-1], Lost)
    assert "expected 20 frames" in items[-1].detail
    assert 0 < len(items) - 1 < N - 2


def test_a_collection_of_a_video_that_breaks_off_ends_in_a_lost_frame_and_says_so_when_opened(
    cut: Path, caplog: pytest.LogCaptureFixture
) -> None:
    collection = video.collect(str(cut))

    assert "cut.avi: expected 20 frames as in its header, but the video ends after" in caplog.text
    items = [collection.read(ref) for ref in collection.refs]
    # the last existing frame is truncated within its scan
    assert [isinstance(item, Lost) for item in items] == [False] * (len(items) - 2) + [True, True]
    assert isinstance(items[-1], Lost)
    assert items[-1].reason is Reason.UNREADABLE
    assert "expected 20 frames" in items[-1].detail
    assert isinstance(collection.read(collection.refs[0]), Item)


def test_a_video_with_a_hole_is_not_taken_for_a_whole_one(whole: Path) -> None:
    data = bytearray(whole.read_bytes())
    begin, end = len(data) * 2 // 5, len(data) * 3 // 5
    data[begin:end] = bytes(end - begin)
    whole.write_bytes(data)

    collection = video.collect(str(whole))

    assert any(isinstance(collection.read(ref), Lost) for ref in collection.refs)


def test_a_whole_video_has_no_lost_frame(whole: Path, caplog: pytest.LogCaptureFixture) -> None:
    collection = video.collect(str(whole))

    assert len(collection.refs) == N
    assert all(isinstance(collection.read(ref), Item) for ref in collection.refs)
    assert caplog.text == ""


def test_scoring_a_video_that_breaks_off_exits_with_3(cut: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = cut.with_name("model.onnx")
    model.write_bytes(hand_made.model_bytes(hand_made.FRAME))

    code = main(["score", str(model), str(cut), "--frame-size", "any"])

    assert code == EXIT_PARTLY
    assert "INVALID" in capsys.readouterr().out.splitlines()[-1]


def _mjpeg(path: Path, frames: int, size: tuple[int, int]) -> bytes:
    """Write a video of noise and return its bytes. The size is height and width."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10.0, size[::-1])
    for frame in np.random.default_rng(0).integers(0, 256, (frames, *size, 3), np.uint8):
        writer.write(frame)
    writer.release()
    return path.read_bytes()


def test_an_mjpeg_video_has_times_and_can_be_read_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "line.avi"
    _mjpeg(path, 6, (96, 128))
    streamed = list(video.stream(str(path), RGB, ReplaySettings(), FakeClock(), threading.Event()))
    collection = video.collect(str(path))

    assert [item.ref.time_s for item in streamed] == pytest.approx([number / 10 for number in range(6)])
    for number in (5, 0, 3):
        item = collection.read(collection.refs[number])
        assert isinstance(item, Item)
        assert item.data.shape == (96, 128, 3)
        same = streamed[number]
        assert isinstance(same, Item)
        assert (item.data == same.data).all()


def test_a_damaged_frame_and_one_of_another_size_are_noticed_within_an_mjpeg_video(tmp_path: Path) -> None:
    data = bytearray(_mjpeg(tmp_path / "line.avi", 4, (96, 128)))
    begins = [at for at in range(len(data)) if data[at : at + 3] == b"\xff\xd8\xff"]
    assert len(begins) == 4
    sof = data.index(b"\xff\xc0", begins[1])
    data[sof + 5 : sof + 9] = struct.pack(">HH", 48, 64)  # the header of the second frame states a smaller size
    end = data.rindex(b"\xff\xd9", 0, begins[3])
    data[begins[2] + (end - begins[2]) // 2 : end + 2] = bytes(end + 2 - begins[2] - (end - begins[2]) // 2)
    path = tmp_path / "odd.avi"
    path.write_bytes(data)
    items = list(video.stream(str(path), RGB, ReplaySettings(), FakeClock(), threading.Event()))

    assert isinstance(items[0], Item)
    assert isinstance(items[3], Item)
    # the header contradicts the scan, so a strict decoder may refuse the frame instead
    second = items[1]
    assert isinstance(second, Lost) or second.data.shape == (48, 64, 3)
    assert isinstance(items[2], Lost)


@pytest.mark.parametrize("content", [b"", b"no video at all", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n"])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "line.mp4"
    path.write_bytes(content)

    with pytest.raises(DataError, match="expected a video, but "):
        video.stream(str(path), RGB, ReplaySettings(), FakeClock(), threading.Event())


def test_only_files_with_a_videos_suffix_are_accepted(clip: Path) -> None:
    assert video.SOURCE.accepts(str(clip))
    assert not video.SOURCE.accepts(str(clip.with_name("nowhere.avi")))
    assert not video.SOURCE.accepts(str(clip.parent))
