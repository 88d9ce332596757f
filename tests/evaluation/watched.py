"""A log and a hand-made detector that scores a window by the mean of its squares, so that scores are known in advance."""

import msgspec
import numpy as np
from numpy.typing import NDArray
from tests.runtime.hand_made import WINDOW, model_bytes

from andon.evaluation.logs import LogVerdicts, judge_logs
from andon.runtime import Detector, Verdict
from andon.sources.collection import FoundLogs
from andon.sources.series.log import Log, Run


class Rebuilding(Detector):
    """Return the hand-made detector for windows, with a reconstruction that is 0.5 everywhere."""

    def __call__(self, item: NDArray[np.float32]) -> Verdict:
        verdict = super().__call__(item)
        return msgspec.structs.replace(
            verdict, evidence={**verdict.evidence, "reconstruction": np.full_like(item, 0.5)}
        )


WATCHED = Rebuilding.from_bytes(model_bytes(WINDOW, threshold=4.0))
"""A window has four rows and is 2 s long. Its score is the mean of the squares."""


def run(name: str, levels: list[float], faults: str = "", recovering: str = "", start_s: float = 0.0) -> Run:
    """Return a log with four rows per window. `faults` has one character per window: the letter of a fault, or a dot."""
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
