"""Compute confidence intervals of results by resampling pictures or files, never single pixels or rows.

Neighbouring pixels and rows are nearly equal. Resampling them one by one would give intervals that are many times too narrow.
Therefore a picture is drawn with all its pixels and regions, and a file with all its rows and faults. Good parts and defects
are drawn separately, and each keeps its number. A draw is a number of copies for each picture, so the scores are sorted only
once for all draws.

A percentile interval depends only on the given parts. If their scores separate perfectly, the interval is the single point 1,
although scores of other parts may overlap. Rates at a fixed threshold do not have this problem: `rate_interval` is exact
(Clopper and Pearson, Biometrika 26, 1934). With no false reject among 20 parts, the true rate may still be 17 %.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from andon.evaluation.figures.pixels import NOT_COUNTED, RankedPixels, checked_pairs, rank_pixels, regions_of, tie_ends
from andon.evaluation.figures.ranking import order_statistic
from andon.foundation.errors import DataError
from andon.foundation.progress import Progress, silent

RESAMPLES = 1000
LEVEL = 0.95

THRESHOLDS = 2000
"""Number of thresholds at which the pixel curves are computed in each resample."""

_CELLS = 1_000_000
"""Size of one array of a chunk of resamples: about 8 MB, which nearly fits into a CPU cache."""

Floats = NDArray[np.float64]


class Interval(Struct, frozen=True, kw_only=True):
    """The confidence interval of a figure."""

    low: float
    high: float


class PartIntervals(Struct, frozen=True, kw_only=True):
    """Intervals of the results for scores of parts."""

    auroc: Interval
    aupr: Interval
    oracle_f1_max: Interval
    tpr_at_1_percent_fpr: Interval
    tpr_at_5_percent_fpr: Interval
    fpr_at_recall: Interval
    false_reject_rate: Interval
    """Exact interval, or a percentile interval if several pictures show one part. The same holds for `miss_rate`."""
    miss_rate: Interval


def part_intervals(
    scores: ArrayLike,
    defective: ArrayLike,
    rejected: ArrayLike,
    *,
    recall: float = 0.99,
    parts: Sequence[str] | None = None,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress = silent,
) -> PartIntervals:
    """Return percentile intervals of the results in `ranking`. Good parts and defects are resampled separately.

    Args:
        scores: ``[n]``, finite.
        defective: ``[n]`` bool; there must be both kinds.
        rejected: ``[n]`` bool, at the threshold in use.
        recall: recall for `fpr_at_recall`.
        parts: ``[n]``, the physical part of each score. All pictures of a part are drawn together. None: each score is from
            its own part.
        level: confidence level, 0 < level < 1.
        resamples: number of draws.
        seed: seed of the draws.
        progress: called after each chunk.

    Raises:
        DataError: there is only one kind of parts.
    """
    values, truth = np.asarray(scores, np.float64), np.asarray(defective).astype(np.bool_)
    reject = np.asarray(rejected).astype(np.bool_)
    if truth.all() or not truth.any():
        raise DataError(f"expected good and defective parts, got {len(truth)} of one kind.")
    units, of = _units(truth, parts)
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    ends = tie_ends(ordered)
    found: list[Mapping[str, Floats]] = []
    for copies in _draws(units, resamples, seed, per_draw=len(values), progress=progress, what="resampling parts"):
        picked = copies[:, of]
        # if one part has pictures of both kinds, a draw may lack one kind
        picked = picked[(picked @ truth > 0) & (picked @ ~truth > 0)]
        weights = picked[:, order]
        every = np.cumsum(weights, axis=1)[:, ends]
        hits = np.cumsum(weights * truth[order], axis=1)[:, ends]
        figures = _part_figures(hits, every - hits, recall)
        figures["false_reject_rate"] = picked @ (reject & ~truth) / (picked @ ~truth)
        figures["miss_rate"] = picked @ (~reject & truth) / (picked @ truth)
        found.append(figures)
    intervals = {name: interval([figures[name] for figures in found], level) for name in found[0]}
    if sum(map(len, units)) == len(truth):
        intervals["false_reject_rate"] = rate_interval(int((reject & ~truth).sum()), int((~truth).sum()), level)
        intervals["miss_rate"] = rate_interval(int((~reject & truth).sum()), int(truth.sum()), level)
    return PartIntervals(**intervals)


def _part_figures(hits: NDArray[np.int64], false: NDArray[np.int64], recall: float) -> dict[str, Floats]:
    """Return the results of each draw.

    Given are the counts ``[draws, t]`` of defects and good parts at or above t descending scores.
    """
    row = np.arange(len(hits))
    defects, good = hits[:, -1], false[:, -1]
    hit_step, false_step = np.diff(hits, axis=1, prepend=0), np.diff(false, axis=1, prepend=0)
    figures = {
        "auroc": (false_step * (2 * hits - hit_step)).sum(axis=1) / (2 * defects * good),
        # a score that this draw does not contain adds no hit; 0 / 0 must not turn the sum into NaN
        "aupr": (hit_step * hits / np.maximum(hits + false, 1)).sum(axis=1) / defects,
        "oracle_f1_max": (2 * hits / (hits + false + defects[:, None])).max(axis=1),
    }
    for name, fpr in (("tpr_at_1_percent_fpr", 0.01), ("tpr_at_5_percent_fpr", 0.05)):
        place = good - np.ceil((good - 1) * (1 - fpr)).astype(
            np.int64
        )  # rank of the threshold among good scores, from the top
        at = (false >= place[:, None]).argmax(axis=1)
        figures[name] = (hits[row, at] - hit_step[row, at]) / defects
    wanted = np.array([order_statistic(int(count), recall) for count in defects])
    for name in ("auroc", "aupr"):
        figures[name] = figures[name].clip(0.0, 1.0)  # rounding errors
    figures["fpr_at_recall"] = false[row, (hits >= wanted[:, None]).argmax(axis=1)] / good
    return figures


class PixelIntervals(Struct, frozen=True, kw_only=True):
    """Intervals of the results for anomaly maps."""

    pixel_auroc: Interval
    aupro: Interval


def pixel_intervals(
    maps: Sequence[ArrayLike],
    masks: Sequence[ArrayLike],
    *,
    limit: float = 0.3,
    ranked: RankedPixels | None = None,
    parts: Sequence[str] | None = None,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress = silent,
) -> PixelIntervals:
    """Return percentile intervals of pixel AUROC and AUPRO. Pictures are resampled with all their regions and background.

    Pictures with and without a marked pixel are drawn separately. The curves of each draw are computed at `THRESHOLDS` scores
    from the sort over all pixels (`RankedPixels.some`), with straight lines in between. The lines change a figure by less than
    0.001. If there are at most `THRESHOLDS` distinct scores, they change nothing.

    Args:
        maps: as for `pixels.aupro`.
        masks: as for `pixels.aupro`.
        limit: as for `pixels.aupro`.
        ranked: the sort over all pixels, if it exists already.
        parts: as for `part_intervals`.
        level: as for `part_intervals`.
        resamples: as for `part_intervals`.
        seed: as for `part_intervals`.
        progress: as for `part_intervals`.

    Raises:
        DataError: as `pixels.aupro`.
    """
    pairs = checked_pairs(maps, masks)
    ranked = rank_pixels(maps, masks) if ranked is None else ranked
    tables = _tables(pairs, ranked.thresholds[ranked.some(THRESHOLDS, limit)])
    units, of = _units(np.array([mask.any() for _, mask in pairs]), parts)
    drawn = [
        _pixel_figures(copies[:, of].astype(np.float64), tables, limit)
        for copies in _draws(units, resamples, seed, per_draw=THRESHOLDS, progress=progress, what="resampling pictures")
    ]
    return PixelIntervals(
        pixel_auroc=interval([auroc for auroc, _ in drawn], level), aupro=interval([aupro for _, aupro in drawn], level)
    )


class _Tables(Struct, frozen=True):
    """The contribution of each of n pictures to the curves, at each of t descending thresholds."""

    background: Floats
    """``[n, t]`` background pixels that score at least the threshold."""
    overlap: Floats
    """``[n, t]`` sum over the picture's regions of the share that scores at least the threshold."""
    marked: Floats
    """``[n, t]`` marked pixels that score at least the threshold."""
    backgrounds: Floats
    """``[n]`` background pixels in total."""
    regions: Floats
    """``[n]`` number of regions."""


def _tables(pairs: Sequence[tuple[NDArray[np.float32], NDArray[np.bool_]]], thresholds: NDArray[np.float32]) -> _Tables:
    shape = (len(pairs), len(thresholds))
    background, overlap, marked = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    backgrounds, regions = np.zeros(len(pairs)), np.zeros(len(pairs))
    for at, (scores, mask) in enumerate(pairs):
        rest = scores[~mask & (scores != NOT_COUNTED)]
        backgrounds[at] = rest.size
        background[at] = _at_least(rest, thresholds)
        if mask.any():
            labels, found = regions_of(mask)
            inside, inner = labels[mask], scores[mask]
            regions[at] = found
            for region in range(1, found + 1):
                scored = inner[inside == region]
                found_so_far = _at_least(scored, thresholds)
                marked[at] += found_so_far
                overlap[at] += found_so_far / scored.size
    return _Tables(background, overlap, marked, backgrounds, regions)


def _at_least(scores: NDArray[np.float32], thresholds: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.asarray(scores.size - np.searchsorted(np.sort(scores), thresholds, side="left"), np.int64)


def _pixel_figures(weights: Floats, tables: _Tables, limit: float) -> tuple[Floats, Floats]:
    """Return pixel AUROC and AUPRO of each draw, from ``[draws, n]`` copies. Leave out draws without background or regions."""
    weights = weights[(weights @ tables.backgrounds > 0) & (weights @ tables.regions > 0)]
    false = weights @ tables.background / (weights @ tables.backgrounds)[:, None]
    overlap = weights @ tables.overlap / (weights @ tables.regions)[:, None]
    true = weights @ tables.marked
    true /= true[:, -1:]
    rise = np.diff(overlap, axis=1, prepend=0.0)
    step = np.diff(false, axis=1, prepend=0.0)
    begin = false - step
    inside = np.clip(limit - begin, 0.0, step)
    # cut the last piece of the curve where it crosses the limit, by linear interpolation
    cut = np.divide(inside, step, out=np.zeros_like(step), where=step > 0)
    aupro = (inside * (overlap - rise + cut * rise / 2)).sum(axis=1) / limit
    auroc = (step * (true - np.diff(true, axis=1, prepend=0.0) / 2)).sum(axis=1)
    return auroc.clip(0.0, 1.0), aupro.clip(0.0, 1.0)


def rate_interval(hits: int, n: int, level: float = LEVEL) -> Interval:
    """Return the exact interval of a rate, from `hits` among `n` independent parts; 0 to 1 if there are no parts.

    >>> round(rate_interval(0, 20).high, 3)
    0.168
    """
    if not n:
        return Interval(low=0.0, high=1.0)
    from scipy.stats import binomtest

    ends = binomtest(hits, n).proportion_ci(level, "exact")
    return Interval(low=float(ends.low), high=float(ends.high))


def file_draws(files: int, *, resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.int64]:
    """Draw files with replacement and return how often each is drawn, ``[resamples, files]``."""
    return np.concatenate(list(_draws([np.arange(files)], resamples, seed, per_draw=files)))


def ratio_interval(
    draws: NDArray[np.int64], above: ArrayLike, below: ArrayLike, level: float = LEVEL
) -> Interval | None:
    """Return the interval of a ratio of sums over files, for example false events per day. Leave out draws with divisor 0.

    Args:
        draws: from `file_draws`.
        above: ``[files]``, the numerators.
        below: ``[files]``, the divisors. Ones give a mean over files.
        level: confidence level, 0 < level < 1.
    """
    top, bottom = draws @ np.asarray(above, np.float64), draws @ np.asarray(below, np.float64)
    some = bottom > 0
    return interval([top[some] / bottom[some]], level) if some.any() else None


def median_interval(draws: NDArray[np.int64], values: Sequence[ArrayLike], level: float = LEVEL) -> Interval | None:
    """Return the interval of the median over all values of the drawn files.

    Args:
        draws: from `file_draws`.
        values: one array ``[k]`` per file, k >= 0.
        level: confidence level, 0 < level < 1.
    """
    of = np.repeat(np.arange(len(values)), [np.size(some) for some in values])
    every = np.concatenate([np.asarray(some, np.float64) for some in values])
    order = np.argsort(every, kind="stable")
    weights = np.cumsum(draws[:, of[order]], axis=1)
    weights = weights[weights[:, -1] > 0] if len(every) else weights[:0]
    if not len(weights):
        return None
    total = weights[:, -1:]
    lower = (weights >= (total + 1) // 2).argmax(axis=1)
    upper = (weights >= total // 2 + 1).argmax(axis=1)
    return interval([(every[order][lower] + every[order][upper]) / 2], level)


def interval(drawn: Sequence[Floats], level: float) -> Interval:
    """Return the percentile interval of a figure over its draws."""
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail])
    return Interval(low=float(low), high=float(high))


def _units(
    defective: NDArray[np.bool_], parts: Sequence[str] | None
) -> tuple[list[NDArray[np.intp]], NDArray[np.intp]]:
    """Return the units of each class, and the unit of each picture. A part is defective if one of its pictures is."""
    if parts is None:
        of, bad = np.arange(len(defective)), defective
    else:
        names, of = np.unique(np.asarray(parts), return_inverse=True)
        bad = np.zeros(len(names), np.bool_)
        np.logical_or.at(bad, of, defective)
    return [np.flatnonzero(~bad), np.flatnonzero(bad)], of


def _draws(
    strata: Sequence[NDArray[np.intp]],
    resamples: int,
    seed: int,
    *,
    per_draw: int,
    progress: Progress = silent,
    what: str = "",
) -> Iterator[NDArray[np.int64]]:
    """Yield chunks ``[some, units]`` that hold how often each unit is drawn. Each stratum keeps its size."""
    units = sum(map(len, strata))
    generator = np.random.default_rng(seed)
    chunk = max(1, min(resamples, _CELLS // max(per_draw, units)))
    for begin in range(0, resamples, chunk):
        rows = min(chunk, resamples - begin)
        copies = np.zeros((rows, units), np.int64)
        for stratum in strata:
            if len(stratum):
                picked = generator.integers(len(stratum), size=(rows, len(stratum)))
                at = (picked + len(stratum) * np.arange(rows)[:, None]).ravel()
                copies[:, stratum] = np.bincount(at, minlength=rows * len(stratum)).reshape(rows, -1)
        yield copies
        progress(what, begin + rows, resamples)
