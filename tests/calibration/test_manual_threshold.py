"""A threshold that a person sets."""

import numpy as np
import pytest
from tests.calibration.scores import scores_of
from tests.runtime.hand_made import FRAME, blank_bytes, graph

from andon.calibration.calibrate import calibrate
from andon.calibration.manual_threshold import set_threshold
from andon.calibration.request import CalibrationRequest
from andon.foundation.errors import ConfigError
from andon.runtime.model_file.format import parse

SCORES = np.arange(1, 101) / 100
FILE = calibrate(blank_bytes(graph(FRAME), FRAME), scores_of(SCORES), CalibrationRequest(date="2026-01-01"))


def test_the_file_says_that_a_person_set_it_and_promises_nothing() -> None:
    model = parse(set_threshold(FILE, 0.905, date="2026-11-30", reason=" customer A "))

    calibration = model.card.calibration
    assert calibration is not None
    assert model.threshold == np.float32(0.905)
    assert (calibration.kind, calibration.promised, calibration.above) == ("manual", False, 10)
    assert calibration.sentence.startswith("no promise: a person set the threshold")
    assert (model.log[-1].kind, model.log[-1].reason, len(model.log)) == ("manual", "customer A", 2)
    assert model.graph_sha256 == parse(FILE).graph_sha256


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39])
def test_only_finite_numbers_are_thresholds(value: float) -> None:
    with pytest.raises(ConfigError, match="--set: expected a finite number"):
        set_threshold(FILE, value, date="2026-11-30", reason="x")


def test_a_threshold_needs_a_reason() -> None:
    with pytest.raises(ConfigError, match="--reason: expected the reason"):
        set_threshold(FILE, 0.5, date="2026-11-30", reason="  ")
