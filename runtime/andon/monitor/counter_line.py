"""The counters on stderr: a line that is rewritten on a terminal, one line a minute where stderr is piped."""

from typing import TextIO

from andon.foundation.console import StatusLine
from andon.monitor.counters import Counters, counters_text
from andon.sources.clock import Clock

TERMINAL_EVERY_S = 0.5
PIPED_EVERY_S = 60.0


class CounterLine:
    """Shows counters; may be called after every item. A stderr that is gone is no reason to stop judging.

    Args:
        stream: where the counters go; see `StatusLine`.
        clock: for the time between lines.
    """

    def __init__(self, stream: TextIO | None, clock: Clock) -> None:
        self._line = StatusLine(stream, every_s=TERMINAL_EVERY_S, piped_every_s=PIPED_EVERY_S, now_s=clock.mono_s)

    def __call__(self, counters: Counters) -> None:
        """Show them if it is time."""
        if self._line.due():
            self._line.update(f"{'' if self._line.terminal else 'andon: '}{counters_text(counters)}")

    def finish(self, counters: Counters, more: str = "") -> None:
        """Write the last line, always.

        Args:
            counters: the final ones.
            more: what else there is to say, e.g. how many lines were lost.
        """
        self._line.print(f"andon: {counters_text(counters)}{'; ' + more if more else ''}")
