"""What a detector answers: an immutable verdict with its numbers and its evidence."""

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
    """The graph's decision over one frame or window.

    Numbers are the graph's own, never clamped; NaN where nothing was judged. A verdict equals only itself: its arrays and
    NaN have no equality of their own. Compare the fields, or `to_dict`.
    """

    status: Status
    reason: Reason = Reason.NONE
    score: float = float("nan")
    """Raw, unbounded, higher is worse."""
    threshold: float = float("nan")
    """REJECT where the score is strictly above it."""
    p_value: float = float("nan")
    """Share of good parts that score at least this."""
    level: float = float("nan")
    """For people: 0 is a typical good part, 1 the threshold."""
    evidence: Evidence = msgspec.field(default_factory=lambda: _NO_EVIDENCE)
    """By output name: `anomaly_map` ``[h, w]``, `channel_scores` ``[C]``, `step_scores` ``[T]``, `score_*` ``[]``,
    `reconstruction` ``[h, w, C]`` in grey levels or ``[T, C]`` in sensor units, `memory_items` ``[M]``, shares of
    prototypes, `latent` ``[L]``. Read-only, as the arrays are: copy what is to be changed."""
    model: str = ""
    """Short digest of the file that judged."""

    def __repr__(self) -> str:
        """One short line: names instead of arrays, and only the numbers that there are."""
        numbers = {"score": self.score, "threshold": self.threshold, "level": self.level, "p_value": self.p_value}
        shown = [
            self.status.name,
            *([f"reason={self.reason.code}"] if self.reason else []),
            *(f"{name}={value:.6g}" for name, value in numbers.items() if not math.isnan(value)),
            *([f"evidence={list(self.evidence)}"] if self.evidence else []),
            *([f"model={self.model!r}"] if self.model else []),
        ]
        return f"Verdict({', '.join(shown)})"

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], "Verdict"], tuple[dict[str, Any]]]:
        """For copies and other processes, which a read-only mapping cannot go to by itself."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return _again, (values | {"evidence": dict(self.evidence)},)

    def to_json(self, *, arrays: bool = False) -> bytes:
        """One JSON object; NaN is null; evidence only if asked, as nested lists."""
        return msgspec.json.encode(self.to_dict(arrays=arrays))

    def to_dict(self, *, arrays: bool = False) -> dict[str, Any]:
        """The verdict as plain values, with names for status and reason."""
        plain: dict[str, Any] = {
            "status": self.status.name,
            "reason": self.reason.code,
            "score": json_number(self.score),
            "level": json_number(self.level),
            "p_value": json_number(self.p_value),
            "threshold": json_number(self.threshold),
            "model": self.model,
        }
        if arrays:
            plain["evidence"] = {name: array.tolist() for name, array in self.evidence.items()}
        return plain


def _again(values: dict[str, Any]) -> Verdict:
    for array in values["evidence"].values():
        array.setflags(write=False)
    return Verdict(**values | {"evidence": MappingProxyType(values["evidence"])})


def invalid(reason: Reason, *, threshold: float = float("nan"), model: str = "") -> Verdict:
    """The verdict over something that never reached the graph."""
    return Verdict(status=Status.INVALID, reason=reason, threshold=threshold, model=model)


def part_status(statuses: Iterable[Status]) -> Status:
    """Return the status of a part that was seen in several frames.

    REJECT if any frame is REJECT, else INVALID if any is INVALID, else REVIEW if any is REVIEW, else OK. A part with one
    rejected frame is defective whatever the other frames show. A part with an unreadable frame and no rejected one was
    not inspected completely, so it must not pass as good.

    Raises:
        ValueError: there are no frames.

    >>> part_status([Status.OK, Status.INVALID]).name, part_status([Status.INVALID, Status.REJECT]).name
    ('INVALID', 'REJECT')
    """
    return max(statuses)  # `Status` is numbered in this order


def part_verdict(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the frame verdict that decides a part: the worst status by `part_status`, then the highest score.

    Raises:
        ValueError: there are no verdicts.
    """

    def badness(verdict: Verdict) -> tuple[int, float]:
        return verdict.status, float("-inf") if math.isnan(verdict.score) else verdict.score

    return max(verdicts, key=badness)
