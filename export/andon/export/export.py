"""Export a scorer as one calibrated model file. Each stage is a function that takes the result of the previous stage.

=============  =====================================================================================
trace          Convert the pipeline to an ONNX graph (`graph.trace`).
fold           Add the decision to the graph (`decision.fold`).
blank          Make an uncalibrated file with card and golden sample (`blank`).
scene          Fit the scene check, if the graph has one, to parts that do not set the threshold (`calibration.scene`).
score          Score the calibration parts with this file, as in production (`calibration.scoring`).
calibrate      Set threshold, tail and promise (`calibration.calibrate`).
gate           Check that the file computes the same as the PyTorch module (`parity.gate`).
reduce         Only for int8 and float16: convert the graph (`quantization`, `half_precision`), repeat the stages from blank to
               calibrate with it, and compare
               the result with the float32 file (`precision_gate`).
write          Write the file under its name.
=============  =====================================================================================
"""

import logging
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from andon.calibration.calibrate import calibrate
from andon.calibration.known_defects import MISSED, KnownDefects
from andon.calibration.outliers import outlying
from andon.calibration.request import CalibrationRequest
from andon.calibration.review import defects_below
from andon.calibration.scene import fit_scene
from andon.calibration.scoring import Scores, score
from andon.calibration.statement import refuse_too_few
from andon.calibration.units import Sample, reduce_to_units, top_parts
from andon.export.blank import blank, calibrated_input, card_of, with_golden
from andon.export.decision import fold
from andon.export.graph import Pipeline, trace
from andon.export.half_precision import halve
from andon.export.parity import Parity, gate
from andon.export.precision_gate import BenchFiles, PrecisionCheck, precision_gate
from andon.export.provenance import Provenance
from andon.export.quantization import quantize
from andon.export.tiled_graph import trace_tiled
from andon.foundation.atomic import write_atomically
from andon.foundation.errors import ConfigError, DataError
from andon.foundation.printable import printable
from andon.foundation.progress import Progress, silent
from andon.runtime.bench_pair import bench_pair
from andon.runtime.calibration_facts import Precision, Provider
from andon.runtime.items import Lost
from andon.runtime.mask_pixels import mask_size
from andon.runtime.model_file.format import ModelFile, parse
from andon.runtime.peak_memory import peak_memory_mb
from andon.runtime.schema import FrameSpec, WindowSpec
from andon.runtime.session import open_session
from andon.sources.collection import Collection

logger = logging.getLogger(__name__)


class Exported(Struct, frozen=True, kw_only=True):
    """An exported model file, and facts about it to show to the user."""

    path: Path
    model: ModelFile
    parity: Parity
    top_parts: Sequence[tuple[str, float]]
    """The good parts with the highest scores. A defective part among them would have raised the threshold."""
    precision: PrecisionCheck | None = None
    """Comparison with the float32 file; None for a float32 file."""
    outlying_parts: Sequence[str] = ()
    """The calibration parts whose scores are far above the others (`andon.calibration.outliers`), the highest first."""


class Int8(Struct, frozen=True, kw_only=True):
    """Request for an int8 file."""

    parts: Collection
    """Good parts that set the ranges of the activations: training parts, never calibration or test parts."""
    bench: BenchFiles = bench_pair
    """Measures the speed of both files."""


class Float16(Struct, frozen=True, kw_only=True):
    """Request for a float16 file, for a GPU. CPUs compute float16 more slowly than float32."""

    device: Literal["cpu", "cuda"] = "cuda"
    """Device that the parts are scored on, and for which the promise is valid."""
    bench: BenchFiles = partial(bench_pair, device="cuda")
    """Measures the speed of both files."""


def export(
    pipeline: Pipeline,
    good: Collection,
    path: Path | str,
    *,
    request: CalibrationRequest,
    provenance: Provenance | None = None,
    scene_parts: Collection | None = None,
    golden_real: bool = False,
    progress: Progress = silent,
    defects: Collection | None = None,
    missed: float = MISSED,
    reduced: Int8 | Float16 | None = None,
) -> Exported:
    """Export any scorer, trained by andon or elsewhere, as one calibrated model file.

    Args:
        pipeline: the scorer with its input and score rule. It is switched to eval mode.
        good: calibration parts: good parts that the scorer was not trained on. Windows of logs must be disjoint.
        path: path of the file. An existing file is replaced only when the new one is complete.
        request: the promise, the date, and whether files were grouped.
        provenance: origin of the scorer. None: a custom scorer, named after the file.
        scene_parts: good parts to which the scene check is fitted, other than `good`. Needed if the pipeline has a scene check.
        golden_real: keep a real part as the golden sample. Such a part may be confidential.
        progress: reports scoring.
        defects: known defects that set the lower limit of the review band. None: no band, or one from good parts (`request`).
        missed: largest share of such defects that may pass.
        reduced: compute the pretrained network of the scorer at a lower precision. Threshold and promise are those of the
            converted file. None: float32.

    Raises:
        PrecisionError: the int8 or float16 file is not faster on this machine, or decides differently.
        DeviceError: float16 was asked for, and its device is missing.
        NotEnoughParts: the promise needs more parts.
        CalibrationError: the scores of good parts are too few or too dependent to support the promise.
        DataError: no part is readable, or none can be the real golden sample.
        ParityError: the graph does not compute the same as the module, or int8 scores depend on the machine.
        ConfigError: the score rule names evidence that the scorer does not give. Or the pipeline has a scene check and
            `scene_parts` is None. Or `reduced` is given, but the scorer has no pretrained network.
    """
    if (pipeline.scene is not None) != (scene_parts is not None):
        raise ConfigError(
            "scene_parts: expected good parts if and only if the pipeline has a scene check, got "
            f"{'none' if scene_parts is None else 'some'}. Give scene_parts=, and Pipeline(..., scene=True)."
        )
    refuse_too_few(len(good.refs), request.promise, windows=isinstance(pipeline.spec, WindowSpec))
    if defects is not None:
        defects_below(len(defects.refs), missed, request.promise.confidence)  # before anything is scored
    target = Path(path)
    origin = provenance or Provenance()
    if reduced is not None and pipeline.tiles is not None:
        raise ConfigError(
            "--precision: expected float32 with tiles, got another one. Leave out --precision, or train without --tile."
        )
    graph = fold(trace(pipeline.eval()) if pipeline.tiles is None else trace_tiled(pipeline), pipeline.spec)
    converted = _converted(graph, reduced)
    spec = calibrated_input(pipeline.spec, good)
    items = some_items(good, size=mask_size(spec) if isinstance(spec, FrameSpec) else None)

    def calibrated(graph: onnx.ModelProto, precision: Precision, device: Provider = "cpu") -> tuple[bytes, Scores]:
        """Return the calibrated file with this graph, and the scores of the calibration parts."""
        named = replace(origin, name=origin.name or target.stem)
        card = card_of(graph, spec, pipeline.rule, named, precision=precision)
        uncalibrated = blank(graph, card)
        if pipeline.tiles is not None:
            card = replace(card, memory_mb=peak_memory_mb(uncalibrated))
        uncalibrated = with_golden(uncalibrated, card, items, real=golden_real)
        if scene_parts is not None:
            uncalibrated = fit_scene(uncalibrated, scene_parts, threads=min(4, os.cpu_count() or 1), progress=progress)
        scores = score(uncalibrated, good, device=device, progress=progress)
        known = None
        if defects is not None:
            known = KnownDefects(score(uncalibrated, defects, device=device, progress=progress), missed)
        return calibrate(uncalibrated, scores, request, defects=known), scores

    data, scores = calibrated(graph, "float32")
    parity = gate(pipeline, data, items)
    check = None
    if converted is not None and reduced is not None:
        precision: Precision = "int8" if isinstance(reduced, Int8) else "float16"
        device: Provider = "cpu" if isinstance(reduced, Int8) else reduced.device
        reference = data if device == "cpu" else calibrated(graph, "float32", device)[0]
        data, scores = calibrated(converted, precision, device)
        check = precision_gate(reference, data, good, device=device, bench=reduced.bench, progress=progress)
    write_atomically(target, data)
    model = parse(data)
    sample = reduce_to_units(scores, windows=isinstance(model.card.input, WindowSpec), grouped=request.grouped)
    above = model.card.calibration.above if model.card.calibration else 0
    return Exported(
        path=target,
        model=model,
        parity=parity,
        precision=check,
        top_parts=top_parts(sample, above + 5),  # those above the threshold, and five below it
        outlying_parts=_outlying(sample, windows=isinstance(model.card.input, WindowSpec)),
    )


def _converted(graph: onnx.ModelProto, reduced: Int8 | Float16 | None) -> onnx.ModelProto | None:
    """Return the graph at the lower precision; None without a request."""
    match reduced:
        case None:
            return None
        case Int8():
            return quantize(graph, reduced.parts)
        case Float16():
            if reduced.device == "cuda":
                open_session(graph.SerializeToString(), device="cuda")  # before minutes of scoring
            return halve(graph)


def some_items(good: Collection, count: int = 5, *, size: tuple[int, int] | None = None) -> list[NDArray[Any]]:
    """Return the first readable items that share one shape.

    Args:
        good: the items.
        count: largest number of them.
        size: height and width of the frames to return. None: those of the first one.

    Raises:
        DataError: no item is readable, or no frame has this size.
    """
    found: list[NDArray[Any]] = []
    lost = ""
    for ref in good.refs:
        item = good.read(ref)
        if isinstance(item, Lost):
            lost = lost or f"{ref.key}: {item.detail or item.reason.name}"
        elif size is not None and item.data.shape[:2] != size:
            lost = (
                lost
                or f"{ref.key}: expected {size[0]} x {size[1]} pixels, got {item.data.shape[0]} x {item.data.shape[1]}"
            )
        elif not found or item.data.shape == found[0].shape:
            found.append(item.data)
            if len(found) == count:
                break
    if not found:
        raise DataError(
            f"none of the {len(good.refs)} calibration parts can be read. The first is {lost or 'missing'}. Restore the files, "
            "or train again with readable parts."
        )
    return found


def _outlying(sample: Sample, *, windows: bool) -> Sequence[str]:
    """Return the parts that are INVALID or score far above the others, and log a warning that names them."""
    # a part that is INVALID by its content has an infinite score
    far = 0 if windows else int((outlying(sample.scores) | np.isposinf(sample.scores)).sum())
    if not far:
        return ()
    keys = [key for key, _ in top_parts(sample, far)]
    logger.warning(
        "%d of %d calibration parts score%s far above the others: %s%s. Look at them. A defective part among them raises the "
        "threshold, so that defects are missed: remove it and train again",
        far, len(sample.scores), "s" if far == 1 else "",
        ", ".join(printable(key) for key in keys[:10]), f" and {far - 10} more" if far > 10 else "",
    )  # fmt: skip
    return keys
