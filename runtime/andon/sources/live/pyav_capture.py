"""Read a network stream with PyAV: with time stamps, key frames and damage, and with a timeout for every call."""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from andon.sources.live.capture import Grabbed
from andon.sources.pyav import is_mjpeg, jpeg_bytes, open_container, pyav

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet

_WITHOUT_CLOCK = frozenset({"mpjpeg", "mjpeg", "image2pipe"})
"""Formats without time stamps. FFmpeg makes them up from an assumed 25 frames per second."""
_RTSP = {
    "rtsp_transport": "tcp",  # UDP loses packets and smears pictures
    # measured: opens in 0.13 s instead of 1.2 s; the size then comes with the first frame. `fflags=nobuffer` has the opposite effect
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
        self._stream = self._container.streams.video[0]
        self._mjpeg = is_mjpeg(self._stream)
        self._clocked = not _WITHOUT_CLOCK & set(self._container.format.name.split(","))
        self._packets: Iterator[Packet] = self._container.demux(self._stream)
        self._decoded: deque[Grabbed] = deque()

    def read(self) -> Grabbed | None:
        """Return the next frame; None if the connection is lost or ended."""
        av = pyav()
        while not self._decoded:
            try:
                packet = next(self._packets)
            except (StopIteration, av.FFmpegError, OSError):
                return None
            if packet.size:  # the empty packet at the end of a stream only flushes the decoder
                self._decode(packet)
        return self._decoded.popleft()

    def close(self) -> None:
        """Release the connection."""
        self._container.close()

    def _decode(self, packet: "Packet") -> None:
        av = pyav()
        if self._mjpeg:
            self._decoded.append(Grabbed(jpeg_bytes(packet), source_s=self._seconds(packet.pts)))
            return
        try:
            frames = packet.decode()
        except (av.FFmpegError, ValueError):
            self._decoded.append(
                Grabbed(
                    None,
                    source_s=self._seconds(packet.pts),
                    key=bool(packet.is_keyframe),
                    damage="the decoder refused damaged data",
                )
            )
            return
        for frame in frames:
            damaged = packet.is_corrupt or frame.is_corrupt
            self._decoded.append(
                Grabbed(
                    frame,
                    source_s=self._seconds(frame.pts),
                    key=bool(frame.key_frame),
                    damage="the decoder reports damage" if damaged else "",
                )
            )

    def _seconds(self, stamp: int | None) -> float | None:
        if stamp is None or not self._clocked or self._stream.time_base is None:
            return None
        return float(stamp * self._stream.time_base)
