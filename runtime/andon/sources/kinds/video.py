"""Read every frame of a video file in order.

PyAV decodes the file if it is installed, otherwise OpenCV. The frames of 8-bit videos are equal, bit by bit. If the file is
incomplete, one lost item at the end stands for the missing frames.

andon's own decoder decodes the frames of an MJPEG video. Each frame then has its own size, and a damaged one is detected.
For other codecs, FFmpeg fills damaged areas. With PyAV such a frame is lost (corrupt), and so are the frames predicted from it.
OpenCV does not report the damage, and scales all frames to the size of the first one.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from andon.foundation.errors import DataError
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import InputSpec, Reason
from andon.sources.clock import Clock, pause
from andon.sources.collection import FoundFrames, Stream
from andon.sources.pictures.decode import Channels, frame_channels
from andon.sources.pyav import Decoder
from andon.sources.source import Source
from andon.sources.stream_settings import ReplaySettings
from andon.sources.video_file import VideoReader, open_video

SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"})

logger = logging.getLogger(__name__)


class Video:
    """A video file as a collection. The group of all frames is the name of the file, because they are not independent parts.

    Opening the file grabs all frames once without converting them, because the count in the header may be a guess. `read` is
    cheap in the order of `refs`; going back restarts from the beginning. Use only one reader at a time.

    Args:
        path: the file.
        channels: the channels of the frames. A video is RGB; 1 converts it to grey.
        package: package that decodes the file. Default: PyAV if it is installed, else OpenCV.

    Raises:
        DataError: the file is not a video, has no frames, or exceeds the pixel limit.
    """

    def __init__(self, path: Path, *, channels: Channels = 3, package: Decoder | None = None) -> None:
        self._path = path
        self._channels = channels
        self._package = package
        counter = open_video(path, package)
        width, height = counter.size
        times_s: list[float] = []
        while counter.grab():
            times_s.append(counter.time_s(len(times_s)))
        missing = _missing(path, counter, len(times_s))
        counter.close()
        self._reader = open_video(path, package)
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
            self._reader = open_video(self._path, self._package)
        while self._reader.grabbed <= number:
            if not self._reader.grab():
                return Lost(ref, Reason.UNREADABLE, f"{ref.key}: the video ended before this frame")
        return _item(ref, self._reader, self._channels)


def collect(text: str) -> Video:
    """Open a video file as a collection.

    Raises:
        DataError: as `Video`.
    """
    return Video(Path(text))


def stream(
    text: str,
    spec: InputSpec,
    settings: ReplaySettings,
    clock: Clock,
    stop: threading.Event,
    *,
    package: Decoder | None = None,
) -> Stream:
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
    return _frames(path, open_video(path, package), channels=channels, paced=paced, clock=clock, stop=stop)


def _frames(
    path: Path, reader: VideoReader, *, channels: Channels, paced: bool, clock: Clock, stop: threading.Event
) -> Iterator[Item | Lost]:
    began_s = clock.mono_s()
    try:
        number = 0
        while not stop.is_set() and reader.grab():
            ref = _ref(path, number, reader.time_s(number))
            item = _item(ref, reader, channels)
            if paced:
                pause(clock, began_s + (ref.time_s or 0.0) - clock.mono_s(), stop.is_set)
                if stop.is_set():
                    return
            number += 1
            yield item
        missing = None if stop.is_set() else _missing(path, reader, number)
        if missing is not None:
            logger.warning("%s", missing.detail)
            yield missing
    finally:
        reader.close()


def _missing(path: Path, reader: VideoReader, number: int) -> Lost | None:
    """Return the lost item for missing frames if the file ended after `number` frames, far less than its header states."""
    # counts in headers may be slightly wrong because of rounded durations; a truncated file misses many frames
    if reader.announced - number <= 1 + reader.announced // 100:
        return None
    detail = f"{path.name}: expected {reader.announced} frames as in its header, but the video ends after {number}"
    return Lost(_ref(path, number, reader.time_s(number)), Reason.UNREADABLE, detail)


def _ref(path: Path, number: int, time_s: float) -> Ref:
    return Ref(key=f"{path.name}#{number}", group=path.name, time_s=time_s)


def _item(ref: Ref, reader: VideoReader, channels: Channels) -> Item | Lost:
    """Return the current frame of a reader."""
    if reader.damage:
        return Lost(ref, Reason.CORRUPT, f"{ref.key}: {reader.damage}")
    try:
        frame = reader.frame(channels, ref.key)
    except DataError as error:
        return Lost(ref, Reason.UNREADABLE, str(error))
    if frame is None:
        return Lost(ref, Reason.UNREADABLE, f"{ref.key}: could not be decoded")
    return Item(ref, frame)


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
