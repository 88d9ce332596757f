"""The verdict that a detector returns: immutable, with its numbers and its evidence."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from andon.runtime.schema import Reason, Status, json_number

Evidence = Mapping[str, NDArray[np.float32]]

_NO_EVIDENCE: Evidence = MappingProxyType({})


class Verdict(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The decision about one frame or window.

    The numbers come from the graph and are never clamped. They are NaN where nothing was judged. A verdict equals only
    itself, because arrays and NaN cannot be compared. Compare the fields, or the results of `to_dict`.
    """

    status: Status
    """OK, REVIEW, INVALID or REJECT."""
    reason: Reason = Reason.NONE
    """Reason why the status is INVALID. `Reason.NONE` for every other status, with one exception: a window far outside the good
    windows is REJECT with `Reason.OUTSIDE_TRAINING`."""
    score: float = float("nan")
    """Anomaly score, without bounds. Higher is worse."""
    threshold: float = float("nan")
    """Threshold of the model file. The status is REJECT if `score` is strictly above it."""
    p_value: float = float("nan")
    """Share of good parts whose score is equal to or higher than this score, from 0 to 1."""
    level: float = float("nan")
    """The score on a readable scale: 0 is a typical good part, 1 is the threshold. It has no bounds."""
    evidence: Evidence = msgspec.field(default_factory=lambda: _NO_EVIDENCE)
    """Arrays by output name. They are read-only: copy an array before you change it.

    The detector determines which of these there are. `Card.outputs` lists them.

    * `anomaly_map` ``[h, w]``: anomaly by place, at the resolution of the network's map
    * `channel_scores` ``[C]`` and `step_scores` ``[T]``: anomaly by channel and by row of a window
    * `score_NAME` ``[]``: a score that does not decide: a score `NAME` of the detector, or its map `NAME` pooled like the score
    * `reconstruction`: ``[h, w, C]`` in grey levels, or ``[T, C]`` in sensor units
    * `memory_items` ``[M]``: share of each prototype of a memory
    * `latent` ``[L]``: position in the latent space
    """
    model: str = ""
    """First 12 hexadecimal digits of the digest of the model file that judged."""
    outside_promise: tuple[str, ...] = ()
    """Fields of the card in which this item or device differs from the calibration: ``frame_size``, ``provider``.

    The file's promise does not cover such a verdict. `Detector.load` refuses both unless the caller asks for them.
    """

    def __repr__(self) -> str:
        """Return one short line: names of arrays instead of their values, and only numbers that are not NaN."""
        numbers = {"score": self.score, "threshold": self.threshold, "level": self.level, "p_value": self.p_value}
        shown = [
            self.status.name,
            *([f"reason={self.reason.code}"] if self.reason else []),
            *(f"{name}={value:.6g}" for name, value in numbers.items() if not math.isnan(value)),
            *([f"evidence={list(self.evidence)}"] if self.evidence else []),
            *([f"model={self.model!r}"] if self.model else []),
            *([f"outside_promise={list(self.outside_promise)}"] if self.outside_promise else []),
        ]
        return f"Verdict({', '.join(shown)})"

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], "Verdict"], tuple[dict[str, Any]]]:
        """Support copying and pickling. A read-only mapping cannot be pickled by itself."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return _rebuilt, (values | {"evidence": dict(self.evidence)},)

    def to_json(self, *, arrays: bool = False) -> bytes:
        """Return the verdict as one JSON object in UTF-8. NaN becomes null.

        Args:
            arrays: include the evidence, as nested lists.
        """
        return msgspec.json.encode(self.to_dict(arrays=arrays))

    def to_dict(self, *, arrays: bool = False) -> dict[str, Any]:
        """Return the verdict as plain values, with names for status and reason. NaN becomes None.

        The key ``outside_promise`` is there only if the promise does not cover the verdict.

        Args:
            arrays: include the evidence, as nested lists.
        """
        plain: dict[str, Any] = {
            "status": self.status.name,
            "reason": self.reason.code,
            "score": json_number(self.score),
            "level": json_number(self.level),
            "p_value": json_number(self.p_value),
            "threshold": json_number(self.threshold),
            "model": self.model,
        }
        if self.outside_promise:
            plain["outside_promise"] = list(self.outside_promise)
        if arrays:
            plain["evidence"] = {name: array.tolist() for name, array in self.evidence.items()}
        return plain


def _rebuilt(values: dict[str, Any]) -> Verdict:
    for array in values["evidence"].values():
        array.setflags(write=False)
    return Verdict(**values | {"evidence": MappingProxyType(values["evidence"])})


def invalid(reason: Reason, *, threshold: float = float("nan"), model: str = "") -> Verdict:
    """Return an INVALID verdict for an item that never reached the graph."""
    return Verdict(status=Status.INVALID, reason=reason, threshold=threshold, model=model)


def part_status(statuses: Iterable[Status]) -> Status:
    """Return the status of a part that was seen in several frames.

    REJECT if any frame is REJECT, else INVALID if any is INVALID, else REVIEW if any is REVIEW, else OK. A part with one
    rejected frame is defective, even if all other frames are OK. A part with an unreadable frame and no rejected frame was
    not inspected completely, so it must not pass as good.

    Raises:
        ValueError: there are no frames.

    >>> part_status([Status.OK, Status.INVALID]).name, part_status([Status.INVALID, Status.REJECT]).name
    ('INVALID', 'REJECT')
    """
    return max(statuses)  # the numbers of `Status` have this order


def part_verdict(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the frame verdict that decides about a part.

    This is a verdict with the worst status, as in `part_status`. If several verdicts have this status, the one with the highest
    score decides.

    Raises:
        ValueError: there are no verdicts.
    """

    def badness(verdict: Verdict) -> tuple[int, float]:
        return verdict.status, float("-inf") if math.isnan(verdict.score) else verdict.score

    return max(verdicts, key=badness)
