"""Pictures of an animation: one size, fixed positions of parts, the epoch in words, one scale for maps."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.foundation.errors import ConfigError
from andon.training.animation.stills import LEAST_CELL, Picture, stills, title
from andon.training.observers.epoch_snapshots import SAMPLES, Snapshot, SnapshotParts

PANELS = ("originals", "reconstructions", "maps", "samples")


def snapshot(
    epoch: int, level: int, *, side: int = 28, channels: int = 1, parts: int = 4, heat: float = 1.0
) -> Snapshot:
    shape = (side, side, channels)
    return Snapshot(
        epoch=epoch,
        kept=False,
        reconstructions=np.full((parts, *shape), level, np.uint8),
        maps=np.full((parts, side, side), heat, np.float32),
        scores=np.full(parts, heat, np.float32),
        samples=np.full((SAMPLES, *shape), 255 - level, np.uint8),
    )


def looked(side: int = 28, channels: int = 1, parts: int = 4, caption: str = "good (validation)") -> SnapshotParts:
    levels = np.full((parts, side, side, channels), 200, np.uint8)
    return SnapshotParts(originals=levels, captions=(caption,) * parts)


def drawn(
    snapshots: list[Snapshot], *panels: str, width: int | None = None, parts: SnapshotParts | None = None
) -> list[Picture]:
    return list(stills(snapshots, parts or looked(), panels, width=width, note="dreamer"))


@given(
    width=st.none() | st.integers(200, 900),
    parts=st.integers(1, 6),
    panels=st.lists(st.sampled_from(PANELS), min_size=1, unique=True),
)
def test_all_pictures_are_of_one_even_size_and_as_wide_as_asked_for(
    width: int | None, parts: int, panels: list[str]
) -> None:
    snapshots = [snapshot(1, 20, parts=parts), snapshot(10_000, 90, parts=parts)]
    found = drawn(snapshots, *panels, width=width, parts=looked(parts=parts))

    assert found[0].shape == found[1].shape
    assert [side % 2 for side in found[0].shape[:2]] == [0, 0]
    assert width is None or found[0].shape[1] == width + width % 2


def test_only_what_changed_changes() -> None:
    first, second = drawn([snapshot(5, 20), snapshot(5, 90)], "originals", "reconstructions")
    changed = np.argwhere((first != second).any(axis=2))

    rows = changed[changed[:, 0] > 40, 0]  # below the progress bar
    assert set(first[first.shape[0] - 60, 200]) == {20}
    assert set(second[first.shape[0] - 60, 200]) == {90}
    assert rows.min() > first.shape[0] - 150  # the originals above do not change


def test_maps_are_on_the_scale_of_the_last() -> None:
    first, last = drawn([snapshot(1, 0, heat=0.25), snapshot(2, 0, heat=1.0)], "maps")

    assert last[-40, 100].sum() > 500  # the hottest
    assert first[-40, 100].sum() < 300


def test_samples_alone_are_a_square_and_beside_others_two_rows() -> None:
    alone = drawn([snapshot(1, 55)], "samples")[0]
    beside = drawn([snapshot(1, 55)], "originals", "samples")[0]

    def cells(picture: Picture, level: int) -> float:
        return float((picture == level).all(axis=2).sum()) / (112 * 112)

    assert cells(alone, 200) == pytest.approx(16, abs=0.1)
    assert cells(beside, 200) == pytest.approx(4 + 8, abs=0.2)  # originals have that level too


def test_samples_of_a_detector_that_rebuilds_nothing_are_drawn() -> None:
    (picture,) = stills([snapshot(3, 0)], None, ["samples"], width=300, note="")

    assert (picture == 255).all(axis=2).sum() > 16 * 60 * 60


def test_names_that_are_too_long_are_cut_at_their_column() -> None:
    long = drawn([snapshot(1, 0)], "originals", parts=looked(caption="a very long name of some damage (watched)"))[0]
    short = drawn([snapshot(1, 0)], "originals", parts=looked(caption="x"))[0]

    assert long.shape == short.shape
    gap = 13 // 2 + 128 - 128 % 28 + 1  # between the first two parts
    assert (long[:, gap] == 255).all(axis=1).sum() > 30


def test_what_could_not_be_seen_is_refused_with_the_width_that_could() -> None:
    with pytest.raises(
        ConfigError, match=r"--size: expected at least (\d+) pixels for 6 parts per row, got 64"
    ) as refusal:
        drawn([snapshot(1, 0, parts=6)], "originals", width=64, parts=looked(parts=6))

    least = int(str(refusal.value).split("at least ")[1].split()[0])
    assert least < 6 * LEAST_CELL + 60
    assert drawn([snapshot(1, 0, parts=6)], "originals", width=least, parts=looked(parts=6))[0].shape[1] >= least


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "epoch 7"),
        ({"kept": True}, "final weights, of epoch 7"),
        ({"kept": True, "epoch": None}, "final weights"),
    ],
)
def test_the_epoch_is_said(changed: dict[str, Any], words: str) -> None:
    import msgspec

    assert title(msgspec.structs.replace(snapshot(7, 0), **changed)) == words
