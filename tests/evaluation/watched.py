"""A log whose windows a hand-made detector scores by the mean of their squares, so that scores can be told beforehand."""

import msgspec
import numpy as np
from numpy.typing import NDArray
from tests.runtime.hand_made import WINDOW, model_bytes

from andon.evaluation.logs import LogVerdicts, judge_logs
from andon.runtime import Detector, Verdict
from andon.sources.collection import FoundLogs
from andon.sources.series.log import Log, Run


class Rebuilding(Detector):
    """The hand-made detector of windows, whose file gives a reconstruction too: everything at 0.5."""

    def __call__(self, item: NDArray[np.float32]) -> Verdict:
        verdict = super().__call__(item)
        return msgspec.structs.replace(
            verdict, evidence={**verdict.evidence, "reconstruction": np.full_like(item, 0.5)}
        )


WATCHED = Rebuilding.from_bytes(model_bytes(WINDOW, threshold=4.0))
"""A window of four rows, 2 s long, scores the mean of its squares."""


def run(name: str, levels: list[float], faults: str = "", recovering: str = "", start_s: float = 0.0) -> Run:
    """Four rows a window; `faults` has the letter of a fault for each, or a dot."""
    count = len(levels)
    letters = np.repeat(list(faults.ljust(count, ".")), 4)
    return Run(
        name=name,
        times_s=start_s + np.arange(4 * count, dtype=np.float64) * 0.5,
        values=np.repeat(np.array(levels, np.float32), 8).reshape(-1, 2),
        faulty=letters != ".",
        recovering=np.repeat([mark == "x" for mark in recovering.ljust(count, ".")], 4),
        fault=np.where(letters == ".", "", letters).astype(np.str_),
    )


def judged(*runs: Run) -> LogVerdicts:
    found = FoundLogs(channels=WINDOW.channels, period_s=0.5, runs=len(runs), rows=sum(len(r.times_s) for r in runs))
    return judge_logs(WATCHED, Log(found=found, runs=runs))
