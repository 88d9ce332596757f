"""Pictures of windows: one size, and fixed scales."""

import numpy as np

from andon.runtime.schema import Channel, WindowSpec
from andon.training.animation.windows import window_stills
from andon.training.observers.epoch_snapshots import Snapshot, SnapshotParts

SPEC = WindowSpec(
    steps=20,
    hop=5,
    period_s=0.1,
    channels=(Channel(name="a", unit="V", center=0.0, scale=1.0), Channel(name="b", center=0.0, scale=1.0)),
)
WAVE = np.sin(np.linspace(0, 6, 20, dtype=np.float32))[:, np.newaxis] * np.ones((1, 2), np.float32)


def snapshot(epoch: int, share: float) -> Snapshot:
    rebuilt = np.stack([share * WAVE] * 2)
    return Snapshot(epoch=epoch, kept=False, reconstructions=rebuilt, maps=None, scores=None, samples=None)


def test_what_was_stands_still_while_what_is_rebuilt_moves() -> None:
    parts = SnapshotParts(originals=np.stack([WAVE] * 2), captions=("good", "good"))
    first, second, third = window_stills([snapshot(1, 0.0), snapshot(1, 0.5), snapshot(1, 3.0)], parts, SPEC, width=401)

    assert first.shape == second.shape == third.shape
    assert first.shape[1] == 402
    assert first.shape[0] % 2 == 0
    assert (first[: first.shape[0] // 8] == third[: first.shape[0] // 8]).all()  # the title
    labels = slice(
        0, 60
    )  # names, units and ticks: all pictures share one scale, although only the last has values up to 3
    assert (first[:, labels] == third[:, labels]).all()
    assert (first != second).any()
    assert (second != third).any()


def test_a_picture_is_as_if_it_had_been_drawn_alone() -> None:
    parts = SnapshotParts(originals=np.stack([WAVE] * 2), captions=("good", "bad"))
    many = [snapshot(1, 0.0), snapshot(22, 0.8), snapshot(3, 3.0)]
    among = list(window_stills(many, parts, SPEC, width=500))[1]
    ends = [snapshot(22, 0.8), snapshot(3, 3.0), snapshot(1, 0.0)]  # the same limits
    alone, *_ = window_stills(ends, parts, SPEC, width=500)

    assert (among == alone).all()
