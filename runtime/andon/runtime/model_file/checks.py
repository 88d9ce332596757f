"""Check that graph, card, golden sample, numbers and log of a model file are consistent with each other."""

import math

import numpy as np
from numpy.typing import NDArray

from andon.foundation.errors import ModelFileError
from andon.runtime.mask_pixels import unpack
from andon.runtime.model_file.content import OUTSIDE_TENSOR, SCENE_TENSORS, TENSORS, Golden, LogEntry, Tail
from andon.runtime.model_file.onnx_subset import FLOAT, UINT8, UINT16, Graph
from andon.runtime.outside_training import STATISTICS
from andon.runtime.schema import Card, FrameSpec, SceneCheck, WindowSpec

OUTPUTS = ("score", "status", "reason", "threshold", "p_value")
"""The first outputs of every file, in this order."""


def raw_data(graph: Graph, name: str, length: int) -> tuple[int, int]:
    """Return the range of bytes that holds the numbers of one of andon's initialisers.

    Raises:
        ModelFileError: the initialiser is missing, or has another type or length.
    """
    tensor = graph.tensors.get(name)
    if tensor is None:
        raise ModelFileError(
            f"not an andon model file: the graph has no initialiser {name!r}. Use a model file from 'andon export'."
        )
    if tensor.element != FLOAT or tensor.dims != (length,):
        raise ModelFileError(
            f"{name}: expected {length} float32 numbers, got ONNX element type {tensor.element} and shape {list(tensor.dims)}. "
            "Export the file again."
        )
    return tensor.raw


def tail_of(data: bytes, graph: Graph) -> Tail:
    """Read the numbers that calibration writes."""
    threshold, review, x, p = (_numbers(data, graph, name, length) for name, length in TENSORS.items())
    return Tail(threshold=float(threshold[0]), review=float(review[0]), x=x, p=p)


def outside_of(data: bytes, graph: Graph, card: Card) -> NDArray[np.float32] | None:
    """Read the limits for windows far outside the good ones, or return None for a file without them."""
    length = _outside_length(card)
    return _numbers(data, graph, OUTSIDE_TENSOR, length[OUTSIDE_TENSOR]) if length else None


def check_initialisers(data: bytes, graph: Graph, card: Card, *, allow_blank: bool) -> None:
    """Refuse unknown initialisers of andon, and a check that is not in both card and graph (scene, outside).

    Raises:
        ModelFileError: the message names the initialiser.
    """
    scene = card.input.scene if isinstance(card.input, FrameSpec) and card.schema >= (1, 1) else None
    wanted = _scene_lengths(scene, graph) | _outside_length(card)
    unknown = [name for name in graph.tensors if name.startswith("andon.") and name not in TENSORS | wanted]
    if unknown:
        raise ModelFileError(
            f"unknown initialiser {unknown[0]!r}. Was the file made by another version of andon? Update andon, or export the "
            "file again."
        )
    for name, length in wanted.items():
        numbers = _numbers(data, graph, name, length)
        if not np.isfinite(numbers).all() and not allow_blank:
            raise ModelFileError(f"{name}: expected finite numbers, got NaN or infinity. Export the file again.")


def check_values(graph: Graph, card: Card) -> None:
    """Compare inputs and outputs of the graph with the card.

    Raises:
        ModelFileError: they differ. The message gives both.
    """
    spec = card.input
    fixed: dict[int, int]
    if isinstance(spec, FrameSpec):
        name, element, fixed = "frame", UINT16 if spec.dtype == "uint16" else UINT8, {3: spec.channels}
    else:
        name, element, fixed = "window", FLOAT, {1: spec.steps, 2: len(spec.channels)}
    given = graph.inputs[0] if len(graph.inputs) == 1 else None
    rank = 1 + max(fixed)
    if (
        given is None
        or (given.name, given.element) != (name, element)
        or len(given.dims or ()) != rank
        or {place: dim for place, dim in enumerate(given.dims or ()) if isinstance(dim, int)}
        not in (fixed, _fixed_by_tiles(card, fixed))
    ):
        raise ModelFileError(
            f"graph: expected one input {name!r} of rank {rank} whose only fixed dimensions are {fixed}, got "
            f"{[tuple(v) for v in graph.inputs]}. Export the file again."
        )
    wanted = [(name, UINT8 if name in ("status", "reason") else FLOAT) for name in (*OUTPUTS, *card.outputs)]
    if [(output.name, output.element) for output in graph.outputs] != wanted:
        raise ModelFileError(
            f"graph: expected the outputs {', '.join(name for name, _ in wanted)}, got "
            f"{', '.join(output.name for output in graph.outputs)}, or some have another type. Export the file again."
        )


def check_card(card: Card) -> None:
    """Refuse a card whose input specification contradicts itself, or whose promise is about another precision or provider.

    Raises:
        ModelFileError: the message names the field.
    """
    if isinstance(card.input, FrameSpec):
        _check_frames(card.input)
    else:
        _check_windows(card.input)
    calibration = card.calibration
    if calibration is None:
        return
    for name in ("precision", "provider"):
        stated, calibrated = getattr(card, name), getattr(calibration, name)
        if calibrated not in (None, stated):
            raise ModelFileError(
                f"calibration.{name}: expected {stated} as in the card, got {calibrated}. The promise belongs to another file. "
                "Calibrate this one."
            )


def check_golden(golden: Golden, card: Card) -> None:
    """Refuse a golden sample that does not fit the graph.

    Raises:
        ModelFileError: its input has another type or shape, or its evidence is not an output of the graph.
    """
    sample = golden.input.array()
    spec = card.input
    fits = (
        sample.dtype == spec.dtype and sample.ndim == 3 and sample.shape[2] == spec.channels and min(sample.shape) > 0
        if isinstance(spec, FrameSpec)
        else sample.dtype == np.float32 and sample.shape == (spec.steps, len(spec.channels))
    )
    if not fits:
        raise ModelFileError(
            f"golden sample: {sample.dtype} {list(sample.shape)} does not fit the graph's input. Export the file again."
        )
    for name, array in golden.evidence.items():
        if name not in card.outputs:
            raise ModelFileError(f"golden sample: the graph has no output {name!r}. Export the file again.")
        array.array()


def check_numbers(tail: Tail, card: Card, log: tuple[LogEntry, ...], *, allow_blank: bool) -> None:
    """Compare the numbers in the graph with the card and with the last entry of the log.

    Raises:
        ModelFileError: the numbers contradict each other, or the file is blank and `allow_blank` is False.
    """
    calibration = card.calibration
    if calibration is None or math.isnan(tail.threshold):
        if allow_blank:
            return
        raise ModelFileError("the file is blank: it was exported but never calibrated. Run 'andon export' again.")
    if not (math.isfinite(tail.threshold) and math.isfinite(tail.review) and tail.review <= tail.threshold):
        raise ModelFileError(
            f"threshold: expected finite numbers, review <= threshold, got {tail.threshold} and review {tail.review}. "
            "Export the file again."
        )
    if np.isnan(tail.x).any() or not (tail.x[1:] >= tail.x[:-1]).all():
        raise ModelFileError(
            "the table of good scores (andon.tail_x): expected ascending numbers, got others. Export the file again."
        )
    if tail.p[0] != 1.0 or not ((tail.p >= 0) & (tail.p <= 1)).all() or (tail.p[1:] > tail.p[:-1]).any():
        raise ModelFileError(
            "the table of p-values (andon.tail_p): expected descending numbers that begin with 1, got others. Export the file "
            "again."
        )
    if not log or log[-1].threshold != tail.threshold:
        raise ModelFileError(
            "the threshold differs from the threshold in the last entry of the calibration log. Export the file again."
        )
    for name in ("date", "kind", "alpha", "confidence", "n", "above", "part_keys_sha256"):
        if getattr(log[-1], name) != getattr(calibration, name):
            raise ModelFileError(
                f"{name!r} differs between the metadata and the last entry of the calibration log. Export the file again."
            )


def _numbers(data: bytes, graph: Graph, name: str, length: int) -> NDArray[np.float32]:
    start, end = raw_data(graph, name, length)
    return np.frombuffer(data[start:end], "<f4").astype(np.float32)


def _scene_lengths(scene: SceneCheck | None, graph: Graph) -> dict[str, int]:
    """Return the initialisers of a scene check with their lengths. The scale is optional."""
    if scene is None:
        return {}
    center, scale, limit = SCENE_TENSORS
    lengths = {center: scene.features, limit: scene.limits}
    return lengths | {scale: scene.features} if scale in graph.tensors else lengths


def _outside_length(card: Card) -> dict[str, int]:
    """Return the initialiser of the check for windows outside the good ones, with its length."""
    spec = card.input
    if not isinstance(spec, WindowSpec) or spec.outside is None or card.schema < (1, 1):
        return {}
    return {OUTSIDE_TENSOR: STATISTICS * len(spec.channels)}


def _fixed_by_tiles(card: Card, fixed: dict[int, int]) -> dict[int, int]:
    """Return the fixed dimensions of a graph. A graph that cuts tiles may accept frames of the calibrated size only."""
    spec = card.input
    if not isinstance(spec, FrameSpec) or spec.tiles is None or spec.frame_size is None:
        return fixed
    return {1: spec.frame_size[0], 2: spec.frame_size[1]} | fixed


def _check_frames(spec: FrameSpec) -> None:
    left, top, right, bottom = spec.crop
    if not (left < right and top < bottom):
        raise ModelFileError(f"crop: expected left < right and top < bottom, got {list(spec.crop)}.")
    if not spec.black < spec.white:
        raise ModelFileError(f"white: expected a level above black ({spec.black:g}), got {spec.white:g}.")
    if spec.tiles is not None and spec.frame_size is None:
        raise ModelFileError("tiles: expected a frame_size, got none. Tiles are for frames of one size.")
    if spec.tiles is not None and spec.tiles.left_out:
        most = spec.tiles.rows * spec.tiles.columns - 1 if spec.ignore or spec.region else 0
        if spec.tiles.left_out > most:
            raise ModelFileError(
                f"tiles: expected left_out of at most {most}, got {spec.tiles.left_out}. Only masks leave tiles out, and never "
                "all of them."
            )
    for name, mask in (("ignore", spec.ignore), ("region", spec.region)):
        if mask is not None and mask.frame_size != spec.frame_size:
            raise ModelFileError(
                f"{name}: expected a mask of the calibrated frame size {spec.frame_size}, got {mask.frame_size}."
            )
        if mask is not None and mask.pixels:
            unpack(mask, name=name)


def _check_windows(spec: WindowSpec) -> None:
    names = [channel.name for channel in spec.channels]
    if len(set(names)) != len(names):
        raise ModelFileError(f"channels: expected different names, got {', '.join(names)}.")
    context = spec.context
    if context is None:
        return
    if context.channel not in names:
        raise ModelFileError(f"context: expected one of the channels {', '.join(names)}, got {context.channel!r}.")
    if list(context.bounds) != sorted(set(context.bounds)):
        raise ModelFileError(f"context: expected ascending bounds, got {list(context.bounds)}.")
    for name, rows in (("center", context.center), ("scale", context.scale)):
        shape = [len(row) for row in rows]
        if shape != [len(names)] * (context.states if context.center else 0):
            raise ModelFileError(
                f"context: expected {name} with {len(names)} channels in each of {context.states} states, got {shape}."
            )
