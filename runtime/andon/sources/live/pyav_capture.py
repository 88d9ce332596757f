"""Read a network stream with PyAV: with time stamps, key frames and damage, and with a timeout for every call."""

from typing import TYPE_CHECKING

import msgspec

from andon.sources.live.capture import Grabbed
from andon.sources.pyav import frames, open_container

if TYPE_CHECKING:
    from av.container import InputContainer

_WITHOUT_CLOCK = frozenset({"mpjpeg", "mjpeg", "image2pipe"})
"""Formats without time stamps. FFmpeg makes them up from an assumed 25 frames per second."""
_RTSP = {
    "rtsp_transport": "tcp",  # UDP loses packets and smears pictures
    # measured: opens in 0.13 s instead of 1.2 s. The size then comes with the first frame
    "probesize": "32",
    "analyzeduration": "0",
}


class PyAVCapture:
    """One connection to a network stream. A lost connection never recovers, so each connection needs a new object.

    Args:
        url: address, possibly with a password.
        protocols: protocols that FFmpeg may open.
        open_timeout_s: timeout for opening.
        read_timeout_s: longest time without a frame.

    Raises:
        DataError: the stream cannot be opened. The message has no secret.
    """

    def __init__(self, url: str, *, protocols: str, open_timeout_s: float, read_timeout_s: float) -> None:
        rtsp = url[:4].lower() == "rtsp"
        self._container: InputContainer = open_container(
            url,
            protocols=protocols,
            # measured: FFmpeg's demuxers try a read that timed out once more, so a call takes twice the timeout
            timeout_s=(open_timeout_s, read_timeout_s / 2),
            options=_RTSP if rtsp else None,
        )
        self._clocked = not _WITHOUT_CLOCK & set(self._container.format.name.split(","))
        self._frames = frames(self._container)

    def read(self) -> Grabbed | None:
        """Return the next frame; None if the connection is lost or ended."""
        grabbed = next(self._frames, None)
        if grabbed is None or self._clocked:
            return grabbed
        return msgspec.structs.replace(grabbed, source_s=None)

    def close(self) -> None:
        """Release the connection."""
        self._container.close()
