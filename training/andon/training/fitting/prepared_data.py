"""Good parts, split once and prepared by the file's own module: all that a fit can see, and what calibration gets.

The order matters and is fixed here: group, split, and only then look at values. Channels are standardised by the
training part alone; windows of two sides share no row.
"""

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np
import torch
from torch import Generator, Tensor, nn

from andon.calibration.contents import content_of, copied_items, copied_runs
from andon.calibration.split import CALIBRATION_SHARE, Split, disjoint, split
from andon.export.preprocessing import prepare
from andon.foundation.errors import DataError
from andon.foundation.progress import Progress, silent, track
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import FrameSpec, InputSpec, Reason, WindowSpec
from andon.sources.collection import Collection, Found, FoundFrames
from andon.sources.grouping import Grouped
from andon.sources.series.log import Log
from andon.sources.series.windows import cut
from andon.sources.subset import Chosen
from andon.training.recipe.recipe import Recipe

logger = logging.getLogger(__name__)

CACHE_BYTES = 1_000_000_000
"""Prepared tensors are kept in memory up to so many bytes; beyond that they are decoded anew in each epoch."""
MAX_LOST = 0.05
"""Share of good parts that may be unreadable or without contrast: more means that something is wrong with the data."""
CONSTANT = 0.01
"""A channel that never changes is scaled to this share of its value: one that then changes stands out, noise does not."""


class PreparedPart:
    """A `Part` of items that were all readable when it was opened, in memory or decoded anew in each pass."""

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
        """Whether it is held in memory."""
        return self._cached is not None

    def take(self, places: Sequence[int]) -> Tensor:
        """Float32 ``[n, C, h, w]`` or ``[n, T, C]``: the items at these places.

        Raises:
            DataError: a file that was readable when training began no longer is.
        """
        if self._cached is not None:
            return self._cached[list(places)]
        return torch.stack([self._read(self._refs[place]) for place in places])

    def batches(self, size: int, *, shuffle: Generator | None = None) -> Iterator[Tensor]:
        """What `take` gives, n <= size at a time, each item once; in order, or shuffled.

        Raises:
            DataError: as `take`.
        """
        order = torch.arange(len(self)) if shuffle is None else torch.randperm(len(self), generator=shuffle)
        yield from (self.take(places.tolist()) for places in torch.split(order, size) if len(places))

    def _read(self, ref: Ref) -> Tensor:
        item = self._collection.read(ref)
        prepared = _prepared(item, self._prepare) if isinstance(item, Item) else item
        if isinstance(prepared, Lost):
            raise DataError(f"{ref.key}: was readable when training began, and now: {_why(prepared)}. Start anew.")
        return prepared


class PreparedData:
    """Good parts by use. `train` and `validation` are a fit's whole world; `calibration` waits for the export."""

    def __init__(
        self,
        *,
        spec: InputSpec,
        used: Split,
        fingerprint: str,
        lost: tuple[str, ...],
        copies: tuple[str, ...],
        contents: Mapping[str, str],
        train: PreparedPart,
        validation: PreparedPart,
        calibration: Collection,
    ) -> None:
        self.spec = spec
        """With channels standardised, where it is of windows."""
        self.split = used
        """By key; calibration windows are disjoint."""
        self.fingerprint = fingerprint
        """Digest over keys and raw contents of what is learnt from."""
        self.lost = lost
        """Keys of what could not be learnt from: unreadable, no contrast, not finite."""
        self.copies = copies
        """Keys of what repeats another item, and is left out."""
        self.contents = dict(contents)
        """Digest of each calibration part by key (`content_of`); empty for one that is lost."""
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
    cache_bytes: int = CACHE_BYTES,
    progress: Progress = silent,
) -> PreparedData:
    """Group, split, standardise by the training part, prepare.

    Args:
        data: good parts only; a log is cut into the windows that the recipe wants.
        recipe: says what input it wants, and whether a validation part.
        settings: of the recipe.
        seed: of the split.
        group: a regular expression or a CSV file that says which items belong together; None: as the source says.
        calibration_share: of the parts, held back for calibration; above 0, at most 0.8.
        cache_bytes: how much memory prepared tensors may take.
        progress: told of reading.

    Raises:
        DataError: too few parts, the wrong kind of data, or more than 5 % of what is to be learnt from unreadable.
        ConfigError: a share outside of its bounds.
    """
    _warn_of_sizes(data.found)
    spec = recipe.wanted_input(settings, data.found)
    collection = items_of(data, spec, group)
    window_s = spec.steps * spec.period_s if isinstance(spec, WindowSpec) else None
    refs = [ref for ref in collection.refs if not _is_gap(collection, ref, spec)]
    read = _Reader(collection)
    if isinstance(spec, FrameSpec):
        # before the split, so that no copy of a training part is calibrated on
        read.look(refs, prepare(spec), progress, keep=_fits(len(refs), spec, cache_bytes))
    copies = _copies(collection, refs, read.contents, windows=isinstance(spec, WindowSpec))
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
        spec = standardised(spec, collection, train)
    cache = _fits(len(train) + len(validation), spec, cache_bytes)
    if not cache:
        logger.info("prepared parts do not fit into memory: they are decoded again in each epoch")
    learn, check = (read.part(refs, prepare(spec), progress, cache=cache) for refs in (train, validation))
    read.refuse_if_many_were_lost()
    if not len(learn):
        raise DataError("nothing of the training part is readable.")
    return PreparedData(
        spec=spec,
        used=used,
        fingerprint=read.fingerprint,
        lost=tuple(lost.ref.key for lost in read.lost),
        copies=copies,
        contents={
            ref.key: read.contents[ref.key] if ref.key in read.contents else content_of(collection.read(ref))
            for ref in calibration
        },
        train=learn,
        validation=check,
        calibration=Chosen(collection, calibration),
    )


def items_of(data: Collection | Log, spec: InputSpec, group: str | None) -> Collection:
    """The items of data as a recipe sees them: a log cut into windows, grouped as asked."""
    collection: Collection = cut(data, spec) if isinstance(data, Log) and isinstance(spec, WindowSpec) else data  # type: ignore[assignment]
    return collection if group is None else Grouped(collection, group)


def standardised(spec: WindowSpec, collection: Collection, train: Sequence[Ref]) -> WindowSpec:
    """The specification with centre, scale and range of each channel, from these windows only.

    Centre and scale are mean and standard deviation over all rows; a constant channel is scaled to 1 % of its value.
    """
    count, total, squares = 0, 0.0, 0.0
    low, high = math.inf, -math.inf
    shift = None
    for ref in train:
        item = collection.read(ref)
        if isinstance(item, Item) and np.isfinite(item.data).all():
            rows = item.data.astype(np.float64)
            shift = rows.mean(axis=0) if shift is None else shift  # sums of squares near zero lose no digits
            count += len(rows)
            total = total + (rows - shift).sum(axis=0)
            squares = squares + ((rows - shift) ** 2).sum(axis=0)
            low, high = np.minimum(low, rows.min(axis=0)), np.maximum(high, rows.max(axis=0))
    if shift is None:
        raise DataError("the training part holds no window of finite values.")
    mean = np.asarray(shift + total / count)
    deviation = np.sqrt(np.maximum(np.asarray(squares / count) - np.asarray(total / count) ** 2, 0.0))
    return msgspec.structs.replace(
        spec,
        channels=tuple(
            msgspec.structs.replace(
                channel,
                center=float(mean[place]),
                scale=_scale(float(mean[place]), float(deviation[place])),
                low=float(np.asarray(low)[place]),
                high=float(np.asarray(high)[place]),
            )
            for place, channel in enumerate(spec.channels)
        ),
    )


def _scale(mean: float, deviation: float) -> float:
    if deviation > 1e-6 * abs(mean) and deviation > 1e-30:  # below that it is the rounding of float32
        return deviation
    return CONSTANT * abs(mean) or 1.0


def _copies(
    collection: Collection, refs: Sequence[Ref], contents: Mapping[str, str], *, windows: bool
) -> tuple[str, ...]:
    """Return the keys of items that repeat others, and warn of them: frames one by one, windows by whole runs."""
    if windows:
        if len({ref.group for ref in refs}) < 2:
            return ()
        runs = copied_runs(refs, {ref.key: content_of(collection.read(ref)) for ref in refs})
        if runs:
            run, of = next(iter(runs.items()))
            logger.warning(
                "%d of %d recordings repeat another one (%s repeats %s): each content counts once",
                len(runs), len({ref.group for ref in refs}), run, of,
            )  # fmt: skip
        return tuple(ref.key for ref in refs if ref.group in runs)
    copies = copied_items(refs, contents)
    if copies:
        key, of = next(iter(copies.items()))
        distinct = len(refs) - len(copies)
        logger.warning(
            "%d files hold %d distinct picture%s (%s repeats %s): each content counts once",
            len(refs), distinct, "" if distinct == 1 else "s", key, of,
        )  # fmt: skip
    return tuple(ref.key for ref in refs if ref.key in copies)


class _Reader:
    """Reads items: counts, digests, prepares."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._digest = hashlib.sha256()
        self._seen = 0
        self._looked: dict[str, Tensor | Lost] = {}
        self.contents: dict[str, str] = {}
        """Digest of each item that was read, by key."""
        self.lost: list[Lost] = []

    @property
    def fingerprint(self) -> str:
        return self._digest.hexdigest()

    def look(self, refs: Sequence[Ref], preparation: nn.Module, progress: Progress, *, keep: bool) -> None:
        """Read all items for their digests. With `keep`, `part` needs to read none of them again."""
        for ref in track(refs, progress, "reading good parts"):
            prepared = self._read(ref, preparation)
            if keep:
                self._looked[ref.key] = prepared

    def part(self, refs: Sequence[Ref], preparation: nn.Module, progress: Progress, *, cache: bool) -> PreparedPart:
        kept: list[Ref] = []
        # one piece from the beginning: a list that is stacked in the end would need as much again
        cached: Tensor | None = None
        for ref in track(refs, progress, "reading good parts"):
            self._seen += 1
            prepared = self._looked.pop(ref.key) if ref.key in self._looked else self._read(ref, preparation)
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
                f"{len(self.lost)} of {self._seen} good parts cannot be learnt from, more than {MAX_LOST:.0%}: the first "
                f"is {first.ref.key} ({_why(first)}). Mend or remove them."
            )
        for lost in self.lost:
            logger.warning("%s is left out: %s", lost.ref.key, _why(lost))


def _prepared(item: Item, preparation: nn.Module) -> Tensor | Lost:
    """One item without the batch axis, or why the graph would call it INVALID."""
    with torch.no_grad():
        prepared, reason = preparation(torch.from_numpy(np.array(item.data[np.newaxis])))
    why = Reason(int(reason[0]))
    if why != Reason.NONE:
        return Lost(item.ref, why)
    tensor: Tensor = prepared[0]
    return tensor


def _warn_of_sizes(found: Found) -> None:
    if isinstance(found, FoundFrames) and found.sizes:
        most = 4
        listed = ", ".join(f"{count} of {height} x {width}" for (height, width), count in found.sizes[:most])
        more = f" and {len(found.sizes) - most} more sizes" if len(found.sizes) > most else ""
        logger.warning(
            "the good parts have %d sizes (height x width: %s%s), so the model file will accept frames of any size. It will not "
            "notice a camera that changes its resolution; train on pictures of one size to have that check",
            len(found.sizes),
            listed,
            more,
        )


def _is_gap(collection: Collection, ref: Ref, spec: InputSpec) -> bool:
    """Windows with holes are no windows: INVALID on the line by design, and nothing wrong with the data."""
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
