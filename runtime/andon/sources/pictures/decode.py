"""Decode the bytes of a picture file to a frame. Training, calibration and the line use this decoder, so pixels are equal."""

import logging
import stat
from pathlib import Path
from typing import Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from andon.foundation.errors import ConfigError, DataError
from andon.runtime.schema import FrameSpec, InputSpec
from andon.sources.opencv import opencv
from andon.sources.pictures.damage import decode_jpeg, require_intact_tiff
from andon.sources.pictures.header import PictureHeader, parse, require_whole
from andon.sources.pictures.limits import MAX_BYTES, MAX_PIXELS

Channels = Literal[1, 3]
Frame = NDArray[np.uint8]
"""``[H, W, C]``, C = 3 (RGB) or 1 (grey)."""
DeepFrame = NDArray[np.uint8] | NDArray[np.uint16]
"""The same, uint16 if the picture has more than 8 bits per channel."""

AnyFrame = TypeVar("AnyFrame", bound=DeepFrame)

logger = logging.getLogger(__name__)


class WarnedKinds:
    """The kinds of warnings that a collection or stream has logged. Each is logged once, not once per picture."""

    def __init__(self) -> None:
        self._kinds: set[str] = set()

    def once(self, kind: Literal["alpha", "grey"]) -> bool:
        """Return whether this is the first call for this kind."""
        first = kind not in self._kinds
        self._kinds.add(kind)
        return first


def header(data: bytes) -> PictureHeader:
    """Return the header without decoding. The first 64 kB of a file are nearly always enough.

    Channels are 1 only if the header states grey. A palette counts as colour, except a BMP palette that contains only greys, as
    grey cameras write it.

    Raises:
        header.TruncatedError: more bytes are needed.
        DataError: the file is not a JPEG, PNG, BMP, TIFF or WebP, or its header is damaged. Also for pixels that cannot be
            decoded without loss (`header.parse`) and for more than `MAX_PIXELS`.
    """
    return _bounded(data)


def decode(
    data: bytes, *, channels: Channels | None = None, name: str = "picture", warned: WarnedKinds | None = None
) -> DeepFrame:
    """Decode a picture to a frame ``[H, W, C]``: RGB, or grey if the header states grey.

    The frame is uint8, or uint16 if the picture has more than 8 bits per channel. No levels are scaled, except that 10, 12 and
    14 bits that a TIFF packs without gaps become the upper bits of 16.

    The rotation in EXIF data is ignored, because a fixed camera must always give the same pixel positions. An alpha channel is
    dropped with a warning.

    Args:
        data: the whole file.
        channels: the channels that the collection or the model file expects. A grey picture becomes RGB by repetition, without
            loss. A colour picture is not converted to grey; the model file refuses it later.
        name: name of the picture for messages.
        warned: the warnings already logged for the collection or stream of this picture. Default: the warnings of the process.

    Raises:
        DataError: the file is unreadable, truncated, beyond the limits, or of an unsupported kind. Also for damage, as far as
            `damage` can detect it.
        MissingExtra: opencv is not installed, or simplejpeg or Pillow for the formats that they read.
    """
    opencv()  # report a missing package first
    try:
        found = _bounded(data)
        require_whole(data, found.kind)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    warned = _ELSEWHERE if warned is None else warned
    if found.alpha and warned.once("alpha"):
        logger.warning(
            "%s: the alpha channel is dropped, here and in all similar pictures. Transparent pixels appear in the colour that "
            "the file stores for them. Save pictures without alpha to choose the colour yourself",
            name,
        )
    pixels: DeepFrame = _pixels(data, found, name)
    if pixels.shape[:2] != (found.height, found.width):
        raise DataError(
            f"{name}: expected {found.height} x {found.width} pixels (height x width) as in the header, got "
            f"{pixels.shape[0]} x {pixels.shape[1]} from the decoder"
        )
    if found.channels == 1 and channels == 3:
        if warned.once("grey"):  # the cause may be a camera that was switched to mono
            logger.warning(
                "%s: a grey picture where colour is expected; it and all similar ones are converted to RGB. Did a camera change?",
                name,
            )
        return cast("DeepFrame", np.repeat(pixels, 3, axis=2))
    return pixels


def _pixels(data: bytes, found: PictureHeader, name: str) -> DeepFrame:
    """Decode a picture to RGB or grey ``[H, W, C]``; raise `DataError` for a damaged one."""
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
    if found.dtype == "uint16":
        how |= cv2.IMREAD_ANYDEPTH
    try:
        pixels: DeepFrame | None = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except cv2.error as error:
        raise DataError(f"{name}: OpenCV cannot decode this {found.kind}: {error.err or error}") from error
    if pixels is None:
        raise DataError(f"{name}: damaged {found.kind}: OpenCV cannot decode it")
    if pixels.dtype != found.dtype:
        raise DataError(f"{name}: expected {found.dtype} pixels as in the header, got {pixels.dtype} from the decoder")
    return rgb(pixels) if found.channels == 3 else pixels[..., None]


def rgb(bgr: AnyFrame) -> AnyFrame:
    """Convert a frame from OpenCV's BGR to RGB, which the model file expects. Only this function swaps the channels."""
    cv2 = opencv()
    swapped: AnyFrame = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    return swapped


def grey(bgr: Frame) -> Frame:
    """Convert a video frame to grey ``[H, W, 1]``, for a model file for one channel. OpenCV reads every video as colour."""
    cv2 = opencv()
    levels: Frame = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    return levels[..., None]


def from_capture(data: Frame, channels: Channels, name: str) -> Frame:
    """Convert the result of a capture, BGR ``[H, W, 3]`` or JPEG bytes ``[1, n]``, to the channels of the model file.

    Raises:
        DataError: the bytes are damaged.
    """
    if data.ndim == 3:
        return grey(data) if channels == 1 else rgb(data)
    packet = data.tobytes()
    if _JPEG_END not in packet[-_JPEG_TAIL:]:
        packet += _JPEG_END  # some cameras omit it; a truncated picture is still detected when it is decoded
    frame = np.asarray(decode(packet, name=name), np.uint8)  # JPEG has 8 bits
    if frame.shape[2] == channels:
        return frame
    return grey(frame[..., ::-1]) if channels == 1 else np.repeat(frame, 3, axis=2)


_JPEG_END = b"\xff\xd9"
_JPEG_TAIL = 64
"""Number of bytes at the end of a JPEG in which the end marker is searched. Padding may follow it."""


def decode_file(
    path: Path, *, channels: Channels | None = None, name: str = "", warned: WarnedKinds | None = None
) -> DeepFrame:
    """Read and decode a picture file, see `decode`.

    Raises:
        DataError: as `decode`. Also if the file is larger than `MAX_BYTES` or cannot be read.
        FileNotFoundError: the file does not exist or was removed.
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
    """Read a regular file of at most `MAX_BYTES`. The system may state a size that is too small."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # check before opening, because opening a pipe waits for its writer
        raise DataError(f"{name}: expected a regular file, got a pipe, device or folder")
    if status.st_size > MAX_BYTES:
        raise DataError(f"{name}: expected at most {MAX_BYTES / 1e6:.0f} MB, got {status.st_size / 1e6:.0f} MB")
    with path.open("rb") as file:
        data = file.read(status.st_size + 1)
        if len(data) > status.st_size:
            data += file.read(MAX_BYTES + 1 - len(data))  # `decode` refuses a longer file
    return data


def frame_channels(spec: InputSpec, source: str, *, deep: bool = False) -> Channels:
    """Return the number of channels that the model file expects from a source of frames.

    Args:
        spec: the input of the model file.
        source: name of the source for messages.
        deep: whether the source can give uint16 frames.

    Raises:
        ConfigError: the model file judges windows of sensor data, or uint16 frames that the source cannot give.
    """
    if not isinstance(spec, FrameSpec):
        raise ConfigError(
            f"this model file judges windows of sensor data, but {source} gives frames. Give a log or a sensor."
        )
    if spec.dtype == "uint16" and not deep:
        raise ConfigError(
            f"this model file judges uint16 frames (more than 8 bits per channel), but {source} gives uint8 frames. Give a "
            "folder of 16-bit PNG or TIFF pictures, or frames of your own program, or train with 8-bit pictures."
        )
    return spec.channels


_ELSEWHERE = WarnedKinds()


def _bounded(data: bytes) -> PictureHeader:
    if len(data) > MAX_BYTES:
        raise DataError(f"expected at most {MAX_BYTES / 1e6:.0f} MB, got {len(data) / 1e6:.0f} MB")
    found = parse(data)
    if found.height * found.width > MAX_PIXELS:
        raise DataError(
            f"expected at most {MAX_PIXELS / 1e6:.0f} million pixels, got {found.height} x {found.width} (height x width). "
            "Crop or shrink the pictures first."
        )
    return found
