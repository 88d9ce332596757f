"""Live sources: a reader thread that reconnects, one waiting frame that newer ones replace, and a watchdog.

The rules are in `reconnect` and `watchdog`, as plain functions of numbers. The threads here only apply them. A lost camera is a
state, not an exception.
"""

import logging
import random
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from andon.foundation.errors import DataError
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import Reason
from andon.sources.clock import Clock, pause
from andon.sources.live.capture import Capture, Grabbed, Opener, Quiet
from andon.sources.live.newest_frame import FreshFrame, LiveCounts, NewestFrame
from andon.sources.live.reconnect import Condition, DropReason, Intake, LiveRule, jitter, lost, opened, received
from andon.sources.live.source_time import SourceTime
from andon.sources.live.watchdog import Watchdog
from andon.sources.pictures.decode import Frame

logger = logging.getLogger(__name__)


LAGGING_S = 2.0
"""A connection that delivers only old frames for this long, or for `stale_after_s` if longer, is given up and opened again.

The frames wait in a buffer of the network because the link or the decoder is too slow. A new connection empties it.
"""


class LiveStream:
    """An endless stream of a live source, which cannot wait for its consumer.

    Iterating yields fresh frames, and one `Lost` with reason STALE for every `stale_after_s` without a fresh frame. The stream
    ends within two seconds after the stop event is set or `close` is called. A lost camera does not end it. The reader thread
    starts with the first `next`.

    `counts` has a count for every frame; after the end no frame waits. `Lost` items are not in these counts, because no frame
    was grabbed for them.

    Args:
        name: name of the camera, without secrets, for keys, messages and logs.
        opener: opens the camera; called in the reader thread.
        convert: converts the data of a capture to a frame for the model file; called in the consumer's thread. It raises
            `DataError` for a damaged frame, which then becomes `Lost` (UNREADABLE).
        rule: the limits.
        clock: clock for ages and waits.
        stop: set by the owner of the process.
        rng: random numbers for the jitter of retries.
    """

    def __init__(
        self,
        name: str,
        opener: Opener,
        *,
        convert: Callable[[Any], Frame],
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
        self._newest = NewestFrame()
        self._source_time = SourceTime()  # used by the reader thread only
        self._why = ""  # why it could not be opened
        self._silences = 0
        self._waiting_s: float | None = None  # when the camera has last shown that it waits for a trigger
        self._watchdog: Watchdog | None = None
        self._thread: threading.Thread | None = None

    @property
    def counts(self) -> LiveCounts:
        """All counts, taken at one moment."""
        return self._newest.counts()

    @property
    def dropped(self) -> int:
        """Number of frames that were grabbed but never delivered."""
        return self.counts.dropped

    @property
    def drops(self) -> dict[DropReason, int]:
        """Number of frames that were grabbed but never delivered, by reason."""
        return self.counts.drops

    @property
    def waiting(self) -> bool:
        """True if the camera waits for a trigger, and has shown within `stale_after_s` that it works."""
        waiting_s = self._waiting_s
        return waiting_s is not None and self._clock.mono_s() - waiting_s <= self._rule.stale_after_s

    def __iter__(self) -> "LiveStream":
        return self

    def __next__(self) -> Item | Lost:
        if self._thread is None and not self._over():
            self._watchdog = Watchdog(self._rule.stale_after_s, self._clock.mono_s())
            self._thread = threading.Thread(target=self._read_for_ever, name=f"andon {self._name}", daemon=True)
            self._thread.start()
        while not self._over():
            fresh = self._newest.take(timeout_s=min(0.1, self._rule.stale_after_s / 4))
            now_s = self._clock.mono_s()
            if fresh is not None:
                if now_s - fresh.captured_s <= self._rule.stale_after_s:
                    # not since its arrival: during a stall, a decoder delivers frames that are nearly as old as the stall
                    self._alive().alive(fresh.captured_s)
                    return self._item(fresh)
                # both the consumer and the camera were slow, otherwise a newer frame would wait here
                self._newest.drop("stale")
            waiting_s = self._waiting_s
            if waiting_s is not None:
                self._alive().alive(waiting_s)
            if self._alive().due(now_s):
                self._silences += 1
                ref = Ref(key=f"{self._name}#silence{self._silences}", group=self._name, time_s=self._clock.wall_s())
                return Lost(
                    ref, Reason.STALE, f"{self._name}: no fresh frame for {self._rule.stale_after_s:g} s{self._why}"
                )
        self.close()
        if self._newest.bug is not None:
            raise self._newest.bug
        raise StopIteration

    def close(self) -> None:
        """End the stream.

        Wait at most a second for the reader. A reader that blocks in the driver ends with its own timeout.
        """
        self._newest.end()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=1.0)

    def _over(self) -> bool:
        return self._newest.ended or self._stop.is_set()

    def _alive(self) -> Watchdog:
        assert self._watchdog is not None
        return self._watchdog

    def _item(self, fresh: FreshFrame) -> Item | Lost:
        ref = Ref(key=f"{self._name}#{fresh.number}", group=self._name, time_s=fresh.wall_s)
        if fresh.damage:
            return Lost(ref, Reason.CORRUPT, f"{self._name}: {fresh.damage}")
        try:
            return Item(ref, self._convert(fresh.grabbed.data))
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
        except Exception as bug:  # noqa: BLE001 - raised again in the consumer's thread
            self._newest.end(bug)

    def _one_connection(self, intake: Intake) -> Intake:
        """Open the camera, read until it is lost, and close it."""
        first = intake.attempts == 0
        why = ""
        try:
            capture = self._opener()
        except DataError as error:
            capture, why = None, f" ({error})"
        if capture is None:
            self._log_unopened(why, first=first)
            return intake
        self._source_time.connected()
        try:
            return self._read_until_lost(capture, opened(intake, self._rule), first=first)
        finally:
            self._waiting_s = None
            capture.close()

    def _read_until_lost(self, capture: Capture, intake: Intake, *, first: bool) -> Intake:
        """Pass on the frames of a capture."""
        fresh = False
        old_since_s: float | None = None
        began_s = self._clock.mono_s()
        while not self._over():
            why = ""
            try:
                grabbed = capture.read()
            except DataError as error:
                grabbed, why = None, f" ({error})"
            arrived_s = self._clock.mono_s()
            if grabbed is None:
                self._log_lost(why, fresh=fresh, first=first)
                break
            if isinstance(grabbed, Quiet):
                began_s = began_s if grabbed is Quiet.SILENT else arrived_s
                if grabbed is Quiet.WAITING:
                    intake = self._waits(intake, arrived_s, first=not fresh)
                    fresh = True
                continue
            self._why = ""
            took_s, began_s = arrived_s - began_s, arrived_s
            intake, why_not, lag_s = self._received(intake, grabbed, arrived_s, took_s)
            if why_not is None and not fresh:
                logger.info("%s: fresh frames arrive", self._name)
                fresh = True
            elif why_not == "stale" and fresh:
                self._log_stale(lag_s, took_s)
                fresh = False
            if why_not != "stale" or lag_s is None:
                old_since_s = None
                continue
            old_since_s = arrived_s if old_since_s is None else old_since_s
            if arrived_s - old_since_s > max(LAGGING_S, self._rule.stale_after_s):
                logger.warning(
                    "%s: all frames of the last %.1f s were too old, because the link or the decoder is slow; reconnecting",
                    self._name,
                    arrived_s - old_since_s,
                )
                break
        return intake

    def _waits(self, intake: Intake, now_s: float, *, first: bool) -> Intake:
        """Note that the camera works and waits for a trigger. Return the state."""
        self._waiting_s = now_s
        self._why = ""
        if first:
            logger.info("%s: the camera waits for a trigger", self._name)
        return msgspec.structs.replace(intake, attempts=0)

    def _log_lost(self, why: str, *, fresh: bool, first: bool) -> None:
        if self._over():
            return
        if fresh:
            logger.warning("%s: the connection is lost%s; reconnecting", self._name, why)
            self._why = why
        elif why:
            self._log_unopened(why, first=first)

    def _log_unopened(self, why: str, *, first: bool) -> None:
        # once per loss and reason, not once per attempt: attempts go on for months
        if first or why != self._why:
            logger.warning("%s: cannot be opened%s; trying again", self._name, why)
        self._why = why

    def _received(
        self, intake: Intake, grabbed: Grabbed, arrived_s: float, took_s: float
    ) -> tuple[Intake, str | None, float | None]:
        """Pass a frame on or drop it. Return the state, why the frame is not fresh, and its lag if its stamp is usable."""
        mapped = self._source_time.map(arrived_s, grabbed.source_s)
        if mapped.wrong_rate is not None:
            logger.warning(
                "%s: its time stamps advance by %.2f s per second, so they are not used; the age of a frame now counts from its "
                "arrival",
                self._name,
                mapped.wrong_rate,
            )
        lag_s = None if mapped.by_arrival else mapped.lag_s
        condition = Condition(took_s=took_s, lag_s=lag_s, key=grabbed.key, corrupt=bool(grabbed.damage))
        intake, fate = received(intake, condition, self._rule)
        damage = (grabbed.damage or _PREDICTED) if fate == "corrupt" else ""
        self._newest.offer(
            grabbed,
            None if fate == "corrupt" else fate,
            arrived_s - mapped.lag_s,
            self._clock.wall_s() - mapped.lag_s,
            damage=damage,
        )
        return intake, fate, lag_s

    def _log_stale(self, lag_s: float | None, took_s: float) -> None:
        if lag_s is not None:
            logger.warning(
                "%s: a frame was %.2f s old on arrival; frames older than %g s are dropped",
                self._name,
                lag_s,
                self._rule.max_age_s,
            )
            return
        logger.warning(
            "%s: a frame took %.2f s; it and the next %d frames are dropped as too old. If the camera is this slow, "
            "set --read-timeout-s to more than twice the time between frames",
            self._name,
            took_s,
            self._rule.warm_frames,
        )


_PREDICTED = "the frame is predicted from a damaged one"
