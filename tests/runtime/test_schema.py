"""The metadata: canonical, versioned, in words that people read."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime import forge
from tests.runtime.hand_made import FRAME, WINDOW, model_bytes

from andon.runtime import calibration_facts
from andon.runtime import schema as schema_structs
from andon.runtime.calibration_facts import Calibration, percent
from andon.runtime.model_file import content, onnx_subset
from andon.runtime.model_file.format import Golden, LogEntry, parse
from andon.runtime.schema import (
    SCHEMA,
    Card,
    Reason,
    Status,
    canonical_json,
    json_number,
)

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(_JSON)
def test_canonical_json_holds_its_value_in_ascii(value: object) -> None:
    text = canonical_json(value)

    assert text.isascii()
    assert json.loads(text) == value


@given(st.dictionaries(st.text(), st.integers()))
def test_canonical_json_does_not_depend_on_the_order_of_names(value: dict[str, int]) -> None:
    assert canonical_json(value) == canonical_json(dict(reversed(value.items())))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_canonical_json_refuses_what_json_does_not_have(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"x": number})
    assert json_number(number) is None


@pytest.mark.parametrize("name", ["frame", "window"])
def test_the_metadata_of_a_file_are_the_golden_ones(name: str, golden_text: Callable[[str, str], None]) -> None:
    spec, threshold = (FRAME, 0.5) if name == "frame" else (WINDOW, 4.0)
    data = model_bytes(spec, threshold=threshold, calibrations=2)

    texts = {key: json.loads(forge.text(data, key)) for key in ("andon", "andon.calibration_log")}

    golden_text(f"metadata_{name}.json", json.dumps(texts, indent=1, sort_keys=True) + "\n")


_SPECIFICATION = (Path(__file__).parents[2] / "docs" / "model-file.md").read_text(encoding="utf-8")


def _structs() -> list[type[msgspec.Struct]]:
    """Return all structs of the metadata."""
    schema = msgspec.json.schema_components([Card, Golden, LogEntry])[1]
    modules = (schema_structs, calibration_facts, content)
    return [getattr(next(module for module in modules if hasattr(module, name)), name) for name in sorted(schema)]


def test_the_structs_of_the_metadata_are_found() -> None:
    assert {"Card", "Sampling", "Audit", "SceneCheck", "Move", "Array"} <= {struct.__name__ for struct in _structs()}


@pytest.mark.parametrize("struct", _structs(), ids=lambda struct: struct.__name__)
def test_every_field_of_the_metadata_is_specified(struct: type[msgspec.Struct]) -> None:
    names = [field.encode_name for field in msgspec.structs.fields(struct)]

    assert [name for name in names if f"`{name}`" not in _SPECIFICATION] == []


def test_the_fields_that_may_stand_in_a_file_are_the_specified_ones() -> None:
    rows = dict(re.findall(r"^\| (model|graph|node|attribute|tensor) \| (.*) \|$", _SPECIFICATION, re.MULTILINE))

    for message, cells in rows.items():
        specified = {int(cell.split()[0].rstrip("\\*")): "\\*" in cell for cell in cells.split(", ")}
        assert specified == {number: rule.many for number, rule in onnx_subset.ALLOWED[message].items()}
    assert len(rows) == 5


def test_the_specified_schema_is_the_one_that_is_written() -> None:
    assert _SPECIFICATION.startswith(f"# The model file, schema {SCHEMA[0]}.{SCHEMA[1]}\n")


def _calibration(**changes: object) -> Calibration:
    values: dict[str, object] = {
        "kind": "promise",
        "alpha": 0.05,
        "confidence": 0.95,
        "n": 70,
        "n_eff": 70.0,
        "above": 0,
    }
    return Calibration(**(values | changes))  # type: ignore[arg-type]


def test_the_statements_read_as_the_golden_ones(golden_text: Callable[[str, str], None]) -> None:
    statements = [
        _calibration(),
        _calibration(alpha=0.001, n=2995, n_eff=2995.0),
        _calibration(kind="promise(n_eff)", alpha=0.005, n=900, n_eff=699.4, unit="window"),
        _calibration(kind="estimate", alpha=0.0625, n=15, n_eff=15.0),
        _calibration(kind="manual", n=12),
    ]

    golden_text("statements.txt", "".join(f"{statement.sentence}\n" for statement in statements))


def test_a_promise_stands_only_in_a_promise() -> None:
    for kind in ("estimate", "manual"):
        assert _calibration(kind=kind).sentence.startswith("no promise")


@pytest.mark.parametrize(("share", "text"), [(0.05, "5 %"), (0.001, "0.1 %"), (0.0472, "4.72 %"), (1.0, "100 %")])
def test_a_percentage_has_as_few_digits_as_it_needs(share: float, text: str) -> None:
    assert percent(share) == text


def test_every_reason_has_words() -> None:
    assert all(reason.text for reason in Reason if reason is not Reason.NONE)


def test_statuses_and_reasons_have_the_numbers_that_are_published() -> None:
    assert {status.name: int(status) for status in Status} == {"OK": 0, "REVIEW": 1, "INVALID": 2, "REJECT": 3}
    assert {reason.name: int(reason) for reason in Reason} == {
        "NONE": 0,
        "NOT_FINITE": 1,
        "NO_CONTRAST": 2,
        "OTHER_SCENE": 3,
        "OUTSIDE_TRAINING": 4,
        "UNREADABLE": 64,
        "GAP": 65,
        "STALE": 66,
        "WARMING": 67,
        "WRONG_INPUT": 68,
        "LOST": 69,
        "FAILED": 70,
        "FROZEN": 71,
        "BLACK": 72,
        "OVEREXPOSED": 73,
        "BLURRED": 74,
        "TORN": 75,
        "SMEARED": 76,
        "PARTLY_FROZEN": 77,
        "RESIZED": 78,
        "CORRUPT": 79,
        "STUCK": 80,
        "MISSING_CHANNEL": 81,
        "OUT_OF_RANGE": 82,
        "WRONG_RATE": 83,
        "LATE": 84,
        "OTHER": 255,
    }


@given(st.integers(1, 255))
def test_any_reason_that_a_graph_can_give_is_understood(code: int) -> None:
    assert Reason(code) in (code, Reason.OTHER)


@pytest.mark.parametrize("code", [-1, 256])
def test_what_no_graph_can_give_is_no_reason(code: int) -> None:
    with pytest.raises(ValueError, match="is not a valid Reason"):
        Reason(code)


def test_the_card_is_read_as_it_was_written() -> None:
    data = model_bytes(FRAME, threshold=0.5)

    assert canonical_json(parse(data).card).decode() == forge.text(data, "andon")
