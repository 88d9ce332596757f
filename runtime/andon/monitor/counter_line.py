"""The counters on stderr: a status line on a terminal, one line per minute if stderr is piped."""

from typing import TextIO

from andon.foundation.console import StatusLine
from andon.foundation.printable import printable
from andon.monitor.counters import Counters, counters_text
from andon.sources.clock import Clock

TERMINAL_EVERY_S = 0.5
PIPED_EVERY_S = 60.0


class CounterLine:
    """A display of the counters, which may be called after every item. Judging continues even if stderr is closed.

    Args:
        stream: the output, see `StatusLine`.
        clock: measures the time between lines.
    """

    def __init__(self, stream: TextIO | None, clock: Clock) -> None:
        self._line = StatusLine(stream, every_s=TERMINAL_EVERY_S, piped_every_s=PIPED_EVERY_S, now_s=clock.mono_s)

    def __call__(self, counters: Counters) -> None:
        """Show the counters if an update is due."""
        if self._line.due():
            self._line.update(f"{'' if self._line.terminal else 'andon: '}{counters_text(counters)}")

    def finish(self, counters: Counters, more: str = "", *, line: str = "") -> None:
        """Write the last line.

        Args:
            counters: the final counters.
            more: additional text, for example the number of lost lines.
            line: name of the line, if there are several.
        """
        name = f"{line}: " if line else ""
        self._line.print(f"andon: {name}{counters_text(counters)}{'; ' + more if more else ''}")

    def failed(self, line: str, failure: str) -> None:
        """Write that a line ended with an error."""
        self._line.print(f"andon: {f'{line}: ' if line else ''}failed: {printable(failure)}")
