"""Each value of a line fits the data type of its node, and only valid results look valid."""

import datetime as dt
import math
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.monitor.node_values import DEFAULT, ValueName, quality_of, types_of, value_of
from andon.monitor.process_image import ProcessImage, ResultCode
from andon.monitor.status import LineState

NAMES = get_args(ValueName)
RANGES = {
    "SByte": (-128, 127), "Byte": (0, 255), "Int16": (-(2**15), 2**15 - 1), "UInt16": (0, 2**16 - 1),
    "Int32": (-(2**31), 2**31 - 1), "UInt32": (0, 2**32 - 1), "Int64": (-(2**63), 2**63 - 1), "UInt64": (0, 2**64 - 1),
}  # fmt: skip
PYTHON = {"Boolean": bool, "String": str, "Float": float, "Double": float, "DateTime": dt.datetime}

count = st.integers(0, 2**70)
images = st.builds(
    ProcessImage,
    line=st.just("a"), ready=st.booleans(), state=st.sampled_from(get_args(LineState)), heartbeat=count,
    result=st.sampled_from(ResultCode), number=count, part=st.text(), score=st.none() | st.floats(0, 10),
    threshold=st.none() | st.floats(0, 10), reason=st.text(), judged_wall_s=st.none() | st.floats(0, 4e9), model=st.text(),
    ok=count, review=count, reject=count, invalid=count, alarms=count,
)  # fmt: skip


def test_the_page_states_the_codes_of_both_kinds_as_they_are_written() -> None:
    # a PLC program that follows a wrong table takes a REJECT for another result
    page = (Path(__file__).parents[2] / "docs/how-to/plant.md").read_text()
    codes = "0 none, 1 OK, 2 NOK (REJECT), 3 INVALID, 4 REVIEW"

    assert [int(code) for code in ResultCode] == [0, 1, 2, 3, 4]
    assert [code.name for code in ResultCode] == ["NONE", "OK", "REJECT", "INVALID", "REVIEW"]
    assert page.count(codes) == 2
    assert "only the code 3" in page


@settings(max_examples=30)
@given(images)
def test_each_value_fits_each_type_that_its_node_may_have(image: ProcessImage) -> None:
    for name in NAMES:
        for data_type in types_of(name):
            value = value_of(name, image, data_type)
            if data_type in RANGES:
                low, high = RANGES[data_type]
                assert type(value) is int
                assert low <= value <= high
            else:
                assert type(value) is PYTHON[data_type]


@given(images)
def test_a_result_looks_valid_only_if_it_is_valid_and_the_line_is_ready(image: ProcessImage) -> None:
    valid = image.ready and image.result not in (ResultCode.NONE, ResultCode.INVALID)

    assert (quality_of("LastResult", image) == "") is valid
    assert (quality_of("Score", image) == "") is (valid and image.score is not None)
    assert {quality_of(name, image) for name in NAMES if name not in ("LastResult", "Score")} == {""}


@pytest.mark.parametrize(
    ("result", "ready", "quality"),
    [
        (ResultCode.NONE, True, "BadWaitingForInitialData"),
        (ResultCode.INVALID, True, "Bad"),
        (ResultCode.INVALID, False, "Bad"),
        (ResultCode.OK, False, "UncertainLastUsableValue"),
        (ResultCode.REJECT, True, ""),
    ],
)
def test_the_quality_names_the_cause(result: ResultCode, ready: bool, quality: str) -> None:
    assert quality_of("LastResult", ProcessImage(line="a", ready=ready, result=result)) == quality


def test_codes_can_be_numbers_or_texts() -> None:
    image = ProcessImage(line="a", state="retrying", result=ResultCode.REVIEW)

    assert (value_of("LastResult", image, "Byte"), value_of("LastResult", image, "String")) == (4, "REVIEW")
    assert (value_of("State", image, "Byte"), value_of("State", image, "String")) == (2, "retrying")
    assert value_of("LastResult", ProcessImage(line="a"), "String") == ""


def test_what_does_not_exist_is_no_number_and_no_time() -> None:
    image = ProcessImage(line="a")
    score = value_of("Score", image, "Double")

    assert isinstance(score, float)
    assert math.isnan(score)
    assert value_of("ResultTime", image, "DateTime") == dt.datetime(1601, 1, 1, tzinfo=dt.UTC)


def test_the_number_is_the_last_value() -> None:
    assert NAMES[-1] == DEFAULT[-1] == "ResultNumber"
