"""Measure how well anomaly maps find the pixels of the masks: pixel AUROC and AUPRO, from one sort over all pixels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from andon.evaluation.figures.ranking import clip_area
from andon.foundation.errors import DataError

NOT_COUNTED = np.nextafter(np.finfo(np.float32).min, np.float32(0), dtype=np.float32)
"""Score of map pixels that do not count, because the model file ignores them. They are left out of all pixel results."""


def pixel_auroc(maps: Sequence[ArrayLike], masks: Sequence[ArrayLike]) -> float:
    """Return the AUROC over all pixels of all pictures, including good ones. Each pixel has the same weight.

    Arguments and errors as for `aupro`.
    """
    return rank_pixels(maps, masks).auroc()


def aupro(maps: Sequence[ArrayLike], masks: Sequence[ArrayLike], limit: float = 0.3) -> float:
    """Return the area under the per-region overlap up to a false-positive rate of `limit`, divided by `limit`: 1 is perfect.

    Each 8-connected region of a mask has the same weight, independent of its size. The false-positive rate is over the
    background pixels of all pictures, including good ones. All distinct scores are thresholds, without quantisation
    (Bergmann et al., CVPR 2019 and IJCV 2021). Peak memory: about 40 bytes per pixel.

    Args:
        maps: one finite float ``[h, w]`` per picture. Sizes may differ between pictures.
        masks: one ``[h, w]`` per picture, non-zero on defects. Good pictures are needed too, with masks of zeros.
        limit: upper limit of the false-positive rate, 0 < limit <= 1.

    Raises:
        DataError: there is no defect or no background, a map and its mask differ in shape, or maps are not finite.
    """
    return rank_pixels(maps, masks).aupro(limit)


class RankedPixels(NamedTuple):
    """Cumulative counts of pixels by descending score: arrays ``[t]``, with one entry for each distinct score."""

    thresholds: NDArray[np.float32]
    """The scores, descending."""
    pixels: NDArray[np.int64]
    """Number of pixels with at least this score."""
    background: NDArray[np.int64]
    """Number of background pixels with at least this score."""
    overlap: NDArray[np.float64]
    """Mean over regions of the share of their pixels with at least this score."""

    def auroc(self) -> float:
        """Return `pixel_auroc` of these pixels."""
        # Compute in whole pixels, so that the area is exact. The square of 10^8 pixels fits into int64.
        false_step = np.diff(self.background, prepend=0)
        true = self.pixels - self.background
        twice = 2 * int(np.dot(false_step, true))
        total = int(true[-1]) * int(self.background[-1])
        true[1:] -= true[:-1].copy()
        return clip_area((twice - int(np.dot(false_step, true))) / (2 * total))

    def aupro(self, limit: float = 0.3) -> float:
        """Return `aupro` of these pixels.

        Raises:
            DataError: the limit is not within 0 < limit <= 1.
        """
        if not 0.0 < limit <= 1.0:
            raise DataError(f"limit: expected a false-positive rate within 0 < limit <= 1, got {limit!r}.")
        total = int(self.background[-1])
        # Two points beyond the limit are enough. Do not copy the long rest of the curve.
        few = int(np.searchsorted(self.background, limit * total, side="right")) + 2
        false = np.concatenate([[0.0], self.background[:few] / total])
        overlap = np.concatenate([[0.0], self.overlap[:few]])
        inside = int(np.searchsorted(false, limit, side="right"))
        if inside < len(false) and false[inside - 1] < limit:
            share = (limit - false[inside - 1]) / (false[inside] - false[inside - 1])
            at_limit = overlap[inside - 1] + share * (overlap[inside] - overlap[inside - 1])
            false = np.append(false[:inside], limit)
            overlap = np.append(overlap[:inside], at_limit)
        else:
            false, overlap = false[:inside], overlap[:inside]
        return clip_area(float(np.trapezoid(overlap, false) / limit))

    def some(self, points: int, limit: float = 0.3) -> NDArray[np.int64]:
        """Return the indices of at most `points` thresholds that describe the curve of overlap over false-positive rate well.

        Half of them are at equal steps of the rate up to twice the limit. A quarter is at equal steps of the rate above it,
        and a quarter at equal steps of the overlap. If there are at most `points` thresholds, all are returned.
        """
        if len(self.thresholds) <= points:
            return np.arange(len(self.thresholds))
        total, half, quarter = self.background[-1], points // 2, points // 4
        knee = min(1.0, 2 * limit)
        rates = np.concatenate([np.linspace(0.0, knee, half), np.linspace(knee, 1.0, quarter)])
        by_rate = np.searchsorted(self.background, rates * total)
        by_overlap = np.searchsorted(self.overlap, np.linspace(0.0, 1.0, quarter - 2))
        last = len(self.thresholds) - 1
        return np.unique(np.minimum(np.concatenate([[0, last], by_rate, by_overlap]), last))


def rank_pixels(maps: Sequence[ArrayLike], masks: Sequence[ArrayLike]) -> RankedPixels:
    """Sort all pixels once. All pixel results and curves are computed from this result.

    Arguments and errors as for `aupro`.
    """
    pairs = checked_pairs(maps, masks)
    keys = np.empty(sum(scores.size for scores, _ in pairs), np.uint64)
    counts = [np.zeros(1, np.int64)]
    regions = at = 0
    for scores, mask in pairs:
        if not np.isfinite(scores).all():
            raise DataError("expected finite anomaly maps, got values that are not finite. Leave out INVALID pictures.")
        labels, found = regions_of(mask)
        counted = (scores != NOT_COUNTED).ravel()
        flat, values = labels.ravel()[counted], scores.ravel()[counted]
        here = np.bincount(flat, minlength=found + 1)
        counts[0] += here[0]
        counts.append(here[1:])
        # put score (upper half) and region (lower half) into one number: three times as fast as sorting indices
        keys[at : at + flat.size] = _falling(values)
        keys[at : at + flat.size] <<= np.uint64(32)
        keys[at : at + flat.size] |= np.where(flat > 0, flat + regions, 0).astype(np.uint64)
        regions += found
        at += flat.size
    keys = keys[:at]
    del pairs
    sizes = np.concatenate(counts)
    if regions == 0 or sizes[0] == 0:
        missing = "defect" if regions == 0 else "background"
        raise DataError(
            f"expected masks with defects and with background, got no {missing} pixel in {len(maps)} pictures."
        )
    keys.sort()
    # Data sets have 10^8 pixels: free arrays as soon as possible, and compute sums in place.
    region = keys.astype(np.uint32)  # the lower half
    keys >>= np.uint64(32)
    falling = keys.astype(np.uint32)
    del keys
    ends = tie_ends(falling)
    thresholds = _scores(falling[ends])
    del falling
    weights = 1.0 / (sizes * regions)
    weights[0] = 0.0
    share = weights[region]
    overlap = np.cumsum(share, out=share)[ends]
    del share
    return RankedPixels(
        thresholds=thresholds, pixels=ends + 1, background=np.cumsum(region == 0)[ends], overlap=overlap
    )


def checked_pairs(
    maps: Sequence[ArrayLike], masks: Sequence[ArrayLike]
) -> list[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Return maps and masks as arrays ``[h, w]``, picture by picture. Pixels that do not count are not marked.

    Raises:
        DataError: the numbers of maps and masks differ, or a map and its mask differ in shape.
    """
    if len(maps) != len(masks):
        raise DataError(f"expected one mask per map, got {len(maps)} maps and {len(masks)} masks.")
    pairs = [(np.asarray(a, np.float32), np.asarray(b) != 0) for a, b in zip(maps, masks, strict=True)]
    pairs = [(a, b & (a != NOT_COUNTED) if a.shape == b.shape else b) for a, b in pairs]
    for index, (scores, mask) in enumerate(pairs):
        if scores.shape != mask.shape or scores.ndim != 2:
            raise DataError(
                f"picture {index}: expected a map and a mask [h, w] of one shape, got {list(scores.shape)} and "
                f"{list(mask.shape)}. Resize masks with nearest neighbour."
            )
    return pairs


def regions_of(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Return the 8-connected regions of a mask as labels ``[h, w]`` (0 for background, then 1 to n), and n."""
    from scipy import ndimage

    labels, found = ndimage.label(mask, structure=np.ones((3, 3), np.int8))
    return labels, int(found)


def tie_ends(ordered: NDArray[np.number]) -> NDArray[np.int64]:
    """Return the index of the last value in each run of equal values in ``[n]``, n >= 1."""
    return np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)


def _falling(scores: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return integers in reverse order of finite scores: a higher score gives a lower integer.

    Read as an integer, the bits of a positive float ascend with its value, and the bits of a negative float descend.
    """
    bits = (scores + np.float32(0)).view(np.uint32)  # -0 and 0 are one score
    return np.asarray(np.where(bits >> np.uint32(31), bits, ~(bits | _SIGN)))


def _scores(falling: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Return the scores of the integers from `_falling`."""
    return np.asarray(np.where(falling >> np.uint32(31), falling, ~falling ^ _SIGN)).view(np.float32)


_SIGN = np.uint32(1 << 31)
