"""Outcomes for tests of what a page shows."""

from typing import Any

import numpy as np

from andon.monitor.judging import Outcome
from andon.runtime.items import Ref
from andon.runtime.schema import Reason, Status
from andon.runtime.verdict import Verdict


def some_outcome(seq: int = 1, status: Status = Status.OK, score: float = 1.0, **changes: Any) -> Outcome:
    """Return an outcome about a small grey frame, judged at second `seq`."""
    reason = Reason.BLACK if status is Status.INVALID else Reason.NONE
    facts: dict[str, Any] = {
        "seq": seq,
        "wall_s": float(seq),
        "ref": Ref(key=f"line.mp4#{seq}"),
        "unit": "frame",
        "verdict": Verdict(
            status=status,
            reason=reason,
            score=float("nan") if reason else score,
            threshold=2.0,
            evidence={"anomaly_map": np.ones((4, 4), np.float32)},
            model="0f3a",
        ),
        "data": np.full((30, 40, 1), 100, np.uint8),
    }
    return Outcome(**(facts | changes))
