"""Live sources: a reader that reconnects for ever, a slot in which the newest frame wins, a watchdog outside the reader.

The rules (when to retry, which frames are old, when silence is reported) are plain functions of numbers; the threads
below only carry them out. A camera that is gone is a state, not an exception.
"""

import collections
import logging
import random
import threading
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec
from msgspec import Struct

from andon.foundation.errors import DataError
from andon.runtime.schema import Reason
from andon.sources.clock import Clock, pause
from andon.sources.items import Item, Lost, Ref
from andon.sources.pictures.decode import Frame

logger = logging.getLogger(__name__)

DropReason = Literal["busy", "stale", "warming"]
"""Displaced by a newer frame; old when it came, or when it was asked for; one of the first after (re)connecting."""


class Capture(Protocol):
    """An opened camera or stream. Used by one thread."""

    def read(self) -> Frame | None:
        """Return the next frame, BGR ``[H, W, 3]`` or as the bytes of a JPEG ``[1, n]``; None: lost.

        The array is not shared with later calls. Blocks for a bounded time.
        """
        ...

    def close(self) -> None:
        """Give the device back. Never raises."""
        ...


Opener = Callable[[], Capture | None]
"""Opens anew at each call, within a bounded time; None where it cannot be opened now."""


class LiveRule(Struct, frozen=True, kw_only=True):
    """How a live source is handled."""

    read_timeout_s: float
    stale_after_s: float
    warm_frames: int = 5
    """Frames left out after (re)connecting or a stall: decoders begin with grey or smeared ones, cameras with exposure."""
    first_retry_s: float = 0.25
    longest_retry_s: float = 2.0


# --- rules ---


class Intake(Struct, frozen=True, kw_only=True):
    """What decides about the next frame and the next attempt."""

    attempts: int = 0
    """Openings since the last fresh frame: a camera that opens and dies at once is not asked faster and faster."""
    warm_left: int = 0


def opened(intake: Intake, rule: LiveRule) -> Intake:
    """After a successful opening."""
    return msgspec.structs.replace(intake, warm_left=rule.warm_frames)


def received(intake: Intake, took_s: float, rule: LiveRule) -> tuple[Intake, DropReason | None]:
    """After a frame: why it is dropped, or None where it is fresh.

    Args:
        intake: the state before.
        took_s: how long the reading call blocked.
        rule: the limits.
    """
    if took_s > rule.read_timeout_s / 2:
        # measured: on a stall decoders flush what they held, and those frames are as old as the stall
        return msgspec.structs.replace(intake, warm_left=rule.warm_frames), "stale"
    if intake.warm_left > 0:
        return msgspec.structs.replace(intake, warm_left=intake.warm_left - 1), "warming"
    return msgspec.structs.replace(intake, attempts=0), None


def lost(intake: Intake, rule: LiveRule) -> tuple[Intake, float]:
    """After a failed opening or reading: the seconds until the next opening, before `jitter`."""
    # the exponent is bounded: attempts go on for months
    wait_s = min(rule.longest_retry_s, rule.first_retry_s * 2.0 ** min(intake.attempts, 32))
    return Intake(attempts=intake.attempts + 1), wait_s


def jitter(wait_s: float, random_share: float) -> float:
    """Up to a quarter less, so that a hall of cameras behind one switch does not return in step."""
    return wait_s * (1.0 - 0.25 * random_share)


class Watchdog:
    """Reports silence: once for each period in which nothing came."""

    def __init__(self, period_s: float, now_s: float) -> None:
        self._period_s = period_s
        self._since_s = now_s

    def alive(self, now_s: float) -> None:
        """Something fresh came."""
        self._since_s = now_s

    def due(self, now_s: float) -> bool:
        """Whether to report now; the next report is a period later."""
        if now_s - self._since_s < self._period_s:
            return False
        self._since_s = now_s
        return True


# --- threads ---


class _Fresh(Struct, frozen=True):
    frame: Frame
    number: int
    arrived_s: float
    """Monotonic."""
    wall_s: float


class _Slot:
    """Hands one frame from the reader to the consumer; the newest wins. Its counts add up under its lock."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.waiting: _Fresh | None = None
        self.grabbed = 0
        self.drops: collections.Counter[DropReason] = collections.Counter()
        self.ended = False
        self.bug: Exception | None = None

    def offer(self, frame: Frame, why_not: DropReason | None, arrived_s: float, wall_s: float) -> None:
        with self.changed:
            self.grabbed += 1
            if why_not is not None:
                self.drops[why_not] += 1
                return
            if self.ended:
                self.drops["busy"] += 1
                return
            if self.waiting is not None:
                self.drops["busy"] += 1
            self.waiting = _Fresh(frame, self.grabbed, arrived_s, wall_s)
            self.changed.notify_all()

    def take(self, timeout_s: float) -> _Fresh | None:
        with self.changed:
            if self.waiting is None and not self.ended:
                self.changed.wait(timeout_s)
            fresh, self.waiting = self.waiting, None
            return fresh

    def drop(self, reason: DropReason) -> None:
        with self.changed:
            self.drops[reason] += 1

    def end(self, bug: Exception | None = None) -> None:
        with self.changed:
            self.ended = True
            self.bug = self.bug or bug
            if self.waiting is not None:
                self.waiting = None
                self.drops["busy"] += 1
            self.changed.notify_all()


class LiveCounts(Struct, frozen=True, kw_only=True):
    """What became of the frames of a live source. Frames given = `grabbed` - `waiting` - `dropped`, at any moment."""

    grabbed: int
    """Frames that the camera has given."""
    waiting: int
    """1 where a frame waits to be asked for, else 0."""
    drops: dict[DropReason, int]
    """Frames grabbed and never given, by reason."""

    @property
    def dropped(self) -> int:
        """The sum of `drops`."""
        return sum(self.drops.values())


class LiveStream:
    """An endless stream of a live source, which cannot wait for its consumer.

    Iterating gives fresh frames, and one `Lost` with reason STALE for every `stale_after_s` without any. It ends, within
    two seconds, once the stop event is set or `close` is called; it never ends because the camera is gone. The reader
    thread starts with the first `next`.

    `counts` says what became of every frame; after the end none waits. `Lost` items come on top: no frame was grabbed
    for them.

    Args:
        name: for keys, messages and logs; without secrets.
        opener: opens the camera; called in the reader thread.
        convert: what the capture gives to what the model file wants; raises `DataError` for a damaged frame, which becomes
            `Lost` (UNREADABLE); called in the consumer's thread for each frame that it takes.
        rule: timeouts.
        clock: for ages and waits.
        stop: set by the owner of the process.
        rng: for the jitter of retries.
    """

    def __init__(
        self,
        name: str,
        opener: Opener,
        *,
        convert: Callable[[Frame], Frame],
        rule: LiveRule,
        clock: Clock,
        stop: threading.Event,
        rng: random.Random,
    ) -> None:
        self._name = name
        self._opener = opener
        self._convert = convert
        self._rule = rule
        self._clock = clock
        self._stop = stop
        self._rng = rng
        self._slot = _Slot()
        self._silences = 0
        self._openings = 0
        self._watchdog: Watchdog | None = None
        self._thread: threading.Thread | None = None

    @property
    def counts(self) -> LiveCounts:
        """All counts, taken at one moment."""
        with self._slot.changed:
            waiting = 0 if self._slot.waiting is None else 1
            return LiveCounts(grabbed=self._slot.grabbed, waiting=waiting, drops=dict(self._slot.drops))

    @property
    def dropped(self) -> int:
        """Frames grabbed and never given."""
        return self.counts.dropped

    @property
    def drops(self) -> dict[DropReason, int]:
        """Frames grabbed and never given, by reason."""
        return self.counts.drops

    @property
    def openings(self) -> int:
        """Attempts at opening so far, the first one included."""
        return self._openings

    def __iter__(self) -> "LiveStream":
        return self

    def __next__(self) -> Item | Lost:
        if self._thread is None and not self._over():
            self._watchdog = Watchdog(self._rule.stale_after_s, self._clock.mono_s())
            self._thread = threading.Thread(target=self._read_for_ever, name=f"andon {self._name}", daemon=True)
            self._thread.start()
        while not self._over():
            fresh = self._slot.take(timeout_s=min(0.1, self._rule.stale_after_s / 4))
            now_s = self._clock.mono_s()
            if fresh is not None:
                if now_s - fresh.arrived_s <= self._rule.stale_after_s:
                    self._alive().alive(now_s)
                    return self._item(fresh)
                # the consumer was away, and so was the camera, else a newer frame would be here
                self._slot.drop("stale")
            if self._alive().due(now_s):
                self._silences += 1
                ref = Ref(key=f"{self._name}#silence{self._silences}", group=self._name, time_s=self._clock.wall_s())
                return Lost(ref, Reason.STALE, f"{self._name}: no fresh frame for {self._rule.stale_after_s:g} s")
        self.close()
        if self._slot.bug is not None:
            raise self._slot.bug
        raise StopIteration

    def close(self) -> None:
        """End it. Waits at most a second for the reader; one that hangs in the driver ends with its own timeout."""
        self._slot.end()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=1.0)

    def _over(self) -> bool:
        return self._slot.ended or self._stop.is_set()

    def _alive(self) -> Watchdog:
        assert self._watchdog is not None
        return self._watchdog

    def _item(self, fresh: _Fresh) -> Item | Lost:
        ref = Ref(key=f"{self._name}#{fresh.number}", group=self._name, time_s=fresh.wall_s)
        try:
            return Item(ref, self._convert(fresh.frame))
        except DataError as error:
            return Lost(ref, Reason.UNREADABLE, str(error))

    def _read_for_ever(self) -> None:
        try:
            intake = Intake()
            while not self._over():
                intake = self._one_connection(intake)
                intake, wait_s = lost(intake, self._rule)
                if wait_s:
                    pause(self._clock, jitter(wait_s, self._rng.random()), self._over)
        except Exception as bug:  # noqa: BLE001 - raised again where the stream is consumed
            self._slot.end(bug)

    def _one_connection(self, intake: Intake) -> Intake:
        """Open, read until the camera is lost, close."""
        first = intake.attempts == 0
        self._openings += 1
        capture = self._opener()
        if capture is None:
            # once per loss, not once per attempt: attempts go on for months
            if first:
                logger.warning("%s: cannot be opened; trying on", self._name)
            return intake
        intake = opened(intake, self._rule)
        told = False
        try:
            while not self._over():
                began_s = self._clock.mono_s()
                frame = capture.read()
                arrived_s = self._clock.mono_s()
                if frame is None:
                    if told and not self._over():
                        logger.warning("%s: lost; reconnecting", self._name)
                    break
                intake, why_not = received(intake, arrived_s - began_s, self._rule)
                self._slot.offer(frame, why_not, arrived_s, self._clock.wall_s())
                if why_not is None and not told:
                    logger.info("%s: fresh frames arrive", self._name)
                    told = True
                elif why_not == "stale" and told:
                    logger.warning(
                        "%s: a frame took %.2f s; it and the next %d are dropped as old. For a camera that is this slow, "
                        "raise --read-timeout-s to more than twice the time between frames",
                        self._name,
                        arrived_s - began_s,
                        self._rule.warm_frames,
                    )
                    told = False
        finally:
            capture.close()
        return intake


# --- a stand-in for tests and examples ---


class ScriptedCapture:
    """A capture that follows a script, for tests: frames, waits and the end.

    Args:
        script: a frame is given; a number is slept, in seconds, and an event waited for (ten seconds at most), within the
            call that gives the next frame; None, like the end of the script, is a loss.
        clock: for sleeping.
    """

    def __init__(self, script: Sequence[Frame | float | threading.Event | None], clock: Clock) -> None:
        self._script = list(script)
        self._clock = clock
        self.closed = False

    def read(self) -> Frame | None:
        """The next frame of the script."""
        while self._script:
            step = self._script.pop(0)
            if isinstance(step, threading.Event):
                step.wait(10.0)
            elif isinstance(step, float):
                self._clock.sleep(step)
            else:
                return step
        return None

    def close(self) -> None:
        """Remembers that it was closed."""
        self.closed = True
