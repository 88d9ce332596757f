"""Hundreds of damaged and forged files: each is refused with an error of andon's, or judges exactly as the file it was.

Damaged files keep the old digest. Forged files get a new one, which an attacker can always compute. They must not change the
verdict by a structure that two readers interpret differently. That an attacker can write a different model is not a defect of
the format, because a digest is not a signature.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from numpy.random import Generator
from onnx import TensorProto, helper, numpy_helper
from tests.export.toys import FRAMES, Edges, Frames
from tests.runtime.forge import TRAILER, onnx_edit, ort_marked, raw_edit, reseal, text, text_edit

from andon.calibration.request import CalibrationRequest
from andon.export.export import export
from andon.export.graph import Pipeline
from andon.runtime.model_file.protobuf import bytes_field, varint_field, walk
from andon.runtime.schema import ScoreRule

pytestmark = pytest.mark.slow

BATCHES = 4
KEYS = ("andon", "andon.golden", "andon.calibration_log")
GRAPH = [(7, 0)]


class Case(NamedTuple):
    kind: str
    data: bytes


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a model file from export."""
    path = tmp_path_factory.mktemp("real") / "edges.onnx"
    reading = ScoreRule(map="edges", pool="top", share=0.02, smooth=1.0)
    export(Pipeline(Edges(), FRAMES, reading), Frames(70), path, request=CalibrationRequest(date="2026-01-02"))
    return path.read_bytes()


def test_no_damage_and_no_forgery_changes_a_verdict_crashes_or_hangs(real: bytes, tmp_path: Path) -> None:
    items = _items()
    np.save(tmp_path / "items.npy", items)
    cases = [Case("untouched", real), *_damage(real), *_forgeries(real)]
    assert len(cases) >= 400
    paths = []
    for number, case in enumerate(cases):
        paths.append(tmp_path / f"{number:04}_{case.kind.replace(' ', '_')}.onnx")
        paths[-1].write_bytes(case.data)

    told = [line for start in range(BATCHES) for line in _judge(paths[start::BATCHES], tmp_path / "items.npy")]

    by_file = {line["file"]: line for line in told}
    expected = by_file[str(paths[0])]["verdicts"]
    assert len({verdict[0] for verdict in expected}) > 1
    wrong = {
        Path(file).name: line.get("foreign", line.get("verdicts"))
        for file, line in by_file.items()
        if "refused" not in line and line.get("verdicts") != expected
    }
    assert wrong == {}
    refused = Counter(case.kind for case, path in zip(cases, paths, strict=True) if "refused" in by_file[str(path)])
    counts = Counter(case.kind for case in cases)
    # the corpus must bite: all damage is refused, and some harmless forgeries judge on
    assert {kind: refused[kind] for kind in counts if kind.startswith("damage")} == {
        kind: count for kind, count in counts.items() if kind.startswith("damage")
    }
    assert refused["untouched"] == 0
    assert refused["forged order"] < counts["forged order"]


def _judge(paths: list[Path], items: Path) -> list[dict[str, Any]]:
    """Judge the files in a separate process. A crash or a timeout is a failure."""
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("judge_files.py")), str(items)],
        input="".join(f"{path}\n" for path in paths),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    culprit = paths[len(lines)].name if len(lines) < len(paths) else "nothing"
    assert ran.returncode == 0, f"ended with {ran.returncode} at {culprit}: {ran.stderr[-500:]}"
    return lines


def _items() -> np.ndarray[Any, np.dtype[np.uint8]]:
    good = [Frames(3).read(ref) for ref in Frames(3).refs]
    frames = [item.data for item in good if hasattr(item, "data")]
    bad = np.random.default_rng(1).integers(0, 256, frames[0].shape, dtype=np.uint8)
    return np.stack([*frames, bad, np.zeros_like(bad)])


def _damage(real: bytes) -> Iterator[Case]:
    """Yield damaged files with the old digest: transport, disks, editors."""
    rng = np.random.default_rng(20261122)
    for _ in range(90):
        yield Case("damage bit", _flipped(real, int(rng.integers(8 * len(real)))))
    weights = max(_graph_fields(real, 5), key=lambda field: field[1] - field[0])
    for _ in range(40):
        yield Case("damage weight", _flipped(real, int(rng.integers(8 * weights[0] + 400, 8 * weights[1]))))
    start = real.index(b'{"calibration"')
    digits = [at for at in range(start, len(real) - TRAILER) if 48 <= real[at] < 58]
    for at in rng.choice(digits, 50, replace=False):
        other = b"0123456789"[(real[at] - 48 + int(rng.integers(1, 10))) % 10]
        yield Case("damage digit", real[:at] + bytes([other]) + real[at + 1 :])
    for _ in range(40):
        yield Case("damage truncated", real[: int(rng.integers(len(real)))])
    for _ in range(15):
        yield Case("damage appended", real + rng.bytes(int(rng.integers(1, 200))))
    for _ in range(15):
        at, length = int(rng.integers(len(real))), int(rng.integers(1, 64))
        yield Case("damage hole", real[:at] + real[at + length :])
    for _ in range(15):
        at, length = int(rng.integers(len(real) - 512)), int(rng.integers(1, 512))
        yield Case("damage zeros", _with(real, at, bytes(length)))
    for other in (b"", b"\0", real[: len(real) // 2] * 2, real + real, bytes(1000), rng.bytes(1000)):
        yield Case("damage other", other)


def _forgeries(real: bytes) -> Iterator[Case]:
    """Yield forged files with a new digest."""
    rng = np.random.default_rng(20261123)
    yield from _forged_fields(real, rng)
    yield from _forged_text(real, rng)
    for number, change in enumerate(_WITH_ONNX):
        yield Case(f"forged onnx {number}", onnx_edit(real, change))
    yield Case("forged mark", ort_marked(real))
    for _ in range(40):
        start, _end = _pick(rng, _graph_fields(real))
        yield Case("forged tag", reseal(_flipped(real, 8 * start + int(rng.integers(8)))[:-TRAILER]))
    for _ in range(20):
        start, _end = _pick(rng, _graph_fields(real))
        yield Case("forged length", reseal(_flipped(real, 8 * (start + 1) + int(rng.integers(8)))[:-TRAILER]))
    for _ in range(15):
        yield Case("forged truncated", reseal(real[: int(rng.integers(len(real) - TRAILER))]))
    for _ in range(10):
        yield Case("forged garbage", reseal(real[:-TRAILER] + rng.bytes(int(rng.integers(1, 30)))))


def _forged_fields(real: bytes, rng: Generator) -> Iterator[Case]:
    """Yield files with fields doubled, removed, moved, and unknown ones added: in the model, the graph and its messages."""
    for path in ([], GRAPH):
        for _ in range(25):
            yield Case("forged twice", raw_edit(real, path, lambda body: _rearranged(body, rng, "double")))
        for _ in range(15):
            yield Case("forged gone", raw_edit(real, path, lambda body: _rearranged(body, rng, "remove")))
        for _ in range(15):
            yield Case("forged order", raw_edit(real, path, lambda body: _rearranged(body, rng, "swap")))
    inner = [(number, which) for number in (1, 5, 11, 12) for which in range(len(_graph_fields(real, number)))]
    for _ in range(40):
        place = inner[int(rng.integers(len(inner)))]
        yield Case("forged inner", raw_edit(real, [*GRAPH, place], lambda body: _rearranged(body, rng, "double")))
    for number in (*range(1, 31), 100, 536_870_911):
        for extra in (varint_field(number, 1), bytes_field(number, b"\x0a\x00")):
            path = ([], GRAPH, [*GRAPH, (5, 0)], [*GRAPH, (1, 0)])[int(rng.integers(4))]
            yield Case("forged unknown", raw_edit(real, path, lambda body, extra=extra: extra + body))  # type: ignore[misc]


def _forged_text(real: bytes, rng: Generator) -> Iterator[Case]:
    """Metadata that are JSON no more, or another JSON; numbers that decide stand in the graph and not here."""
    for key in KEYS:
        whole = text(real, key)
        for _ in range(10):
            at = int(rng.integers(len(whole)))
            for changed in (whole[:at], whole[:at] + "[" * 2000, whole[:at] + "}" + whole[at:]):
                yield Case("forged text", text_edit(real, key, lambda _, changed=changed: changed))  # type: ignore[misc]
        for changed in ("", "null", "[]", "{}", "0", '"x"', "[[[[", "1e999", "[null]", '{"schema":[1,0]}'):
            if (key, changed) != ("andon.golden", "null"):
                yield Case("forged text", text_edit(real, key, lambda _, changed=changed: changed))  # type: ignore[misc]


def _external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def _huge(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.dims[0] = 2**40


def _negative(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -1


def _shadowed(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", ["decide.nan"], ["andon.threshold"]))


def _overridable(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("andon.threshold", TensorProto.FLOAT, [1]))


def _function(model: onnx.ModelProto) -> None:
    model.functions.append(
        helper.make_function("local", "LessOrEqual", ["a", "b"], ["c"], [], [helper.make_opsetid("", 20)])
    )
    model.opset_import.append(helper.make_opsetid("local", 1))


def _foreign(model: onnx.ModelProto) -> None:
    model.graph.node[-1].domain = "com.microsoft"


def _control_flow(model: onnx.ModelProto) -> None:
    branch = helper.make_graph([], "b", [], [])
    model.graph.node.append(helper.make_node("If", ["decide.nan"], [], then_branch=branch, else_branch=branch))


def _second_threshold(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(next(t for t in model.graph.initializer if t.name == "andon.threshold"))


def _metadata_twice(model: onnx.ModelProto) -> None:
    model.metadata_props.append(model.metadata_props[0])


def _config(model: onnx.ModelProto) -> None:
    model.metadata_props.add(key="ort_config", value='{"session_options":{"intra_op_num_threads":999}}')


def _no_rows(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == "andon.tail_p":
            tensor.raw_data = tensor.raw_data[:-4]


def _typed(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == "andon.threshold":
            tensor.float_data.append(1e30)


def _dropout(model: onnx.ModelProto) -> None:
    """Pass the network's pixels through a dropout in training mode."""
    place, cast = next((place, node) for place, node in enumerate(model.graph.node) if node.op_type == "Cast")
    pixels = cast.output[0]
    cast.output[0] = "all pixels"
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "half"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "drawing"))
    model.graph.node.insert(place + 1, helper.make_node("Dropout", ["all pixels", "half", "drawing"], [pixels]))


def _trap(model: onnx.ModelProto) -> None:
    """Add a constant division that ONNX Runtime computes during loading, which ends the process."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([-(2**31)], np.int32), "least"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(-1, np.int32), "minus one"))
    model.graph.node.append(helper.make_node("Div", ["least", "minus one"], ["trapped"]))


_WITH_ONNX: tuple[Callable[[onnx.ModelProto], None], ...] = (
    _external,
    _huge,
    _negative,
    _shadowed,
    _overridable,
    _function,
    _foreign,
    _control_flow,
    _second_threshold,
    _metadata_twice,
    _config,
    _no_rows,
    _typed,
    _dropout,
    _trap,
)


def _flipped(data: bytes, place: int) -> bytes:
    return _with(data, place // 8, bytes([data[place // 8] ^ 1 << place % 8]))


def _with(data: bytes, at: int, other: bytes) -> bytes:
    changed = data[:at] + other + data[at + len(other) :]
    return changed if changed != data else _flipped(data, 8 * at)


def _graph_fields(data: bytes, number: int | None = None) -> list[tuple[int, int]]:
    """Return start and end of the graph's fields."""
    graph = next(field for field in walk(data, 0, len(data)) if field.number == 7)
    found = walk(data, graph.value, graph.end)
    return [(field.start, field.end) for field in found if number in (None, field.number)]


def _pick(rng: Generator, places: list[tuple[int, int]]) -> tuple[int, int]:
    return places[int(rng.integers(len(places)))]


def _rearranged(body: bytes, rng: Generator, how: str) -> bytes:
    fields = [body[field.start : field.end] for field in walk(body, 0, len(body))]
    one, other = (int(place) for place in rng.choice(len(fields), 2, replace=False))
    if how == "double":
        fields.insert(other, fields[one])
    elif how == "remove":
        del fields[one]
    else:
        fields[one], fields[other] = fields[other], fields[one]
    return b"".join(fields)
