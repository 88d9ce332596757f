"""The lock of a folder: only one of many processes gets it, and the lock of a dead process does not stay forever."""

import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.foundation.errors import TrainingError
from andon.training.runs import folder_lock
from andon.training.runs.folder_lock import (
    BEAT_S,
    LOCK,
    SILENT_S,
    Owner,
    is_locked,
    lock_folder,
    stale,
    this_process,
    who_holds,
)

HOLD = """
import sys, time
from pathlib import Path
from andon.training.runs.folder_lock import lock_folder
with lock_folder(Path(sys.argv[1])) as lock:
    print(lock is not None, flush=True)
    time.sleep(60)
"""

ELSEWHERE = Owner(host="another", space="pid:[1]", pid=1, began="7", token="t")


def test_a_cell_is_locked_once_and_free_afterwards(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "cell") as first:
        with lock_folder(tmp_path / "cell") as second:
            assert (first is not None, second) == (True, None)
        assert is_locked(tmp_path / "cell")

    assert not is_locked(tmp_path / "cell")
    assert list((tmp_path / "cell").iterdir()) == []


def test_a_lock_ends_with_the_work_however_that_ends(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), lock_folder(tmp_path):
        raise KeyboardInterrupt

    assert not (tmp_path / LOCK).exists()


def test_of_many_at_once_one_gets_it(tmp_path: Path) -> None:
    assert _contest(tmp_path) == 1


def test_of_many_that_find_a_dead_ones_lock_at_most_one_gets_it(tmp_path: Path) -> None:
    for attempt in range(10):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        dead = msgspec.structs.replace(this_process(), began="never")
        (folder / LOCK).write_bytes(msgspec.json.encode(dead))

        assert _contest(folder) <= 1


def _contest(folder: Path) -> int:
    start, held = threading.Barrier(8), threading.Barrier(8)
    got: list[bool] = []

    def contend() -> None:
        start.wait()
        with lock_folder(folder) as lock:
            got.append(lock is not None)
            held.wait()

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(got)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the age of the lock decides")
def test_a_killed_owner_on_this_machine_is_known_at_once(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "True\n"
        assert is_locked(tmp_path)
        with lock_folder(tmp_path) as lock:
            assert lock is None
        owner.kill()

    assert not is_locked(tmp_path)
    with lock_folder(tmp_path) as lock:
        assert lock is not None
        lock.check()


def test_a_lock_of_another_machine_counts_until_it_has_been_silent_for_long(tmp_path: Path) -> None:
    path = tmp_path / LOCK
    path.write_bytes(msgspec.json.encode(ELSEWHERE))
    assert is_locked(tmp_path)

    long_ago = time.time() - SILENT_S - 5
    os.utime(path, (long_ago, long_ago))

    assert not is_locked(tmp_path)
    with lock_folder(tmp_path) as lock:
        assert lock is not None


def test_a_lock_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_bytes(b'{"host": "ano')

    with lock_folder(tmp_path) as lock:
        assert lock is None


def test_a_living_owner_touches_its_lock(tmp_path: Path) -> None:
    with lock_folder(tmp_path, beat_s=0.02):
        long_ago = time.time() - SILENT_S - 5
        os.utime(tmp_path / LOCK, (long_ago, long_ago))
        end_s = time.monotonic() + 5
        while (tmp_path / LOCK).stat().st_mtime < time.time() - 60 and time.monotonic() < end_s:
            time.sleep(0.02)

        assert (tmp_path / LOCK).stat().st_mtime > time.time() - 60


def test_an_owner_that_was_overtaken_leaves_without_touching_the_others_lock(tmp_path: Path) -> None:
    with lock_folder(tmp_path) as lock:
        assert lock is not None
        lock.check()
        (tmp_path / LOCK).write_bytes(msgspec.json.encode(ELSEWHERE))

        with pytest.raises(TrainingError, match="took this folder over"):
            lock.check()

    assert msgspec.json.decode((tmp_path / LOCK).read_bytes(), type=Owner) == ELSEWHERE


def _of_another_boot(folder: Path) -> Owner:
    me = this_process()
    owner = msgspec.structs.replace(me, space=f"another-boot {me.space.partition(' ')[2]}", token="t")
    (folder / LOCK).write_bytes(msgspec.json.encode(owner))
    ago = time.time() - 200
    os.utime(folder / LOCK, (ago, ago))
    return owner


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a boot has no name")
def test_a_lock_from_before_this_machine_was_started_anew_is_taken_over_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _of_another_boot(tmp_path)
    monkeypatch.setattr(folder_lock, "_up_s", lambda: 100.0)

    assert not is_locked(tmp_path)
    with lock_folder(tmp_path) as lock:
        assert lock is not None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a boot has no name")
def test_a_machine_of_the_same_name_that_touched_its_lock_since_this_one_was_started_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = _of_another_boot(tmp_path)
    monkeypatch.setattr(folder_lock, "_up_s", lambda: 300.0)

    with lock_folder(tmp_path) as lock:
        assert lock is None
    assert who_holds(tmp_path) == (
        f"in use by process {owner.pid} on {owner.host}, which last renewed its lock 200 s ago"
    )


@given(
    silent_s=st.floats(0, 10 * SILENT_S),
    began=st.none() | st.sampled_from(["7", "8"]),
    up_s=st.none() | st.floats(0, 10 * SILENT_S),
)
def test_only_on_this_machine_a_processs_life_or_its_start_decides(
    silent_s: float, began: str | None, up_s: float | None
) -> None:
    here = Owner(host="here", space="boot pid:[1]", pid=9, began="5", token="u")
    own = msgspec.structs.replace(ELSEWHERE, host="here", space="boot pid:[1]")
    rebooted = msgspec.structs.replace(own, space="earlier pid:[1]")
    judged = partial(stale, here=here, silent_s=silent_s, began=began, up_s=up_s)

    assert judged(own) is (began != "7")
    before = up_s is not None and silent_s > max(up_s, 2 * BEAT_S)
    assert judged(rebooted) is (before or silent_s > SILENT_S)
    for other in (
        ELSEWHERE,
        None,
        msgspec.structs.replace(own, space="boot pid:[2]"),
        msgspec.structs.replace(rebooted, host="another"),
        msgspec.structs.replace(own, space=""),
    ):
        assert judged(other) is (silent_s > SILENT_S)
