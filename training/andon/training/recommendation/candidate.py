"""Train, export and judge one candidate in a folder of its own. What is done is not done again.

===================  ==================================================================================================
``candidate.json``   `Key`: identifies the results in this folder. Written first.
``run/``             the run folder. An interrupted training resumes from it.
``model.onnx``       the exported file, without a promise.
``train.json``       `Training`: cost of the training.
``synthetic.json``   `Synthetic`: the scores of good parts and of their damaged copies.
``labelled.json``    `Labelled`: figures on labelled parts, if there are any.
===================  ==================================================================================================
"""

import math
import time
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.damage.synthetic_defects import SyntheticDefects
from andon.evaluation.figures.intervals import Interval
from andon.evaluation.frames import evaluate, judge_frames
from andon.evaluation.synthetic import MOST
from andon.foundation.errors import ConfigError
from andon.foundation.progress import Progress, silent
from andon.runtime.detector import Detector
from andon.runtime.mask_pixels import masked
from andon.runtime.schema import Status
from andon.sources.collection import Collection
from andon.sources.truth import Truth
from andon.training.comparison import plan
from andon.training.comparison.results import read, write
from andon.training.observers.epochs import NONE
from andon.training.runs.export_run import calibration_part, export_run
from andon.training.runs.options import TrainOptions
from andon.training.runs.paths import RUN
from andon.training.runs.run_folder import LoadedRun
from andon.training.runs.train import ObserveOptions, train

KEY, RUN_FOLDER, MODEL, TRAINING = "candidate.json", "run", "model.onnx", "train.json"
SYNTHETIC, LABELLED = "synthetic.json", "labelled.json"
UNDRAWN = ObserveOptions(picture_epochs=NONE, animation_epochs=NONE)


class Key(Struct, frozen=True, kw_only=True):
    """Everything that identifies the results of a candidate."""

    detector: str
    version: int
    settings: dict[str, Any]
    seed: int
    group: str | None
    parts: str
    """Digest of all good parts."""


class Training(Struct, frozen=True, kw_only=True):
    """Cost of a training."""

    wall_s: float | None
    """None if it was interrupted."""


class Synthetic(Struct, frozen=True, kw_only=True):
    """Scores of good parts that training kept back, and of damaged copies of them. All lists have one entry per picture."""

    keys: list[str]
    parts: list[str]
    defective: list[bool]
    scores: list[float | None]
    """None: INVALID, or no damage was visible."""


class Labelled(Struct, frozen=True, kw_only=True):
    """Figures on labelled parts."""

    of: str
    """Digest of the names and labels of the parts."""
    auroc: float | None
    interval: Interval | None
    good: int
    defects: int


class Judged(Struct, frozen=True, kw_only=True):
    """Results of a candidate, except its time for a frame."""

    model: Path
    train_s: float | None
    synthetic: Synthetic
    labelled: Labelled | None


class Parts(Struct, frozen=True, kw_only=True):
    """The good parts for the choice, and labelled parts for comparison."""

    good: Collection
    digest: str
    """Digest of all good parts, also of those that take no part in the choice."""
    labelled: tuple[Collection, Truth] | None
    labelled_digest: str


def run_candidate(
    choice: plan.Choice,
    folder: Path,
    parts: Parts,
    options: TrainOptions,
    *,
    date: str,
    progress: Progress = silent,
) -> Judged:
    """Run the remaining steps of a candidate.

    Args:
        choice: the detector and its settings.
        folder: the candidate's folder.
        parts: what to train and judge on.
        options: seed, group, device and threads of the training.
        date: ISO date, for the log in the model file.
        progress: called while reading, training and judging.

    Raises:
        ConfigError: the folder contains results of other settings or parts.
        AndonError: as `train`, `export_run` and `evaluate`.
    """
    _reserve(folder, choice, parts, options)
    run = _train(choice, folder, parts, options, progress)
    path = folder / MODEL
    if not path.exists():
        request = CalibrationRequest(promise=PromiseRequest(no_promise=True), date=date)
        export_run(run, path, request=request, data=parts.good, name=choice.name, progress=progress)
    detector = Detector.load(path)
    synthetic = read(folder / SYNTHETIC, Synthetic)
    if synthetic is None:
        synthetic = _synthetic(detector, calibration_part(run, parts.good), progress)
        write(folder / SYNTHETIC, synthetic)
    cost = read(folder / TRAINING, Training)
    return Judged(
        model=path,
        train_s=cost.wall_s if cost else None,
        synthetic=synthetic,
        labelled=_labelled(detector, folder / LABELLED, parts, by_part=options.group is not None, progress=progress),
    )


def _reserve(folder: Path, choice: plan.Choice, parts: Parts, options: TrainOptions) -> None:
    key = Key(
        detector=choice.recipe.name,
        version=choice.recipe.version,
        settings=msgspec.json.decode(msgspec.json.encode(choice.settings)),
        seed=options.seed,
        group=options.group,
        parts=parts.digest,
    )
    held = read(folder / KEY, Key)
    if held is None:
        write(folder / KEY, key)
    elif held != key:
        names = [name for name in Key.__struct_fields__ if getattr(held, name) != getattr(key, name)]
        raise ConfigError(
            f"{folder}: expected results for the same parts and settings, got others (different: {', '.join(names)}). Give "
            "another --out, or delete that folder."
        )


def _train(choice: plan.Choice, folder: Path, parts: Parts, options: TrainOptions, progress: Progress) -> LoadedRun:
    place = folder / RUN_FOLDER
    resumed = (place / RUN).exists()
    began_s = time.perf_counter()
    run = train(
        choice.recipe,
        parts.good,
        place,
        settings=choice.settings,
        options=options,
        observe=UNDRAWN,
        resume=resumed,
        progress=progress,
    )
    if not (folder / TRAINING).exists():
        write(folder / TRAINING, Training(wall_s=None if resumed else time.perf_counter() - began_s))
    return run


def _synthetic(detector: Detector, kept_back: Collection, progress: Progress) -> Synthetic:
    """Judge good parts and damaged copies. Candidates that kept back the same parts get the same pictures."""
    spec = detector.card.input
    defects = SyntheticDefects(kept_back, spec if masked(spec) else None, most=MOST)
    truth = msgspec.structs.replace(defects.truth, masks={})  # maps are not compared, and masks would be drawn again
    judged = judge_frames(detector, defects, truth, progress=progress).judged
    return Synthetic(
        keys=[one.ref.key for one in judged],
        parts=[one.ref.group for one in judged],
        defective=[one.defective for one in judged],
        scores=[one.score if one.status != Status.INVALID and math.isfinite(one.score) else None for one in judged],
    )


def _labelled(detector: Detector, path: Path, parts: Parts, *, by_part: bool, progress: Progress) -> Labelled | None:
    if parts.labelled is None:
        return None
    known = read(path, Labelled)
    if known is not None and known.of == parts.labelled_digest:
        return known
    collection, truth = parts.labelled
    truth = msgspec.structs.replace(truth, masks={})
    figures, _ = evaluate(detector, collection, truth, by_part=by_part, progress=progress)
    found = Labelled(
        of=parts.labelled_digest,
        auroc=figures.auroc,
        interval=figures.intervals.auroc if figures.intervals else None,
        good=figures.n_good,
        defects=figures.n_defect,
    )
    write(path, found)
    return found
