"""Masks in the card of a model file: packed, unpacked, and refused when they are forged."""

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from msgspec.structs import replace
from numpy.typing import NDArray

from andon.foundation.errors import DataError, ModelFileError
from andon.runtime import mask_pixels
from andon.runtime.mask_pixels import ignored_in, judged_pixels, mask_size, masked, pack, unpack
from andon.runtime.schema import FrameSpec, WindowSpec

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def left_half(size: tuple[int, int] = (20, 30)) -> NDArray[np.bool_]:
    marked = np.zeros(size, np.bool_)
    marked[:, : size[1] // 2] = True
    return marked


def packed(lengths: list[int]) -> str:
    return base64.b64encode(zlib.compress(np.array(lengths, "<u4").tobytes())).decode()


@given(marked=arrays.arrays(np.bool_, SHAPES))
def test_a_mask_keeps_its_pixels_and_share(marked: NDArray[np.bool_]) -> None:
    mask = pack(marked)

    assert (unpack(mask) == marked).all()
    assert mask.frame_size == marked.shape
    assert mask.share == pytest.approx(marked.mean())


def test_the_pixels_of_a_mask_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        unpack(pack(left_half()))[0, 0] = False


def test_a_circle_in_a_frame_of_12_million_pixels_fits_into_the_card() -> None:
    rows, columns = np.ogrid[:3000, :4096]

    mask = pack((rows - 1500) ** 2 + (columns - 2000) ** 2 < 1400**2)

    assert len(mask.pixels) < 20_000


def test_a_mask_of_noise_is_refused_with_the_reason() -> None:
    noise = np.random.default_rng(0).random((1000, 2000)) < 0.5

    with pytest.raises(
        DataError, match=r"--ignore: expected a mask that packs into 200000 characters, got .* single dots"
    ):
        pack(noise, name="--ignore")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"pixels": ""}, "expected packed pixels"),
        ({"pixels": "no base64!"}, "damaged"),
        ({"pixels": base64.b64encode(b"not deflated").decode()}, "damaged"),
        ({"pixels": packed([0, 15, 15])}, "runs of 600 pixels"),
        ({"pixels": packed([600])}, "do not fit the digest"),
        ({"pixels": packed([0, 2**32 - 1])}, "runs of 600 pixels"),
        ({"sha256": "0" * 64}, "do not fit the digest"),
        ({"share": 0.4}, "or the share"),
        ({"frame_size": (1_000_000, 1_000_000)}, "expected packed pixels of at most 50000000"),
    ],
)
def test_forged_pixels_are_refused(change: dict[str, object], text: str) -> None:
    with pytest.raises(ModelFileError, match=text):
        unpack(replace(pack(left_half()), **change))


def test_pixels_that_would_inflate_without_bound_are_refused() -> None:
    bomb = base64.b64encode(zlib.compress(bytes(100_000_000), 9)).decode()
    assert len(bomb) < 200_000

    with pytest.raises(ModelFileError, match="at most 400000 of them"):
        unpack(replace(pack(left_half()), pixels=bomb))


def test_the_judged_pixels_are_within_the_region_and_not_ignored() -> None:
    top = np.zeros((20, 30), np.bool_)
    top[:10] = True
    spec = FrameSpec(channels=1, size=(8, 8), region=pack(left_half()), ignore=pack(top))

    judged = judged_pixels(spec)

    assert judged is not None
    assert (judged == (left_half() & ~top)).all()
    assert (mask_size(spec), masked(spec)) == ((20, 30), True)


@pytest.mark.parametrize("spec", [FrameSpec(channels=1, size=(8, 8)), "a window"])
def test_without_masks_all_pixels_count(spec: FrameSpec | WindowSpec | str) -> None:
    assert judged_pixels(spec) is None
    assert ignored_in(spec, (10, 10)) is None
    assert not masked(spec)


@pytest.mark.parametrize("size", [(10, 15), (20, 30), (60, 90)])
def test_ignored_pixels_are_known_for_pictures_of_any_size(size: tuple[int, int]) -> None:
    spec = FrameSpec(channels=1, size=(8, 8), region=pack(left_half()))

    ignored = ignored_in(spec, size)

    assert ignored is not None
    assert ignored.shape == size
    assert ignored.mean() == pytest.approx(0.5, abs=0.05)
    assert not ignored[0, 0]
    assert ignored[0, -1]


def test_a_file_with_digests_only_draws_nothing() -> None:
    spec = FrameSpec(channels=1, size=(8, 8), region=replace(pack(left_half()), pixels=""))

    assert ignored_in(spec, (20, 30)) is None


def test_the_bound_of_masks_is_that_of_pictures() -> None:
    from andon.sources.pictures.limits import MAX_PIXELS

    assert mask_pixels.MOST_PIXELS == MAX_PIXELS
