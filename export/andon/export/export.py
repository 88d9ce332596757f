"""Trace, write blank, score the calibration part through the runtime, calibrate, check parity, rename: one file a scorer."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from numpy.typing import NDArray
from torch import nn

from andon.calibration.calibrate import PromiseRequest, Sample, calibrate, reduce_to_units, refuse_too_few, top_parts
from andon.calibration.scoring import score
from andon.export import decision, golden, parity
from andon.export.graph import Pipeline, trace
from andon.foundation.atomic import write_atomically
from andon.foundation.errors import DataError
from andon.foundation.progress import Progress, silent
from andon.runtime.model_file.format import BLANK, Golden, ModelFile, parse, seal
from andon.runtime.schema import Card, FrameSpec, InputSpec, ScoreRule, Weights, WindowSpec
from andon.sources.items import Collection, FoundFrames, Item

logger = logging.getLogger(__name__)


class Exported(Struct, frozen=True, kw_only=True):
    """A file that was written, with what is worth telling about it."""

    path: Path
    model: ModelFile
    parity: parity.Parity
    top_parts: Sequence[tuple[str, float]]
    """The highest-scoring good parts: a bad one among them would have set the threshold."""


def export(
    scorer: nn.Module,
    spec: InputSpec,
    good: Collection,
    path: Path | str,
    *,
    reading: ScoreRule,
    wish: PromiseRequest,
    date: str,
    name: str = "",
    detector: str = "custom",
    detector_version: int = 1,
    settings: Mapping[str, Any] | None = None,
    fingerprint: str = "",
    weights: Sequence[Weights] = (),
    grouped: bool = False,
    golden_real: bool = False,
    progress: Progress = silent,
) -> Exported:
    """Export any scorer, trained by andon or elsewhere, as one calibrated model file.

    Args:
        scorer: maps prepared tensors to `Evidence`; put into eval mode.
        spec: what it takes.
        good: the calibration part: good parts that the scorer was not trained on, disjoint windows of logs.
        path: where the file goes; whatever stands there is replaced only by the finished file.
        reading: how evidence becomes the deciding score.
        wish: the promise.
        date: ISO date for the file's log.
        name: of the model; empty: the file's stem.
        detector: name of the recipe that made the scorer.
        detector_version: of the recipe.
        settings: of the detector, for the record.
        fingerprint: digest of the training data, for the record.
        weights: pretrained weights within, with licence and digest.
        grouped: whether somebody said which files belong to one part.
        golden_real: keep a real part as the golden sample (it may be a customer's secret).
        progress: told of scoring.

    Raises:
        NotEnoughParts: the promise needs more parts.
        CalibrationError: the scores of good parts carry no statement.
        DataError: no part is readable, or none can be the real golden sample.
        ParityError: the graph does not compute what the module does.
        ConfigError: the reading names evidence that the scorer does not give.
    """
    refuse_too_few(len(good.refs), wish, windows=isinstance(spec, WindowSpec))
    target = Path(path)
    pipeline = Pipeline(scorer, spec, reading).eval()
    spec = _with_frame_size(spec, good)
    graph = trace(pipeline, spec)
    decision.append(graph)
    card = Card(
        name=name or target.stem,
        detector=detector,
        detector_version=detector_version,
        settings=dict(settings or {}),
        input=spec,
        reading=reading,
        outputs=tuple(output.name for output in graph.graph.output[5:]),
        data_fingerprint=fingerprint,
        weights=tuple(weights),
        versions=_versions(),
    )
    blank = seal(_serialise(graph), card=card, golden=None, log=(), tail=BLANK)
    items = _some_items(good)
    sample = (
        _real_sample(blank, items) if golden_real else golden.golden(blank, golden.synthetic(spec), origin="synthetic")
    )
    blank = seal(blank, card=card, golden=sample, log=(), tail=BLANK)

    scores = score(blank, good, progress=progress)
    data = calibrate(blank, scores, wish, date=date, grouped=grouped)
    checked = parity.check(pipeline, data, items)
    write_atomically(target, data)
    units: Sample = reduce_to_units(scores, windows=isinstance(spec, WindowSpec), grouped=grouped)
    model = parse(data)
    calibration = model.card.calibration
    above = calibration.above if calibration else 0
    return Exported(path=target, model=model, parity=checked, top_parts=top_parts(units, above + 5))


def _with_frame_size(spec: InputSpec, good: Collection) -> InputSpec:
    """The calibrated frame size is fixed where all parts share it."""
    if isinstance(spec, FrameSpec) and isinstance(good.found, FoundFrames):
        return msgspec.structs.replace(spec, frame_size=good.found.frame_size)
    return spec


def _some_items(good: Collection, count: int = 5) -> list[NDArray[Any]]:
    """The first readable items that share one shape."""
    found: list[NDArray[Any]] = []
    for ref in good.refs:
        item = good.read(ref)
        if isinstance(item, Item) and (not found or item.data.shape == found[0].shape):
            found.append(item.data)
            if len(found) == count:
                break
    if not found:
        raise DataError("the calibration part holds nothing readable.")
    return found


def _real_sample(blank: bytes, items: Sequence[NDArray[Any]]) -> Golden:
    """Of the first part that the file can judge: one that is INVALID has no score to compare."""
    samples = (golden.golden(blank, golden.real(item), origin="real") for item in items)
    for sample in samples:
        if math.isfinite(sample.score):
            return sample
    raise DataError(
        f"--golden real: none of the first {len(items)} parts of the calibration part can be judged once they are thinned "
        f"to {golden.LARGEST} pixels a side. Use --golden synthetic."
    )


def _serialise(graph: Any) -> bytes:
    import onnx

    onnx.checker.check_model(graph, full_check=True)
    data: bytes = graph.SerializeToString(deterministic=True)
    return data


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {package: version(package) for package in ("andon", "numpy", "onnx", "onnxruntime", "onnxscript", "torch")}
