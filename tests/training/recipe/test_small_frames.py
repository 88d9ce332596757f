"""The size at which detectors see small frames."""

import pytest

from andon.sources.collection import FoundFrames
from andon.training.recipe.small_frames import size_seen


@pytest.mark.parametrize(
    ("frames", "asked", "seen"),
    [
        ((28, 28), None, (28, 28)),
        ((40, 64), None, (40, 64)),
        ((40, 65), None, (64, 64)),
        (None, None, (64, 64)),
        ((28, 28), 32, (32, 32)),
        (None, 96, (96, 96)),
    ],
)
def test_small_frames_stay_as_they_are_unless_a_side_is_asked_for(
    frames: tuple[int, int] | None, asked: int | None, seen: tuple[int, int]
) -> None:
    assert size_seen(FoundFrames(channels=1, frame_size=frames, largest=(65, 65)), asked) == seen
