"""Make the file before calibration: graph, card and golden sample, with a threshold that all loaders refuse."""

import math
from collections.abc import Sequence
from typing import Any

import onnx
from msgspec.structs import replace
from numpy.typing import NDArray

from andon.calibration.scene import unfitted
from andon.export import golden
from andon.export.provenance import Provenance
from andon.export.tile_masks import kept_tiles
from andon.foundation.errors import DataError
from andon.runtime.calibration_facts import Precision
from andon.runtime.mask_pixels import mask_size, masked
from andon.runtime.model_file.format import BLANK, OUTPUTS, Golden, seal
from andon.runtime.schema import SCENE_FEATURES, TOLERANCE, Card, FrameSpec, InputSpec, ScoreRule
from andon.sources.collection import Collection, FoundFrames

TOLERANCES: dict[Precision, float] = {"float32": TOLERANCE, "float16": 0.02, "int8": 0.02}
"""Largest allowed difference of scores between machines, by precision of the graph. A new precision needs an entry here.

int8: with other instructions a value can round to the neighbouring level. The measured differences are in docs/lab-log.md.
float16: devices and their algorithms add products in another order. Measured between float16 and float32 on a CPU only.
"""


def card_of(
    graph: onnx.ModelProto,
    spec: InputSpec,
    rule: ScoreRule,
    provenance: Provenance,
    *,
    precision: Precision = "float32",
) -> Card:
    """Return the card of a graph that contains the decision. A scene check in the graph is recorded as not fitted."""
    evidence = graph.graph.output[len(OUTPUTS) :]
    outputs = [output.name for output in evidence]
    features = next((output for output in evidence if output.name == SCENE_FEATURES), None)
    if features is not None and isinstance(spec, FrameSpec):
        count = features.type.tensor_type.shape.dim[1].dim_value
        spec = replace(spec, scene=unfitted(count))
    return replace(provenance.card(spec, rule, outputs), precision=precision, tolerance=TOLERANCES[precision])


def blank(graph: onnx.ModelProto, card: Card) -> bytes:
    """Return the graph as a model file without calibration and without a golden sample."""
    onnx.checker.check_model(graph, full_check=True)
    return seal(graph.SerializeToString(deterministic=True), card=card, golden=None, log=(), tail=BLANK)


def with_golden(data: bytes, card: Card, items: Sequence[NDArray[Any]], *, real: bool) -> bytes:
    """Return the blank file with its golden sample: seeded noise, or the first real item that the file can judge.

    Raises:
        DataError: a real sample was asked for, and none of the items can be judged.
    """
    sample = (
        _real_sample(data, items) if real else golden.golden(data, golden.synthetic(card.input), origin="synthetic")
    )
    return seal(data, card=card, golden=sample, log=(), tail=BLANK)


def calibrated_input(spec: InputSpec, good: Collection) -> InputSpec:
    """Return the input spec. If all parts are frames of the same size, fix this frame size in it, or that of the masks.

    Tiles are made for one frame size, which the spec already has. The tiles that masks leave out are counted.
    """
    if isinstance(spec, FrameSpec) and spec.tiles is not None:
        left_out = spec.tiles.rows * spec.tiles.columns - len(kept_tiles(spec))
        spec = replace(spec, tiles=replace(spec.tiles, left_out=left_out))
    if isinstance(spec, FrameSpec) and masked(spec):
        return replace(spec, frame_size=mask_size(spec))
    if isinstance(spec, FrameSpec) and spec.tiles is None and isinstance(good.found, FoundFrames):
        return replace(spec, frame_size=good.found.frame_size)
    return spec


def _real_sample(data: bytes, items: Sequence[NDArray[Any]]) -> Golden:
    """Return the first part that the file can judge, because an INVALID part has no score to compare."""
    samples = (golden.golden(data, golden.real(item), origin="real") for item in items)
    for sample in samples:
        if math.isfinite(sample.score):
            return sample
    raise DataError(
        f"--golden real: expected a calibration part that can be judged after reduction to {golden.LARGEST} pixels per side, "
        f"found none among the first {len(items)}. Use --golden synthetic."
    )
