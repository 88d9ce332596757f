"""Pictures of windows: one size, and scales that stay."""

import numpy as np

from andon.runtime.schema import Channel, WindowSpec
from andon.training.animation.epoch_snapshots import Looked, Scene
from andon.training.animation.windows import window_stills

SPEC = WindowSpec(
    steps=20,
    hop=5,
    period_s=0.1,
    channels=(Channel(name="a", unit="V", center=0.0, scale=1.0), Channel(name="b", center=0.0, scale=1.0)),
)
WAVE = np.sin(np.linspace(0, 6, 20, dtype=np.float32))[:, np.newaxis] * np.ones((1, 2), np.float32)


def scene(epoch: int, share: float) -> Scene:
    rebuilt = np.stack([share * WAVE] * 2)
    return Scene(epoch=epoch, kept=False, reconstructions=rebuilt, maps=None, scores=None, samples=None)


def test_what_was_stands_still_while_what_is_rebuilt_moves() -> None:
    looked = Looked(originals=np.stack([WAVE] * 2), captions=("good", "good"))
    first, second, third = window_stills([scene(1, 0.0), scene(1, 0.5), scene(1, 3.0)], looked, SPEC, width=401)

    assert first.shape == second.shape == third.shape
    assert first.shape[1] == 402
    assert first.shape[0] % 2 == 0
    assert (first[: first.shape[0] // 8] == third[: first.shape[0] // 8]).all()  # the title
    labels = slice(0, 60)  # names, units and ticks: one scale through all, though only the last goes up to 3
    assert (first[:, labels] == third[:, labels]).all()
    assert (first != second).any()
    assert (second != third).any()


def test_a_picture_is_as_if_it_had_been_drawn_alone() -> None:
    looked = Looked(originals=np.stack([WAVE] * 2), captions=("good", "bad"))
    many = [scene(1, 0.0), scene(22, 0.8), scene(3, 3.0)]
    among = list(window_stills(many, looked, SPEC, width=500))[1]
    ends = [scene(22, 0.8), scene(3, 3.0), scene(1, 0.0)]  # the same limits
    alone, *_ = window_stills(ends, looked, SPEC, width=500)

    assert (among == alone).all()
