"""From a scorer to one calibrated model file. Each stage is a function that takes the result of the stage before.

=============  ===========================================================================
trace          the pipeline as an ONNX graph (`graph.trace`)
fold           the decision becomes part of the graph (`decision.fold`)
blank          the graph as a file with card and golden sample, not calibrated (`blank`)
score          the file judges the calibration part, as on the line (`calibration.scoring`)
calibrate      threshold, tail and promise (`calibration.calibrate`)
gate           the file computes what the PyTorch module computes (`parity.gate`)
write          the file gets its name
=============  ===========================================================================
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from andon.calibration.calibrate import calibrate
from andon.calibration.request import CalibrationRequest
from andon.calibration.scoring import Scores, score
from andon.calibration.statement import refuse_too_few
from andon.calibration.units import reduce_to_units, top_parts
from andon.export.blank import blank, calibrated_input, card_of, with_golden
from andon.export.decision import fold
from andon.export.graph import Pipeline, trace
from andon.export.parity import Parity, gate
from andon.export.provenance import Provenance
from andon.foundation.atomic import write_atomically
from andon.foundation.errors import DataError
from andon.foundation.progress import Progress, silent
from andon.runtime.items import Item
from andon.runtime.model_file.format import ModelFile, parse
from andon.runtime.schema import WindowSpec
from andon.sources.collection import Collection


class Exported(Struct, frozen=True, kw_only=True):
    """A file that was written, with what a person should see about it."""

    path: Path
    model: ModelFile
    parity: Parity
    top_parts: Sequence[tuple[str, float]]
    """The highest-scoring good parts: a bad one among them would have set the threshold."""


def export(
    pipeline: Pipeline,
    good: Collection,
    path: Path | str,
    *,
    request: CalibrationRequest,
    provenance: Provenance | None = None,
    golden_real: bool = False,
    progress: Progress = silent,
) -> Exported:
    """Export any scorer, trained by andon or elsewhere, as one calibrated model file.

    Args:
        pipeline: the scorer with its input and its score rule; put into eval mode.
        good: the calibration part: good parts that the scorer was not trained on, disjoint windows of logs.
        path: where the file goes. An old file there is replaced only by the finished one.
        request: the promise, the date, and whether files were grouped.
        provenance: where the scorer comes from; None: a custom one, named after the file.
        golden_real: keep a real part as the golden sample (it may be a customer's secret).
        progress: reports scoring.

    Raises:
        NotEnoughParts: the promise needs more parts.
        CalibrationError: the scores of good parts support no statement.
        DataError: no part is readable, or none can be the real golden sample.
        ParityError: the graph does not compute what the module does.
        ConfigError: the score rule names evidence that the scorer does not give.
    """
    refuse_too_few(len(good.refs), request.promise, windows=isinstance(pipeline.spec, WindowSpec))
    target = Path(path)
    origin = provenance or Provenance()
    graph = fold(trace(pipeline.eval()))
    # a stage that quantises takes the graph here and gives one of another precision, before anything is scored
    spec = calibrated_input(pipeline.spec, good)
    card = card_of(graph, spec, pipeline.rule, replace(origin, name=origin.name or target.stem))
    items = some_items(good)
    uncalibrated = with_golden(blank(graph, card), card, items, real=golden_real)
    scores = score(uncalibrated, good, progress=progress)
    data = calibrate(uncalibrated, scores, request)
    parity = gate(pipeline, data, items)
    write_atomically(target, data)
    model = parse(data)
    return Exported(path=target, model=model, parity=parity, top_parts=_top(scores, model, request))


def some_items(good: Collection, count: int = 5) -> list[NDArray[Any]]:
    """Return the first readable items that share one shape.

    Raises:
        DataError: nothing is readable.
    """
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


def _top(scores: Scores, model: ModelFile, request: CalibrationRequest) -> Sequence[tuple[str, float]]:
    """Return the parts above the threshold and the five below it."""
    sample = reduce_to_units(scores, windows=isinstance(model.card.input, WindowSpec), grouped=request.grouped)
    above = model.card.calibration.above if model.card.calibration else 0
    return top_parts(sample, above + 5)
