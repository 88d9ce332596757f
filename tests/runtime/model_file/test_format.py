"""A model file is consistent, or it is refused with one clear reason."""

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tests.runtime import forge
from tests.runtime.hand_made import FRAME, WINDOW, blank_bytes, calibrated, graph, model_bytes

from andon.runtime import ModelFileError
from andon.runtime.model_file.format import (
    BLANK,
    MAX_METADATA,
    TENSORS,
    Array,
    Golden,
    LogEntry,
    Tail,
    append_log,
    parse,
    read,
    seal,
)
from andon.runtime.model_file.protobuf import bytes_field, varint_field
from andon.runtime.schema import SCHEMA

GOOD = model_bytes(WINDOW)


def test_a_file_is_read_as_it_was_sealed(tmp_path: Path) -> None:
    path = tmp_path / "window.onnx"
    path.write_bytes(GOOD)

    model = read(path)

    assert (model.threshold, model.review) == (4.0, 4.0)
    assert model.card.name == "hand made"
    assert model.card.calibration is not None
    assert model.card.outputs == ("channel_scores", "step_scores")
    assert len(model.log) == 1
    assert model.golden is not None
    assert model.golden.input.array().shape == (4, 2)
    assert model.file_sha256 == hashlib.sha256(GOOD).hexdigest()


def test_the_file_is_plain_onnx() -> None:
    onnx.checker.check_model(onnx.load_from_string(GOOD), full_check=True)


def test_the_digest_is_over_all_bytes_before_it() -> None:
    assert forge.reseal(GOOD[:-82]) == GOOD
    assert parse(GOOD).digest == hashlib.sha256(GOOD[:-82]).hexdigest()


def test_sealing_again_changes_no_byte() -> None:
    model = parse(GOOD)
    tail = Tail(threshold=model.threshold, review=model.review, x=model.tail_x, p=model.tail_p)

    assert seal(GOOD, card=model.card, golden=model.golden, log=model.log, tail=tail) == GOOD


def test_recalibration_keeps_the_graph_digest_and_changes_the_other() -> None:
    blank = blank_bytes(graph(WINDOW), WINDOW)
    one, other = parse(calibrated(blank, threshold=4.0)), parse(calibrated(blank, threshold=5.0))

    assert one.graph_sha256 == other.graph_sha256 == parse(blank, allow_blank=True).graph_sha256
    assert one.digest != other.digest


def test_another_weight_changes_the_graph_digest() -> None:
    one = model_bytes(weights={"extra": np.zeros(3, np.float32)})
    other = model_bytes(weights={"extra": np.ones(3, np.float32)})

    assert parse(one).graph_sha256 != parse(other).graph_sha256


def test_saving_with_the_onnx_package_changes_no_byte() -> None:
    assert onnx.load_from_string(GOOD).SerializeToString(deterministic=True) == GOOD


def test_a_blank_file_is_refused_unless_asked_for() -> None:
    blank = blank_bytes(graph(WINDOW), WINDOW)

    assert np.isnan(parse(blank, allow_blank=True).threshold)
    with pytest.raises(ModelFileError, match="blank: it was exported but never calibrated"):
        parse(blank)


def test_an_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(GOOD[:-1])

    with pytest.raises(ModelFileError, match=re.escape(f"{path}: ")):
        read(path)


@pytest.mark.parametrize("name", ["absent.onnx", ".", "\0"])
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelFileError, match=r"cannot be read|got a folder"):
        read(str(tmp_path / name))


def test_a_run_folder_in_place_of_a_file_is_answered_with_the_command_that_makes_the_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=re.escape(f"andon export {tmp_path} -o model.onnx")):
        read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")

    with pytest.raises(ModelFileError, match="expected a regular file"):
        read(tmp_path / "pipe.onnx")


@given(place=st.integers(0, 8 * len(GOOD) - 1))
@settings(max_examples=300)
def test_one_flipped_bit_anywhere_is_refused(place: int) -> None:
    damaged = bytearray(GOOD)
    damaged[place // 8] ^= 1 << place % 8

    with pytest.raises(ModelFileError):
        parse(bytes(damaged))


@given(length=st.integers(0, len(GOOD) - 1))
def test_a_truncated_file_is_refused(length: int) -> None:
    with pytest.raises(ModelFileError):
        parse(GOOD[:length])


@given(more=st.binary(min_size=1, max_size=50))
def test_appended_bytes_are_refused(more: bytes) -> None:
    with pytest.raises(ModelFileError):
        parse(GOOD + more)


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b"t,volt\n0.0,1.5\n", "text that begins with 't,volt"),
        (b"run,\xc3\xa9tat\r\n", "text that begins with 'run,état"),
        (b'{"item": "a"}', "text that begins with"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "text that begins with 'version https://git-lfs"),
        ("t;Volt\n".encode("utf-16"), "a file that begins with"),
        ("Prüfung;ä\n".encode("latin-1"), "text that begins with 'Pr"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "a file that begins with"),
        (b"\xff\xd8\xff\xe0" + bytes(20), "a file that begins with"),
        (b"PK\x03\x04" + bytes(20), "a file that begins with"),
        (b"\x7fELF" + bytes(20), "a file that begins with"),
        (b"\x1f\x8b\x08\x00" + bytes(20), "a file that begins with"),
        (b"\x93NUMPY" + bytes(20), "a file that begins with"),
    ],
)
def test_what_plainly_is_no_onnx_is_told_so(data: bytes, got: str) -> None:
    with pytest.raises(ModelFileError, match=f"not an ONNX file: expected a model file from 'andon export', got {got}"):
        parse(data)


def test_another_onnx_file_is_not_called_none() -> None:
    with pytest.raises(ModelFileError, match="not a complete andon model file"):
        parse(graph(WINDOW).SerializeToString())


def test_damage_is_told_as_damage() -> None:
    damaged = GOOD.replace(b'"pressure"', b'"prezzure"')

    with pytest.raises(ModelFileError, match="the digest is wrong"):
        parse(damaged)


def test_another_major_schema_is_named_before_its_digest_is_tried() -> None:
    newer = GOOD.replace(f'"schema":[{SCHEMA[0]},'.encode(), f'"schema":[{SCHEMA[0] + 1},'.encode())

    with pytest.raises(ModelFileError, match=r"reads 1\.x, got 2\.1\. Update andon"):
        parse(newer)


def test_fields_of_a_newer_minor_are_ignored() -> None:
    newer = forge.text_edit(GOOD, "andon", lambda text: text.replace('"schema":[1,1]', '"schema":[1,7],"zeal":[1]'))

    assert parse(newer).card.schema == (1, 7)


def test_a_log_entry_of_a_newer_minor_keeps_the_chain() -> None:
    entries = json.loads(forge.text(model_bytes(calibrations=2), "andon.calibration_log"))
    entries[0]["operator"] = "second shift"
    first = json.dumps(entries[0], sort_keys=True, separators=(",", ":"))
    entries[1]["previous"] = hashlib.sha256(first.encode()).hexdigest()
    log = json.dumps(entries, sort_keys=True, separators=(",", ":"))

    newer = forge.text_edit(model_bytes(calibrations=2), "andon.calibration_log", lambda _: log)

    assert len(parse(newer).log) == 2


def test_a_file_of_a_newer_minor_is_not_rewritten() -> None:
    model = parse(GOOD)
    tail = Tail(threshold=4.0, review=4.0, x=model.tail_x, p=model.tail_p)

    with pytest.raises(ModelFileError, match="Rewriting it would lose"):
        seal(GOOD, card=replace(model.card, schema=(1, 7)), golden=model.golden, log=model.log, tail=tail)


def _node(operator: str, **more: Any) -> onnx.NodeProto:
    return helper.make_node(operator, ["window"], ["more"], **more)


def _external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    tensor.ClearField("raw_data")


def _typed_list(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(helper.make_tensor("typed", TensorProto.FLOAT, [2], [1.0, 2.0]))


def _huge(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer.add(name="huge", data_type=TensorProto.FLOAT, raw_data=b"\0\0\0\0")
    tensor.dims.extend([2**40, 2**40])


def _strings(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(
        TensorProto(name="strings", dims=[1], data_type=TensorProto.STRING, string_data=[b"a"])
    )


def _named(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    found: onnx.TensorProto = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    return found


def _input(name: str, kind: int = TensorProto.FLOAT, shape: tuple[Any, ...] = (1,)) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))


Change = Callable[[onnx.ModelProto], object]

_WITH_ONNX: dict[str, tuple[Change, str]] = {
    "external data": (_external, "refers to another file"),
    "external data in an attribute": (
        lambda m: m.graph.node.append(
            _node("Constant", value=TensorProto(data_type=1, dims=[1], data_location=TensorProto.EXTERNAL))
        ),
        "refers to another file",
    ),
    "a typed data list": (_typed_list, "typed list"),
    "a shape that its data do not fill": (_huge, "do not fit its shape"),
    "a tensor of texts": (_strings, "typed list|element type 8"),
    "sparse data": (lambda m: m.graph.sparse_initializer.add(), "sparse"),
    "a function": (lambda m: m.functions.add(name="f", domain="x"), "functions"),
    "training": (lambda m: m.training_info.add(), "training"),
    "a foreign domain": (
        lambda m: m.graph.node.append(_node("Gelu", domain="com.microsoft")),
        "expected the standard domain",
    ),
    "a foreign operator set": (
        lambda m: m.opset_import.add(domain="ai.onnx.ml", version=3),
        "expected the standard domain",
    ),
    "another operator set": (lambda m: setattr(m.opset_import[0], "version", 21), "version 20, got"),
    "two operator sets": (lambda m: m.opset_import.add(domain="", version=20), "one operator set"),
    "no operator set": (lambda m: m.ClearField("opset_import"), "one operator set"),
    "another IR version": (lambda m: setattr(m, "ir_version", 11), "IR version 10, got 11"),
    "no graph": (lambda m: m.ClearField("graph"), "no graph"),
    "chance": (lambda m: m.graph.node.append(_node("RandomNormalLike")), "depend on chance"),
    "a sub-graph": (
        lambda m: m.graph.node.append(_node("If", then_branch=helper.make_graph([], "t", [], []))),
        "sub-graphs",
    ),
    "metadata of a node": (lambda m: m.graph.node[0].metadata_props.add(key="path", value="/home"), "not allowed"),
    "metadata of the graph": (lambda m: m.graph.metadata_props.add(key="path", value="/home"), "not allowed"),
    "a threshold that a caller could override": (
        lambda m: m.graph.input.append(_input("andon.threshold")),
        "occurs twice: andon.threshold",
    ),
    "a weight that a caller could override": (lambda m: m.graph.input.append(_input("scale")), "occurs twice: scale"),
    "an input that has a default": (
        lambda m: m.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 4, 2), np.float32), "window")),
        "occurs twice: window",
    ),
    "a second input": (lambda m: m.graph.input.append(_input("gain")), "expected one input"),
    "no input": (lambda m: m.graph.ClearField("input"), "expected one input"),
    "a fixed batch": (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 1),
        "expected one input",
    ),
    "another number of channels": (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 3),
        "expected one input",
    ),
    "an input of another type": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.DOUBLE),
        "expected one input",
    ),
    "an input without a shape": (
        lambda m: m.graph.input[0].type.tensor_type.ClearField("shape"),
        "expected one input",
    ),
    "an input that is no tensor": (
        lambda m: m.graph.input[0].type.sequence_type.elem_type.tensor_type.SetInParent(),
        "field 4 of a type",
    ),
    "a missing output": (lambda m: m.graph.output.pop(), "expected the outputs"),
    "a repeated output": (lambda m: m.graph.output.append(m.graph.output[0]), "occurs twice: score"),
    "outputs in another order": (
        lambda m: m.graph.output.append(onnx.ValueInfoProto.FromString(m.graph.output.pop(0).SerializeToString())),
        "expected the outputs",
    ),
    "a status of another type": (
        lambda m: setattr(m.graph.output[1].type.tensor_type, "elem_type", TensorProto.INT32),
        "another type",
    ),
    "a repeated initialiser": (lambda m: m.graph.initializer.append(m.graph.initializer[0]), "occurs twice: center"),
    "a node that makes the threshold": (
        lambda m: m.graph.node.append(helper.make_node("Identity", ["decide.nan"], ["andon.threshold"])),
        "occurs twice: andon.threshold",
    ),
    "an unknown initialiser of andon's": (
        lambda m: m.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "andon.gain")),
        "unknown initialiser",
    ),
    "no threshold": (
        lambda m: m.graph.initializer.remove(_named(m, "andon.threshold")),
        "no initialiser 'andon.threshold'",
    ),
    "a threshold of another shape": (
        lambda m: _named(m, "andon.threshold").CopyFrom(
            numpy_helper.from_array(np.zeros((1, 1), np.float32), "andon.threshold")
        ),
        "andon.threshold: expected 1 float32",
    ),
    "a threshold of another type": (
        lambda m: _named(m, "andon.threshold").CopyFrom(
            numpy_helper.from_array(np.zeros(1, np.int32), "andon.threshold")
        ),
        "andon.threshold: expected 1 float32",
    ),
    "an infinite threshold": (
        lambda m: setattr(_named(m, "andon.threshold"), "raw_data", np.array([np.inf], "<f4").tobytes()),
        "threshold: expected finite numbers",
    ),
    "a review band above the threshold": (
        lambda m: setattr(_named(m, "andon.review"), "raw_data", np.array([4.5], "<f4").tobytes()),
        "threshold: expected finite numbers",
    ),
    "another threshold than the log's": (
        lambda m: setattr(_named(m, "andon.threshold"), "raw_data", np.array([9.0], "<f4").tobytes()),
        "differs from the threshold in the last entry of the calibration log",
    ),
    "a table that is not ascending": (
        lambda m: setattr(_named(m, "andon.tail_x"), "raw_data", np.linspace(2, 1, 256).astype("<f4").tobytes()),
        "expected ascending numbers",
    ),
    "p-values that ascend": (
        lambda m: setattr(_named(m, "andon.tail_p"), "raw_data", np.linspace(1, 2, 257).astype("<f4").tobytes()),
        "p-values",
    ),
    "foreign metadata": (lambda m: m.metadata_props.add(key="ort_config", value="{}"), "unknown keys ort_config"),
    "a key that stands twice": (lambda m: m.metadata_props.add(key="andon", value="{}"), "'andon' occurs twice"),
    "metadata without end": (
        lambda m: m.metadata_props.add(key="andon.more", value="x" * (MAX_METADATA + 2000)),
        "metadata: expected at most",
    ),
    "no golden sample": (lambda m: m.metadata_props.pop(1), "'andon.golden' is missing"),
}


@pytest.mark.parametrize("case", _WITH_ONNX)
def test_a_forged_graph_is_refused(case: str) -> None:
    change, why = _WITH_ONNX[case]

    with pytest.raises(ModelFileError, match=why):
        parse(forge.onnx_edit(GOOD, change))


def _card(change: Callable[[Any], object]) -> Callable[[str], str]:
    def other(text: str) -> str:
        card = json.loads(text)
        replaced = change(card)
        return json.dumps(card if replaced is None else replaced)

    return other


_WITH_TEXT: dict[str, tuple[str, Callable[[str], str], str]] = {
    "no JSON": ("andon", lambda text: text[:-1], "has an invalid value"),
    "JSON without an end": ("andon.golden", lambda _: "[" * 100_000, "has an invalid value"),
    "deep settings": (
        "andon",
        lambda text: text.replace('"power":2', '"power":' + "[" * 40 + "]" * 40),
        "nested deeper",
    ),
    "a name that stands twice": ("andon", lambda text: '{"name":"x",' + text[1:], "occurs twice"),
    "a name with terminal commands": (
        "andon",
        lambda text: text.replace("hand made", "hand\\u001b[2Jmade"),
        "control characters",
    ),
    "a number that is none": (
        "andon",
        lambda text: text.replace('"alpha":0.05', '"alpha":NaN'),
        "has an invalid value",
    ),
    "a share above 1": ("andon", lambda text: text.replace('"alpha":0.05', '"alpha":1.5'), r"<= 1\.0"),
    "another promise than the log's": (
        "andon",
        lambda text: text.replace('"alpha":0.05', '"alpha":0.001'),
        "'alpha' differs",
    ),
    "two channels of one name": (
        "andon",
        lambda text: text.replace('"flow"', '"pressure"'),
        "expected different names",
    ),
    "no calibration": ("andon", _card(lambda card: card.update(calibration=None)), "blank"),
    "windows of other steps": ("andon", _card(lambda card: card["input"].update(steps=5)), "expected one input"),
    "frames instead of windows": (
        "andon",
        _card(lambda card: card.update(input={"kind": "frame", "channels": 3, "size": [8, 8]})),
        "expected one input 'frame'",
    ),
    "evidence that the graph lacks": ("andon", _card(lambda card: card["outputs"].append("x")), "expected the outputs"),
    "an empty log": ("andon.calibration_log", lambda _: "[]", "last entry of the calibration log"),
    "a log with a past that nobody knows": (
        "andon.calibration_log",
        _card(lambda log: log[0].update(previous="0" * 64)),
        "log is broken",
    ),
    "a golden sample of another shape": (
        "andon.golden",
        _card(lambda golden: golden["input"].update(shape=[2, 4])),
        "does not fit the graph",
    ),
    "a golden sample of no shape": (
        "andon.golden",
        _card(lambda golden: golden["input"].update(shape=[-1, 2])),
        ">= 0",
    ),
    "a golden sample of boundless shape": (
        "andon.golden",
        _card(lambda golden: golden["input"].update(shape=[2**70])),
        "has an invalid value",
    ),
    "a golden sample that its bytes do not fill": (
        "andon.golden",
        _card(lambda golden: golden["evidence"]["step_scores"].update(shape=[5])),
        "do not fill",
    ),
    "golden bytes that are no base64": (
        "andon.golden",
        _card(lambda golden: golden["input"].update(data="*")),
        "golden sample: ",
    ),
    "golden objects": ("andon.golden", _card(lambda golden: golden["input"].update(dtype="object")), "dtype"),
    "golden evidence that the graph lacks": (
        "andon.golden",
        _card(lambda golden: golden["evidence"].update(x=golden["input"])),
        "no output 'x'",
    ),
}


@pytest.mark.parametrize("case", _WITH_TEXT)
def test_forged_metadata_are_refused(case: str) -> None:
    key, change, why = _WITH_TEXT[case]

    with pytest.raises(ModelFileError, match=why):
        parse(forge.text_edit(GOOD, key, change))


_GRAPH = [(7, 0)]
_RAW: dict[str, tuple[list[tuple[int, int]], Callable[[bytes], bytes], str]] = {
    "a number that stands twice": ([], lambda model: varint_field(1, 10) + model, "field 1 of a model occurs twice"),
    "a graph that stands twice": ([], lambda model: model + bytes_field(7, b""), "field 7 of a model occurs twice"),
    "a name of another wire type": (_GRAPH, lambda body: body + varint_field(2, 1), "has another type"),
    "a tensor's data twice": (
        [*_GRAPH, (5, 0)],
        lambda tensor: tensor + bytes_field(9, b"\0\0\0\0\0\0\0\0"),
        "field 9 of a tensor occurs twice",
    ),
    "a packed shape": ([*_GRAPH, (5, 0)], lambda tensor: tensor + bytes_field(1, b"\x02"), "has another type"),
    "a type that stands twice": (
        [*_GRAPH, (11, 0)],
        lambda value: value + bytes_field(2, b""),
        "field 2 of a value occurs twice",
    ),
    "a dimension that is two things": (
        [*_GRAPH, (11, 0), (2, 0), (1, 0), (2, 0), (1, 1)],
        lambda dimension: dimension + bytes_field(2, b"T"),
        "both a number and a name",
    ),
    "an attribute's value twice": (
        [*_GRAPH, (1, 4), (5, 0)],
        lambda attribute: attribute + varint_field(3, 1),
        "field 3 of an? attribute occurs twice",
    ),
    "an unknown field": ([], lambda model: varint_field(99, 1) + model, "field 99 of a model is not allowed"),
    "a name that is no text": ([*_GRAPH, (11, 0)], lambda value: b"\x0a\x01\xff" + value[8:], "not UTF-8"),
    "a metadata entry with two values": ([(14, 0)], lambda entry: entry + bytes_field(2, b"{}"), "occurs twice"),
}


@pytest.mark.parametrize("case", _RAW)
def test_forged_bytes_are_refused(case: str) -> None:
    path, change, why = _RAW[case]

    with pytest.raises(ModelFileError, match=why):
        parse(forge.raw_edit(GOOD, path, change))


def test_bytes_that_onnx_runtime_could_take_for_its_own_format_are_refused() -> None:
    forged = forge.ort_marked(GOOD)
    assert forged[4:8] == b"ORTM"
    assert onnx.load_from_string(forged).graph == onnx.load_from_string(GOOD).graph

    with pytest.raises(ModelFileError, match="bytes 4 to 7: expected a field of an ONNX model, got 'ORTM'"):
        parse(forged)


_COMMAND = "\x1b]0;pwned\x07\x1b[2J\u202ekniht\u2028ok\n"


def _twice(model: onnx.ModelProto) -> None:
    for _ in range(2):
        model.graph.node.append(helper.make_node("Identity", ["window"], [_COMMAND]))


def _two_values(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Abs", ["window"], ["more"]))
    model.graph.node[-1].attribute.add(name=_COMMAND, type=2, i=1, f=2.0)


_COMMANDS: dict[str, Callable[[], bytes]] = {
    "a foreign key": lambda: forge.onnx_edit(GOOD, lambda m: m.metadata_props.add(key=_COMMAND, value="x")),
    "a key that stands twice": lambda: forge.onnx_edit(
        GOOD, lambda m: [m.metadata_props.add(key=_COMMAND, value="x") for _ in range(2)]
    ),
    "values of one name": lambda: forge.onnx_edit(GOOD, _twice),
    "an output": lambda: forge.onnx_edit(
        GOOD,
        lambda m: m.graph.output.append(helper.make_tensor_value_info(_COMMAND, TensorProto.FLOAT, ["N"])),
    ),
    "an input": lambda: forge.onnx_edit(GOOD, lambda m: m.graph.input.append(_input(_COMMAND))),
    "a dimension": lambda: forge.onnx_edit(
        GOOD, lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_param", _COMMAND)
    ),
    "an initialiser": lambda: forge.onnx_edit(
        GOOD, lambda m: m.graph.initializer.append(numpy_helper.from_array(np.zeros(1), "andon." + _COMMAND))
    ),
    "an operator": lambda: forge.onnx_edit(GOOD, lambda m: m.graph.node.append(_node(_COMMAND))),
    "a domain": lambda: forge.onnx_edit(GOOD, lambda m: m.graph.node.append(_node("Abs", domain=_COMMAND))),
    "a division": lambda: forge.onnx_edit(
        GOOD, lambda m: m.graph.node.append(helper.make_node("Mod", ["x", "y"], [_COMMAND]))
    ),
    "an attribute": lambda: forge.onnx_edit(GOOD, _two_values),
    "a kind in the card": lambda: forge.text_edit(
        GOOD, "andon", lambda text: text.replace('"promise"', '"\\u202e\\u2028"')
    ),
    "two channels": lambda: forge.text_edit(
        GOOD, "andon", lambda text: text.replace('"pressure"', '"\\u202e"').replace('"flow"', '"\\u202e"')
    ),
    "the first bytes": lambda: _COMMAND.encode() + GOOD,
}


@pytest.mark.parametrize("case", _COMMANDS)
def test_an_error_shows_foreign_names_on_one_printable_line(case: str) -> None:
    with pytest.raises(ModelFileError) as refusal:
        parse(_COMMANDS[case]())

    assert str(refusal.value).isprintable()


def test_an_error_stays_short_whatever_the_file_holds() -> None:
    with pytest.raises(ModelFileError) as refusal:
        parse(forge.onnx_edit(GOOD, lambda model: model.graph.input.append(_input("x" * 1_000_000))))

    assert len(str(refusal.value)) <= 2000


def test_a_file_of_nothing_but_tiny_fields_is_refused_soon() -> None:
    flood = forge.raw_edit(GOOD, _GRAPH, lambda body: body + bytes_field(1, b"") * 600_000)

    with pytest.raises(ModelFileError, match="at most 500000 fields"):
        parse(flood)


def test_an_ordinary_onnx_file_is_told_what_it_lacks() -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    plain = helper.make_model(helper.make_graph([], "plain", [value], [value]))

    with pytest.raises(
        ModelFileError, match=r"metadata key 'andon' is missing. Make a complete model file with 'andon export'"
    ):
        parse(plain.SerializeToString())


def test_a_crop_that_leaves_nothing_is_refused() -> None:
    frames = model_bytes(FRAME, threshold=0.5)

    with pytest.raises(ModelFileError, match="crop: expected left < right"):
        parse(forge.text_edit(frames, "andon", lambda text: text.replace('"crop":[0.0', '"crop":[1.0')))


def test_what_would_not_be_read_is_not_written() -> None:
    model = parse(GOOD)
    tail = Tail(threshold=5.0, review=5.0, x=model.tail_x, p=model.tail_p)

    with pytest.raises(ModelFileError, match="differs from the threshold in the last entry of the calibration log"):
        seal(GOOD, card=model.card, golden=model.golden, log=model.log, tail=tail)


def test_a_golden_sample_without_a_score_is_not_written() -> None:
    model = parse(GOOD)
    golden = Golden(origin="real", input=Array.of(np.zeros((4, 2), np.float32)), score=float("nan"), evidence={})

    with pytest.raises(ModelFileError, match=r"expected a finite score, got nan.* NaN or infinity.* train it again"):
        seal(GOOD, card=model.card, golden=golden, log=model.log, tail=BLANK)


def test_a_card_with_a_number_that_json_does_not_have_is_not_written() -> None:
    model = parse(GOOD)
    card = replace(model.card, settings={"rate": float("inf")})

    with pytest.raises(ModelFileError, match=r"metadata: expected finite numbers, got NaN or infinity .*settings"):
        seal(GOOD, card=card, golden=model.golden, log=model.log, tail=BLANK)


def test_the_tail_must_have_its_length() -> None:
    model = parse(GOOD)
    tail = Tail(threshold=4.0, review=4.0, x=model.tail_x[:100], p=model.tail_p)

    with pytest.raises(ModelFileError, match=r"andon.tail_x: expected 256 numbers, got shape \[100\]"):
        seal(GOOD, card=model.card, golden=model.golden, log=model.log, tail=tail)


def test_metadata_beyond_the_limit_are_not_written() -> None:
    model = parse(GOOD)
    card = replace(model.card, settings={"note": "x" * MAX_METADATA})

    with pytest.raises(ModelFileError, match="metadata: expected at most 1000000 bytes"):
        seal(GOOD, card=card, golden=model.golden, log=model.log, tail=BLANK)


def test_the_log_remembers_every_calibration_in_order() -> None:
    log = parse(model_bytes(calibrations=3)).log

    assert [entry.threshold for entry in log] == [6.0, 5.0, 4.0]
    assert log[0].previous == ""
    assert log[2].previous == hashlib.sha256(msgspec.json.encode(log[1], order="sorted")).hexdigest()


@pytest.mark.parametrize("change", ["alpha", "remove", "swap"])
def test_a_changed_past_is_refused(change: str) -> None:
    entries = json.loads(forge.text(model_bytes(calibrations=3), "andon.calibration_log"))
    if change == "alpha":
        entries[0]["alpha"] = 0.001
    elif change == "remove":
        del entries[1]
    else:
        entries[0], entries[1] = entries[1], entries[0]

    with pytest.raises(ModelFileError, match="log is broken"):
        parse(forge.text_edit(model_bytes(calibrations=3), "andon.calibration_log", lambda _: json.dumps(entries)))


def test_a_log_entry_holds_the_float32_that_the_graph_compares_with() -> None:
    entry = LogEntry(
        date="",
        andon="",
        kind="manual",
        alpha=0.0,
        confidence=0.0,
        n=0,
        above=0,
        threshold=0.1,
        part_keys_sha256="",
        previous="",
    )

    assert append_log((), entry)[0].threshold == float(np.float32(0.1))


@given(
    st.sampled_from([np.uint8, np.float32]),
    st.lists(st.integers(0, 5), max_size=4).map(tuple),
)
def test_an_array_comes_back_from_json(dtype: type, shape: tuple[int, ...]) -> None:
    array: NDArray[Any] = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)

    back = msgspec.json.decode(msgspec.json.encode(Array.of(array)), type=Array).array()

    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)


def test_andons_initialisers_stand_as_the_format_says() -> None:
    tensors = {tensor.name: tensor for tensor in onnx.load_from_string(GOOD).graph.initializer}

    for name, length in TENSORS.items():
        assert list(tensors[name].dims) == [length]
        assert tensors[name].data_type == TensorProto.FLOAT
        assert len(tensors[name].raw_data) == 4 * length


@pytest.mark.parametrize("data", [b"hello, world\n", b"\x89PNG\r\n\x1a\n" + bytes(50), b"PK\x03\x04" + bytes(50)])
def test_what_never_was_a_model_file_is_told_as_such(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)

    with pytest.raises(ModelFileError, match="expected a model file from 'andon export'"):
        read(path)
