"""Retention deletes enough, in the right order, and nothing else."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from tests.monitor.some_event import some_event

from andon.monitor import store_rows
from andon.monitor.event import AlarmChanged, Event, Evidence
from andon.monitor.evidence import write_file
from andon.monitor.retention import RetentionRule, Usage, deletable, missing_bytes, retain
from andon.monitor.store import Settings, open_database
from andon.monitor.store_folder import DATABASE, StoreFolder
from andon.monitor.store_rows import Candidate

_candidates = st.lists(
    st.builds(
        Candidate,
        number=st.integers(1, 1000),
        running_s=st.floats(0, 1000),
        bytes=st.integers(1, 1000),
        alarm_open=st.booleans(),
    ),
    unique_by=lambda one: one.number,
    max_size=30,
)
_rules = st.builds(
    RetentionRule, max_age_s=st.floats(0, 1000), max_bytes=st.integers(0, 10_000), reserve_bytes=st.integers(0, 10_000)
)
_usages = st.builds(
    Usage, running_s=st.floats(0, 2000), stored_bytes=st.integers(0, 20_000), free_bytes=st.integers(0, 20_000)
)


@given(_candidates, _rules, _usages)
def test_enough_is_deleted_or_everything(candidates: list[Candidate], rule: RetentionRule, usage: Usage) -> None:
    chosen = deletable(candidates, rule, usage)

    freed = sum(one.bytes for one in chosen)
    assert freed >= missing_bytes(rule, usage) or len(chosen) == len(candidates)


@given(_candidates, _rules, _usages)
def test_open_alarms_are_deleted_last_and_never_because_of_age(
    candidates: list[Candidate], rule: RetentionRule, usage: Usage
) -> None:
    chosen = deletable(candidates, rule, usage)

    if any(one.alarm_open for one in chosen):
        assert {one for one in candidates if not one.alarm_open} <= set(chosen)
        assert missing_bytes(rule, usage) > 0


@given(_candidates, _rules, _usages)
def test_without_missing_bytes_exactly_the_old_ones_are_deleted(
    candidates: list[Candidate], rule: RetentionRule, usage: Usage
) -> None:
    rule = RetentionRule(max_age_s=rule.max_age_s, max_bytes=usage.stored_bytes, reserve_bytes=0)

    chosen = deletable(candidates, rule, usage)

    old = {one for one in candidates if one.running_s < usage.running_s - rule.max_age_s and not one.alarm_open}
    assert set(chosen) == old


@given(_candidates, _rules, _usages)
def test_what_is_kept_is_newer_than_what_is_deleted_for_its_size(
    candidates: list[Candidate], rule: RetentionRule, usage: Usage
) -> None:
    rule = RetentionRule(max_age_s=1e9, max_bytes=rule.max_bytes, reserve_bytes=rule.reserve_bytes)

    chosen = deletable(candidates, rule, usage)

    kept = [one for one in candidates if one not in chosen]
    for kind in (True, False):
        newest = max((one.number for one in chosen if one.alarm_open is kind), default=0)
        assert all(one.number > newest for one in kept if one.alarm_open is kind)


class _Store:
    """A store with events and evidence, without a writer thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = StoreFolder(folder)
        self.connection = open_database(folder / DATABASE, Settings(path=str(folder)))
        self._seq = 0

    def add(self, event: Event, running_s: float, *, outputs: tuple[str, ...] = (), picture: int = 0) -> None:
        self._seq += 1
        with store_rows.transaction(self.connection):
            store_rows.insert_event(self.connection, store_rows.with_number(event, self._seq), outputs, running_s)
            if picture:
                name = f"2026/11/30/{event.key}-0.jpg"
                write_file(self.folder.evidence, name, b"j" * picture)
                store_rows.insert_evidence(
                    self.connection, event.key, 0, Evidence(name=name, moment="at"), size=picture, running_s=running_s
                )

    def retain(self, *, running_s: float, outputs: tuple[str, ...] = (), **rule: float) -> int:
        """Delete until nothing more is deleted, and return the number of batches."""
        facts: dict[str, float] = {"max_age_s": 1e9, "max_bytes": 1 << 40, "reserve_bytes": 0}
        for batches in range(1000):
            if not retain(
                self.connection,
                self.folder,
                RetentionRule(**facts | rule),  # type: ignore[arg-type]
                running_s=running_s,
                outputs=outputs,
            ):
                return batches
        raise AssertionError("retention does not end")

    def events(self) -> list[int]:
        return [seq for (seq,) in self.connection.execute("SELECT seq FROM event ORDER BY seq")]

    def pictures(self) -> int:
        files = sum(1 for _ in self.folder.evidence.rglob("*.jpg"))
        (rows,) = self.connection.execute("SELECT count(*) FROM evidence").fetchone()
        assert files == rows
        return files

    def close(self) -> None:
        self.connection.close()
        self.folder.close()


def test_old_evidence_and_old_events_are_deleted(tmp_path: Path) -> None:
    store = _Store(tmp_path)
    for second in range(10):
        store.add(some_event(), float(second), picture=100)

    assert store.retain(running_s=10.0, max_age_s=5.0) > 0

    assert store.events() == [6, 7, 8, 9, 10]
    assert store.pictures() == 5
    store.close()


def test_for_its_size_evidence_is_deleted_before_events(tmp_path: Path) -> None:
    store = _Store(tmp_path)
    for second in range(10):
        store.add(some_event(), float(second), picture=100_000)
    database = store_rows.database_bytes(store.connection)

    store.retain(running_s=10.0, max_bytes=database + 450_000)

    assert len(store.events()) == 10
    assert store.pictures() == 4
    store.close()


def test_evidence_of_an_open_alarm_is_deleted_last(tmp_path: Path) -> None:
    store = _Store(tmp_path)
    store.add(some_event(AlarmChanged(alarm="rejects", change="raised", number=1)), 0.0, picture=100_000)
    for second in range(5):
        store.add(some_event(), float(second), picture=100_000)
    database = store_rows.database_bytes(store.connection)

    store.retain(running_s=10.0, max_bytes=database + 100_000)

    (left,) = store.connection.execute("SELECT seq FROM evidence").fetchall()
    assert left == (1,)
    store.close()


# complaint 24: "database is locked" in big transactions
def test_c24_one_batch_deletes_at_most_200_rows_and_gives_the_space_back(tmp_path: Path) -> None:
    store = _Store(tmp_path)
    with store_rows.transaction(store.connection):
        for seq in range(1, 2001):
            store_rows.insert_event(store.connection, store_rows.with_number(some_event(), seq), (), 0.0)
    store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = (tmp_path / DATABASE).stat().st_size
    rule = RetentionRule(max_age_s=1.0, max_bytes=1 << 40, reserve_bytes=0)

    assert retain(store.connection, store.folder, rule, running_s=10.0, outputs=())

    assert len(store.events()) == 1800
    assert store.retain(running_s=10.0, max_age_s=1.0) == 9
    store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert (tmp_path / DATABASE).stat().st_size < size / 4
    store.close()


def test_events_that_wait_for_an_output_stay_unless_the_output_is_not_configured(tmp_path: Path) -> None:
    store = _Store(tmp_path)
    store.add(some_event(), 0.0, outputs=("plant",))
    store.add(some_event(), 0.0, outputs=("old",))

    store.retain(running_s=10.0, max_age_s=1.0, outputs=("plant",))

    assert store.events() == [1]
    store.close()


def test_a_missing_file_does_not_stop_retention(tmp_path: Path) -> None:
    store = _Store(tmp_path)
    store.add(some_event(), 0.0, picture=100)
    next(store.folder.evidence.rglob("*.jpg")).unlink()

    store.retain(running_s=10.0, max_age_s=1.0)

    assert store.events() == []
    store.close()
