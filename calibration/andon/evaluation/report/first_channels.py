"""Find the channel of each fault that a person should look at first."""

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct

from andon.evaluation.logs import LogVerdicts
from andon.evaluation.report.stretches import FaultRow
from andon.foundation.progress import Progress, silent, track
from andon.runtime.detector import Detector
from andon.runtime.judge import judge_items
from andon.runtime.schema import WindowSpec

MOST_FAULTS = 500
"""Upper limit of faults whose window is judged again, evenly spread over the log."""


class FirstChannel(Struct, frozen=True):
    """The channel with the largest share in the score of a window."""

    name: str
    share: float
    """Its share in the sum over all channels, from 0 to 1."""


def first_channels(
    detector: Detector, verdicts: LogVerdicts, rows: Sequence[FaultRow], *, progress: Progress = silent
) -> Mapping[str, FirstChannel]:
    """Judge the highest window of each fault again. Return its first channel by the key of the window.

    A detector without evidence about channels gives an empty result.
    """
    spec = detector.card.input
    assert isinstance(spec, WindowSpec)
    wanted = list(dict.fromkeys(row.highest_key for row in rows if row.highest_key))
    if len(wanted) > MOST_FAULTS:
        wanted = [wanted[at] for at in np.linspace(0, len(wanted) - 1, MOST_FAULTS).astype(int)]
    refs = {ref.key: ref for ref in verdicts.windows.refs if ref.key in set(wanted)}
    found = {}
    windows = (verdicts.windows.read(refs[key]) for key in track(wanted, progress, "channels of faults"))
    for one in judge_items(detector, windows):
        parts = one.verdict.evidence.get("channel_scores")
        if parts is None or parts.shape != (len(spec.channels),):
            continue
        sizes = np.abs(parts.astype(np.float64))
        if (whole := float(sizes.sum())) > 0:
            at = int(sizes.argmax())
            found[one.ref.key] = FirstChannel(spec.channels[at].name, float(sizes[at]) / whole)
    return found
