"""Decide from the status of a monitor whether the process works (live) and whether it can judge (ready).

Live means: a restart would not help. Every line has judged an item within its limit, or the reason why not is known. The writer
of the event store answers, and no judge call hangs. The watchdog of systemd is fed while the process is live, so a process that
looks alive but judges nothing is restarted.

Ready means: live, each model file has reproduced its golden sample on this machine, and the triggers of each line can arrive.

Reasons contain the names of lines and numbers, but no error texts, so that they can be shown without a login.
"""

from collections.abc import Iterator

from msgspec import Struct

from andon.monitor.status import LineStatus, ProcessStatus, StoreStatus

LONGEST_JUDGE_CALL_S = 10.0
"""A judge call that runs longer is treated as hung."""
LONGEST_STORE_SILENCE_S = 10.0
"""The writer of the store answers a ping at least this often. A commit may wait 5 s for a lock."""
LONGEST_START_S = 120.0
"""Longest normal time between the start of a line and its first state. `deploy/andon.service` waits as long."""


class Health(Struct, frozen=True, kw_only=True):
    """The answer of a check: all reasons why it is negative."""

    reasons: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True without reasons."""
        return not self.reasons


def liveness(status: ProcessStatus) -> Health:
    """Return whether the process works. If not, it should be restarted.

    A source that is away and is opened again (``retrying``), a source that is known to be quiet, and a line that has ended are
    known states. A line that failed is known too: a restart would interrupt the other lines. While the monitor stops, lines need
    not judge any more.
    """
    reasons = [reason for line in status.lines for reason in _reasons_of_line(line, status)]
    reasons += _reasons_of_store(status.store, status.now_s)
    return Health(reasons=tuple(reasons))


def readiness(status: ProcessStatus) -> Health:
    """Return whether the process can judge: it is live and does not stop, and each line works and passes its checks."""
    reasons = list(liveness(status).reasons)
    if status.stopping:
        reasons.append("the monitor is stopping")
    if not status.lines:
        reasons.append("no line is loaded yet")
    reasons += [f"line {line.name}: it ended with an error" for line in status.lines if line.state == "failed"]
    reasons += [
        f"line {line.name}: triggers cannot arrive"
        for line in status.lines
        if line.trigger is not None and line.trigger.failing and line.state not in ("ended", "failed")
    ]
    reasons += [
        f"line {line.name}: the golden sample of its model file has not passed yet"
        for line in status.lines
        if not line.golden
    ]
    return Health(reasons=tuple(reasons))


def _reasons_of_line(line: LineStatus, status: ProcessStatus) -> Iterator[str]:
    if line.judging_since_s is not None:
        judging_s = status.now_s - line.judging_since_s
        if judging_s > LONGEST_JUDGE_CALL_S:
            yield f"line {line.name}: the judge has been busy with one item for {_seconds(judging_s, LONGEST_JUDGE_CALL_S)}"
    if status.stopping or line.quiet_ok:
        return
    if line.state == "starting" and line.since_s is not None:
        starting_s = status.now_s - line.since_s
        if starting_s > LONGEST_START_S:
            yield f"line {line.name}: it has been starting for {_seconds(starting_s, LONGEST_START_S)}"
    if line.state == "running":
        yield from _reasons_of_silence(line, status.now_s)


def _reasons_of_silence(line: LineStatus, now_s: float) -> Iterator[str]:
    known = [at_s for at_s in (line.last_outcome_s, line.since_s) if at_s is not None]
    if not known:
        yield f"line {line.name}: it runs, but has not judged an item yet"
        return
    silent_s = now_s - max(known)
    if silent_s > line.stale_after_s:
        yield f"line {line.name}: it runs, but has not judged an item for {_seconds(silent_s, line.stale_after_s)}"


def _reasons_of_store(store: StoreStatus | None, now_s: float) -> Iterator[str]:
    if store is None:
        return
    if store.ping_s is None:
        yield "event store: its writer has not answered yet"
    elif now_s - store.ping_s > LONGEST_STORE_SILENCE_S:
        yield f"event store: its writer has not answered for {_seconds(now_s - store.ping_s, LONGEST_STORE_SILENCE_S)}"


def _seconds(seconds: float, limit_s: float) -> str:
    return f"{seconds:.1f} s (limit {limit_s:g} s)"
