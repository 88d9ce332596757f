"""Name the sensor channel to look at first when a window is not OK."""

import numpy as np
from numpy.typing import NDArray

from andon.runtime.schema import Card, Status, WindowSpec
from andon.runtime.verdict import Verdict

_LONGEST_MEMORY = 1000
"""Number of OK windows from which on a newer window replaces an older share of the mean."""


class ChannelShares:
    """Compares the channel scores of a window with their usual level on this line.

    Channels differ in their usual level, so the highest score alone would often name the same channel. Until the first OK window,
    the highest score decides.
    """

    def __init__(self, card: Card | None) -> None:
        spec = card.input if card is not None else None
        self._names = tuple(channel.name for channel in spec.channels) if isinstance(spec, WindowSpec) else ()
        self._usual: NDArray[np.float64] | None = None
        self._seen = 0

    def channel(self, verdict: Verdict) -> str:
        """Return the channel to look at. It is empty for OK and INVALID windows, frames, and without channel scores."""
        scores = verdict.evidence.get("channel_scores")
        if not self._names or scores is None or scores.shape != (len(self._names),) or not np.isfinite(scores).all():
            return ""
        if verdict.status is Status.OK:
            self._seen = min(self._seen + 1, _LONGEST_MEMORY)
            usual = np.zeros(len(scores)) if self._usual is None else self._usual
            self._usual = usual + (scores - usual) / self._seen
            return ""
        if verdict.status is Status.INVALID:
            return ""
        if self._usual is None or not (self._usual > 0).all():
            return self._names[int(scores.argmax())]
        return self._names[int((scores / self._usual).argmax())]
