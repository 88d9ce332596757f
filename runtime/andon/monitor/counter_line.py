"""The counters on stderr: a line that is renewed on a terminal, one line a minute where it is piped."""

import contextlib
from typing import TextIO

from andon.monitor.counters import Counters, counters_text
from andon.sources.clock import Clock

TERMINAL_EVERY_S = 0.5
PIPED_EVERY_S = 60.0


class CounterLine:
    """Shows counters; may be called after every item. A stderr that is gone is no reason to stop judging.

    Args:
        stream: where to; None, as Python has it for a stderr that was closed, shows nothing.
        clock: for the distance of lines.
    """

    def __init__(self, stream: TextIO | None, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._terminal = stream is not None and stream.isatty()
        self._shown_s = clock.mono_s()
        self._open = False

    def __call__(self, counters: Counters) -> None:
        """Show them where it is time to."""
        now_s = self._clock.mono_s()
        if now_s - self._shown_s < (TERMINAL_EVERY_S if self._terminal else PIPED_EVERY_S):
            return
        self._shown_s = now_s
        if self._terminal:
            self._write("\r\x1b[2K" + counters_text(counters))
            self._open = True
        else:
            self._write(f"andon: {counters_text(counters)}\n")

    def finish(self, counters: Counters, more: str = "") -> None:
        """The last line, always shown.

        Args:
            counters: the final ones.
            more: what else is to be told, e.g. how many lines were lost.
        """
        begin = "\r\x1b[2K" if self._open else ""
        self._write(f"{begin}andon: {counters_text(counters)}{'; ' + more if more else ''}\n")
        self._open = False

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()
