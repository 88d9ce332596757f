"""Pictures of rejects: the frame with the anomaly map laid over it, in a folder that keeps the newest ones.

Drawn and encoded in a thread of its own: handing one over costs the judge microseconds. Drawing one takes about 0.17 s of
one core at 1280 x 720 (2-core AMD EPYC server), and the thread rests as long as it worked, so that it never takes more than
half a core from judging. The queue is short: in a burst of rejects pictures are dropped and counted, verdicts never. Names
come from our own numbers: wall time, `seq` and what is harmless in the key, so that they sort by age and nothing from
outside is a path.
"""

import collections
import contextlib
import logging
import os
import queue
import re
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from andon.monitor.judging import Outcome
from andon.monitor.records import iso
from andon.runtime.errors import ConfigError
from andon.runtime.heat_map import Picture, overlay
from andon.runtime.schema import Card, FrameSpec, Status
from andon.sources.clock import Clock
from andon.sources.opencv import opencv

logger = logging.getLogger(__name__)

MAX_PICTURES = 1000
MAX_BYTES = 1 << 30
QUEUE = 8
"""Rejects that may wait to be drawn: eight 1080p frames are 50 MB."""
LONGEST_SIDE = 1280
"""Pixels; larger frames are reduced before they are drawn upon."""
_CLOSE_S = 0.5
_JPEG_QUALITY = 90
_NAME = re.compile(r"\d{8}T\d{6}\.\d{3}Z-\d{8,}-[A-Za-z0-9_-]{1,64}\.jpg")


class Pictures:
    """Keeps overlays of rejected frames.

    Args:
        folder: made where it is missing. Pictures of earlier runs within count; other files are left alone.
        card: of the model file: its crop and the scale of its maps.
        clock: for resting.
        max_pictures: the oldest of ours goes beyond that.
        max_bytes: the same for their sizes together.

    Raises:
        ConfigError: the model file judges windows; the folder cannot be made.
        MissingExtra: opencv is not installed.
    """

    def __init__(
        self, folder: Path, card: Card, *, clock: Clock, max_pictures: int = MAX_PICTURES, max_bytes: int = MAX_BYTES
    ) -> None:
        if not isinstance(card.input, FrameSpec):
            raise ConfigError("pictures of rejects need a model file that judges frames; this one judges windows.")
        if max_pictures < 1:
            raise ConfigError(f"expected at least 1 picture to keep, got {max_pictures}.")
        opencv()  # a missing package is said now, not at the first reject
        self._folder = folder
        self._crop = card.input.crop
        self._map_scale = card.calibration.map_scale if card.calibration else None
        self._shelf = _Shelf(folder, max_pictures, max_bytes)
        self._queue: queue.Queue[Outcome | None] = queue.Queue(QUEUE)
        self._clock = clock
        self._closing = Event()
        self._failing = False
        self._busy = 0
        self._failed = 0
        self._written = 0
        self._left = 0
        self._thread = Thread(target=self._run, name="andon pictures", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Rejects without a picture: the queue was full, the disk failed, the end came."""
        return self._busy + self._failed + self._left

    @property
    def summary(self) -> str:
        """How many, and how many not."""
        return f"{self._written} pictures" + (f", {self.lost} without" if self.lost else "")

    def put(self, outcome: Outcome) -> None:
        """Have a rejected frame drawn, if there is room in the queue; others are not kept."""
        if outcome.verdict.status is not Status.REJECT or outcome.data is None:
            return
        try:
            self._queue.put_nowait(outcome)
        except queue.Full:
            self._busy += 1

    def close(self) -> None:
        """Draw what waits, for at most half a second."""
        self._closing.set()
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=_CLOSE_S / 2)
        self._thread.join(_CLOSE_S / 2)
        with contextlib.suppress(queue.Empty):
            while True:
                self._left += self._queue.get_nowait() is not None
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)

    def _run(self) -> None:
        while (outcome := self._queue.get()) is not None:
            began_s = self._clock.mono_s()
            try:
                self._shelf.add(_name(outcome), self._draw(outcome))
            except Exception as error:  # noqa: BLE001 - a picture less is no reason to lose the next
                self._failed += 1
                if not self._failing:
                    logger.warning("%s: a picture could not be kept (%s); judging goes on", self._folder, error)
                self._failing = True
            else:
                self._written += 1
                self._failing = False
            self._closing.wait(self._clock.mono_s() - began_s)

    def _draw(self, outcome: Outcome) -> bytes:
        frame = _reduced(np.asarray(outcome.data, np.uint8))
        anomaly_map = outcome.verdict.evidence.get("anomaly_map")
        if anomaly_map is not None and self._map_scale:
            picture = overlay(frame, anomaly_map, self._map_scale, crop=self._crop)
        else:  # it decides by a score that no map belongs to: the frame as it is
            picture = frame
        return encode(picture)


class _Shelf:
    """Our pictures in a folder, oldest first; a picture is there whole or not at all."""

    def __init__(self, folder: Path, max_pictures: int, max_bytes: int) -> None:
        self._folder = folder
        self._max_pictures = max_pictures
        self._max_bytes = max_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
            ours = []
            for entry in os.scandir(folder):
                if _NAME.fullmatch(entry.name):
                    ours.append((entry.name, entry.stat().st_size))
                elif _NAME.fullmatch(entry.name.removeprefix(".").removesuffix(".tmp")):
                    Path(entry.path).unlink(missing_ok=True)  # what a kill left behind
        except OSError as error:
            raise ConfigError(f"{folder}: cannot keep pictures there: {error.strerror}.") from error
        self._kept = collections.deque(sorted(ours))
        self._bytes = sum(size for _, size in self._kept)

    def add(self, name: str, data: bytes) -> None:
        # room first: on a disk that is full, deleting is what still works
        while self._kept and (len(self._kept) >= self._max_pictures or self._bytes + len(data) > self._max_bytes):
            oldest, size = self._kept.popleft()
            self._bytes -= size
            (self._folder / oldest).unlink(missing_ok=True)
        unfinished = self._folder / f".{name}.tmp"
        try:
            with unfinished.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self._folder / name)
        except OSError:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise
        self._kept.append((name, len(data)))
        self._bytes += len(data)


def encode(picture: Picture) -> bytes:
    """A picture, RGB ``[H, W, 3]`` or grey ``[H, W, 1]``, as JPEG."""
    cv2 = opencv()
    # cv2 wants BGR
    ordered: NDArray[Any] = np.ascontiguousarray(picture[:, :, ::-1]) if picture.shape[-1] == 3 else picture
    done, data = cv2.imencode(".jpg", ordered, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise OSError(f"a picture {list(picture.shape)} cannot be written as JPEG")
    encoded: bytes = data.tobytes()
    return encoded


def _reduced(frame: Picture) -> Picture:
    height, width, channels = frame.shape
    share = LONGEST_SIDE / max(height, width)
    if share >= 1.0:
        return frame
    cv2 = opencv()
    size = (max(1, round(width * share)), max(1, round(height * share)))
    smaller = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, np.uint8).reshape(size[1], size[0], channels)


def _name(outcome: Outcome) -> str:
    at = iso(outcome.wall_s).replace("-", "").replace(":", "")
    key = re.sub(r"[^A-Za-z0-9_-]+", "-", outcome.ref.key)[-64:].strip("-") or "item"
    return f"{at}-{outcome.seq:08}-{key}.jpg"
