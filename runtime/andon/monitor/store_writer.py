"""Write events durably in one thread, with many events in one commit. A full disk never stops the caller.

An event is durable when its transaction is committed: then neither ``kill -9`` nor a power failure loses it. `put` returns at
once, before that. `flush` waits for it, and `intent` waits for one reject signal.

While the database cannot be written, events wait in memory. When more than `RING` wait, the oldest are lost and counted. After
the recovery, one `EventsLost` event states their number.
"""

import collections
import contextlib
import logging
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from andon.foundation.errors import ConfigError
from andon.foundation.printable import printable
from andon.monitor import store_rows
from andon.monitor.disk_full import is_full, make_room
from andon.monitor.event import Event, EventsLost, Evidence, RejectSignal, new_key
from andon.monitor.outbox import Outbox
from andon.monitor.retention import BATCH, RetentionRule, retain
from andon.monitor.status import StoreStatus
from andon.monitor.store import Judged, Settings, StoreReader, cannot_open, is_damaged_store, open_database
from andon.monitor.store_commit import Batch, EvidenceRow, Intent, Item, Put, Revival, write
from andon.monitor.store_folder import StoreFolder, disk_bytes
from andon.monitor.store_outbox import OutputState, StoredOutbox
from andon.sources.clock import Clock

logger = logging.getLogger(__name__)

RING = 10_000
"""Largest number of events that wait in memory."""
COMMIT_ITEMS = 100
"""Largest number of events in one commit."""
COMMIT_S = 0.01
"""Longest wait for more events before a commit."""
RETENTION_S = 60.0
"""Time between two looks at age and size."""
_LAZY_S = 1.0
"""Time between two commits of deliveries and judged items alone. If they are lost, both are repeated after a restart."""
_IDLE_S = 1.0
_RETRY_S = 0.5
_BLOCKED_S = 10.0
"""Wait after a look that could delete nothing although space is short."""


class _Found(NamedTuple):
    """The content of the store that an earlier start has left."""

    running_s: float
    next_seq: int
    backlogs: dict[str, int]
    refusals: dict[str, dict[int, int]]
    """Number of refusals by output and position."""
    unknown: tuple[Event, ...]


class StoreWriter:
    """The only writer of an event store.

    Args:
        settings: the folder and the limits.
        clock: for running time and retention.
        outputs: names of the outputs. Each event gets one row for each of them in the outbox.
        run: random name of this start of the process. Default: a new one.
        boot: name of this start of the machine.

    Raises:
        ConfigError: the store cannot be opened, is used by another process, or is from a newer version. A damaged store is no
            error: it is moved aside, and a new one begins.
    """

    def __init__(
        self, settings: Settings, clock: Clock, *, outputs: Sequence[str] = (), run: str = "", boot: str = ""
    ) -> None:
        self.run = run or new_key()
        self._settings = settings
        self._clock = clock
        self._boot = boot
        self._outputs = tuple(outputs)
        self._folder = StoreFolder(Path(settings.path), any_file_system=settings.any_file_system)
        self._moved = ""
        try:
            self._connection, found = self._opened_or_begun()
        except BaseException:
            self._folder.close()
            raise
        self._database = self._folder.database
        self._reserve_bytes = settings.reserve_bytes
        if self._reserve_bytes is None:
            self._reserve_bytes = min(disk_bytes(self._folder.path) // 20, 1 << 30)
        self._running_before_s = found.running_s - clock.mono_s()
        self._next_seq = found.next_seq
        self._states = {name: OutputState(found.backlogs.pop(name, 0), found.refusals[name]) for name in self._outputs}
        for name, number in found.backlogs.items():
            logger.warning(
                "%s: %d events wait for the output %s, which is not configured. They are deleted when they are too old.",
                self._folder.path,
                number,
                printable(name),
            )
        self._changed = threading.Condition()  # guards the attributes below
        self._items: collections.deque[Item] = collections.deque()
        self._taken: list[Item] = []
        self._put_number = 0
        self._done_number = 0
        self._judged: dict[tuple[str, str], tuple[int, Judged]] = {}
        self._kept: dict[str, str] = {}
        """Texts that wait for their commit."""
        self._hurry = False
        self._woken = False
        self._closed = False
        self._stored = 0
        self._lost = 0
        self._reported_lost = 0
        self._evidence_dropped = 0
        self._failing = ""
        self._answered_s = clock.mono_s()
        self._next_retention_s = self._blocked_until_s = clock.mono_s()
        self._unlinked: list[int] = []
        self._most = COMMIT_ITEMS
        self._next_lazy_s = self._next_bug_log_s = clock.mono_s()
        self._room_blocked_until_s = self._next_room_log_s = clock.mono_s()
        if not self._folder.make_ballast(settings.ballast_bytes):
            logger.warning("%s: not enough free space to reserve %d bytes", self._folder.path, settings.ballast_bytes)
        self.unknown = found.unknown
        """Reject signals of an earlier start whose result is unknown. They are stored as events and must never fire."""
        self._put_found()
        self._thread = threading.Thread(target=self._run, name="andon store", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------------ for lines

    def put(self, event: Event, outputs: Iterable[str] | None = None) -> None:
        """Queue an event. Return at once, and never raise.

        Args:
            event: the event, without its number.
            outputs: names of the outputs that deliver it. Default: all.
        """
        wanted = self._outputs if outputs is None else tuple(name for name in outputs if name in self._states)
        with self._changed:
            self._append(Put(0, event, wanted))

    def judged(self, line: str, key: str, time_s: float | None = None) -> None:
        """State that all events of an item were put. It becomes durable with or after them: then it is not judged again."""
        with self._changed:
            if len(self._judged) < RING:  # while the disk is full, later ones are judged again after a restart
                self._judged[line, key] = (self._put_number, Judged(line=line, key=key, time_s=time_s))

    def keep(self, name: str, text: str) -> None:
        """Store a text under a name, in place of the last one. It becomes durable within some seconds, or at the end."""
        with self._changed:
            self._kept[name] = text

    def intent(self, event: Event, timeout_s: float) -> bool:
        """Store a reject signal before it fires. Return True if it is durable.

        False means that it is not durable within the time limit. The signal should still fire: a reject must not depend on the
        disk. Call `result` in both cases.

        Args:
            event: an event with the body `RejectSignal` and the result ``unknown``. `mono_ns` is the moment at which it is due.
                If no result follows, the next start stores this event.
            timeout_s: longest wait.
        """
        if not isinstance(event.body, RejectSignal):
            raise TypeError(f"event: expected the body RejectSignal, got {event.kind}.")
        item = Intent(0, event, threading.Event())
        with self._changed:
            self._hurry = True
            self._append(item)
        return item.stored.wait(timeout_s)

    def result(self, intent: Event, event: Event, outputs: Iterable[str] | None = None) -> None:
        """Store the result of a reject signal. Return at once, and never raise.

        Args:
            intent: the event that was given to `intent`.
            event: the event with the result. It gets the key of the intent, so that both can never be stored.
            outputs: see `put`.
        """
        self.put(replace(event, key=intent.key), outputs)

    def evidence(self, key: str, place: int, evidence: Evidence, size: int) -> None:
        """Queue the row of a file of evidence that is already durable, or of one that was dropped. Never raise.

        Args:
            key: key of the event, which was put before.
            place: number of the file within the event.
            evidence: path and moment.
            size: size of the file in bytes.
        """
        with self._changed:
            self._evidence_dropped += bool(evidence.dropped)
            self._append(EvidenceRow(0, key, place, evidence, size))

    # ------------------------------------------------------------------ for the process

    def flush(self, timeout_s: float) -> bool:
        """Wait until all events put before are durable. Return False if they are not within the time limit."""
        with self._changed:
            wanted = self._put_number
            self._hurry = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._done_number >= wanted, timeout_s)

    def ping(self) -> None:
        """Ask the writer for an answer. It sets `StoreStatus.ping_s`. Return at once."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def status(self) -> StoreStatus:
        """Return the state of the store."""
        with self._changed:
            return StoreStatus(
                stored=self._stored,
                waiting=sum(isinstance(item, Put) for item in [*self._taken, *self._items]),
                lost=self._lost,
                failing=self._failing,
                evidence_dropped=self._evidence_dropped,
                moved=self._moved,
                ping_s=self._answered_s,
            )

    def outbox(self, output: str) -> Outbox:
        """Return the undelivered events of an output.

        Raises:
            KeyError: the store was not opened with this output.
        """
        return StoredOutbox(output, self._states[output], self._changed, self._database)

    def revive(self, output: str, seq: int, timeout_s: float = 5.0) -> bool:
        """Send a dead event again, after all events that wait now. Return False if there is no such event."""
        if output not in self._states:
            return False
        item = Revival(0, output, seq, threading.Event())
        with self._changed:
            self._hurry = True
            self._append(item)
        return item.answered.wait(timeout_s) and item.found

    def reader(self) -> StoreReader:
        """Return a reader of this store, for pages and commands."""
        return StoreReader(self._folder.path)

    @property
    def evidence_folder(self) -> Path:
        """Folder for the files of evidence."""
        return self._folder.evidence

    def close(self, timeout_s: float = 2.0) -> None:
        """Commit everything that waits and close the store. Never raise."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            logger.error("%s: the store did not finish within %g s", self._folder.path, timeout_s)

    @property
    def hung(self) -> bool:
        """True if the thread still runs after `close`. If the interpreter ends now, the process may abort."""
        return self._closed and self._thread.is_alive()

    # ------------------------------------------------------------------ the queue; the caller holds the lock

    def _append(self, item: Item) -> None:
        self._put_number += 1
        item.number = self._put_number
        if self._closed and not self._thread.is_alive():
            self._give_up(item)
            return
        self._items.append(item)
        if self._waiting() > RING:
            self._give_up(self._items.popleft())
        self._changed.notify_all()

    def _waiting(self) -> int:
        return len(self._items) + len(self._taken)

    def _give_up(self, item: Item) -> None:
        if isinstance(item, Put):
            body = item.event.body
            if isinstance(body, EventsLost) and body.where == "store":
                self._reported_lost -= body.number  # the next report includes them
            else:
                self._lost += 1
        elif isinstance(item, Revival):
            item.answered.set()

    # ------------------------------------------------------------------ the thread

    def _opened_or_begun(self) -> "tuple[sqlite3.Connection, _Found]":
        """Open the store. If it is damaged, move it aside and begin a new one: judging must not depend on the disk.

        Raises:
            ConfigError: the file is not a store of andon, is of a newer version, or cannot be read or moved.
        """
        try:
            self._connection = self._opened()
            return self._connection, self._found()
        except ConfigError as error:
            if not is_damaged_store(self._folder.database, error.__cause__):
                raise
            try:
                self._moved = self._folder.move_damaged(self._clock.wall_s())
            except OSError as failure:
                raise error from failure
            logger.error(  # noqa: TRY400 - damage of a file, not a bug
                "%s. It was moved to %s, and a new store begins. Events in it are not delivered any more, and items may be "
                "judged again. Check the disk.",
                str(error).partition(". ")[0],
                self._moved,
            )
        self._connection = self._opened()
        return self._connection, self._found()

    def _put_found(self) -> None:
        """Queue the events about what an earlier start has left."""
        for event in self.unknown:
            self.put(event)
        if self._moved:
            detail = (
                f"The event store was damaged. It was moved to {self._moved}, and a new one was begun. Check the disk."
            )
            self.put(self._loss("store", 0, detail))

    def _opened(self) -> sqlite3.Connection:
        try:
            return open_database(self._folder.database, self._settings)
        except ConfigError as error:
            if not _may_be_full(error.__cause__):
                raise
            # even reading needs a little space for SQLite's shared memory
            self._folder.drop_ballast()
            return open_database(self._folder.database, self._settings)

    def _found(self) -> "_Found":
        """Return what an earlier start has left.

        Raises:
            ConfigError: the file is damaged. The connection is closed.
        """
        try:
            return _Found(
                running_s=store_rows.running_time(self._connection),
                next_seq=store_rows.next_number(self._connection),
                backlogs=store_rows.backlogs(self._connection),
                refusals={name: store_rows.refusals(self._connection, name) for name in self._outputs},
                unknown=tuple(store_rows.intents(self._connection)),
            )
        except (sqlite3.Error, ValueError, TypeError) as error:
            self._connection.close()
            raise ConfigError(cannot_open(self._folder.database, error)) from error

    def _run(self) -> None:
        try:
            while self._next_step():
                pass
        finally:
            with self._changed:
                for item in [*self._taken, *self._items]:
                    self._give_up(item)
                self._taken.clear()
                self._items.clear()
                self._changed.notify_all()
            if self._lost > self._reported_lost:
                logger.error("%s: %d events were lost", self._folder.path, self._lost - self._reported_lost)
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._folder.close()

    def _next_step(self) -> bool:
        try:
            return self._step()
        except Exception:
            # this thread must survive everything: without it, no event is ever stored again
            if self._clock.mono_s() >= self._next_bug_log_s:  # the same error may come twice a second for months
                self._next_bug_log_s = self._clock.mono_s() + RETENTION_S
                logger.exception(
                    "%s: the store failed with an unexpected error. Report this as a bug.", self._folder.path
                )
            with self._changed:
                self._failing = "unexpected error, see the log"
                self._changed.wait_for(lambda: self._closed, _RETRY_S)
                return not self._closed

    def _step(self) -> bool:
        """Wait for work and do it. Return False at the end."""
        ending = self._collect()
        if self._taken or (self._lazy_work() and (ending or self._clock.mono_s() >= self._next_lazy_s)):
            error = self._commit()
            if error is not None:
                self._recover(error, ending)
                return not ending
        if ending:
            return bool(self._items or self._taken) or self._lazy_work()
        if not self._folder.has_ballast:
            # as soon as there is space again, and before the store itself uses it up
            self._folder.make_ballast(self._settings.ballast_bytes)
        if self._low():
            self._make_room()
        self._retain()
        return True

    def _collect(self) -> bool:
        """Wait, and take the events of the next commit. Return True if the store is closing."""
        with self._changed:
            if not (self._items or self._taken or self._closed or self._woken):
                self._changed.wait_for(lambda: self._items or self._closed or self._woken, _IDLE_S)
            self._woken = False
            self._answered_s = self._clock.mono_s()
            if self._items and not self._taken:
                self._changed.wait_for(
                    lambda: self._hurry or self._closed or len(self._items) >= COMMIT_ITEMS, COMMIT_S
                )
            while self._items and len(self._taken) < COMMIT_ITEMS:
                self._taken.append(self._items.popleft())
            if not self._items:
                self._hurry = False
            return self._closed

    def _lazy_work(self) -> bool:
        return bool(self._judged or self._kept) or any(state.dirty for state in self._states.values())

    def _running_s(self) -> float:
        return self._running_before_s + self._clock.mono_s()

    def _commit(self) -> sqlite3.Error | None:
        """Commit the taken items and the changes of outboxes. Return the error, if there is one: then nothing is stored."""
        with self._changed:
            items = self._taken[: self._most]
            last = items[-1].number if items else self._done_number
            judged = {item: kept for item, kept in self._judged.items() if kept[0] <= last}
            changes = {name: state.changes() for name, state in self._states.items() if state.dirty}
            texts = dict(self._kept)
        batch = Batch(
            items=items,
            judged=[item for _, item in judged.values()],
            changes=changes,
            unlinked=self._unlinked,
            running_s=self._running_s(),
            kept=texts,
        )
        try:
            written = write(self._connection, batch, self._next_seq)
        except sqlite3.Error as error:
            return error
        self._next_seq = written.next_seq
        # the next batch of deliveries follows at once, and other ones later: each commit wears out the disk
        self._next_lazy_s = self._clock.mono_s() + (0.0 if written.partly else _LAZY_S)
        with self._changed:
            for item in items:
                if isinstance(item, Intent):
                    item.stored.set()
                elif isinstance(item, Revival):
                    item.answered.set()
            del self._taken[: len(items)]
            self._most = min(2 * self._most, COMMIT_ITEMS)
            self._unlinked.clear()
            self._stored += written.stored
            self._lost += written.unusable
            self._failing = ""
            for item_name, kept in judged.items():
                if self._judged.get(item_name) is kept:
                    del self._judged[item_name]
            for text_name, text in texts.items():
                if self._kept.get(text_name) is text:
                    del self._kept[text_name]
            for name, number in written.backlog.items():
                self._states[name].backlog += number
            for name, made in changes.items():
                self._states[name].committed(made, partly=name in written.partly)
            self._woken = self._woken or bool(written.partly)
            self._report_losses()
            self._done_number = max(self._done_number, last)
            self._changed.notify_all()
        return None

    def _report_losses(self) -> None:
        """Queue one event for the events that were lost since the last report."""
        number = self._lost - self._reported_lost
        if number > 0:
            self._reported_lost = self._lost
            self._append(Put(0, self._loss("store", number, "The disk was full or failed."), self._outputs))
        for name, state in self._states.items():
            if state.lost and state.backlog <= self._settings.max_waiting:
                self._append(
                    Put(
                        0,
                        self._loss(name, state.lost, "Too many events were waiting, or the disk was full."),
                        self._outputs,
                    )
                )
                state.lost = 0

    def _loss(self, where: str, number: int, why: str) -> Event:
        return Event(
            key=new_key(),
            run=self.run,
            boot=self._boot,
            line="",
            mono_ns=int(self._clock.mono_s() * 1e9),
            wall_us=int(self._clock.wall_s() * 1e6),
            body=EventsLost(where=where, number=number, detail=why),
        )

    def _low(self) -> bool:
        """Return whether the disk is nearly full. At the very end, SQLite's log cannot be written back and grows."""
        return (
            self._clock.mono_s() >= self._room_blocked_until_s
            and self._folder.free_bytes < self._settings.ballast_bytes // 4
        )

    def _recover(self, error: sqlite3.Error, ending: bool) -> None:
        """Make room after a full disk, and wait before the next try."""
        if is_full(error):
            self._make_room()  # it also reserves the ballast again if there is space
            self._most = max(1, self._most // 4)  # a smaller commit needs less space
            again = self._commit()
            if again is None:
                return
            error = again
        with self._changed:
            first = not self._failing
            self._failing = printable(str(error))
        if first:
            logger.error("%s: events cannot be stored: %s. They wait in memory.", self._folder.path, error)
        if ending:
            return
        with self._changed:
            self._changed.wait_for(lambda: self._closed, _RETRY_S)

    def _make_room(self) -> None:
        room = make_room(
            self._connection,
            self._folder,
            delivered={name: state.done_up_to for name, state in self._states.items()},
            ballast_bytes=self._settings.ballast_bytes,
            unlinked=self._unlinked,
            undelivered=self._waiting() > RING // 2,
        )
        self._unlinked = room.unlinked
        if not (room.files or room.events or room.undelivered):
            self._room_blocked_until_s = self._clock.mono_s() + _IDLE_S
        elif self._clock.mono_s() >= self._next_room_log_s:
            self._next_room_log_s = self._clock.mono_s() + RETENTION_S
            logger.warning(
                "%s: no space left. Deleted %d files of evidence, %d delivered events and %d undelivered entries. Free space.",
                self._folder.path,
                room.files,
                room.events,
                sum(room.undelivered.values()),
            )
        with self._changed:
            for name, number in room.delivered.items():
                self._states[name].backlog -= number
            for name, number in room.undelivered.items():
                self._states[name].backlog -= number
                self._states[name].lost += number

    # ------------------------------------------------------------------ retention

    def _retain(self) -> None:
        """Delete one batch of what is too old or too much, if it is time to look."""
        now_s = self._clock.mono_s()
        rule = RetentionRule(
            max_age_s=self._settings.max_age_days * 86400,
            max_bytes=self._settings.max_bytes,
            reserve_bytes=self._reserve_bytes or 0,
        )
        try:
            self._limit_outboxes()
            free_bytes = self._folder.free_bytes
            if now_s < self._next_retention_s and (free_bytes >= rule.reserve_bytes or now_s < self._blocked_until_s):
                return
            more = retain(self._connection, self._folder, rule, running_s=self._running_s(), outputs=self._outputs)
        except (sqlite3.Error, OSError) as error:
            logger.warning("%s: old events cannot be deleted: %s", self._folder.path, error)
            more = False
        if more:
            self.ping()  # the next batch follows at once, after the events that have arrived
        else:
            self._next_retention_s = now_s + RETENTION_S
            self._blocked_until_s = now_s + _BLOCKED_S

    def _limit_outboxes(self) -> None:
        for name, state in self._states.items():
            excess = min(state.backlog - self._settings.max_waiting, BATCH)
            if excess <= 0:
                continue
            with store_rows.transaction(self._connection):
                dropped = store_rows.drop_waiting(self._connection, name, excess, alarms=True)
            with self._changed:
                state.backlog -= dropped
                state.lost += dropped
                if state.backlog <= self._settings.max_waiting:
                    self._report_losses()
                self._woken = True


def _may_be_full(error: BaseException | None) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
