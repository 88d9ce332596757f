"""Keep pictures of the newest rejected frames in a folder, with the heat map over them and the verdict below.

A separate thread draws and encodes the pictures. Therefore, the judge needs only microseconds to pass on a frame. One
picture of 1280 x 720 takes 25 ms of one core, or 65 ms if all of it is hot (a shared x86-64 machine). The thread then pauses
for the same time, so that it never uses more than half a core. The queue is short: in a burst of rejects pictures are dropped
and counted, but never verdicts. Only a source that can wait, such as a finished folder or a video, waits for the pictures.
The counts are exact: after `close`, each reject has a picture or is counted as lost.

Only pictures of this sink are replaced or removed. Names consist of wall time, `seq` and the safe characters of the key.
Therefore they sort by age, and no external text can become a path.
"""

import collections
import contextlib
import errno
import logging
import os
import re
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from andon.drawing.heat_picture import font, heat_picture
from andon.foundation.errors import ConfigError
from andon.monitor.judging import Outcome
from andon.monitor.records import iso
from andon.monitor.sink import SinkContext, SinkKind
from andon.runtime.grey_levels import grey_levels
from andon.runtime.heat_map import Picture
from andon.runtime.schema import Card, FrameSpec, Status
from andon.sources.clock import Clock
from andon.sources.opencv import opencv

logger = logging.getLogger(__name__)

MAX_PICTURES = 1000
MAX_BYTES = 1 << 30
QUEUE = 8
"""Largest number of waiting rejects. Eight 1080p frames are 50 MB."""
LONGEST_SIDE = 1280
"""Longest side of a picture, in pixels. Larger frames are reduced before drawing."""
DRAIN_S = 30.0
"""Longest wait for the queue at the end of a source. A full queue takes some seconds on a slow machine."""
_CLOSE_S = 0.3
_DRAWING_S = 1.0
_JPEG_QUALITY = 90
_NAME = re.compile(r"\d{8}T\d{6}\.\d{3}Z-\d{8,}-[A-Za-z0-9_-]{1,64}\.jpg")


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of the sink."""

    folder: Annotated[
        str,
        Meta(min_length=1, description="write into this folder; created if it is missing", extra={"path": "folder"}),
    ]
    max_pictures: Annotated[int, Meta(ge=1, description="keep this number of the newest pictures")] = MAX_PICTURES
    max_bytes: Annotated[
        int, Meta(ge=1, description="keep the newest pictures up to this total size", extra={"unit": "bytes"})
    ] = MAX_BYTES


class Pictures:
    """A sink that keeps overlays of rejected frames.

    Args:
        folder: the folder, created if it is missing. Pictures of earlier runs in it count; other files are not touched.
        card: card of the model file, for the crop and the colour scale of the maps.
        clock: for the pauses of the thread.
        stop: event that ends waiting for a place in the queue.
        wait: block `put` while the queue is full instead of losing the picture, and do not pause. For sources that can wait.
        max_pictures: largest number of pictures. The oldest are removed.
        max_bytes: largest total size. The oldest are removed.

    Raises:
        ConfigError: the model file judges windows, or the folder cannot be created.
        MissingExtra: OpenCV or Pillow is not installed.
    """

    def __init__(
        self,
        folder: Path,
        card: Card,
        *,
        clock: Clock,
        stop: Event | None = None,
        wait: bool = False,
        max_pictures: int = MAX_PICTURES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        _require_frames(card)
        if max_pictures < 1:
            raise ConfigError(f"max_pictures: expected at least 1, got {max_pictures}.")
        _require_packages()
        self._folder = folder
        self._card = card
        self._shelf = _Shelf(folder, max_pictures, max_bytes)
        self._clock = clock
        self._stop = stop if stop is not None else Event()
        self._wait = wait
        self._changed = Condition()  # guards the attributes below
        self._waiting: collections.deque[Outcome] = collections.deque()
        self._drawing = False
        self._closed = False
        self._written = 0
        self._lost = 0
        self._hurry = Event()
        self._failing = False
        self._thread = Thread(target=self._run, name="andon pictures", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Number of rejects without a picture, because the queue was full, the disk failed, or the run ended."""
        return self._lost

    @property
    def summary(self) -> str:
        """Number of pictures, and number of rejects without one."""
        with self._changed:
            return f"{self._written} pictures" + (f", {self._lost} without" if self._lost else "")

    @property
    def hung(self) -> bool:
        """True if a picture is still being drawn or written after `close`. Ending the interpreter may abort the process."""
        return self._closed and self._thread.is_alive()

    def put(self, outcome: Outcome) -> None:
        """Queue a rejected frame for drawing if there is a free place. Ignore all other outcomes."""
        if outcome.verdict.status is not Status.REJECT or outcome.data is None:
            return
        with self._changed:
            while self._wait and len(self._waiting) >= QUEUE and not self._closed and not self._stop.is_set():
                self._changed.wait(0.1)
            if len(self._waiting) >= QUEUE or self._closed:
                self._lost += 1
                return
            self._waiting.append(outcome)
            self._changed.notify_all()

    def drain(self, timeout_s: float = DRAIN_S) -> None:
        """Wait until all queued pictures are drawn. Called if the source ended by itself."""
        self._hurry.set()
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._drawing, timeout_s)

    def close(self) -> None:
        """Draw queued pictures for at most 0.3 s.

        If a picture is still being drawn then, wait at most one more second for it. Count all others as lost.
        """
        self._hurry.set()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(_CLOSE_S)
        with self._changed:
            self._lost += len(self._waiting)
            self._waiting.clear()
        # if the interpreter ends while OpenCV works in another thread, the process aborts
        self._thread.join(_DRAWING_S)
        with self._changed:
            if self._drawing:
                self._drawing = False
                self._lost += 1

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                outcome = self._waiting.popleft()
                self._drawing = True
                self._changed.notify_all()
            began_s = self._clock.mono_s()
            kept = self._keep(outcome)
            with self._changed:
                if not self._drawing:  # `close` has counted it as lost
                    return
                self._drawing = False
                self._written += kept
                self._lost += not kept
                self._changed.notify_all()
            if not self._wait:
                self._hurry.wait(self._clock.mono_s() - began_s)

    def _keep(self, outcome: Outcome) -> bool:
        try:
            self._shelf.add(_name(outcome), self._draw(outcome))
        except Exception as error:  # noqa: BLE001 - after the loss of one picture, the next must be tried
            if not self._failing:
                logger.warning("%s: a picture could not be written (%s); judging continues", self._folder, error)
            self._failing = True
            return False
        self._failing = False
        return True

    def _draw(self, outcome: Outcome) -> bytes:
        card = outcome.card or self._card
        frame = _reduced(grey_levels(np.asarray(outcome.data), card.input))
        return encode(heat_picture(frame, outcome.verdict, card))


class _Shelf:
    """The pictures of this sink in a folder, oldest first. A picture is either complete or absent."""

    def __init__(self, folder: Path, max_pictures: int, max_bytes: int) -> None:
        self._folder = folder
        self._max_pictures = max_pictures
        self._max_bytes = max_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
            ours = []
            for entry in os.scandir(folder):
                if not entry.is_file(
                    follow_symlinks=False
                ):  # pictures of this sink are regular files: never remove anything else with such a name
                    continue
                if _NAME.fullmatch(entry.name):
                    ours.append((entry.name, entry.stat().st_size))
                elif _NAME.fullmatch(entry.name.removeprefix(".").removesuffix(".tmp")):
                    Path(entry.path).unlink(missing_ok=True)  # left behind by a killed process
        except OSError as error:
            raise ConfigError(f"{folder}: cannot write pictures into this folder: {error.strerror}.") from error
        self._kept = collections.deque(sorted(ours))
        self._bytes = sum(size for _, size in self._kept)

    def add(self, name: str, data: bytes) -> None:
        target, unfinished = self._folder / name, self._folder / f".{name}.tmp"
        _require_absent(target)
        _require_absent(unfinished)
        # remove old pictures first: on a full disk deleting still works
        while self._kept and (len(self._kept) >= self._max_pictures or self._bytes + len(data) > self._max_bytes):
            oldest, size = self._kept.popleft()
            self._bytes -= size
            (self._folder / oldest).unlink(missing_ok=True)
        try:
            with unfinished.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(target)
        except OSError:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise
        self._kept.append((name, len(data)))
        self._bytes += len(data)


def _require_absent(path: Path) -> None:
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path.name)


def encode(picture: Picture) -> bytes:
    """Encode a picture, RGB ``[H, W, 3]`` or grey ``[H, W, 1]``, as JPEG."""
    cv2 = opencv()
    # cv2 expects BGR
    ordered: NDArray[Any] = np.ascontiguousarray(picture[:, :, ::-1]) if picture.shape[-1] == 3 else picture
    done, data = cv2.imencode(".jpg", ordered, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise OSError(f"a picture of shape {list(picture.shape)} cannot be encoded as JPEG")
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


def _refuse_within(source: str, folder: str) -> None:
    watched, kept = Path(os.path.realpath(source)), Path(os.path.realpath(folder))
    if not watched.is_dir() or not kept.is_relative_to(watched):
        return
    if any(name.startswith(".") for name in kept.relative_to(watched).parts):  # hidden folders are not watched
        return
    raise ConfigError(
        f"{folder}: expected a folder for pictures outside {source}, got one inside, where each picture of a reject would be "
        f"judged again. Give another folder, or a hidden one, for example {Path(source) / '.rejects'}."
    )


def _require_frames(card: Card) -> None:
    if not isinstance(card.input, FrameSpec):
        raise ConfigError("pictures: expected a model file for frames, got one for windows. Leave the pictures out.")


def _require_packages() -> None:
    """Report a missing package now and not at the first reject."""
    opencv()
    font(12)


def _check(settings: Settings, context: SinkContext) -> None:
    _refuse_within(context.source, settings.folder)
    _require_frames(context.card)
    _require_packages()


def _open_sink(settings: Settings, context: SinkContext) -> Pictures:
    _refuse_within(context.source, settings.folder)
    return Pictures(
        Path(settings.folder),
        context.card,
        clock=context.clock,
        stop=context.stop,
        wait=context.can_wait,
        max_pictures=settings.max_pictures,
        max_bytes=settings.max_bytes,
    )


SINK = SinkKind(
    name="pictures",
    summary="write the newest rejected frames as pictures, with the heat map over them and the verdict below",
    settings=Settings,
    open=_open_sink,
    check=_check,
)
