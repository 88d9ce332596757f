"""Open a video file for reading frame by frame, with PyAV or with OpenCV."""

from pathlib import Path
from typing import Protocol

import numpy as np

from andon.foundation.errors import DataError
from andon.sources.live.capture import Grabbed
from andon.sources.opencv import allowed_protocols, opencv, undecoded_if_mjpeg
from andon.sources.pictures.decode import Channels, Frame, from_capture
from andon.sources.pictures.limits import MAX_PIXELS
from andon.sources.pyav import Decoder, decoder, frames, open_container, to_frame


class VideoReader(Protocol):
    """A video file that can only move forwards."""

    size: tuple[int, int]
    """Width and height."""
    announced: int
    """Number of frames that the header states, or an estimate from its duration. 0 if it states nothing."""
    grabbed: int
    """Number of frames grabbed so far."""
    damage: str
    """The damage that the decoder reports in the current frame, or in a frame from which it is predicted."""

    def grab(self) -> bool:
        """Go to the next frame; return False at the end."""
        ...

    def frame(self, channels: Channels, name: str) -> Frame | None:
        """Return the current frame, or None if it cannot be decoded.

        Raises:
            DataError: the frame is damaged.
        """
        ...

    def time_s(self, number: int) -> float:
        """Return the time of the current frame, from its time stamp, or from its number if the file has no stamps."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


def open_video(path: Path, package: Decoder | None = None) -> VideoReader:
    """Open a video file.

    Args:
        path: the file.
        package: package that decodes it. Default: PyAV if it is installed, else OpenCV.

    Raises:
        DataError: the file is not a video, or exceeds the pixel limit.
    """
    if not path.is_file():
        raise DataError(f"{path}: expected a video file, found no such file")
    return PyAVReader(path) if (package or decoder()) == "pyav" else OpenCVReader(path)


class PyAVReader:
    """A video file in FFmpeg, opened by PyAV."""

    def __init__(self, path: Path) -> None:
        try:
            # an absolute path begins with /, so FFmpeg takes no part of it for the name of a protocol
            self._container = open_container(str(path.resolve()), protocols="file", timeout_s=None)
        except DataError as error:
            raise DataError(_no_video(path, str(error))) from error
        stream = self._container.streams.video[0]
        context = stream.codec_context
        self.size = (context.width, context.height)
        self._rate_hz = float(stream.average_rate or stream.guessed_rate or 0)
        duration_s = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        self.announced = stream.frames or round(duration_s * self._rate_hz)
        self._begin_s = float((stream.start_time or 0) * (stream.time_base or 0))
        self._frames = frames(self._container)
        self._current: Grabbed | None = None
        self.grabbed = 0
        self.damage = ""

    def grab(self) -> bool:
        """Go to the next frame; return False at the end."""
        self._current = next(self._frames, None)
        if self._current is None:
            return False
        self.grabbed += 1
        if self._current.damage:
            self.damage = self._current.damage
        elif self._current.key:
            self.damage = ""
        elif self.damage:
            self.damage = "the frame is predicted from a damaged one"
        return True

    def frame(self, channels: Channels, name: str) -> Frame | None:
        """Return the current frame, or None if it cannot be decoded.

        Raises:
            DataError: the frame is damaged.
        """
        if self._current is None or self._current.data is None:
            return None
        return to_frame(self._current.data, channels, name)

    def time_s(self, number: int) -> float:
        """Return the time of the current frame, from its time stamp, or from its number if the file has no stamps."""
        stamp_s = None if self._current is None else self._current.source_s
        if stamp_s is not None and (stamp_s > self._begin_s or number == 0):
            return max(0.0, stamp_s - self._begin_s)
        return number / self._rate_hz if self._rate_hz > 0.0 else 0.0

    def close(self) -> None:
        """Release the file."""
        self._container.close()


class OpenCVReader:
    """A video file in a `cv2.VideoCapture`. OpenCV does not report damage."""

    def __init__(self, path: Path) -> None:
        cv2 = opencv()
        with allowed_protocols("file"):
            self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not self._capture.isOpened():
            raise DataError(_no_video(path, "OpenCV cannot open it"))
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
        self.damage = ""
        self._there = False
        self._kept: Frame | None = None

    def grab(self) -> bool:
        """Go to the next frame; return False at the end."""
        self._kept = None
        self._there = bool(self._capture.grab())
        self.grabbed += self._there
        return self._there

    def frame(self, channels: Channels, name: str) -> Frame | None:
        """Return the current frame, or None if it cannot be decoded.

        Raises:
            DataError: the frame is damaged.
        """
        if self._kept is None and self._there:
            read, frame = self._capture.retrieve()
            # copy it, because the decoder may return its own buffer
            self._kept = np.array(frame, np.uint8) if read else None
        return None if self._kept is None else from_capture(self._kept, channels, name)

    def time_s(self, number: int) -> float:
        """Return the time of the current frame, from its time stamp, or from its number if the file has no stamps."""
        position_s = float(self._capture.get(self._position)) / 1000.0
        if position_s > 0.0 or number == 0 or not self._rate_hz > 0.0:
            return max(0.0, position_s)
        return number / float(self._rate_hz)

    def close(self) -> None:
        """Release the file."""
        self._capture.release()


def _no_video(path: Path, why: str) -> str:
    return f"{path}: expected a video, but {why}. A recording that was interrupted before its index was written cannot be read."
