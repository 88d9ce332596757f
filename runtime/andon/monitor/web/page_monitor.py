"""The parts of a running monitor that its page needs."""

from collections.abc import Callable, Mapping
from typing import Protocol

from andon.monitor.line_view import LineView
from andon.monitor.operator_actions import OperatorActions
from andon.monitor.recalibration import Recalibration
from andon.monitor.store import StoreReader
from andon.runtime.calibration_facts import Calibration
from andon.runtime.schema import Card

Exceeds = Callable[[int, int, Calibration], bool]
"""A function from rejects, judged parts and a calibration to whether these are more rejects than its promise explains.

The answer holds with the confidence of the promise at all times, because the page is looked at again and again.
"""


class PageMonitor(Protocol):
    """A running monitor. `andon.monitor.service.Service` is one."""

    @property
    def views(self) -> Mapping[str, LineView]:
        """Content of the page, by line, in the order of the configuration."""
        ...

    @property
    def actions(self) -> OperatorActions:
        """Actions of people."""
        ...

    @property
    def recalibration(self) -> Recalibration:
        """The random sample of confirmed parts, and proposals made from it."""
        ...

    def reader(self) -> StoreReader | None:
        """Return a reader of the event store. None if events are not kept."""
        ...

    def card(self, line: str) -> Card | None:
        """Return the card of the model file of a line."""
        ...
