"""Load PyAV and pass on FFmpeg's log lines without secrets. The other modules call `pyav` instead of importing av.

PyAV decodes videos and network streams if it is installed. Unlike OpenCV, it gives time stamps, key frames and damage, and each
frame has the size that the camera sent. For 8-bit videos its pixels are equal to those of OpenCV, bit by bit, so a verdict does not
depend on the decoder. Videos of 10 or 12 bits per channel differ.
"""

import functools
import logging
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from andon.foundation.errors import DataError
from andon.foundation.extras import needs, remedy
from andon.foundation.printable import printable
from andon.sources.addresses import Redactor
from andon.sources.pictures.decode import Channels, Frame, from_capture, grey
from andon.sources.pictures.limits import MAX_PIXELS

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Decoder = Literal["pyav", "opencv"]

logger = logging.getLogger(__name__)

redactor = Redactor()
"""The addresses that were opened. FFmpeg's log lines are written without their secrets."""


@functools.cache
def decoder() -> Decoder:
    """Return which package decodes videos and network streams, and log it once: PyAV if it is installed, else OpenCV."""
    try:
        import av
    except ImportError:
        logger.info(
            "videos and network streams are decoded with OpenCV. PyAV also reports time stamps, key frames and damage: %s",
            remedy("monitor"),
        )
        return "opencv"
    logger.info("videos and network streams are decoded with PyAV %s", av.__version__)
    return "pyav"


@functools.cache
def pyav() -> ModuleType:
    """Return the module `av`. FFmpeg's errors become debug lines of this module's logger, unless the host program wants them.

    Raises:
        MissingExtra: PyAV is not installed.
    """
    with needs("monitor", "decoding videos and network streams with PyAV"):
        import av
        import av.logging
    if av.logging.get_level() is None:  # by default PyAV passes nothing on; a host program may have changed that
        av.logging.set_level(av.logging.ERROR)
        libav = logging.getLogger("libav")
        libav.addHandler(_Forward())
        libav.propagate = False  # a handler of the root logger would print the line with its secrets
    return av


def open_container(
    address: str,
    *,
    protocols: str,
    timeout_s: tuple[float, float] | None,
    options: dict[str, str] | None = None,
) -> "InputContainer":
    """Open a video or stream.

    Args:
        address: a path or URL.
        protocols: the protocols that FFmpeg may open, for this address and all that a playlist or a redirection names.
        timeout_s: timeouts for opening and for one read, in seconds. None for a file.
        options: further options of FFmpeg.

    Raises:
        DataError: it cannot be opened, has no picture, or exceeds the pixel limit. The message has no secret.
    """
    av = pyav()
    redactor.add(address)
    container: InputContainer
    try:
        container = av.open(
            address,
            timeout=timeout_s,
            options={"protocol_whitelist": protocols, **(options or {})},
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(reason(error)) from None  # the cause names the address with its password
    try:
        if not container.streams.video:
            raise DataError("it contains no picture")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context.width * context.height > MAX_PIXELS:
            raise DataError(
                f"expected at most {MAX_PIXELS / 1e6:.0f} million pixels, got {context.height} x {context.width} (height x width)"
            )
        stream.thread_type = "NONE"  # with several decoding threads, each would delay a frame
        context.thread_count = 1
        context.options = {"max_pixels": str(MAX_PIXELS)}
    except BaseException:
        container.close()
        raise
    return container


def reason(error: BaseException) -> str:
    """Return the text of an error of PyAV, without the address that it contains."""
    text = getattr(error, "strerror", None) or type(error).__name__
    return printable(redactor.without_secrets(str(text)))


def is_mjpeg(stream: "VideoStream") -> bool:
    """Return whether the packets are JPEG files. andon decodes them itself: it detects damage that FFmpeg would fill."""
    return bool(stream.codec_context.name == "mjpeg")


def jpeg_bytes(packet: "Packet") -> Frame:
    """Return a packet of an MJPEG stream as bytes ``[1, n]``, for `to_frame`."""
    return np.frombuffer(bytes(packet), np.uint8)[None]


def to_frame(data: "VideoFrame | Frame", channels: Channels, name: str) -> Frame:
    """Convert a decoded frame or the bytes of a JPEG ``[1, n]`` to the channels of the model file.

    Raises:
        DataError: the frame exceeds the pixel limit, or the bytes are damaged.
    """
    if isinstance(data, np.ndarray):
        return from_capture(data, channels, name)
    if data.width * data.height > MAX_PIXELS:
        raise DataError(
            f"{name}: expected at most {MAX_PIXELS / 1e6:.0f} million pixels, got {data.height} x {data.width} (height x width)"
        )
    # PyAV and OpenCV use the same scaler of FFmpeg; grey levels go through BGR, as they do with OpenCV
    pixels: Any = data.to_ndarray(format="bgr24" if channels == 1 else "rgb24")
    return grey(pixels) if channels == 1 else pixels


class _Forward(logging.Handler):
    """Writes FFmpeg's lines to this module's logger, without secrets."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.debug("FFmpeg: %s", printable(redactor.without_secrets(record.getMessage())))
