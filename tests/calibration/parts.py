"""Parts with a known truth for the hand-made model of frames, and a fake collection of them."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import Reason
from andon.sources.collection import FoundFrames

Frame = NDArray[np.uint8]


class Parts:
    """Frames by key; None is a file that cannot be read."""

    def __init__(self, frames: Mapping[str, Frame | None]) -> None:
        self._frames = dict(frames)
        self.found = FoundFrames(channels=3, frame_size=(32, 48), largest=(32, 48))
        self.refs = tuple(Ref(key=key) for key in self._frames)

    def read(self, ref: Ref) -> Item | Lost:
        frame = self._frames[ref.key]
        return Lost(ref, Reason.UNREADABLE, "torn") if frame is None else Item(ref, frame)
