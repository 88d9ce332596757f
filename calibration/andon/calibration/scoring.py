"""Score good parts with a model file, blank or calibrated, exactly as on the line: one at a time, with the same runtime."""

import logging
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.calibration.contents import content_of
from andon.calibration.good_health import GoodWindow, channel_health, frame_health, measured_places
from andon.foundation.progress import Progress, silent, track
from andon.runtime.calibration_facts import ChannelHealth, FrameHealth
from andon.runtime.detector import Detector
from andon.runtime.frame_statistics import FrameStatistics, measure
from andon.runtime.grey_levels import grey_levels
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.judge import judge_items
from andon.runtime.mask_pixels import masked
from andon.runtime.model_file.format import ModelFile, parse
from andon.runtime.schema import Reason, Status, WindowSpec
from andon.runtime.session import Device, open_session
from andon.sources.collection import Collection, FoundLogs

logger = logging.getLogger(__name__)

MAP_VALUES = 2_000_000
"""Upper limit of map values kept for the colour scale of heat maps, with an equal share for each part."""


class Scores(Struct, frozen=True, kw_only=True):
    """The results of a model file on a collection, item by item."""

    refs: tuple[Ref, ...]
    score: NDArray[np.float64]
    """``[n]``; NaN where INVALID."""
    status: NDArray[np.uint8]
    reason: NDArray[np.uint8]
    map_values: NDArray[np.float32]
    """A random sample of the values of all anomaly maps; empty for windows."""
    contents: tuple[str, ...] = ()
    """``[n]``, the digest of each item's content (`content_of`), used to find copies; empty if unknown."""
    frame_sizes: tuple[tuple[int, int], ...] = ()
    """Distinct heights and widths of the frames that were judged, sorted; empty for windows."""
    provider: Literal["cpu", "cuda"] | None = None
    """The device on which the items were scored; None if unknown."""
    health: FrameHealth | None = None
    """Statistics of the frames that are not INVALID; None for windows and for too few frames."""
    channel_health: tuple[ChannelHealth, ...] = ()
    """The same for the channels of windows."""

    def __len__(self) -> int:
        return len(self.refs)

    @property
    def lost(self) -> NDArray[np.bool_]:
        """``[n]``: items that never reached the graph, because they are unreadable, a gap, or of a wrong kind."""
        lost: NDArray[np.bool_] = (self.status == Status.INVALID) & (self.reason >= Reason.UNREADABLE)
        return lost

    @property
    def valid(self) -> NDArray[np.bool_]:
        """``[n]``: items that were judged. An item without a finite score never counts, even if its status is not INVALID."""
        valid: NDArray[np.bool_] = (self.status != Status.INVALID) & np.isfinite(self.score)
        return valid


def score(
    data: bytes,
    collection: Collection,
    *,
    device: Device = "cpu",
    seed: int = 0,
    progress: Progress = silent,
    refs: Sequence[Ref] | None = None,
) -> Scores:
    """Score items one at a time, as on the line.

    Args:
        data: a model file, which may be blank.
        collection: the source of the items.
        device: the device to score on. The threshold is valid for this device.
        seed: seed for choosing the map values that are kept.
        progress: called for each item.
        refs: the items to score. None: all.

    Raises:
        JudgeError: the runtime failed although the input was valid.

    An item of a kind that the file does not accept is INVALID (wrong_input), as on the line. The first one is logged.
    """
    model = parse(data, allow_blank=True)
    detector = Detector(model, open_session(data, device=device), frame_size="any")
    selected = tuple(collection.refs if refs is None else refs)
    generator = np.random.default_rng(seed)
    kept = max(64, MAP_VALUES // max(len(selected), 1))
    scores = np.full(len(selected), np.nan)
    status = np.full(len(selected), Status.INVALID, np.uint8)
    reason = np.full(len(selected), Reason.UNREADABLE, np.uint8)
    contents: list[str] = []
    sizes: set[tuple[int, int]] = set()
    measured_at = set(measured_places(len(selected)).tolist())
    measured: list[FrameStatistics] = []
    windows: list[GoodWindow] = []
    maps: list[NDArray[np.float32]] = []

    def items() -> Iterator[Item | Lost]:
        for ref in track(selected, progress, "scoring good parts"):
            item = collection.read(ref)
            contents.append(content_of(item))
            yield item

    for place, one in enumerate(judge_items(detector, items())):
        verdict = one.verdict
        if verdict.reason is Reason.WRONG_INPUT and Reason.WRONG_INPUT not in reason:
            logger.warning("%s: %s This item is INVALID.", one.ref.key, one.detail)
        scores[place], status[place], reason[place] = verdict.score, verdict.status, verdict.reason
        if one.judged and one.data is not None and one.data.ndim == 3:
            sizes.add((one.data.shape[0], one.data.shape[1]))
        if verdict.status != Status.INVALID and one.data is not None:
            if isinstance(model.card.input, WindowSpec):
                windows.append(GoodWindow(one.ref, np.asarray(one.data, np.float32)))
            elif place in measured_at:
                measured.append(measure(grey_levels(one.data, model.card.input))[0])
        if verdict.status != Status.INVALID and "anomaly_map" in verdict.evidence:
            values = verdict.evidence["anomaly_map"].ravel()
            if masked(model.card.input):
                values = values[values != 0]  # the graph sets the cells that do not count to exactly 0
            maps.append(values if len(values) <= kept else generator.choice(values, kept, replace=False))
    return Scores(
        refs=selected,
        score=scores,
        status=status,
        reason=reason,
        map_values=np.concatenate(maps) if maps else np.empty(0, np.float32),
        contents=tuple(contents),
        frame_sizes=tuple(sorted(sizes)),
        provider=detector.device,
        health=frame_health(measured),
        channel_health=_channels(windows, model, collection),
    )


def _channels(windows: list[GoodWindow], model: ModelFile, collection: Collection) -> tuple[ChannelHealth, ...]:
    spec, found = model.card.input, collection.found
    if not isinstance(spec, WindowSpec):
        return ()
    periods_s: dict[str, float | None] = {}
    if isinstance(found, FoundLogs):
        each = found.channel_periods_s or (found.period_s,) * len(found.channels)
        periods_s = {channel.name: period_s for channel, period_s in zip(found.channels, each, strict=True)}
    return channel_health(windows, spec, periods_s)
