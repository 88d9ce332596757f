"""Append the decision to the graph: from score to status, reason, threshold and p-value, in standard ONNX operators.

The decision is appended instead of traced, because calibration changes its numbers without torch.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from andon.calibration.scene import KINDS, NO_LIMIT
from andon.runtime.model_file.format import BLANK, OUTPUTS, OUTSIDE_TENSOR, SCENE_TENSORS
from andon.runtime.outside_training import STATISTICS
from andon.runtime.schema import RAW_SCORE as UNCHANGED_SCORE
from andon.runtime.schema import SCENE_FEATURES, InputSpec, Reason, Status, WindowSpec

RAW_SCORE, INPUT_REASON = "andon_raw_score", "andon_input_reason"
"""Outputs of the traced graph. `fold` replaces them with the five outputs of a model file."""


def fold(model: onnx.ModelProto, spec: InputSpec | None = None) -> onnx.ModelProto:
    """Turn the traced score and input reason into the five outputs of a model file. The graph is changed in place.

    REJECT is ``Not(score <= threshold)``, so that NaN cannot pass. INVALID has priority over all other statuses, and its score
    is NaN. The score of a window far outside the good ones is at least slightly above the threshold.

    Args:
        model: the traced graph.
        spec: the input. If it has `WindowSpec.outside`, the graph gets this check. None: no such check.
    """
    graph = model.graph
    numbers: dict[str, NDArray[Any]] = {
        "andon.threshold": np.array([BLANK.threshold], np.float32),
        "andon.review": np.array([BLANK.review], np.float32),
        "andon.tail_x": BLANK.x,
        "andon.tail_p": BLANK.p,
        "decide.nan": np.array([np.nan], np.float32),
        "decide.none": np.array([Reason.NONE], np.int32),
        "decide.not_finite": np.array([Reason.NOT_FINITE], np.int32),
        "decide.ok": np.array([Status.OK], np.int32),
        "decide.review": np.array([Status.REVIEW], np.int32),
        "decide.invalid": np.array([Status.INVALID], np.int32),
        "decide.reject": np.array([Status.REJECT], np.int32),
        "decide.column": np.array([1], np.int64),
    }
    for name, array in numbers.items():
        graph.initializer.append(numpy_helper.from_array(array, name))

    def add(operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        graph.node.append(helper.make_node(operator, inputs, [output], name=f"decide/{output}", **attributes))

    add("IsNaN", [RAW_SCORE], "decide_nan")
    add("IsInf", [RAW_SCORE], "decide_inf")
    add("Or", ["decide_nan", "decide_inf"], "decide_broken")
    add("Where", ["decide_broken", "decide.not_finite", INPUT_REASON], "decide_reason")
    # the reason of the input has priority: a covered lens is reported as such, and not the output of the network
    add("Equal", [INPUT_REASON, "decide.none"], "decide_input_fine")
    add("Where", ["decide_input_fine", "decide_reason", INPUT_REASON], "decide_why")
    features = next((output for output in graph.output if output.name == SCENE_FEATURES), None)
    cause = "decide_why" if features is None else _fold_scene(graph, features, add)
    add("Equal", [cause, "decide.none"], "decide_valid")
    checked = isinstance(spec, WindowSpec) and spec.outside is not None
    score, why = RAW_SCORE, cause
    if isinstance(spec, WindowSpec) and spec.outside is not None:
        score, why = _fold_outside(graph, spec, cause, add)
    add("Where", ["decide_valid", score, "decide.nan"], "score")

    add("LessOrEqual", [score, "andon.threshold"], "decide_passes")
    add("LessOrEqual", [score, "andon.review"], "decide_clear")
    add("Where", ["decide_clear", "decide.ok", "decide.review"], "decide_passed")
    add("Where", ["decide_passes", "decide_passed", "decide.reject"], "decide_judged")
    add("Where", ["decide_valid", "decide_judged", "decide.invalid"], "decide_status")
    add("Cast", ["decide_status"], "status", to=TensorProto.UINT8)
    add("Cast", [why], "reason", to=TensorProto.UINT8)

    add("Shape", [RAW_SCORE], "decide_rows")
    add("Expand", ["andon.threshold", "decide_rows"], "threshold")
    add("Unsqueeze", [score, "decide.column"], "decide_score_column")
    add("LessOrEqual", ["andon.tail_x", "decide_score_column"], "decide_reached")
    add("Cast", ["decide_reached"], "decide_reached_int", to=TensorProto.INT32)
    add("ReduceSum", ["decide_reached_int", "decide.column"], "decide_knot", keepdims=0)
    add("Gather", ["andon.tail_p", "decide_knot"], "decide_p")
    add("Where", ["decide_valid", "decide_p", "decide.nan"], "p_value")

    evidence = [output for output in graph.output if output.name not in (RAW_SCORE, INPUT_REASON)]
    kinds = dict.fromkeys(OUTPUTS, TensorProto.FLOAT) | dict.fromkeys(("status", "reason"), TensorProto.UINT8)
    del graph.output[:]
    graph.output.extend(helper.make_tensor_value_info(name, kinds[name], ["N"]) for name in OUTPUTS)
    graph.output.extend(evidence)
    if features is not None or checked:
        add("Identity", [RAW_SCORE], UNCHANGED_SCORE)
        graph.output.append(helper.make_tensor_value_info(UNCHANGED_SCORE, TensorProto.FLOAT, ["N"]))
    return model


def _fold_outside(graph: onnx.GraphProto, spec: WindowSpec, cause: str, add: Callable[..., None]) -> tuple[str, str]:
    """Append the check for windows far outside the good ones (`andon.runtime.outside_training`).

    A blank file has limits that nothing exceeds. Return the names of the score and of the reason with the check in them.
    """
    channels = len(spec.channels)
    numbers: dict[str, NDArray[Any]] = {
        OUTSIDE_TENSOR: np.full(STATISTICS * channels, NO_LIMIT, np.float32),
        "decide.center": np.array([channel.center for channel in spec.channels], np.float32),
        "decide.rows": np.array([1], np.int64),
        "decide.first": np.array([0], np.int64),
        "decide.last": np.array([-1], np.int64),
        "decide.end": np.array([spec.steps], np.int64),
        "decide.yes": np.array([1], np.int32),
        "decide.more": np.array([1.0 / 1024.0], np.float32),
        "decide.least": np.array([1e-30], np.float32),
        "decide.outside": np.array([Reason.OUTSIDE_TRAINING], np.int32),
    }
    for name, array in numbers.items():
        graph.initializer.append(numpy_helper.from_array(array, name))
    # relative to the centre, because squares of large levels would cancel in float32
    add("Sub", ["window", "decide.center"], "decide_away")
    add("ReduceMax", ["decide_away", "decide.rows"], "decide_high", keepdims=0)
    add("ReduceMin", ["decide_away", "decide.rows"], "decide_lowest", keepdims=0)
    add("Neg", ["decide_lowest"], "decide_low")
    add("ReduceMean", ["decide_away", "decide.rows"], "decide_mean", keepdims=1)
    add("Sub", ["decide_away", "decide_mean"], "decide_varies")
    add("Mul", ["decide_varies", "decide_varies"], "decide_squares")
    add("ReduceMean", ["decide_squares", "decide.rows"], "decide_variance", keepdims=0)
    add("Sqrt", ["decide_variance"], "decide_spread")
    rate = "decide_spread"  # a window of one row has neither: both are 0
    if spec.steps > 1:
        add("Slice", ["decide_away", "decide.rows", "decide.end", "decide.rows"], "decide_later")
        add("Slice", ["decide_away", "decide.first", "decide.last", "decide.rows"], "decide_earlier")
        add("Sub", ["decide_later", "decide_earlier"], "decide_change")
        add("Abs", ["decide_change"], "decide_size")
        add("ReduceMax", ["decide_size", "decide.rows"], "decide_rate", keepdims=0)
        rate = "decide_rate"
    add("Concat", ["decide_high", "decide_low", "decide_spread", rate], "decide_statistics", axis=1)
    add("Greater", ["decide_statistics", OUTSIDE_TENSOR], "decide_beyond")
    add("Cast", ["decide_beyond"], "decide_beyond_int", to=TensorProto.INT32)
    add("ReduceMax", ["decide_beyond_int", "decide.rows"], "decide_any", keepdims=0)
    add("Equal", ["decide_any", "decide.yes"], "decide_outside")
    # at least slightly above the threshold, so that status and score never contradict each other
    add("Abs", ["andon.threshold"], "decide_level")
    add("Mul", ["decide_level", "decide.more"], "decide_margin")
    add("Add", ["decide_margin", "decide.least"], "decide_step")
    add("Add", ["andon.threshold", "decide_step"], "decide_above")
    add("Max", [RAW_SCORE, "decide_above"], "decide_raised")
    add("Where", ["decide_outside", "decide_raised", RAW_SCORE], "decide_score")
    add("And", ["decide_outside", "decide_valid"], "decide_refused")
    add("Where", ["decide_refused", "decide.outside", cause], "decide_reason_outside")
    return "decide_score", "decide_reason_outside"


def _fold_scene(graph: onnx.GraphProto, features: onnx.ValueInfoProto, add: Callable[..., None]) -> str:
    """Append the scene check: INVALID if the features of the frame exceed the limit for a kind of wrong frame.

    The distance for a kind is ``sqrt(sum(((features - center) * scale) ** 2))``, with one block of centre and scale per kind.
    A blank file has limits that nothing exceeds. Return the name of the reason with the check in it.
    """
    count = features.type.tensor_type.shape.dim[1].dim_value
    kinds = len(KINDS)
    center, scale, limit = SCENE_TENSORS
    numbers: dict[str, NDArray[Any]] = {
        center: np.zeros(kinds * count, np.float32),
        scale: np.zeros(kinds * count, np.float32),
        limit: np.full(kinds, NO_LIMIT, np.float32),
        "decide.blocks": np.array([1, kinds, count], np.int64),
        "decide.features": np.array([2], np.int64),
        "decide.other_scene": np.array([Reason.OTHER_SCENE], np.int32),
        "decide.one": np.array([1], np.int32),
    }
    for name, array in numbers.items():
        graph.initializer.append(numpy_helper.from_array(array, name))
    add("Unsqueeze", [SCENE_FEATURES, "decide.column"], "decide_scene_row")
    add("Reshape", [center, "decide.blocks"], "decide_scene_center")
    add("Reshape", [scale, "decide.blocks"], "decide_scene_scale")
    add("Sub", ["decide_scene_row", "decide_scene_center"], "decide_scene_apart")
    add("Mul", ["decide_scene_apart", "decide_scene_scale"], "decide_scene_scaled")
    add("Mul", ["decide_scene_scaled", "decide_scene_scaled"], "decide_scene_squares")
    add("ReduceSum", ["decide_scene_squares", "decide.features"], "decide_scene_square", keepdims=0)
    add("Sqrt", ["decide_scene_square"], "decide_scene_distance")
    add("LessOrEqual", ["decide_scene_distance", limit], "decide_scene_within")
    add("Cast", ["decide_scene_within"], "decide_scene_numbers", to=TensorProto.INT32)
    add("ReduceMin", ["decide_scene_numbers", "decide.column"], "decide_scene_least", keepdims=0)
    add("Equal", ["decide_scene_least", "decide.one"], "decide_scene_same")
    add("Equal", ["decide_why", "decide.none"], "decide_scene_matters")
    add("Where", ["decide_scene_same", "decide_why", "decide.other_scene"], "decide_scene_reason")
    # other reasons have priority, because they are more specific
    add("Where", ["decide_scene_matters", "decide_scene_reason", "decide_why"], "decide_cause")
    return "decide_cause"
