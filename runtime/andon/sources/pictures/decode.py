"""The one decoder of pictures: bytes of a file to a frame, the same pixels for training, calibration and the line."""

import logging
import stat
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from andon.foundation.errors import ConfigError, DataError
from andon.runtime.schema import FrameSpec, InputSpec
from andon.sources.opencv import MAX_PIXELS, opencv
from andon.sources.pictures.damage import decode_jpeg, require_intact_tiff
from andon.sources.pictures.header import PictureHeader, parse, require_whole

MAX_BYTES = 200_000_000
"""A larger file is refused."""

Channels = Literal[1, 3]
Frame = NDArray[np.uint8]
"""``[H, W, C]``, C = 3 (RGB) or 1 (grey)."""

logger = logging.getLogger(__name__)


class WarnedKinds:
    """The kinds of warnings that a collection or stream has given: each comes once, and not once a picture."""

    def __init__(self) -> None:
        self._kinds: set[str] = set()

    def once(self, kind: Literal["alpha", "grey"]) -> bool:
        """Return whether this is the first time."""
        first = kind not in self._kinds
        self._kinds.add(kind)
        return first


def header(data: bytes) -> tuple[int, int, Channels]:
    """Height, width and channels, without decoding; the first 64 kB of a file nearly always suffice.

    Channels are 1 only where the header says grey; a palette counts as colour (but for a BMP whose palette is all
    greys, as grey cameras write it).

    Raises:
        picture_header.TruncatedError: more bytes are needed.
        DataError: no JPEG, PNG, BMP, TIFF or WebP; a damaged header; 16 bits a channel; more than `MAX_PIXELS`.
    """
    found = _bounded(data)
    return found.height, found.width, 1 if found.channels == 1 else 3


def decode(
    data: bytes, *, channels: Channels | None = None, name: str = "picture", warned: WarnedKinds | None = None
) -> Frame:
    """A frame, uint8 ``[H, W, C]``: RGB, or grey where the header says so.

    EXIF turns are ignored: a camera that stands still must give the same pixels, whatever it wrote about its position.
    Alpha is dropped, with a warning.

    Args:
        data: the whole file.
        channels: what the collection or the model file wants. A grey picture becomes RGB by repetition, which loses
            nothing; a colour picture stays one even where grey is wanted (the model file then refuses it).
        name: for messages.
        warned: of the collection or stream that the picture is of; None: all others of this process.

    Raises:
        DataError: not readable, truncated, damaged as far as `strict` can notice, of 16 bits, or beyond the limits.
        MissingExtra: no opencv, or no simplejpeg or Pillow for the formats that they read.
    """
    opencv()  # a missing package is reported first
    try:
        found = _bounded(data)
        require_whole(data, found.kind)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    warned = _ELSEWHERE if warned is None else warned
    if found.alpha and warned.once("alpha"):
        logger.warning(
            "%s: has an alpha channel, which is dropped: what was transparent is seen in whatever colour the file has there, in "
            "this picture and all others like it. Write pictures without alpha to decide it yourself",
            name,
        )
    pixels = _pixels(data, found, name)
    if pixels.shape[:2] != (found.height, found.width):
        raise DataError(
            f"{name}: the header says {found.height} x {found.width} (height x width), the decoder "
            f"{pixels.shape[0]} x {pixels.shape[1]}"
        )
    if found.channels == 1 and channels == 3:
        if warned.once("grey"):  # a camera that was switched to mono looks just like this
            logger.warning(
                "%s: a grey picture where colour is wanted; it and all others like it are taken as colour without any. Did a "
                "camera change?",
                name,
            )
        return np.repeat(pixels, 3, axis=2)
    return pixels


def _pixels(data: bytes, found: PictureHeader, name: str) -> Frame:
    """Decode to RGB or grey ``[H, W, C]``, or refuse what is damaged."""
    cv2 = opencv()
    try:
        if found.kind == "JPEG":
            frame = decode_jpeg(data)
            if frame is not None:
                return frame
        if found.kind == "TIFF":
            require_intact_tiff(data)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    how = (cv2.IMREAD_GRAYSCALE if found.channels == 1 else cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except cv2.error as error:
        raise DataError(f"{name}: {found.kind} that OpenCV refuses: {error.err or error}") from error
    if pixels is None:
        raise DataError(f"{name}: a damaged {found.kind}; nothing could be decoded")
    return rgb(pixels) if found.channels == 3 else pixels[..., None]


def rgb(bgr: Frame) -> Frame:
    """The frame as the model file wants it: OpenCV gives BGR, swapped here and nowhere else."""
    cv2 = opencv()
    swapped: Frame = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    return swapped


def grey(bgr: Frame) -> Frame:
    """Grey levels ``[H, W, 1]`` of a video frame, for a model file of one channel: videos have no grey of their own."""
    cv2 = opencv()
    levels: Frame = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    return levels[..., None]


def from_capture(data: Frame, channels: Channels, name: str) -> Frame:
    """Return what a capture gave, BGR ``[H, W, 3]`` or the bytes of a JPEG ``[1, n]``, as the model file wants it.

    Raises:
        DataError: the bytes are damaged.
    """
    if data.ndim == 3:
        return grey(data) if channels == 1 else rgb(data)
    packet = data.tobytes()
    if _JPEG_END not in packet[-_JPEG_TAIL:]:
        packet += _JPEG_END  # some cameras leave it out; a picture that was cut off is noticed when it is decoded
    frame = decode(packet, name=name)
    if frame.shape[2] == channels:
        return frame
    return grey(frame[..., ::-1]) if channels == 1 else np.repeat(frame, 3, axis=2)


_JPEG_END = b"\xff\xd9"
_JPEG_TAIL = 64
"""Bytes; padding may follow the end marker."""


def decode_file(
    path: Path, *, channels: Channels | None = None, name: str = "", warned: WarnedKinds | None = None
) -> Frame:
    """`decode` of a file.

    Raises:
        DataError: as `decode`; a file beyond `MAX_BYTES`; not readable at all.
        FileNotFoundError: it is not there (any more).
    """
    name = name or str(path)
    try:
        data = _bytes_of(path, name)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror}") from error
    return decode(data, channels=channels, name=name, warned=warned)


def _bytes_of(path: Path, name: str) -> bytes:
    """Read a regular file of at most `MAX_BYTES`, however small the size that the system states."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # asked before it is opened, as opening a pipe waits for its writer
        raise DataError(f"{name}: expected a regular file, got a pipe, device or folder")
    if status.st_size > MAX_BYTES:
        raise DataError(f"{name}: {status.st_size / 1e6:.0f} MB; expected at most {MAX_BYTES / 1e6:.0f} MB")
    with path.open("rb") as file:
        data = file.read(status.st_size + 1)
        if len(data) > status.st_size:
            data += file.read(MAX_BYTES + 1 - len(data))  # `decode` refuses what is longer
    return data


def frame_channels(spec: InputSpec, source: str) -> Channels:
    """How many channels the model file wants of a source of frames.

    Raises:
        ConfigError: it judges windows of sensor data.
    """
    if not isinstance(spec, FrameSpec):
        raise ConfigError(
            f"{source} gives frames, but the model file judges windows of sensor data; give a log or a sensor."
        )
    return spec.channels


_ELSEWHERE = WarnedKinds()


def _bounded(data: bytes) -> PictureHeader:
    if len(data) > MAX_BYTES:
        raise DataError(f"{len(data) / 1e6:.0f} MB; expected at most {MAX_BYTES / 1e6:.0f} MB")
    found = parse(data)
    if found.height * found.width > MAX_PIXELS:
        raise DataError(
            f"{found.height} x {found.width} pixels (height x width); expected at most {MAX_PIXELS / 1e6:.0f} million. "
            "Crop or shrink the pictures before."
        )
    return found
