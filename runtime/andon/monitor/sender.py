"""Deliver the events of one output at least once and in order, in a thread of its own.

A receiver that is away, slow or hung delays only its own events. The sender keeps at most one page of events and the ones in
flight in memory. An event counts as delivered when the receiver has confirmed it and all events before it.
"""

import logging
import random
import threading
import traceback
from collections import deque
from collections.abc import Callable, Collection

from andon.foundation.errors import AndonError
from andon.foundation.printable import printable
from andon.monitor.event import EventsLost
from andon.monitor.in_flight import InFlight
from andon.monitor.outbox import Outbox, Waiting
from andon.monitor.output import (
    Connected,
    Connection,
    Delivered,
    Gone,
    Message,
    Output,
    Refused,
    Reply,
    message_of,
)
from andon.monitor.retry import Backoff, Breaker, is_poison
from andon.monitor.status import OutputStatus
from andon.sources.clock import Clock

logger = logging.getLogger(__name__)

PAGE = 500
"""Number of events that are read from the outbox at once."""
WINDOW = 20
"""Upper limit of events in flight."""
LAMP_S = 5.0
"""Age of an unanswered event after which the status reports a failure."""
_LOOK_S = 5.0
"""Time after which an idle sender looks for events without being woken."""
_STEP_S = 0.05
"""Longest wait while something must be seen soon that gives no signal."""
_CLOSING_S = 0.8
"""Part of the time for `close` that is kept for closing the connection."""


class Sender:
    """The thread that delivers the events of one output.

    Args:
        name: name of the output in the configuration.
        kind: kind of the output, for the status.
        output: the opened output.
        outbox: its undelivered events.
        clock: for all deadlines and pauses.
        lost: gets one body for each event that is dead, from the thread of the sender. It must not block. A dead event that
            itself reports a loss is only counted. Otherwise, a receiver that refuses everything would cause events without end.
        backoff: limits of the pauses between tries.
        rng: source of the jitter.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        output: Output,
        outbox: Outbox,
        *,
        clock: Clock,
        lost: Callable[[EventsLost], None],
        backoff: Backoff | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._name = name
        self._kind = kind
        self._output = output
        self._outbox = outbox
        self._clock = clock
        self._lost = lost
        self._backoff = backoff or Backoff()
        self._rng = rng or random.Random()  # noqa: S311 - jitter
        self._changed = threading.Condition()
        self._woken = False
        self._stop_by_s: float | None = None
        self._breaker = Breaker()
        self._delivered = 0
        self._dead = 0
        self._failing = ""
        self._unanswered_since_s: float | None = None
        self._backlog = 0
        self._done_to = 0
        """Number up to which events are delivered or dead. The outbox may still have them for a moment."""
        self._last: Connection | None = None
        self._thread = threading.Thread(target=self._run, name=f"output {name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Report that new events are committed. It may be called from any thread, and returns at once."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Begin to end within `timeout_s`, and return at once. See `close`."""
        with self._changed:
            if self._stop_by_s is None:
                self._stop_by_s = self._clock.mono_s() + max(0.0, timeout_s - _CLOSING_S)
            self._changed.notify_all()

    def close(self, timeout_s: float = 2.0) -> bool:
        """Deliver waiting events if the receiver answers, then end within `timeout_s`.

        Events that are not delivered stay in the outbox.

        Returns:
            False if the thread, or a name lookup that it began, still runs. It ends by itself and delivers nothing more.
        """
        self.stop(timeout_s)
        if self._thread.ident is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and (self._last is None or not self._last.hung)

    def status(self) -> OutputStatus:
        """Return the state, from any thread."""
        try:
            self._backlog = self._outbox.backlog()
        except Exception:  # noqa: BLE001 - the store reports its own failure; the status then has the last known number
            logger.debug("%s: the backlog cannot be read now", self._name)
        return OutputStatus(
            name=self._name,
            kind=self._kind,
            backlog=self._backlog,
            delivered=self._delivered,
            dead=self._dead,
            failing=self._failing or self._overdue(),
        )

    def _overdue(self) -> str:
        since_s = self._unanswered_since_s
        age_s = self._clock.mono_s() - since_s if since_s is not None else 0.0
        return f"no answer for {age_s:.0f} s" if age_s >= LAMP_S else ""

    def _run(self) -> None:
        while self._pause():
            began_s = self._clock.mono_s()
            gone = self._session()
            self._unanswered_since_s = None
            if gone is None:
                return
            now_s = self._clock.mono_s()
            if now_s - began_s >= self._backoff.cap_s:  # it worked for long: this is a new failure
                self._breaker = self._breaker.succeeded()
            self._breaker = self._breaker.failed(now_s, self._backoff, self._rng, at_least_s=gone.at_least_s)
            self._failed(gone.reason)

    def _pause(self) -> bool:
        """Wait until the next connection is allowed. Return False after a stop."""
        with self._changed:
            while self._stop_by_s is None:
                now_s = self._clock.mono_s()
                if self._breaker.state(now_s) == "open":
                    self._changed.wait(self._breaker.until_s - now_s)
                elif self._last is not None and self._last.hung:
                    # one waiting thread is enough: a name lookup cannot be interrupted
                    self._changed.wait(_STEP_S)
                else:
                    return True
        return False

    def _session(self) -> Gone | None:
        """Use one connection until it fails. Return the failure, or None after a stop."""
        inbox: deque[Reply] = deque()

        def hear(reply: Reply) -> None:
            with self._changed:
                inbox.append(reply)
                self._changed.notify_all()

        try:
            self._last = self._output.connect(hear)
        except AndonError as error:
            return Gone(printable(str(error)))
        except Exception as error:  # noqa: BLE001 - a broken output must not end its thread
            return self._bug(error)
        try:
            return _Session(self, self._last, inbox).run()
        except Exception as error:  # noqa: BLE001 - a failing store or output must not end the thread
            return self._bug(error)
        finally:
            self._last.close()

    def _bug(self, error: Exception) -> Gone:
        """Log the place of an unexpected error. Its text may contain a secret and is left out."""
        kind = type(error).__name__
        if not self._failing:
            place = "".join(traceback.format_tb(error.__traceback__))
            logger.error("the output %s: unexpected %s, tried again. Place:\n%s", self._name, kind, place)
        return Gone(f"unexpected {kind}")

    def _failed(self, reason: str) -> None:
        # one warning for each new state, not for each try
        if reason and not self._failing:
            logger.warning("the output %s: %s. Its events wait, and it is tried again", self._name, printable(reason))
        self._failing = printable(reason)

    def _succeeded(self) -> None:
        if self._failing:
            logger.warning("the output %s: delivers again", self._name)
        self._failing = ""


def close_all(senders: Collection[Sender], *, clock: Clock, timeout_s: float = 2.0) -> bool:
    """Close all senders at the same time, within `timeout_s` together. Return False if one still runs, see `Sender.close`."""
    until_s = clock.mono_s() + timeout_s
    for sender in senders:
        sender.stop(timeout_s)
    ended = [sender.close(max(0.0, until_s - clock.mono_s())) for sender in senders]
    return all(ended)


class _Session:
    """The use of one connection by its sender, in the sender's thread."""

    def __init__(self, sender: Sender, connection: Connection, inbox: deque[Reply]) -> None:
        self._sender = sender
        self._connection = connection
        self._inbox = inbox
        self._began_s = sender._clock.mono_s()
        self._window = 0  # 0 before the connection is open
        self._flight = InFlight()
        self._page: deque[Waiting] = deque()
        self._read_to = sender._done_to
        self._look_s = self._began_s
        """Time of the next look into the outbox."""
        self._looked_last = False
        self._sent_s: dict[int, float] = {}
        """Times at which the open messages were sent."""
        self._again_s: dict[int, float] = {}
        """Times at which refused messages are sent again."""
        self._refusals: dict[int, int] = {}

    def run(self) -> Gone | None:
        """Deliver until the connection fails or the sender is closed."""
        while True:
            gone = self._answer(self._take())
            prefix = self._flight.take_prefix()
            if prefix is not None:
                self._sender._outbox.done(prefix)
                self._sender._done_to = prefix
            now_s = self._sender._clock.mono_s()
            gone = gone or self._late(now_s)
            if gone is not None or self._ends(now_s):
                return gone
            self._send(now_s)
            self._wait()

    def _take(self) -> list[Reply]:
        with self._sender._changed:
            replies = list(self._inbox)
            self._inbox.clear()
            if self._sender._woken:
                self._sender._woken = False
                self._look_s = self._sender._clock.mono_s()
        return replies

    def _answer(self, replies: list[Reply]) -> Gone | None:
        sender = self._sender
        for reply in replies:
            match reply:
                case Connected():
                    self._window = max(1, min(reply.window, WINDOW))
                    if reply.checked:
                        sender._succeeded()
                case Delivered():
                    if self._flight.finish(reply.seq):
                        self._forget(reply.seq)
                        sender._delivered += 1
                        sender._breaker = sender._breaker.succeeded()
                        sender._succeeded()
                case Refused():
                    # the receiver answers, so the connection is not at fault
                    sender._breaker = sender._breaker.succeeded()
                    self._refused(reply.seq, reply.reason)
                case Gone():
                    if reply.oversize and len(self._sent_s) == 1:  # it was the only one, so it is to blame
                        self._refused(next(iter(self._sent_s)), reply.reason)
                    return reply
        return None

    def _refused(self, seq: int, reason: str) -> None:
        message = self._flight.open(seq)
        if message is None:
            return
        sender, reason = self._sender, printable(reason)
        number = self._refusals[seq] + 1
        self._forget(seq)
        sender._outbox.refused(seq)
        sender._failed(f"event {seq} ({printable(message.kind)}) was refused: {reason}")
        if is_poison(number):
            self._bury(seq, message.kind, reason)
            self._flight.finish(seq)
        else:
            self._refusals[seq] = number
            self._again_s[seq] = sender._clock.mono_s() + sender._backoff.delay_s(number - 1, sender._rng)

    def _bury(self, seq: int, kind: str, reason: str) -> None:
        sender = self._sender
        sender._outbox.bury(seq, reason)
        sender._dead += 1
        logger.error("the output %s: event %d is dead: %s. The next ones go on", sender._name, seq, reason)
        if kind != _LOST_KIND:
            detail = f"event {seq} ({printable(kind)}) was refused: {reason}"
            sender._lost(EventsLost(where=sender._name, number=1, detail=detail))

    def _forget(self, seq: int) -> None:
        self._sent_s.pop(seq, None)
        self._again_s.pop(seq, None)
        self._refusals.pop(seq, None)
        self._note_oldest()

    def _note_oldest(self) -> None:
        self._sender._unanswered_since_s = min(self._sent_s.values(), default=None)

    def _late(self, now_s: float) -> Gone | None:
        """Return a failure if the connection or an event has no answer for too long."""
        longest_s = self._sender._output.answer_s
        if not self._window:
            return Gone(f"no connection within {longest_s:g} s") if now_s - self._began_s >= longest_s else None
        since_s = self._sender._unanswered_since_s
        if since_s is not None and now_s - since_s >= longest_s:
            return Gone(f"no answer within {longest_s:g} s")
        return None

    def _ends(self, now_s: float) -> bool:
        stop_by_s = self._sender._stop_by_s
        if stop_by_s is None:
            return False
        if not self._window or self._again_s or self._sender._failing or now_s >= stop_by_s:
            return True
        if not self._looked_last:  # what was committed just before the stop
            self._looked_last, self._look_s = True, now_s
        self._fill(now_s)
        return not self._page and not self._flight

    def _send(self, now_s: float) -> None:
        if not self._window:
            return
        for seq in [seq for seq, at_s in sorted(self._again_s.items()) if at_s <= now_s]:
            message = self._flight.open(seq)
            del self._again_s[seq]
            if message is not None:
                self._hand_over(message, self._refusals[seq], now_s)
        # after a failure, one event is tried alone; while one is refused, no later one overtakes it
        while not self._again_s and len(self._flight) < (1 if self._sender._breaker.failures else self._window):
            self._fill(now_s)
            if not self._page:
                return
            waiting = self._page.popleft()
            try:
                message = message_of(waiting)
            except ValueError as error:
                self._give_up(waiting, str(error))
                continue
            self._flight.add(message)
            self._hand_over(message, waiting.refusals, now_s)

    def _give_up(self, waiting: Waiting, reason: str) -> None:
        """Bury what cannot be sent at all. Each output would refuse it for the same reason."""
        self._bury(waiting.seq, "", reason)

    def _hand_over(self, message: Message, refusals: int, now_s: float) -> None:
        self._refusals[message.seq] = refusals
        self._sent_s[message.seq] = now_s
        self._note_oldest()
        self._connection.send(message)

    def _fill(self, now_s: float) -> None:
        if self._page or now_s < self._look_s:
            return
        self._page.extend(self._sender._outbox.page(self._read_to, PAGE))
        if self._page:
            self._read_to = self._page[-1].seq
            return
        self._look_s = now_s + _LOOK_S

    def _wait(self) -> None:
        """Wait for a reply, for new events, for a stop, or for the next deadline."""
        sender = self._sender
        with sender._changed:
            if self._inbox or sender._woken:
                return
            times_s = [self._look_s, *self._again_s.values()]
            if not self._window:
                times_s = [self._began_s + sender._output.answer_s]
            if sender._unanswered_since_s is not None:
                times_s.append(sender._unanswered_since_s + sender._output.answer_s)
            # a time that has passed belongs to a full window, which only a reply or another deadline changes
            now_s = sender._clock.mono_s()
            later = [time_s - now_s for time_s in times_s if time_s > now_s]
            longest_s = _LOOK_S if sender._stop_by_s is None else _STEP_S  # a stop may have come before this wait
            sender._changed.wait(min([*later, longest_s]))


_LOST_KIND = str(EventsLost.__struct_config__.tag)
