"""A camera that follows a script."""

import threading
from collections.abc import Sequence

from andon.foundation.errors import DataError
from andon.sources.clock import Clock
from andon.sources.live.capture import Grabbed, Quiet
from andon.sources.pictures.decode import Frame

Step = Frame | Grabbed | Quiet | DataError | float | threading.Event | None


class ScriptedCapture:
    """A capture that follows a script of frames, waits and losses.

    Args:
        script: a frame is returned, as pixels or as `Grabbed`. A number is a sleep in seconds, and an event is waited for (at
            most ten seconds), both within the call that returns the next frame. `Quiet` is returned, and an error is raised. None
            is a loss, and so is the end of the script.
        clock: clock for sleeping.
    """

    def __init__(self, script: Sequence[Step], clock: Clock) -> None:
        self._script = list(script)
        self._clock = clock
        self.closed = False

    def read(self) -> Grabbed | Quiet | None:
        while self._script:
            step = self._script.pop(0)
            if isinstance(step, threading.Event):
                step.wait(10.0)
            elif isinstance(step, float):
                self._clock.sleep(step)
            elif isinstance(step, DataError):
                raise step
            elif step is None or isinstance(step, Grabbed | Quiet):
                return step
            else:
                return Grabbed(step)
        return None

    def close(self) -> None:
        self.closed = True
