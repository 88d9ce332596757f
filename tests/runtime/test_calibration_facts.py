"""Facts of a calibration are fields; sentences follow from them and are never read back."""

import pytest

from andon.runtime.calibration_facts import Calibration, Sampling


def calibration(**changes: object) -> Calibration:
    values: dict[str, object] = {
        "kind": "promise", "alpha": 0.05, "confidence": 0.95, "n": 70, "n_eff": 70.0, "above": 0,
    }  # fmt: skip
    return Calibration(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sampling", "sentence"),
    [
        (Sampling(method="single_files", units=60), "each file was taken as an independent part"),
        (Sampling(method="grouped_files", units=60), "parts as grouped on export"),
        (
            Sampling(method="one_per_lot", units=120, groups=30),
            "one part drawn from each of 30 lots (120 parts), so that lots may differ",
        ),
        (Sampling(method="one_per_run", units=20, groups=20), "one window from each of 20 independent runs"),
        (
            Sampling(method="effective_number", units=900, groups=1),
            "disjoint windows of 1 run, counted by their effective number",
        ),
        (
            Sampling(method="effective_number", units=900, groups=3),
            "disjoint windows of 3 runs, counted by their effective number",
        ),
    ],
    ids=lambda value: value.method if isinstance(value, Sampling) else "",
)
def test_the_draw_of_the_parts_is_said_as_in_schema_1_0(sampling: Sampling, sentence: str) -> None:
    assert calibration(sampling=sampling).drawn == sentence


def test_a_file_of_schema_1_0_says_its_own_words() -> None:
    assert calibration(dependence="parts as grouped on export").drawn == "parts as grouped on export"
    assert calibration().drawn == ""


@pytest.mark.parametrize(
    ("kind", "promised"), [("promise", True), ("promise(n_eff)", True), ("estimate", False), ("manual", False)]
)
def test_estimates_and_thresholds_by_hand_promise_nothing(kind: str, promised: bool) -> None:
    assert calibration(kind=kind).promised is promised


@pytest.mark.parametrize(
    ("facts", "grouped"),
    [
        ({"sampling": Sampling(method="single_files", units=60)}, False),
        ({"sampling": Sampling(method="grouped_files", units=60)}, True),
        ({"sampling": Sampling(method="one_per_lot", units=60, groups=6)}, True),
        ({"sampling": Sampling(method="one_per_run", units=60, groups=60)}, False),
        ({"dependence": "each file was taken as an independent part"}, False),
        ({"dependence": "parts as grouped on export"}, True),
        ({}, False),
    ],
)
def test_whether_files_were_grouped_is_known_from_old_and_new_files(facts: dict[str, object], grouped: bool) -> None:
    assert calibration(**facts).grouped is grouped
