"""Read every frame of a video file in order.

If the file is incomplete, one lost item at the end stands for the missing frames.

andon's own decoder decodes the frames of an MJPEG video. Each frame then has its own size, and a damaged one is detected. For
other codecs, OpenCV scales all frames to the size of the first one. FFmpeg fills damaged areas of these frames, and OpenCV does
not report it.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from andon.foundation.errors import DataError
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import InputSpec, Reason
from andon.sources.clock import Clock, pause
from andon.sources.collection import FoundFrames, Stream
from andon.sources.opencv import allowed_protocols, opencv, undecoded_if_mjpeg
from andon.sources.pictures.decode import Channels, Frame, frame_channels, from_capture
from andon.sources.pictures.limits import MAX_PIXELS
from andon.sources.source import Source
from andon.sources.stream_settings import ReplaySettings

SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"})

logger = logging.getLogger(__name__)


class Video:
    """A video file as a collection. The group of all frames is the name of the file, because they are not independent parts.

    Opening the file grabs all frames once without converting them, because the count in the header may be a guess. `read` is
    cheap in the order of `refs`; going back restarts from the beginning. Use only one reader at a time.

    Args:
        path: the file.
        channels: the channels of the frames. A video is RGB; 1 converts it to grey.

    Raises:
        DataError: the file is not a video, has no frames, or exceeds the pixel limit.
    """

    def __init__(self, path: Path, *, channels: Channels = 3) -> None:
        self._path = path
        self._channels = channels
        counter = _Reader(path)
        width, height = counter.size
        times_s: list[float] = []
        while counter.grab():
            times_s.append(counter.time_s(len(times_s)))
        missing = _missing(path, counter, len(times_s))
        counter.close()
        self._reader = _Reader(path)
        if not times_s:
            raise DataError(f"{path}: expected a video with frames, found none that can be decoded")
        self._refs = tuple(_ref(path, number, time_s) for number, time_s in enumerate(times_s))
        self._missing = missing
        if missing is not None:
            logger.warning("%s", missing.detail)
            self._refs += (missing.ref,)
        self._numbers = {ref.key: number for number, ref in enumerate(self._refs)}
        self._found = FoundFrames(channels=channels, frame_size=(height, width), largest=(height, width))

    @property
    def found(self) -> FoundFrames:
        """Size and channels of the frames."""
        return self._found

    @property
    def refs(self) -> Sequence[Ref]:
        """All frames in order: ``line.mp4#0``, with `time_s` in seconds from the beginning.

        If the file has fewer frames than its header states, one more ref stands for the missing ones.
        """
        return self._refs

    def read(self, ref: Ref) -> Item | Lost:
        """Return one frame, or `Lost` if it cannot be decoded or stands for the missing frames at the end."""
        if self._missing is not None and ref.key == self._missing.ref.key:
            return self._missing
        number = self._numbers[ref.key]
        if number < self._reader.grabbed - 1:
            self._reader.close()
            self._reader = _Reader(self._path)
        while self._reader.grabbed <= number:
            if not self._reader.grab():
                return Lost(ref, Reason.UNREADABLE, f"{ref.key}: the video ended before this frame")
        frame = self._reader.frame()
        if frame is None:
            return Lost(ref, Reason.UNREADABLE, f"{ref.key}: could not be decoded")
        return _item(ref, frame, self._channels)


def collect(text: str) -> Video:
    """Open a video file as a collection.

    Raises:
        DataError: as `Video`.
    """
    return Video(Path(text))


def stream(text: str, spec: InputSpec, settings: ReplaySettings, clock: Clock, stop: threading.Event) -> Stream:
    """Yield every frame in order, at the speed of the consumer.

    With the speed ``recorded``, do not exceed the speed of the video.

    The stream waits for a slow consumer and leaves out no frame. If the file is incomplete, the last item is a `Lost`.

    Raises:
        DataError: the file is not a video.
        ConfigError: the model file judges windows.
    """
    channels = frame_channels(spec, "a video")
    path = Path(text)
    paced = settings.speed == "recorded"
    return _frames(path, _Reader(path), channels=channels, paced=paced, clock=clock, stop=stop)


def _frames(
    path: Path, reader: "_Reader", *, channels: Channels, paced: bool, clock: Clock, stop: threading.Event
) -> Iterator[Item | Lost]:
    began_s = clock.mono_s()
    try:
        number = 0
        while not stop.is_set() and reader.grab():
            ref = _ref(path, number, reader.time_s(number))
            frame = reader.frame()
            if paced:
                pause(clock, began_s + (ref.time_s or 0.0) - clock.mono_s(), stop.is_set)
                if stop.is_set():
                    return
            number += 1
            if frame is None:
                yield Lost(ref, Reason.UNREADABLE, f"{ref.key}: could not be decoded")
            else:
                yield _item(ref, frame, channels)
        missing = None if stop.is_set() else _missing(path, reader, number)
        if missing is not None:
            logger.warning("%s", missing.detail)
            yield missing
    finally:
        reader.close()


def _missing(path: Path, reader: "_Reader", number: int) -> Lost | None:
    """Return the lost item for missing frames if the file ended after `number` frames, far less than its header states."""
    # counts in headers may be slightly wrong because of rounded durations; a truncated file misses many frames
    if reader.announced - number <= 1 + reader.announced // 100:
        return None
    detail = f"{path.name}: expected {reader.announced} frames as in its header, but the video ends after {number}"
    return Lost(_ref(path, number, reader.time_s(number)), Reason.UNREADABLE, detail)


class _Reader:
    """A `cv2.VideoCapture` of a file that can only move forwards."""

    def __init__(self, path: Path) -> None:
        cv2 = opencv()
        if not path.is_file():
            raise DataError(f"{path}: expected a video file, found no such file")
        with allowed_protocols("file"):
            self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not self._capture.isOpened():
            raise DataError(
                f"{path}: expected a video, but OpenCV cannot open it. A recording that was interrupted before its index was "
                "written cannot be read."
            )
        # as with pictures, the orientation that the file states must not rotate the frame
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        undecoded_if_mjpeg(self._capture)
        self.size = (
            round(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            round(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        )
        if self.size[0] * self.size[1] > MAX_PIXELS:
            raise DataError(
                f"{path}: expected at most {MAX_PIXELS / 1e6:.0f} million pixels, got {self.size[1]} x {self.size[0]} "
                "(height x width)"
            )
        self.announced = max(0, round(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self._rate_hz = self._capture.get(cv2.CAP_PROP_FPS)
        self._position = cv2.CAP_PROP_POS_MSEC
        self.grabbed = 0
        self._there = False
        self._kept: Frame | None = None

    def grab(self) -> bool:
        """Go to the next frame; return False at the end."""
        self._kept = None
        self._there = bool(self._capture.grab())
        self.grabbed += self._there
        return self._there

    def frame(self) -> Frame | None:
        """Return the current frame, BGR or the bytes of a JPEG, or None if it cannot be decoded."""
        if self._kept is None and self._there:
            read, frame = self._capture.retrieve()
            # copy it, because the decoder may return its own buffer
            self._kept = np.array(frame, np.uint8) if read else None
        return self._kept

    def time_s(self, number: int) -> float:
        """Return the time of the current frame, from its time stamp, or from its number if the file has no stamps."""
        position_s = float(self._capture.get(self._position)) / 1000.0
        if position_s > 0.0 or number == 0 or not self._rate_hz > 0.0:
            return max(0.0, position_s)
        return number / float(self._rate_hz)

    def close(self) -> None:
        """Release the file."""
        self._capture.release()


def _ref(path: Path, number: int, time_s: float) -> Ref:
    return Ref(key=f"{path.name}#{number}", group=path.name, time_s=time_s)


def _item(ref: Ref, frame: Frame, channels: Channels) -> Item | Lost:
    try:
        return Item(ref, from_capture(frame, channels, ref.key))
    except DataError as error:
        return Lost(ref, Reason.UNREADABLE, str(error))


def _accepts(text: str) -> bool:
    path = Path(text)
    return path.suffix.lower() in SUFFIXES and path.is_file()


SOURCE = Source(
    name="video",
    summary="a video file: every frame, in order",
    accepts=_accepts,
    collect=collect,
    settings=ReplaySettings,
    stream=stream,
)
