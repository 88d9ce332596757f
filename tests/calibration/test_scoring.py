"""Scoring good parts with the model file, one at a time."""

import numpy as np
import pytest
from tests.calibration.parts import Parts
from tests.runtime.hand_made import FRAME, WINDOW, blank_bytes, frame, graph, model_bytes, window

from andon.calibration.scoring import MAP_VALUES, score
from andon.runtime import Detector, Reason, Status
from andon.runtime.items import Item, Ref
from andon.sources.collection import FoundLogs

BLANK = blank_bytes(graph(FRAME), FRAME)


def test_each_score_is_the_one_that_the_runtime_gives() -> None:
    parts = Parts({f"{seed}.png": frame(seed, level=100 + seed) for seed in range(20)})
    detector = Detector.from_bytes(model_bytes(FRAME, threshold=0.25))

    scores = score(BLANK, parts)

    assert scores.refs == parts.refs
    assert scores.score.tolist() == [detector(frame(seed, level=100 + seed)).score for seed in range(20)]
    assert scores.valid.all()


def test_blank_and_calibrated_files_score_alike() -> None:
    parts = Parts({f"{seed}.png": frame(seed) for seed in range(5)})

    assert score(BLANK, parts).score.tolist() == score(model_bytes(FRAME, threshold=0.25), parts).score.tolist()


def test_what_is_black_or_torn_is_invalid_with_its_reason_and_no_score() -> None:
    parts = Parts({"good.png": frame(1), "black.png": np.zeros((32, 48, 3), np.uint8), "torn.png": None})

    scores = score(BLANK, parts)

    assert scores.valid.tolist() == [True, False, False]
    assert scores.status[1:].tolist() == [Status.INVALID, Status.INVALID]
    assert scores.reason.tolist() == [Reason.NONE, Reason.NO_CONTRAST, Reason.UNREADABLE]
    assert np.isnan(scores.score[1:]).all()


def test_maps_of_valid_parts_are_kept_whole_while_they_are_few() -> None:
    parts = Parts({"good.png": frame(1), "black.png": np.zeros((32, 48, 3), np.uint8)})
    judged = Detector.from_bytes(model_bytes(FRAME, threshold=0.25))(frame(1))

    scores = score(BLANK, parts)

    assert scores.map_values.tolist() == judged.evidence["anomaly_map"].ravel().tolist()
    assert MAP_VALUES >= 1_000_000


def test_a_part_of_another_kind_is_invalid_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    parts = Parts({"good.png": frame(1), "grey.png": frame(1, channels=1), "more.png": frame(2, channels=1)})

    scores = score(BLANK, parts)

    assert scores.valid.tolist() == [True, False, False]
    assert scores.lost.tolist() == [False, True, True]
    assert scores.reason.tolist() == [Reason.NONE, Reason.WRONG_INPUT, Reason.WRONG_INPUT]
    assert [record.getMessage().partition(", got")[0] for record in caplog.records] == [
        "grey.png: expected a frame [H, W, 3] (RGB)"
    ]


def test_equal_pictures_have_equal_digests_and_lost_ones_none() -> None:
    parts = Parts({"one.png": frame(1), "again.png": frame(1), "other.png": frame(2), "torn.png": None})

    one, again, other, torn = score(BLANK, parts).contents

    assert one == again != other
    assert torn == ""


def test_the_sizes_of_the_judged_frames_and_the_provider_are_kept() -> None:
    parts = Parts({"a.png": frame(1), "b.png": frame(2, size=(60, 80)), "c.png": frame(3, size=(20, 30), channels=1)})

    scores = score(BLANK, parts)

    assert scores.frame_sizes == ((32, 48), (60, 80))
    assert scores.provider == "cpu"


def test_only_those_asked_for_are_scored_and_progress_is_told_after_each() -> None:
    parts = Parts({f"{seed}.png": frame(seed) for seed in range(6)})
    told: list[tuple[int, int | None]] = []

    scores = score(BLANK, parts, refs=parts.refs[2:4], progress=lambda _what, done, total: told.append((done, total)))

    assert [ref.key for ref in scores.refs] == ["2.png", "3.png"]
    assert told == [(1, 2), (2, 2)]


def test_windows_have_no_map_values() -> None:
    class Windows:
        found = FoundLogs(channels=WINDOW.channels, period_s=0.5, runs=1, rows=8)
        refs = (Ref(key="run#3"), Ref(key="run#7"))

        def read(self, ref: Ref) -> Item:
            return Item(ref, window(float(ref.key[-1])))

    scores = score(model_bytes(WINDOW), Windows())

    assert scores.score.tolist() == [9.0, 49.0]
    assert scores.map_values.size == 0
