"""The tables of faults: kinds, delays, and the channel to look at first."""

import msgspec
import numpy as np
from numpy.typing import NDArray
from tests.evaluation.watched import judged, run
from tests.runtime.hand_made import WINDOW, model_bytes

from andon.evaluation.report import stretches
from andon.evaluation.report.fault_tables import fault_sections, kinds_of_faults
from andon.evaluation.report.first_channels import FirstChannel, first_channels
from andon.runtime import Detector, Verdict


class WithShares(Detector):
    """The hand-made detector, with the mean absolute value of each channel as its share."""

    def __call__(self, item: NDArray[np.float32]) -> Verdict:
        verdict = super().__call__(item)
        shares = np.abs(item).mean(axis=0)
        return msgspec.structs.replace(verdict, evidence={**verdict.evidence, "channel_scores": shares})


DETECTOR = WithShares.from_bytes(model_bytes(WINDOW, threshold=4.0))
FIRST, SECOND = (channel.name for channel in WINDOW.channels)


def test_the_first_channel_of_a_fault_is_that_of_its_highest_window() -> None:
    log = run("a", [1, 1, 3, 5, 1, 1], faults="..pp..")
    log.values[8:12, 0] = 9.0  # a lower window, in which the other channel is larger
    log.values[8:12, 1] = 0.5
    log.values[12:16, 1] = 15.0
    verdicts = judged(log)
    rows = stretches.faults(verdicts)

    found = first_channels(DETECTOR, verdicts, rows)

    assert list(found) == [rows[0].highest_key]
    assert found[rows[0].highest_key] == FirstChannel(SECOND, 15.0 / 20.0)


def test_kinds_of_faults_are_listed_with_the_most_missed_first() -> None:
    verdicts = judged(run("a", [1, 5, 1, 1, 5, 1, 3, 1], faults=".p.q.r.."), run("b", [1, 1, 3, 1], faults=".qp."))
    rows = stretches.faults(verdicts)
    channels = {row.highest_key: FirstChannel(FIRST, 1.0) for row in rows if row.kind == "p"}

    (section,) = kinds_of_faults(rows, channels)

    (table,) = section.tables
    # a window lasts 2 s, and a fault of one window is caught by the end of that window: 1.5 s after its first row
    assert table.rows == (
        ("q", "0 of 2", "–", "–", "–"),
        ("r", "0 of 1", "–", "–", "–"),
        ("p", "2 of 2", "1.5", "1.5", FIRST),
    )


def test_one_kind_of_fault_needs_no_table_of_kinds() -> None:
    rows = stretches.faults(judged(run("a", [1, 5, 1, 5], faults=".p.p")))

    assert kinds_of_faults(rows, {}) == []
    (section,) = fault_sections(rows, {})
    assert [row[-1] for row in section.tables[0].rows] == ["–", "–"]
