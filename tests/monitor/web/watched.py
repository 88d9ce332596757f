"""A small monitor for tests of the page: two lines, an event store, and no threads that judge."""

from pathlib import Path

from tests.monitor.statuses import FULL

from andon.monitor.event import Body
from andon.monitor.line_view import LineView
from andon.monitor.operator_actions import OperatorActions
from andon.monitor.recalibration import Recalibration
from andon.monitor.sample_questions import Questions
from andon.monitor.status import ProcessStatus
from andon.monitor.store import Settings, StoreReader
from andon.monitor.store_writer import StoreWriter
from andon.runtime.schema import Card
from andon.sources.clock import Clock, SystemClock


class Watched:
    """A `PageMonitor` with the lines of `FULL`. Give a folder for an event store."""

    def __init__(
        self, clock: Clock, folder: Path | None = None, card: Card | None = None, lines: tuple[str, ...] = ()
    ) -> None:
        names = lines or tuple(line.name for line in FULL.lines)
        self.views = {name: LineView(clock, lambda _wall_s: 0.0) for name in names}
        self.events: list[tuple[str, Body]] = []
        self.acknowledged: list[tuple[str, str, int, str]] = []
        self.status_now: ProcessStatus = FULL
        self.status_calls = 0
        self.store = (
            StoreWriter(Settings(path=str(folder), ballast_bytes=1 << 18), SystemClock())
            if folder is not None
            else None
        )
        self._card = card
        self.actions = OperatorActions(
            clock,
            record=lambda line, body: self.events.append((line, body)),
            status=lambda: FULL,
            acknowledge=self._acknowledge,
            views=self.views,
            reader=self.reader,
        )
        self._recalibration = Recalibration(
            clock,
            models={name: Path("m.onnx") for name in names},
            folder=folder,
            one_in=20,
            questions=Questions(self.reader),
            running=lambda _line: "0f3a",
            record=lambda line, body: self.events.append((line, body)),
        )

    @property
    def recalibration(self) -> Recalibration:
        return self._recalibration

    def status(self) -> ProcessStatus:
        self.status_calls += 1
        return self.status_now

    def reader(self) -> StoreReader | None:
        return self.store.reader() if self.store is not None else None

    def card(self, _line: str) -> Card | None:
        return self._card

    def close(self) -> None:
        if self.store is not None:
            self.store.close()

    def _acknowledge(self, line: str, alarm: str, number: int, by: str) -> bool:
        self.acknowledged.append((line, alarm, number, by))
        return True
