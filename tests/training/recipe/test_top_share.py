"""The share of highest values, for detectors that pool a map."""

import msgspec
import pytest

from andon.foundation.errors import ConfigError
from andon.sources.collection import FoundFrames
from andon.training.recipe.recipe import Recipe, recipe

FOUND = FoundFrames(channels=3, frame_size=(64, 64), largest=(64, 64))
NAMES = ("autoencoder", "unet_autoencoder", "conv_vae", "pixel_knn", "patchcore")


def _with(name: str, pool: str, share: float | None) -> tuple[Recipe, msgspec.Struct]:
    found = recipe(name)
    return found, msgspec.structs.replace(found.tiny, pool=pool, share=share)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pool", ["mean", "max"])
def test_a_share_that_would_do_nothing_is_refused_before_training(name: str, pool: str) -> None:
    found, settings = _with(name, pool, 0.1)

    with pytest.raises(ConfigError, match=f"--share has an effect with --pool top only, got --pool {pool}"):
        found.input(settings, FOUND)


@pytest.mark.parametrize("name", NAMES)
def test_a_share_of_top_and_the_default_of_any_pooling_are_taken(name: str) -> None:
    top, asked = _with(name, "top", 0.1)
    other, default = _with(name, "mean", type(asked)().share)  # type: ignore[attr-defined]

    assert top.input(asked, FOUND) == other.input(default, FOUND)
    assert top.score_rule(asked, top.input(asked, FOUND)).share == 0.1
