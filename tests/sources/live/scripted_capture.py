"""A camera that follows a script."""

import threading
from collections.abc import Sequence

from andon.sources.clock import Clock
from andon.sources.pictures.decode import Frame


class ScriptedCapture:
    """A capture that follows a script of frames, waits and losses.

    Args:
        script: a frame is returned. A number is a sleep in seconds, and an event is waited for (at most ten seconds), both
            within the call that returns the next frame. None is a loss, and so is the end of the script.
        clock: clock for sleeping.
    """

    def __init__(self, script: Sequence[Frame | float | threading.Event | None], clock: Clock) -> None:
        self._script = list(script)
        self._clock = clock
        self.closed = False

    def read(self) -> Frame | None:
        while self._script:
            step = self._script.pop(0)
            if isinstance(step, threading.Event):
                step.wait(10.0)
            elif isinstance(step, float):
                self._clock.sleep(step)
            else:
                return step
        return None

    def close(self) -> None:
        self.closed = True
