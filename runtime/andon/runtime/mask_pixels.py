"""Pack the pixels of a mask into the card of a model file, and unpack them again.

The graph decides with its own copy. The pixels in the card are for training, drawing and figures. A model file is untrusted
input, so the packed form is bounded, and `unpack` compares size, share and digest.
"""

import base64
import binascii
import functools
import hashlib
import zlib

import numpy as np
from numpy.typing import NDArray

from andon.foundation.errors import DataError, ModelFileError
from andon.runtime.schema import PACKED_MASK, FrameSpec, Mask

Marked = NDArray[np.bool_]
"""``[H, W]``, True where a mask marks the frame."""

MOST_PIXELS = 50_000_000
"""Largest height times width of a mask, as for pictures."""
MOST_RUNS = 400_000
"""Largest number of runs of equal pixels."""
_EDGE_SHARE = 1e-6
"""Largest difference between the stated share and that of the pixels."""


def pack(marked: Marked, *, name: str = "mask", outline: tuple[tuple[tuple[float, float], ...], ...] = ()) -> Mask:
    """Return the mask with its pixels as run lengths, deflated, in base64.

    Args:
        marked: ``[H, W]``, True for the marked pixels.
        name: name of the mask in messages.
        outline: polygons around the marked pixels, `Mask.outline`.

    Raises:
        DataError: the mask has too many pixels, or too much detail for the card of a model file.
    """
    height, width = marked.shape
    if not 0 < marked.size <= MOST_PIXELS:
        raise DataError(f"{name}: expected 1 to {MOST_PIXELS} pixels, got {height} x {width}. Use smaller frames.")
    flat = np.ascontiguousarray(marked, np.uint8).ravel()
    ends = np.append(np.flatnonzero(np.diff(flat)) + 1, flat.size)
    lengths = np.diff(ends, prepend=0)
    if flat[0]:  # the first run is always unmarked
        lengths = np.insert(lengths, 0, 0)
    packed = base64.b64encode(zlib.compress(lengths.astype("<u4").tobytes(), 9)).decode()
    if len(lengths) > MOST_RUNS or len(packed) > PACKED_MASK:
        raise DataError(
            f"{name}: expected a mask that packs into {PACKED_MASK} characters, got {len(packed)} for {len(lengths)} runs. Its "
            "borders have too much detail. Draw it with whole areas, without single dots and noise."
        )
    return Mask(
        sha256=hashlib.sha256(flat.tobytes()).hexdigest(),
        frame_size=(height, width),
        share=float(flat.mean()),
        outline=outline,
        pixels=packed,
    )


def unpack(mask: Mask, *, name: str = "mask") -> Marked:
    """Return the pixels of a mask, ``[H, W]``, read-only. The last few masks are kept.

    Raises:
        ModelFileError: the packed pixels are missing, damaged or too large, or do not fit size, share and digest.
    """
    return _unpacked(mask.pixels, mask.sha256, mask.frame_size, mask.share, name)


@functools.lru_cache(maxsize=8)
def _unpacked(pixels: str, sha256: str, size: tuple[int, int], share: float, name: str) -> Marked:
    count = size[0] * size[1]
    if not pixels or count > MOST_PIXELS:
        raise ModelFileError(
            f"{name}: expected packed pixels of at most {MOST_PIXELS}, got {len(pixels)} characters for {size[0]} x {size[1]}."
        )
    try:
        inflate = zlib.decompressobj()
        data = inflate.decompress(base64.b64decode(pixels, validate=True), 4 * MOST_RUNS)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise ModelFileError(f"{name}: the packed pixels are damaged: {error}. Export the file again.") from error
    whole = inflate.eof and not inflate.unused_data and len(data) % 4 == 0
    lengths = np.frombuffer(data, "<u4").astype(np.int64) if whole else np.empty(0, np.int64)
    if not len(lengths) or int(lengths.sum()) != count:
        raise ModelFileError(
            f"{name}: expected runs of {count} pixels in total, at most {MOST_RUNS} of them, got another number. Export the file "
            "again."
        )
    flat = np.repeat((np.arange(len(lengths)) % 2).astype(np.uint8), lengths)
    if hashlib.sha256(flat.tobytes()).hexdigest() != sha256 or abs(float(flat.mean()) - share) > _EDGE_SHARE:
        raise ModelFileError(f"{name}: the packed pixels do not fit the digest or the share. Export the file again.")
    marked: Marked = flat.reshape(size).view(np.bool_)
    marked.setflags(write=False)
    return marked


def masked(spec: object) -> bool:
    """Return whether a spec has an ignore mask or a region."""
    return isinstance(spec, FrameSpec) and (spec.ignore is not None or spec.region is not None)


def mask_size(spec: FrameSpec) -> tuple[int, int] | None:
    """Return height and width of the frames that the masks belong to; None without masks."""
    mask = spec.ignore or spec.region
    return None if mask is None else mask.frame_size


def judged_pixels(spec: object) -> Marked | None:
    """Return the pixels of a frame that count, ``[H, W]``: those within the region and not ignored. None: all of them.

    Raises:
        ModelFileError: as for `unpack`.
    """
    if not isinstance(spec, FrameSpec) or not masked(spec):
        return None
    return _judged(spec.ignore, spec.region)


@functools.lru_cache(maxsize=8)
def _judged(ignore: Mask | None, region: Mask | None) -> Marked:
    ignored = None if ignore is None else unpack(ignore, name="ignore")
    inside = None if region is None else unpack(region, name="region")
    if inside is None:
        assert ignored is not None
        judged = ~ignored
    else:
        judged = inside if ignored is None else inside & ~ignored
    judged.setflags(write=False)
    return judged


def ignored_in(spec: object, size: tuple[int, int]) -> Marked | None:
    """Return the pixels of a drawn frame that do not count, for pictures; None if all count, or if the file lacks the pixels.

    Args:
        spec: input of the model file.
        size: height and width of the drawn frame, which may be smaller or larger than the mask.
    """
    if not isinstance(spec, FrameSpec) or any(m is not None and not m.pixels for m in (spec.ignore, spec.region)):
        return None
    return _ignored(spec.ignore, spec.region, size) if masked(spec) else None


@functools.lru_cache(maxsize=8)
def _ignored(ignore: Mask | None, region: Mask | None, size: tuple[int, int]) -> Marked:
    judged = _judged(ignore, region)
    rows, columns = (np.arange(side) * of // side for side, of in zip(size, judged.shape, strict=True))
    ignored: Marked = ~judged[np.ix_(rows, columns)]
    ignored.setflags(write=False)
    return ignored
