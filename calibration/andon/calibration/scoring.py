"""Score good parts through a model file, blank or calibrated, exactly as the line will: one by one, through the runtime."""

import logging
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.calibration.contents import content_of
from andon.foundation.progress import Progress, silent, track
from andon.runtime.detector import Detector
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.judge import judge_items
from andon.runtime.model_file.format import parse
from andon.runtime.schema import Reason, Status
from andon.runtime.session import Device, open_session
from andon.sources.collection import Collection

logger = logging.getLogger(__name__)

MAP_VALUES = 2_000_000
"""At most so many map values are kept for the heat maps' colour scale, drawn evenly over all parts."""


class Scores(Struct, frozen=True, kw_only=True):
    """What a file made of a collection, item by item."""

    refs: tuple[Ref, ...]
    score: NDArray[np.float64]
    """``[n]``; NaN where INVALID."""
    status: NDArray[np.uint8]
    reason: NDArray[np.uint8]
    map_values: NDArray[np.float32]
    """A sample of the values of all deciding maps; empty for windows."""
    contents: tuple[str, ...] = ()
    """``[n]``, digest of each item's content (`content_of`), by which copies are noticed; empty where it is not known."""
    frame_sizes: tuple[tuple[int, int], ...] = ()
    """Distinct heights and widths of the frames that were judged, sorted; empty for windows."""
    provider: Literal["cpu", "cuda"] | None = None
    """What the items were scored on; None where it is not known."""

    def __len__(self) -> int:
        return len(self.refs)

    @property
    def lost(self) -> NDArray[np.bool_]:
        """``[n]``: which items never reached the graph: unreadable, a gap, or not what the file wants."""
        lost: NDArray[np.bool_] = (self.status == Status.INVALID) & (self.reason >= Reason.UNREADABLE)
        return lost

    @property
    def valid(self) -> NDArray[np.bool_]:
        """``[n]``: which items were judged; a score that is no number never counts, whatever its status says."""
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
        data: a model file; it may be blank.
        collection: where the items come from.
        device: to score on; the threshold belongs to it.
        seed: draws which map values are kept.
        progress: reports each item.
        refs: which items; None: all.

    Raises:
        JudgeError: the runtime failed although the input was right.

    An item of another kind than the file wants is INVALID (wrong_input), as on the line; the first one is logged.
    """
    model = parse(data, allow_blank=True)
    detector = Detector(model, open_session(data, device=device), frame_size="any")
    chosen = tuple(collection.refs if refs is None else refs)
    generator = np.random.default_rng(seed)
    kept = max(64, MAP_VALUES // max(len(chosen), 1))
    scores = np.full(len(chosen), np.nan)
    status = np.full(len(chosen), Status.INVALID, np.uint8)
    reason = np.full(len(chosen), Reason.UNREADABLE, np.uint8)
    contents: list[str] = []
    sizes: set[tuple[int, int]] = set()
    maps: list[NDArray[np.float32]] = []

    def items() -> Iterator[Item | Lost]:
        for ref in track(chosen, progress, "scoring good parts"):
            item = collection.read(ref)
            contents.append(content_of(item))
            yield item

    for place, one in enumerate(judge_items(detector, items())):
        verdict = one.verdict
        if verdict.reason is Reason.WRONG_INPUT and Reason.WRONG_INPUT not in reason:
            logger.warning("%s: %s It is INVALID.", one.ref.key, one.detail)
        scores[place], status[place], reason[place] = verdict.score, verdict.status, verdict.reason
        if one.judged and one.data is not None and one.data.dtype == np.uint8:
            sizes.add((one.data.shape[0], one.data.shape[1]))
        if verdict.status != Status.INVALID and "anomaly_map" in verdict.evidence:
            values = verdict.evidence["anomaly_map"].ravel()
            maps.append(values if len(values) <= kept else generator.choice(values, kept, replace=False))
    return Scores(
        refs=chosen,
        score=scores,
        status=status,
        reason=reason,
        map_values=np.concatenate(maps) if maps else np.empty(0, np.float32),
        contents=tuple(contents),
        frame_sizes=tuple(sorted(sizes)),
        provider=detector.device,
    )
