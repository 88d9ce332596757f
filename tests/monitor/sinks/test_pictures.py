"""Pictures of rejects: whole ones, ours alone, a bounded number, and never at the cost of judging."""

import os
import re
import stat
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.sources.fake_clock import FakeClock

from andon.foundation.errors import ConfigError
from andon.monitor.judging import Outcome
from andon.monitor.sinks.pictures import QUEUE, Pictures
from andon.runtime.calibration_facts import Calibration
from andon.runtime.items import Data, Ref
from andon.runtime.schema import Card, Channel, FrameSpec, ScoreRule, Status, WindowSpec
from andon.runtime.verdict import Verdict

CARD = Card(
    name="test",
    detector="test",
    input=FrameSpec(channels=3, size=(32, 32)),
    reading=ScoreRule(map="m"),
    calibration=Calibration(kind="promise", alpha=0.05, confidence=0.95, n=60, n_eff=60, above=0, map_scale=1.0),
)
GREY = np.full((32, 48, 3), 100, np.uint8)


def outcome(seq: int, key: str = "a.png", status: Status = Status.REJECT, frame: Data = GREY) -> Outcome:
    hot = np.zeros((8, 12), np.float32)
    hot[:, 6:] = 9.0
    return Outcome(
        seq=seq,
        wall_s=1_795_305_600.25 + seq,
        ref=Ref(key=key),
        unit="frame",
        verdict=Verdict(status=status, score=9.0, evidence={"anomaly_map": hot}),
        data=frame,
    )


def drawn(sink: Pictures, number: int) -> None:
    """Wait until that many are accounted for."""
    until_s = time.monotonic() + 20
    while sink.lost + int(sink.summary.split()[0]) < number:
        assert time.monotonic() < until_s, sink.summary
        time.sleep(0.005)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_rejected_frame_is_kept_with_the_hot_places_coloured_and_the_cool_ones_as_they_were(tmp_path: Path) -> None:
    sink = Pictures(tmp_path / "rejects", CARD, clock=FakeClock())
    sink.put(outcome(12, "good/012.png"))
    drawn(sink, 1)
    sink.close()

    assert names(tmp_path / "rejects") == ["20261122T000012.250Z-00000012-good-012-png.jpg"]
    picture = cv2.imread(str(tmp_path / "rejects" / names(tmp_path / "rejects")[0]))
    assert picture is not None
    shown = picture[:192, 6:294]  # enlarged 6 times, with the verdict below
    assert np.abs(shown[:, :96].astype(int) - 100).max() < 12
    # the end of the scale is yellow: more red than blue, in BGR
    assert shown[:, 192:].mean() > 140
    assert (shown[:, 192:, 2] > shown[:, 192:, 0] + 50).mean() > 0.9
    assert picture[192:].mean() > 150


def test_a_deep_frame_is_drawn_in_the_grey_levels_of_the_model_file(tmp_path: Path) -> None:
    card = replace(CARD, input=FrameSpec(channels=3, size=(32, 32), dtype="uint16", black=1000.0, white=5000.0))
    shallow, deep = (
        Pictures(tmp_path / "8", CARD, clock=FakeClock()),
        Pictures(tmp_path / "16", card, clock=FakeClock()),
    )
    shallow.put(outcome(12))
    deep.put(outcome(12, frame=np.full((32, 48, 3), 1000 + round(100 * 4000 / 255), np.uint16)))
    drawn(shallow, 1)
    drawn(deep, 1)

    [one], [other] = ([path.read_bytes() for path in (tmp_path / bits).iterdir()] for bits in ("8", "16"))
    assert one == other
    shallow.close()
    deep.close()


@pytest.mark.parametrize("status", [Status.OK, Status.REVIEW, Status.INVALID])
def test_nothing_but_rejects_is_kept(tmp_path: Path, status: Status) -> None:
    sink = Pictures(tmp_path, CARD, clock=FakeClock())
    sink.put(outcome(1, status=status))
    sink.close()

    assert names(tmp_path) == []
    assert sink.summary == "0 pictures"


@settings(max_examples=40)
@given(st.text(st.characters(exclude_categories=())) | st.sampled_from(["../../etc/passwd", "/root/x", "a\0b", ".."]))
def test_no_key_leads_out_of_the_folder_or_to_an_odd_name(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    folder = tmp_path_factory.mktemp("keys") / "inner"
    sink = Pictures(folder, CARD, clock=FakeClock())
    sink.put(outcome(1, key or "x"))
    drawn(sink, 1)
    sink.close()

    (name,) = names(folder)
    assert re.fullmatch(r"20261122T000001\.250Z-00000001-[A-Za-z0-9_-]{1,64}\.jpg", name)
    assert names(folder.parent) == ["inner"]


def test_the_newest_are_kept_and_files_that_are_not_ours_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_bytes(b"mine")
    first = Pictures(tmp_path, CARD, clock=FakeClock(), max_pictures=3)
    for seq in (1, 2):
        first.put(outcome(seq))
    drawn(first, 2)
    first.close()

    second = Pictures(tmp_path, CARD, clock=FakeClock(), max_pictures=3)
    for seq in (3, 4, 5):
        second.put(outcome(seq))
    drawn(second, 3)
    second.close()

    assert [name[21:29] for name in names(tmp_path)[:-1]] == ["00000003", "00000004", "00000005"]
    assert (tmp_path / "notes.jpg").read_bytes() == b"mine"


def test_the_bytes_of_all_pictures_together_are_bounded(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sink = Pictures(tmp_path, CARD, clock=FakeClock(), max_bytes=300_000)
    for seq in range(1, 9):
        sink.put(outcome(seq, frame=rng.integers(0, 255, (300, 300, 3), dtype=np.uint8)))
        drawn(sink, seq)
    sink.close()

    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert 2 <= len(sizes) < 8
    assert sum(sizes) <= 300_000


def test_a_large_frame_is_reduced_and_keeps_its_shape(tmp_path: Path) -> None:
    sink = Pictures(tmp_path, CARD, clock=FakeClock())
    sink.put(outcome(1, frame=np.zeros((540, 2560, 3), np.uint8)))
    drawn(sink, 1)
    sink.close()

    picture = cv2.imread(str(tmp_path / names(tmp_path)[0]))
    assert picture is not None
    assert picture.shape[1] == 1280
    assert 270 + 100 < picture.shape[0] < 270 + 240  # with the verdict below


def test_what_a_kill_left_half_written_is_cleared_away_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / ".20261122T000001.250Z-00000001-a.jpg.tmp").write_bytes(b"half")
    (tmp_path / ".hidden").write_bytes(b"mine")

    Pictures(tmp_path, CARD, clock=FakeClock()).close()

    assert names(tmp_path) == [".hidden"]


def test_a_burst_of_rejects_never_holds_up_the_judge_and_each_is_drawn_or_counted(tmp_path: Path) -> None:
    class Held(FakeClock):
        """Asked for the time before each drawing: nothing is drawn until the burst is over."""

        def mono_s(self) -> float:
            over.wait(30)
            return super().mono_s()

    over = threading.Event()
    sink = Pictures(tmp_path, CARD, clock=Held())
    for seq in range(40):
        sink.put(outcome(seq))  # would hang here if it waited
    lost = sink.lost
    over.set()
    drawn(sink, 40)
    sink.close()

    assert 40 - QUEUE - 1 <= lost <= 40 - QUEUE  # one may have left the queue for the draughtsman
    assert sink.lost == lost
    assert len(names(tmp_path)) == 40 - lost


def test_a_folder_that_vanishes_costs_pictures_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "rejects"
    sink = Pictures(folder, CARD, clock=FakeClock())
    folder.rmdir()
    sink.put(outcome(1))
    drawn(sink, 1)
    folder.mkdir()
    sink.put(outcome(2))
    drawn(sink, 2)
    sink.close()

    assert sink.lost == 1
    assert len(names(folder)) == 1


def test_a_model_file_that_judges_windows_has_no_pictures_to_keep(tmp_path: Path) -> None:
    windows = Card(
        name="w",
        detector="t",
        input=WindowSpec(steps=4, hop=2, period_s=1.0, channels=(Channel(name="a"),)),
        reading=ScoreRule(map="m"),
    )

    with pytest.raises(ConfigError, match="got one for windows"):
        Pictures(tmp_path, windows, clock=FakeClock())


class Stuck(FakeClock):
    """Asked for the time before each drawing: nothing is drawn until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def mono_s(self) -> float:
        self.released.wait(30)
        return super().mono_s()


def test_a_picture_that_is_still_being_drawn_at_the_end_is_counted_as_lost(tmp_path: Path) -> None:
    clock = Stuck()
    sink = Pictures(tmp_path, CARD, clock=clock)
    for seq in range(12):
        sink.put(outcome(seq))
    sink.close()
    at_the_end = sink.summary
    hung = sink.hung
    clock.released.set()
    sink._thread.join(10.0)

    assert at_the_end == "0 pictures, 12 without"
    assert hung
    assert sink.summary == at_the_end


@settings(max_examples=10)
@given(st.integers(0, 30), st.booleans(), st.booleans())
def test_every_reject_has_a_picture_or_is_counted_however_it_ends(
    tmp_path_factory: pytest.TempPathFactory, rejects: int, wait: bool, drained: bool
) -> None:
    folder = tmp_path_factory.mktemp("rejects")
    sink = Pictures(folder, CARD, clock=FakeClock(), wait=wait)
    for seq in range(rejects):
        sink.put(outcome(seq))
    if drained:
        sink.drain()
    sink.close()

    assert not sink.hung
    assert len(names(folder)) + sink.lost == rejects
    assert sink.lost == 0 or not (wait and drained)


def test_a_source_that_can_wait_loses_no_picture(tmp_path: Path) -> None:
    clock = Stuck()
    sink = Pictures(tmp_path, CARD, clock=clock, wait=True)
    threading.Timer(0.2, clock.released.set).start()
    for seq in range(2 * QUEUE):
        sink.put(outcome(seq))
    sink.drain()
    sink.close()

    assert sink.summary == f"{2 * QUEUE} pictures"


def test_a_stop_ends_the_wait_for_room(tmp_path: Path) -> None:
    clock, stop = Stuck(), threading.Event()
    sink = Pictures(tmp_path, CARD, clock=clock, wait=True, stop=stop)
    threading.Timer(0.2, stop.set).start()
    for seq in range(QUEUE + 3):
        sink.put(outcome(seq))
    lost = sink.lost
    clock.released.set()
    sink.drain()
    sink.close()

    assert lost >= 2
    assert len(names(tmp_path)) + sink.lost == QUEUE + 3


def test_nothing_but_our_own_pictures_is_replaced_or_removed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    folder = tmp_path / "rejects"
    folder.mkdir()
    first = _NAMES[0]
    (folder / f".{_NAMES[1]}.tmp").symlink_to(precious)
    (folder / _NAMES[2]).symlink_to(precious)
    (folder / _NAMES[3]).mkdir()
    os.mkfifo(folder / _NAMES[4])
    sink = Pictures(folder, CARD, clock=FakeClock(), wait=True, max_pictures=1)
    for seq in range(5):
        sink.put(outcome(seq))
    sink.drain()
    sink.close()

    assert precious.read_bytes() == b"mine"
    assert sink.lost == 4
    assert names(folder) == sorted([first, f".{_NAMES[1]}.tmp", *_NAMES[2:]])
    assert stat.S_ISFIFO((folder / _NAMES[4]).stat().st_mode)


_NAMES = [f"20261122T00000{seq}.250Z-0000000{seq}-a-png.jpg" for seq in range(5)]
