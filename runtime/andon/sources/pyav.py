"""Load PyAV and pass on FFmpeg's log lines without secrets. The other modules call `pyav` instead of importing av.

PyAV decodes videos and network streams if it is installed. Unlike OpenCV, it gives time stamps, key frames and damage, and each
frame has the size that the camera sent. For 8-bit videos its pixels are equal to those of OpenCV, bit by bit, so a verdict does
not depend on the decoder. Videos of 10 or 12 bits per channel differ.
"""

import functools
import logging
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from andon.foundation.errors import DataError
from andon.foundation.extras import needs, remedy
from andon.foundation.printable import printable
from andon.foundation.redaction import REVEALED
from andon.sources.addresses import register_secrets
from andon.sources.live.capture import Grabbed
from andon.sources.pictures.decode import Channels, Frame, from_capture, grey
from andon.sources.pictures.limits import MAX_PIXELS

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Decoder = Literal["pyav", "opencv"]

logger = logging.getLogger(__name__)


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
    register_secrets(address)
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
        _prepare(container)
    except BaseException:
        container.close()
        raise
    return container


def reason(error: BaseException) -> str:
    """Return the text of an error of PyAV, without the address that it contains."""
    text = getattr(error, "strerror", None) or type(error).__name__
    return printable(REVEALED.redact(str(text)))


def _prepare(container: "InputContainer") -> None:
    if not container.streams.video:
        raise DataError("it contains no picture")
    stream = container.streams.video[0]
    context = stream.codec_context
    if context.width * context.height > MAX_PIXELS:
        raise DataError(_too_large(context.height, context.width))
    stream.thread_type = "NONE"  # with several decoding threads, each would delay a frame
    context.thread_count = 1
    context.options = {"max_pixels": str(MAX_PIXELS)}


def _too_large(height: int, width: int) -> str:
    return f"expected at most {MAX_PIXELS / 1e6:.0f} million pixels, got {height} x {width} (height x width)"


def frames(container: "InputContainer") -> "Iterator[Grabbed]":
    """Yield the frames of a container in order, for `to_frame`, until it ends or its connection is lost.

    The packets of an MJPEG stream are not decoded here: andon's own decoder detects damage that FFmpeg would fill.
    """
    av = pyav()
    stream = container.streams.video[0]
    mjpeg = stream.codec_context.name == "mjpeg"
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError):
            return
        if packet is None:
            return
        if not mjpeg:
            yield from _decoded(packet)
        elif packet.size:  # the empty packet at the end only flushes a decoder
            yield Grabbed(np.frombuffer(bytes(packet), np.uint8)[None], source_s=_seconds(packet))


def _decoded(packet: "Packet[VideoStream]") -> "Iterator[Grabbed]":
    try:
        decoded = packet.decode()
    except (pyav().FFmpegError, ValueError):
        yield Grabbed(
            None, source_s=_seconds(packet), key=bool(packet.is_keyframe), damage="the decoder refused damaged data"
        )
        return
    for frame in decoded:
        damaged = packet.is_corrupt or frame.is_corrupt
        yield Grabbed(
            frame,
            source_s=_seconds(frame),
            key=bool(frame.key_frame),
            damage="the decoder reports damage" if damaged else "",
        )


def _seconds(stamped: "VideoFrame | Packet[VideoStream]") -> float | None:
    stamp = stamped.dts if stamped.pts is None else stamped.pts
    return None if stamp is None or stamped.time_base is None else float(stamp * stamped.time_base)


def to_frame(data: "VideoFrame | Frame", channels: Channels, name: str) -> Frame:
    """Convert a decoded frame or the bytes of a JPEG ``[1, n]`` to the channels of the model file.

    Raises:
        DataError: the frame exceeds the pixel limit, or the bytes are damaged.
    """
    if isinstance(data, np.ndarray):
        return from_capture(data, channels, name)
    if data.width * data.height > MAX_PIXELS:
        raise DataError(f"{name}: {_too_large(data.height, data.width)}")
    # PyAV and OpenCV use the same scaler of FFmpeg; grey levels go through BGR, as they do with OpenCV
    pixels: Any = data.to_ndarray(format="bgr24" if channels == 1 else "rgb24", **_one_thread())
    return grey(pixels) if channels == 1 else pixels


@functools.cache
def _one_thread() -> dict[str, Any]:
    """Return the option for scaling in the calling thread. Older versions of PyAV do so without an option."""
    frame = pyav().VideoFrame(16, 16, "yuv420p")
    try:
        frame.reformat(format="rgb24", threads=1)
    except TypeError:
        return {}
    return {"threads": 1}  # by default, PyAV 18 starts threads for each frame and takes the cores from inference


class _Forward(logging.Handler):
    """Writes FFmpeg's lines to this module's logger, without secrets."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.debug("FFmpeg: %s", printable(REVEALED.redact(record.getMessage())))
