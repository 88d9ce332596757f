"""Good parts, split once and prepared by the model file's own preparation module: the data of a fit and of its calibration.

The order is fixed here: group first, then split, and only then look at values. Channels are standardised by the
training set alone. Windows of different splits share no row.
"""

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from andon.calibration.contents import content_of, copied_items, copied_runs
from andon.calibration.split import CALIBRATION_SHARE, Split, disjoint, split
from andon.export.preprocessing import PrepareFrames, prepare
from andon.export.tiles import CutTiles
from andon.foundation.errors import ConfigError, DataError
from andon.foundation.progress import Progress, silent, track
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.mask_pixels import mask_size
from andon.runtime.outside_training import ranges, statistics
from andon.runtime.schema import FrameSpec, InputSpec, OutsideCheck, Reason, WindowSpec
from andon.sources.collection import Collection, FoundFrames
from andon.sources.grouping import Grouped
from andon.sources.series.good_rows import good_rows
from andon.sources.series.log import Log
from andon.sources.series.windows import cut
from andon.sources.subset import Subset
from andon.training.fitting.frame_masks import NO_MASKS, Masks, with_masks
from andon.training.fitting.level_scale import scaled
from andon.training.fitting.prepared_tiles import PreparedTiles
from andon.training.fitting.window_reading import AS_IT_IS, WindowReading, conditioned, prepared_for
from andon.training.recipe.recipe import Recipe

logger = logging.getLogger(__name__)

CACHE_BYTES = 1_000_000_000
"""Largest total size of prepared tensors in memory. If they need more, each epoch decodes them again."""
MAX_LOST = 0.05
"""Largest share of good parts that may be unreadable or without contrast. More means that something is wrong with the data."""
CONSTANT = 0.01
"""Scale of a channel that never changes, as a share of its value. Larger changes then give high scores, and noise does not."""


class PreparedPart:
    """A `Part` of items that were all readable when it was opened, kept in memory or decoded again in each pass."""

    def __init__(
        self, collection: Collection, refs: Sequence[Ref], preparation: nn.Module, cached: Tensor | None
    ) -> None:
        self._collection = collection
        self._refs = refs
        self._prepare = preparation
        self._cached = cached

    def __len__(self) -> int:
        return len(self._refs)

    @property
    def cached(self) -> bool:
        """True if the prepared tensors are in memory."""
        return self._cached is not None

    def take(self, places: Sequence[int]) -> Tensor:
        """Return the items at these places, float32 ``[n, C, h, w]`` or ``[n, T, C]``.

        Raises:
            DataError: a file that was readable at the start of training is not readable now.
        """
        if self._cached is not None:
            return self._cached[list(places)]
        return torch.stack([self._read(self._refs[place]) for place in places])

    def batches(self, size: int, *, shuffle: Generator | None = None) -> Iterator[Tensor]:
        """Yield each item once, in batches as `take` returns them, n <= size; in order, or shuffled.

        Raises:
            DataError: as for `take`.
        """
        order = torch.arange(len(self)) if shuffle is None else torch.randperm(len(self), generator=shuffle)
        yield from (self.take(places.tolist()) for places in torch.split(order, size) if len(places))

    @property
    def keys(self) -> list[str]:
        """Keys of the items, in the order of their places."""
        return [ref.key for ref in self._refs]

    def cut_by(self, cut: CutTiles) -> PreparedTiles:
        """Return the tiles of the same frames."""
        return PreparedTiles(self._collection, self._refs, cut)

    def _read(self, ref: Ref) -> Tensor:
        item = self._collection.read(ref)
        prepared = _prepared(item, self._prepare) if isinstance(item, Item) else item
        if isinstance(prepared, Lost):
            raise DataError(
                f"{ref.key}: this file was readable when training began, but is not now: {_why(prepared)}. "
                "Restart the training."
            )
        return prepared


class PreparedData:
    """Good parts by use. A fit sees only `train` and `validation`; the export uses `calibration`."""

    def __init__(
        self,
        *,
        spec: InputSpec,
        used: Split,
        fingerprint: str,
        lost: tuple[str, ...],
        copies: tuple[str, ...],
        contents: Mapping[str, str],
        train: PreparedPart | PreparedTiles,
        validation: PreparedPart | PreparedTiles,
        calibration: Collection,
    ) -> None:
        self.spec = spec
        """Specification of the input. Channels of windows are standardised."""
        self.split = used
        """The split by key. Its calibration windows are disjoint."""
        self.fingerprint = fingerprint
        """Digest of the keys and raw contents of the training and validation parts."""
        self.lost = lost
        """Keys of items that cannot be used: unreadable, without contrast, or not finite."""
        self.copies = copies
        """Keys of items that repeat another item. They are left out."""
        self.contents = dict(contents)
        """Digest of each calibration part by key (`content_of`); empty for a part that cannot be read."""
        self.train = train
        self.validation = validation
        self.calibration = calibration


def prepare_data(
    data: Collection | Log,
    recipe: Recipe,
    settings: msgspec.Struct,
    *,
    seed: int,
    group: str | None = None,
    calibration_share: float = CALIBRATION_SHARE,
    reading: WindowReading = AS_IT_IS,
    masks: Masks = NO_MASKS,
    cache_bytes: int = CACHE_BYTES,
    progress: Progress = silent,
) -> PreparedData:
    """Group, split, standardise by the training set, and prepare.

    Args:
        data: good parts only; a log is cut into the windows that the recipe needs.
        recipe: recipe of the detector. It defines the input, and whether there is a validation set.
        settings: settings of the recipe.
        seed: seed of the split.
        group: a regular expression or a CSV file that defines which items belong together, or None for the source's
            groups.
        calibration_share: share of the parts that is reserved for calibration; above 0, at most 0.8.
        reading: options for the preparation of windows.
        masks: ignore mask and region of frames.
        cache_bytes: largest size of prepared tensors in memory.
        progress: receives the progress of reading.

    Raises:
        DataError: too few parts, the wrong kind of data, more than 5 % of the training and validation parts unreadable, or
            masks that do not fit the frames.
        ConfigError: a share out of bounds, or a reading that does not fit the windows.
    """
    spec = with_masks(recipe.wanted_input(settings, data.found), masks, data.found, cell=recipe.cell(settings))
    if isinstance(spec, WindowSpec):
        spec = prepared_for(spec, reading)
    elif reading != AS_IT_IS:
        raise ConfigError(
            "--detrend and --context: expected a detector for sensor logs, got one for frames. Leave them out."
        )
    collection = items_of(data, spec, group)
    window_s = spec.steps * spec.period_s if isinstance(spec, WindowSpec) else None
    refs = [ref for ref in collection.refs if not _is_gap(collection, ref, spec)]
    reader = _Reader(collection)
    deep = isinstance(data.found, FoundFrames) and data.found.dtype == "uint16"
    if isinstance(spec, FrameSpec):
        # before the split, so that the calibration set contains no copy of a training part. Deep frames cannot be prepared yet,
        # because their scale depends on the split.
        keep = not deep and _fits(len(refs), spec, cache_bytes)
        reader.digest_all(refs, None if deep else prepare(spec), progress, keep=keep)
    copies = _copies(collection, refs, reader.contents, windows=isinstance(spec, WindowSpec))
    refs = [ref for ref in refs if ref.key not in copies]
    used = split(
        refs,
        seed=seed,
        validation=recipe.uses_validation,
        window_s=window_s,
        calibration_share=calibration_share,
    )
    by_key = {ref.key: ref for ref in refs}
    train, validation, calibration = (
        [by_key[key] for key in keys] for keys in (used.train, used.validation, used.calibration)
    )
    if window_s is not None:
        calibration = disjoint(calibration, window_s)
        used = msgspec.structs.replace(used, calibration=tuple(ref.key for ref in calibration))
    if isinstance(spec, WindowSpec):
        spec = conditioned(standardised(spec, collection, train), collection, train, reading)
    elif deep:
        spec = scaled(spec, collection, train)
    tiles = spec.tiles if isinstance(spec, FrameSpec) else None
    cache = tiles is None and _fits(len(train) + len(validation), spec, cache_bytes)
    if not cache and tiles is None:
        logger.info("prepared parts exceed the memory limit: each epoch decodes them again")
    parts: tuple[PreparedPart | PreparedTiles, ...] = tuple(
        reader.part(refs, prepare(spec), progress, cache=cache) for refs in (train, validation)
    )
    if isinstance(spec, FrameSpec) and tiles is not None:
        cut = CutTiles(spec, tiles)
        parts = tuple(part.cut_by(cut) for part in parts if isinstance(part, PreparedPart))
    training_part, validation_part = parts
    reader.refuse_if_many_were_lost()
    if not len(training_part):
        raise DataError("training set: expected readable good parts, got none. Check the files.")
    return PreparedData(
        spec=spec,
        used=used,
        fingerprint=reader.fingerprint,
        lost=tuple(lost.ref.key for lost in reader.lost),
        copies=copies,
        contents={
            ref.key: reader.contents[ref.key] if ref.key in reader.contents else content_of(collection.read(ref))
            for ref in calibration
        },
        train=training_part,
        validation=validation_part,
        calibration=Subset(collection, calibration),
    )


def items_of(data: Collection | Log, spec: InputSpec, group: str | None) -> Collection:
    """Return the items of data as a recipe sees them: the good rows of a log cut into windows, grouped as requested."""
    windows = isinstance(data, Log) and isinstance(spec, WindowSpec)
    collection: Collection = cut(good_rows(data), spec) if windows else data  # type: ignore[arg-type, assignment]
    return collection if group is None else Grouped(collection, group)


def standardised(spec: WindowSpec, collection: Collection, train: Sequence[Ref]) -> WindowSpec:
    """Return the specification with centre, scale and ranges of each channel, computed from these windows only.

    Centre and scale are mean and standard deviation over all rows. A constant channel is scaled to 1 % of its value. With the
    ranges, the graph rejects windows far outside the good ones (`WindowSpec.outside`), for every detector.
    """
    count, total, squares = 0, 0.0, 0.0
    spreads, rates = list[NDArray[np.float64]](), list[NDArray[np.float64]]()
    low, high = math.inf, -math.inf
    shift = None
    for ref in train:
        item = collection.read(ref)
        if isinstance(item, Item) and np.isfinite(item.data).all():
            rows = item.data.astype(np.float64)
            shift = rows.mean(axis=0) if shift is None else shift  # keeps the sums of squares small and precise
            count += len(rows)
            total = total + (rows - shift).sum(axis=0)
            squares = squares + ((rows - shift) ** 2).sum(axis=0)
            seen = statistics(item.data.astype(np.float32)[np.newaxis])
            low, high = np.minimum(low, seen.low[0]), np.maximum(high, seen.high[0])
            spreads.append(seen.spread)
            rates.append(seen.rate)
    if shift is None:
        raise DataError("training set: expected windows with finite values, got none. Check the logs.")
    mean = np.asarray(shift + total / count)
    deviation = np.sqrt(np.maximum(np.asarray(squares / count) - np.asarray(total / count) ** 2, 0.0))
    spread, rate = ranges(np.concatenate(spreads)), ranges(np.concatenate(rates))
    return msgspec.structs.replace(
        spec,
        outside=OutsideCheck(),
        channels=tuple(
            msgspec.structs.replace(
                channel,
                center=float(mean[place]),
                scale=_scale(float(mean[place]), float(deviation[place])),
                low=float(np.asarray(low)[place]),
                high=float(np.asarray(high)[place]),
                spread=spread[place],
                rate=rate[place],
            )
            for place, channel in enumerate(spec.channels)
        ),
    )


def _scale(mean: float, deviation: float) -> float:
    if deviation > 1e-6 * abs(mean) and deviation > 1e-30:  # smaller deviations are float32 rounding
        return deviation
    return CONSTANT * abs(mean) or 1.0


def _copies(
    collection: Collection, refs: Sequence[Ref], contents: Mapping[str, str], *, windows: bool
) -> tuple[str, ...]:
    """Return the keys of items that repeat others, and log a warning.

    Each frame is compared on its own. Windows are compared as whole runs.
    """
    if windows:
        if len({ref.group for ref in refs}) < 2:
            return ()
        runs = copied_runs(refs, {ref.key: content_of(collection.read(ref)) for ref in refs})
        if runs:
            run, of = next(iter(runs.items()))
            logger.warning(
                "%d of %d recordings repeat another one (%s repeats %s). Each distinct recording is used once",
                len(runs), len({ref.group for ref in refs}), run, of,
            )  # fmt: skip
        return tuple(ref.key for ref in refs if ref.group in runs)
    copies = copied_items(refs, contents)
    if copies:
        key, of = next(iter(copies.items()))
        distinct = len(refs) - len(copies)
        logger.warning(
            "%d files hold %d distinct picture%s (%s repeats %s). Each distinct picture is used once",
            len(refs), distinct, "" if distinct == 1 else "s", key, of,
        )  # fmt: skip
    return tuple(ref.key for ref in refs if ref.key in copies)


class _Reader:
    """Read items: digest, prepare and count them."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._digest = hashlib.sha256()
        self._seen = 0
        self._prepared_by_key: dict[str, Tensor | Lost] = {}
        self.contents: dict[str, str] = {}
        """Digest of each item that was read, by key."""
        self.lost: list[Lost] = []

    @property
    def fingerprint(self) -> str:
        return self._digest.hexdigest()

    def digest_all(self, refs: Sequence[Ref], preparation: nn.Module | None, progress: Progress, *, keep: bool) -> None:
        """Read all items for their digests. With a preparation and `keep`, `part` does not read them again."""
        for ref in track(refs, progress, "reading good parts"):
            if preparation is None:
                self.contents[ref.key] = content_of(self._collection.read(ref))
                continue
            prepared = self._read(ref, preparation)
            if keep:
                self._prepared_by_key[ref.key] = prepared

    def part(self, refs: Sequence[Ref], preparation: nn.Module, progress: Progress, *, cache: bool) -> PreparedPart:
        kept: list[Ref] = []
        # allocated at once: stacking a list at the end would need twice the memory
        cached: Tensor | None = None
        for ref in track(refs, progress, "reading good parts"):
            self._seen += 1
            prepared = (
                self._prepared_by_key.pop(ref.key) if ref.key in self._prepared_by_key else self._read(ref, preparation)
            )
            if isinstance(prepared, Lost):
                self.lost.append(prepared)
                continue
            self._digest.update(f"{ref.key}\n{self.contents[ref.key]}\n".encode())
            if cache:
                cached = prepared.new_empty((len(refs), *prepared.shape)) if cached is None else cached
                cached[len(kept)] = prepared
            kept.append(ref)
        self._digest.update(b"\n")
        cached = None if cached is None else cached[: len(kept)]
        return PreparedPart(self._collection, kept, preparation, cached)

    def _read(self, ref: Ref, preparation: nn.Module) -> Tensor | Lost:
        item = self._collection.read(ref)
        self.contents[ref.key] = content_of(item)
        return _prepared(item, preparation) if isinstance(item, Item) else item

    def refuse_if_many_were_lost(self) -> None:
        if len(self.lost) > MAX_LOST * self._seen:
            first = self.lost[0]
            raise DataError(
                f"{len(self.lost)} of {self._seen} good parts cannot be used, more than {MAX_LOST:.0%}. The first is "
                f"{first.ref.key} ({_why(first)}). Repair or remove them."
            )
        for lost in self.lost:
            logger.warning("%s is left out: %s", lost.ref.key, _why(lost))


def _prepared(item: Item, preparation: nn.Module) -> Tensor | Lost:
    """Return one prepared item without the batch axis, or the reason for which it would be INVALID on the line."""
    spec = preparation.spec if isinstance(preparation, PrepareFrames) else None
    if spec is not None and item.data.dtype != spec.dtype:
        return Lost(item.ref, Reason.WRONG_INPUT, f"expected a {spec.dtype} frame, got {item.data.dtype}")
    size = None if spec is None else mask_size(spec)
    if size is not None and item.data.shape[:2] != size:
        got = "{} x {}".format(*item.data.shape[:2])
        return Lost(
            item.ref, Reason.WRONG_INPUT, f"expected the frame size of the masks, {size[0]} x {size[1]}, got {got}"
        )
    with torch.no_grad():
        prepared, reason = preparation(torch.from_numpy(np.array(item.data[np.newaxis])))
    why = Reason(int(reason[0]))
    if why != Reason.NONE:
        return Lost(item.ref, why)
    tensor: Tensor = prepared[0]
    return tensor


def _is_gap(collection: Collection, ref: Ref, spec: InputSpec) -> bool:
    """Return whether a window has gaps.

    Such a window is INVALID on the line by design. It does not mean that the data are wrong.
    """
    if isinstance(spec, FrameSpec):
        return False
    item = collection.read(ref)
    return isinstance(item, Lost) and item.reason in (Reason.GAP, Reason.WARMING)


def _fits(count: int, spec: InputSpec, cache_bytes: int) -> bool:
    shape: tuple[int, ...]
    if isinstance(spec, FrameSpec):  # noqa: SIM108 - narrows the type
        shape = (spec.channels, *spec.size)
    else:
        shape = (spec.steps, len(spec.channels))
    return 4 * math.prod(shape) * count <= cache_bytes


def _why(lost: Lost) -> str:
    return lost.detail or lost.reason.text
