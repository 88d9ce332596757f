"""Compare a model file's graph, card, golden sample, numbers and log with each other: nothing may contradict the rest."""

import math

import numpy as np
from numpy.typing import NDArray

from andon.foundation.errors import ModelFileError
from andon.runtime.model_file.content import SCENE_TENSORS, TENSORS, Golden, LogEntry, Tail
from andon.runtime.model_file.onnx_subset import FLOAT, UINT8, Graph
from andon.runtime.schema import Card, FrameSpec, SceneCheck, WindowSpec

OUTPUTS = ("score", "status", "reason", "threshold", "p_value")
"""Outputs that every file has, first and in this order."""


def raw_data(graph: Graph, name: str, length: int) -> tuple[int, int]:
    """Return where the numbers of one of andon's initialisers lie.

    Raises:
        ModelFileError: there is none, or one of another type or length.
    """
    tensor = graph.tensors.get(name)
    if tensor is None:
        raise ModelFileError(f"not an andon model file: the graph lacks {name!r}.")
    if tensor.element != FLOAT or tensor.dims != (length,):
        raise ModelFileError(f"{name}: expected {length} float32 numbers, got the shape {list(tensor.dims)}.")
    return tensor.raw


def tail_of(data: bytes, graph: Graph) -> Tail:
    """Read the numbers that calibration writes."""
    threshold, review, x, p = (_numbers(data, graph, name, length) for name, length in TENSORS.items())
    return Tail(threshold=float(threshold[0]), review=float(review[0]), x=x, p=p)


def check_initialisers(data: bytes, graph: Graph, card: Card, *, allow_blank: bool) -> None:
    """Refuse unknown initialisers of andon's, and a scene check that card and graph do not both hold.

    Raises:
        ModelFileError: with the name.
    """
    scene = card.input.scene if isinstance(card.input, FrameSpec) and card.schema >= (1, 1) else None
    wanted = _scene_lengths(scene, graph)
    unknown = [name for name in graph.tensors if name.startswith("andon.") and name not in TENSORS | wanted]
    if unknown:
        raise ModelFileError(f"unknown initialiser {unknown[0]!r}: made by another andon?")
    for name, length in wanted.items():
        numbers = _numbers(data, graph, name, length)
        if not np.isfinite(numbers).all() and not allow_blank:
            raise ModelFileError(f"{name}: expected finite numbers.")


def check_values(graph: Graph, card: Card) -> None:
    """Compare inputs and outputs of the graph with what the metadata say.

    Raises:
        ModelFileError: with what was expected and found.
    """
    spec = card.input
    fixed: dict[int, int]
    if isinstance(spec, FrameSpec):
        if spec.dtype != "uint8":
            raise ModelFileError(f"this andon judges uint8 frames, the file wants {spec.dtype} ones. Update andon.")
        name, element, fixed = "frame", UINT8, {3: spec.channels}
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
            f"expected one input {name!r} of rank {rank}, fixed only in {fixed}, found {[tuple(v) for v in graph.inputs]}."
        )
    wanted = [(name, UINT8 if name in ("status", "reason") else FLOAT) for name in (*OUTPUTS, *card.outputs)]
    if [(output.name, output.element) for output in graph.outputs] != wanted:
        raise ModelFileError(
            f"expected the outputs {', '.join(name for name, _ in wanted)}, found "
            f"{', '.join(output.name for output in graph.outputs)}, or some of another type."
        )


def check_card(card: Card) -> None:
    """Refuse an input that contradicts itself.

    Raises:
        ModelFileError: with the field.
    """
    if isinstance(card.input, FrameSpec):
        _check_frames(card.input)
    else:
        _check_windows(card.input)


def check_golden(golden: Golden, card: Card) -> None:
    """Refuse a golden sample that the graph cannot take.

    Raises:
        ModelFileError: with its type and shape, or the evidence that the graph does not give.
    """
    sample = golden.input.array()
    spec = card.input
    fits = (
        sample.dtype == np.uint8 and sample.ndim == 3 and sample.shape[2] == spec.channels and min(sample.shape) > 0
        if isinstance(spec, FrameSpec)
        else sample.dtype == np.float32 and sample.shape == (spec.steps, len(spec.channels))
    )
    if not fits:
        raise ModelFileError(f"golden sample: {sample.dtype} {list(sample.shape)} is not what the graph takes.")
    for name, array in golden.evidence.items():
        if name not in card.outputs:
            raise ModelFileError(f"golden sample: the graph gives no evidence {name!r}.")
        array.array()


def check_numbers(tail: Tail, card: Card, log: tuple[LogEntry, ...], *, allow_blank: bool) -> None:
    """Compare the numbers in the graph with the card and with the end of the log.

    Raises:
        ModelFileError: a blank file, unless it is allowed; or numbers that contradict each other.
    """
    calibration = card.calibration
    if calibration is None or math.isnan(tail.threshold):
        if allow_blank:
            return
        raise ModelFileError("the file is blank: it was exported but never calibrated. Run 'andon export' to its end.")
    if not (math.isfinite(tail.threshold) and math.isfinite(tail.review) and tail.review <= tail.threshold):
        raise ModelFileError(f"the threshold does not hold: {tail.threshold}, review from {tail.review}.")
    if np.isnan(tail.x).any() or not (tail.x[1:] >= tail.x[:-1]).all():
        raise ModelFileError("the table of good scores is not ascending.")
    if tail.p[0] != 1.0 or not ((tail.p >= 0) & (tail.p <= 1)).all() or (tail.p[1:] > tail.p[:-1]).any():
        raise ModelFileError("the table of p-values does not run from 1 downwards.")
    if not log or log[-1].threshold != tail.threshold:
        raise ModelFileError("the threshold is not the one that the calibration log ends with.")
    for name in ("date", "kind", "alpha", "confidence", "n", "above", "part_keys_sha256"):
        if getattr(log[-1], name) != getattr(calibration, name):
            raise ModelFileError(f"the calibration log ends with another {name!r} than the metadata say.")


def _numbers(data: bytes, graph: Graph, name: str, length: int) -> NDArray[np.float32]:
    start, end = raw_data(graph, name, length)
    return np.frombuffer(data[start:end], "<f4").astype(np.float32)


def _scene_lengths(scene: SceneCheck | None, graph: Graph) -> dict[str, int]:
    """Return the initialisers that a scene check has, with their lengths; the scale may be absent."""
    if scene is None:
        return {}
    center, scale, limit = SCENE_TENSORS
    lengths = {center: scene.features, limit: scene.limits}
    return lengths | {scale: scene.features} if scale in graph.tensors else lengths


def _fixed_by_tiles(card: Card, fixed: dict[int, int]) -> dict[int, int]:
    """A graph that cuts tiles may take frames of the calibrated size only."""
    spec = card.input
    if not isinstance(spec, FrameSpec) or spec.tiles is None or spec.frame_size is None:
        return fixed
    return {1: spec.frame_size[0], 2: spec.frame_size[1]} | fixed


def _check_frames(spec: FrameSpec) -> None:
    left, top, right, bottom = spec.crop
    if not (left < right and top < bottom):
        raise ModelFileError(f"the crop {list(spec.crop)} leaves nothing of a frame.")
    if not spec.black < spec.white:
        raise ModelFileError(f"white: expected a level above black ({spec.black:g}), got {spec.white:g}.")
    for name, mask in (("ignore", spec.ignore), ("region", spec.region)):
        if mask is not None and mask.frame_size != spec.frame_size:
            raise ModelFileError(
                f"{name}: expected a mask of the calibrated frame size {spec.frame_size}, got one of {mask.frame_size}."
            )


def _check_windows(spec: WindowSpec) -> None:
    names = [channel.name for channel in spec.channels]
    if len(set(names)) != len(names):
        raise ModelFileError(f"two channels bear one name: {', '.join(names)}.")
    context = spec.context
    if context is None:
        return
    if context.channel not in names:
        raise ModelFileError(f"context: expected one of the channels {', '.join(names)}, got {context.channel!r}.")
    if list(context.bounds) != sorted(set(context.bounds)):
        raise ModelFileError("context: expected ascending bounds.")
