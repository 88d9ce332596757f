"""A status in which every part has a value, and strategies that draw others."""

from hypothesis import strategies as st
from msgspec.structs import replace

from andon.monitor.alarms import AlarmState
from andon.monitor.counters import Counters
from andon.monitor.status import (
    LATENCY_BUCKETS_S,
    ChartStatus,
    ControllerStatus,
    Latency,
    LineStatus,
    OutputStatus,
    PartsStatus,
    ProcessStatus,
    RejectStatus,
    StoreStatus,
    TriggerStatus,
)
from andon.runtime.schema import Reason

FULL = ProcessStatus(
    version="0.1.0",
    run="8d0f2c11",
    started_wall_s=1_795_000_000.0,
    now_s=1000.0,
    now_wall_s=1_795_000_500.25,
    clock_epoch=2,
    lines=(
        LineStatus(
            name="bottles",
            state="running",
            since_s=500.0,
            source="rtsp://***@10.0.0.7:554/live",
            model="0a1b2c3d4e5f",
            model_name="bottle",
            golden=True,
            counters=Counters(
                grabbed=110,
                judged=100,
                invalid=6,
                dropped=4,
                by_status={"OK": 90, "REVIEW": 3, "REJECT": 7},
                by_reason={"BLACK": 4, "STALE": 2},
                by_drop={"busy": 3, "warming": 1},
                waiting=2,
            ),
            latency=Latency(counts=(10, 20, 30, 25, 10, 5, 0, 0, 0, 0, 0), sum_s=3.25),
            alarms={
                "rejects": AlarmState(active=True, condition="unack", alarm=3, occurrence=1, raised_s=990.0),
                "health": AlarmState(suppressed=1, window=(True,) * 500),
            },
            charts=(ChartStatus(name="cusum", value=6.5, limit=5.0), ChartStatus(name="psi", value=0.1, limit=0.25)),
            last_outcome_s=999.9,
            stale_after_s=2.0,
            restarts=4,
            reloads=1,
            reload_error="bottle.onnx: expected a model file, got a truncated one.",
            lost=5,
            parts=PartsStatus(open=1, decided=9, by_status={"OK": 6, "REJECT": 2, "INVALID": 1}, late=1, skipped=2),
            reject=RejectStatus(waiting=1, fired=2, missed=1, latest_s=0.004),
            trigger=TriggerStatus(given=9, refused=1),
        ),
        LineStatus(
            name="caps", state="retrying", since_s=990.0, source="camera 0", model="ffee00112233", quiet_ok=True, golden=True
        ),
    ),
    store=StoreStatus(stored=12, waiting=1, lost=2, failing="database or disk is full", evidence_dropped=3, ping_s=999.5),
    outputs=(
        OutputStatus(name="plant", kind="mqtt", backlog=7, delivered=5, dead=1, failing="connection refused"),
        OutputStatus(name="hook", kind="webhook", backlog=0, delivered=12),
    ),
    controllers=(
        ControllerStatus(
            name="cell", kind="modbus", lines=("bottles",), connected=True, written=98, late=2, longest_s=0.01, confirmed_s=999.75
        ),
        ControllerStatus(name="scada", kind="opcua", lines=("bottles", "caps"), failing="no answer within 1 s"),
    ),
)  # fmt: skip
"""Live and ready, although much is wrong: none of it would be better after a restart."""

LINE = FULL.lines[0]

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
times = st.none() | st.floats(0, 2000)
lines = st.builds(
    LineStatus,
    name=st.sampled_from(["bottles", "caps", "line"]),
    state=st.sampled_from(["starting", "running", "retrying", "ended", "failed"]),
    since_s=times,
    source=texts,
    model=texts,
    golden=st.booleans(),
    last_outcome_s=times,
    judging_since_s=times,
    quiet_ok=st.booleans(),
    source_report=st.sampled_from(["", "stale", "warming", "gap"]),
    stale_after_s=st.floats(0.1, 100) | st.just(float("inf")),
    failure=texts,
    reload_error=texts,
)
stores = st.none() | st.builds(StoreStatus, ping_s=times, failing=texts, waiting=st.integers(0, 5))
statuses = st.builds(
    ProcessStatus,
    version=st.just("1"),
    run=st.just("0"),
    started_wall_s=st.just(0.0),
    now_s=st.floats(0, 2000),
    now_wall_s=st.just(0.0),
    lines=st.lists(lines, max_size=3, unique_by=lambda line: line.name).map(tuple),
    store=stores,
    stopping=st.booleans(),
)


@st.composite
def counters(draw: st.DrawFn) -> Counters:
    """Draw counters whose sums are right, also with members that this version does not know."""
    numbers = st.integers(0, 10**6)
    by_status = draw(st.dictionaries(st.sampled_from(["OK", "REVIEW", "REJECT", "LATER"]), numbers))
    by_reason = draw(st.dictionaries(st.sampled_from([reason.name for reason in Reason if reason] + ["NEW"]), numbers))
    by_drop = draw(st.dictionaries(st.sampled_from(["busy", "stale", "stopped", "part 4711"]), numbers))
    judged, invalid, dropped = (sum(by.values()) for by in (by_status, by_reason, by_drop))
    return Counters(
        grabbed=judged + invalid + dropped,
        judged=judged,
        invalid=invalid,
        dropped=dropped,
        by_status=by_status,
        by_reason=by_reason,
        by_drop=by_drop,
    )


latencies = st.builds(
    Latency,
    counts=st.lists(st.integers(0, 1000), min_size=len(LATENCY_BUCKETS_S) + 1, max_size=len(LATENCY_BUCKETS_S) + 1).map(
        tuple
    ),
    sum_s=st.floats(0, 1e6),
)


def with_line(**changes: object) -> ProcessStatus:
    """Return `FULL` with its first line only, changed."""
    return replace(FULL, lines=(replace(LINE, **changes),))
