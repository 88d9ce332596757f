"""The list of operators is closed, nothing depends on chance, and no integer division can end the process."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, defs, helper, numpy_helper
from tests.runtime import forge
from tests.runtime.hand_made import WINDOW, model_bytes

from andon.runtime import Detector, ModelFileError
from andon.runtime.model_file.format import parse
from andon.runtime.model_file.onnx_operators import OPERATORS, RANDOM, Known, Node, check_operators
from andon.runtime.model_file.onnx_subset import OPSET

GOOD = model_bytes(WINDOW)
INT32, INT64, FLOAT = (int(kind) for kind in (TensorProto.INT32, TensorProto.INT64, TensorProto.FLOAT))

SUB_GRAPHS = {"If", "Loop", "Scan", "SequenceMap"}
SEQUENCES = {
    "ConcatFromSequence",
    "Optional",
    "OptionalGetElement",
    "OptionalHasElement",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "SplitToSequence",
}
TEXTS = {"RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"}


def _schemas() -> dict[str, Any]:
    """Return the operators of the operator set, as the onnx package defines them."""
    newest: dict[str, Any] = {}
    for schema in defs.get_all_schemas_with_history():
        held = newest.get(schema.name)
        if schema.domain == "" and schema.since_version <= OPSET:
            newest[schema.name] = schema if held is None or held.since_version < schema.since_version else held
    return {name: schema for name, schema in newest.items() if not schema.deprecated}


SCHEMAS = _schemas()


def test_every_operator_that_turns_numbers_into_numbers_is_allowed_and_no_other() -> None:
    assert set(_schemas()) - SUB_GRAPHS - SEQUENCES - TEXTS - RANDOM - {"ImageDecoder", "Unique"} == OPERATORS


def test_the_element_type_of_an_output_is_the_one_that_onnx_gives_it() -> None:
    wrong = {}
    for operator in OPERATORS:
        schema = SCHEMAS[operator]
        # an element type of its own for each input, so that the output shows which one it was taken from
        given = {f"input {place}": Known(100 + place, 1, 1) for place in range(len(schema.inputs))}
        names = tuple(given)[:2] if operator == "Dropout" else tuple(given)  # its third input would be refused
        node = Node(operator, names, ("output",), {}, Known())
        element = check_operators([node], {}, given)["output"].element
        kind = schema.outputs[0].type_str
        if element >= 100:
            right = schema.inputs[element - 100].type_str == kind
        else:
            allowed = next(
                (rule.allowed_type_strs for rule in schema.type_constraints if rule.type_param_str == kind), [kind]
            )
            right = element == 0 or operator == "ConstantOfShape" or list(allowed) == [f"tensor({_NAMES[element]})"]
        if not right:
            wrong[operator] = element

    assert wrong == {}
    assert (
        check_operators([Node("ConstantOfShape", ("shape",), ("output",), {}, Known())], {}, {})["output"].element
        == FLOAT
    )


_NAMES = {FLOAT: "float", 2: "uint8", INT32: "int32", INT64: "int64", int(TensorProto.BOOL): "bool"}


@pytest.mark.parametrize(
    "operator", ["Affine", "ImageScaler", "SimplifiedLayerNormalization", "NoSuch\x1b[2J", "", "Loop"]
)
def test_an_operator_that_is_not_listed_is_refused_even_in_the_standard_domain(operator: str) -> None:
    with pytest.raises(ModelFileError, match=r"expected one of the list in docs/model-file\.md") as refusal:
        check_operators([Node(operator, ("window",), ("more",), {}, Known())], {"window": FLOAT}, {})
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("operator", sorted(RANDOM))
def test_an_operator_that_draws_at_random_is_refused(operator: str) -> None:
    with pytest.raises(ModelFileError, match="depend on chance"):
        check_operators([Node(operator, ("window",), ("more",), {}, Known())], {"window": FLOAT}, {})


def _attached(
    nodes: Sequence[tuple[str, Sequence[str], Mapping[str, Any]]], constants: Mapping[str, Any] | None = None
) -> bytes:
    """Return the hand-made file with more nodes, whose outputs are ``n0``, ``n1`` and so on."""

    def attach(model: Any) -> None:
        for place, (operator, inputs, attributes) in enumerate(nodes):
            model.graph.node.append(helper.make_node(operator, list(inputs), [f"n{place}"], **attributes))
        for name, value in (constants or {}).items():
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))

    return forge.onnx_edit(GOOD, attach)


_TRUE = numpy_helper.from_array(np.array(True))


@pytest.mark.parametrize(
    "data",
    [
        _attached([("Dropout", ["window", "half", "yes"], {})], {"half": np.float32(0.5), "yes": np.bool_(True)}),
        _attached([("Constant", [], {"value": _TRUE}), ("Dropout", ["window", "", "n0"], {})]),
        _attached([("IsNaN", ["window"], {}), ("Dropout", ["window", "", "n0"], {})]),
        _attached([("Dropout", ["window", "", "nowhere"], {})]),
    ],
    ids=["an initialiser", "a constant", "a computed mode", "an unknown mode"],
)
def test_a_dropout_that_could_draw_is_refused(data: bytes) -> None:
    with pytest.raises(
        ModelFileError, match="Dropout in training mode is not allowed: a verdict must not depend on chance"
    ):
        parse(data)


@pytest.mark.parametrize(
    "data",
    [
        _attached([("Dropout", ["window"], {"seed": 3})]),
        _attached([("Dropout", ["window", "half"], {})], {"half": np.float32(0.5)}),
        _attached([("Dropout", ["window", "half", "no"], {})], {"half": np.float32(0.5), "no": np.bool_(False)}),
    ],
    ids=["no mode", "a ratio alone", "a false mode"],
)
def test_a_dropout_that_passes_its_input_on_is_allowed(data: bytes) -> None:
    assert Detector.from_bytes(data)(np.ones((4, 2), np.float32)).score == 1.0


def test_a_batch_normalisation_in_training_mode_is_refused() -> None:
    node = ("BatchNormalization", ["window", "one", "one", "one", "one"], {"training_mode": 1})

    with pytest.raises(ModelFileError, match="must not depend on the other items of a batch"):
        parse(_attached([node], {"one": np.ones(4, np.float32)}))


def _divided(by: Any, operator: str = "Div", kind: type = np.int32) -> bytes:
    """Return a file that divides an integer from the window by a constant."""
    cast = ("Cast", ["window"], {"to": helper.np_dtype_to_tensor_dtype(np.dtype(kind))})
    return _attached([cast, (operator, ["n0", "by"], {})], {"by": np.asarray(by, kind)})


_SUB = [("Cast", ["window"], {"to": INT32}), ("Sub", ["n0", "n0"], {})]
_TRAPS = {
    "the smallest integer by -1": _attached(
        [("Div", ["least", "by"], {})], {"least": np.array([-(2**31)], np.int32), "by": np.int32(-1)}
    ),
    "the remainder of the smallest integer by -1": _attached(
        [("Mod", ["least", "by"], {})], {"least": np.array([-(2**63)], np.int64), "by": np.int64(-1)}
    ),
    "by a constant 0": _divided(0),
    "by a constant 0 of an unsigned type": _divided(0, kind=np.uint8),
    "the remainder by a constant 0": _divided(0, "Mod"),
    "by constants of which one is 0": _divided([3, 0]),
    "by constants of which one is -1": _divided([3, -1]),
    "by a number that the input decides": _attached([_SUB[0], ("Div", ["one", "n0"], {})], {"one": np.int32(1)}),
    "by a difference": _attached([*_SUB, ("Div", ["n0", "n1"], {})]),
    "by a product that wraps around to 0": _attached(
        [
            ("Shape", ["window"], {}),
            ("Mul", ["n0", "large"], {}),
            ("Mul", ["n1", "large"], {}),
            ("Div", ["large", "n2"], {}),
        ],
        {"large": np.int64(2**32)},
    ),
    "by the size of what may be empty": _attached(
        [
            ("Slice", ["window", "from", "from"], {}),
            ("Shape", ["n0"], {}),
            ("Div", ["from", "n1"], {}),
        ],
        {"from": np.array([0], np.int64)},
    ),
    "by a value that only a later node makes": _attached(
        [_SUB[0], ("Div", ["n0", "n2"], {}), ("Identity", ["two"], {})], {"two": np.int32(2)}
    ),
    "by a value that nothing makes": _attached([_SUB[0], ("Div", ["n0", "nowhere"], {})]),
    "by a float cast to an integer": _attached([_SUB[0], ("Div", ["n0", "n0"], {})]),
    "by a cast that wraps around": _attached(
        [("Cast", ["large"], {"to": int(TensorProto.INT8)}), ("Div", ["n0", "n0"], {})], {"large": np.int32(256)}
    ),
    "a transform with frames of no length": _attached(
        [("STFT", ["signal", "step", "", "none"], {})],
        {"signal": np.ones((1, 64, 1), np.float32), "step": np.int64(4), "none": np.int64(0)},
    ),
    "a transform with steps of no length": _attached(
        [("STFT", ["signal", "none", "window_"], {})],
        {"signal": np.ones((1, 64, 1), np.float32), "window_": np.ones(4, np.float32), "none": np.int64(0)},
    ),
}


@pytest.mark.parametrize("case", _TRAPS)
def test_an_integer_division_that_could_end_the_process_is_refused(case: str) -> None:
    with pytest.raises(ModelFileError, match=r"expected a float, or an integer divisor that cannot be 0 or -1"):
        parse(_TRAPS[case])


_HARMLESS = {
    "floats by 0": _attached([("Div", ["window", "none"], {})], {"none": np.float32(0)}),
    "floats by a float that another node made": _attached([("Sqrt", ["window"], {}), ("Div", ["window", "n0"], {})]),
    "by a constant": _divided([3, 7]),
    "by a constant below -1": _divided(-2),
    "the remainder by a constant": _divided(7, "Mod"),
    "by the constant of a node": _attached(
        [
            _SUB[0],
            ("Constant", [], {"value": numpy_helper.from_array(np.array(2, np.int32))}),
            ("Div", ["n0", "n1"], {}),
        ]
    ),
    "by the integer of a node": _attached(
        [("Shape", ["window"], {}), ("Constant", [], {"value_int": 2}), ("Div", ["n0", "n1"], {})]
    ),
    "by a dimension of the input": _attached([("Shape", ["window"], {}), ("Mod", ["n0", "n0"], {})]),
    "by a number that Max keeps above 0": _attached(
        [_SUB[0], ("Max", ["n0", "one"], {}), ("Div", ["one", "n1"], {})], {"one": np.int32(1)}
    ),
    "by a number that Clip keeps above 0": _attached(
        [_SUB[0], ("Clip", ["n0", "one"], {}), ("Div", ["one", "n1"], {})], {"one": np.int32(1)}
    ),
    # how the preparation of frames thins rows: twice the smaller of the height and a constant
    "by twice a bounded dimension": _attached(
        [
            ("Shape", ["window"], {"start": 1, "end": 2}),
            ("Squeeze", ["n0"], {}),
            ("Min", ["n1", "most"], {}),
            ("Mul", ["two", "n2"], {}),
            ("Div", ["most", "n3"], {}),
        ],
        {"most": np.int64(448), "two": np.int64(2)},
    ),
}


@pytest.mark.parametrize("case", _HARMLESS)
def test_an_integer_division_that_is_proven_harmless_is_allowed(case: str) -> None:
    assert Detector.from_bytes(_HARMLESS[case])(np.ones((4, 2), np.float32)).score == 1.0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda node: node.attribute.append(node.attribute[0]),
            "unique name for each attribute of a node, got no name, or a name that occurs twice",
        ),
        (lambda node: setattr(node.attribute[0], "f", 1.0), "has a value of another type than it states"),
        (lambda node: setattr(node.attribute[0], "type", 1), "has a value of another type than it states"),
        (
            lambda node: node.attribute.add(name="value_float", type=1, f=2.0),
            "Constant: expected one attribute, got 2",
        ),
    ],
    ids=["twice", "two values", "another type", "two constants"],
)
def test_an_attribute_that_two_readers_could_take_differently_is_refused(change: Any, why: str) -> None:
    def forged(model: Any) -> None:
        model.graph.node.append(helper.make_node("Constant", [], ["more"], value_int=2))
        change(model.graph.node[-1])

    with pytest.raises(ModelFileError, match=why):
        parse(forge.onnx_edit(GOOD, forged))


_NUMBERS = st.sampled_from([-(2**31), -3, -1, 0, 1, 2, 7, 2**16, 2**31 - 1])


@given(
    st.lists(st.lists(_NUMBERS, min_size=2, max_size=2), min_size=2, max_size=3),
    st.lists(
        st.tuples(st.sampled_from(["Add", "Sub", "Mul", "Min", "Max", "Clip", "Identity"]), *[st.integers(0, 20)] * 3),
        min_size=1,
        max_size=8,
    ),
)
def test_no_value_lies_outside_of_the_interval_that_was_derived_for_it(
    constants: list[list[int]], steps: list[tuple[str, int, int, int]]
) -> None:
    values = {f"c{place}": np.array(numbers, np.int32) for place, numbers in enumerate(constants)}
    known = {name: Known(INT32, int(value.min()), int(value.max())) for name, value in values.items()}
    nodes = []
    for step, (operator, *picks) in enumerate(steps):
        names = [list(values)[pick % len(values)] for pick in picks[: {"Clip": 3, "Identity": 1}.get(operator, 2)]]
        nodes.append(Node(operator, tuple(names), (f"v{step}",), {}, Known()))
        with np.errstate(over="ignore"):
            values[f"v{step}"] = _COMPUTED[operator](*(values[name] for name in names))

    derived = check_operators(nodes, {}, known)

    for name, value in values.items():
        assert derived[name].element == INT32
        assert derived[name].low <= value.min()
        assert value.max() <= derived[name].high


_COMPUTED: Mapping[str, Any] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Min": np.minimum,
    "Max": np.maximum,
    "Clip": lambda value, low, high: np.minimum(np.maximum(value, low), high),
    "Identity": np.positive,
}
