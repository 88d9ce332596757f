"""Functions that the benchmarks on sensor logs share: train a model file on good rows, and score windows and rows with it.

They use the same functions as the command line: `train`, `export_run`, `Detector`. No detector is reimplemented here.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.foundation.settings import from_mapping
from andon.runtime.detector import Detector
from andon.runtime.items import Item
from andon.runtime.schema import Channel, Status, WindowSpec
from andon.sources.collection import FoundLogs
from andon.sources.series.log import Log, Run
from andon.sources.series.windows import cut
from andon.training.fitting.window_reading import AS_IT_IS, WindowReading
from andon.training.observers.epochs import NONE
from andon.training.recipe.recipe import recipe
from andon.training.runs.export_run import export_run
from andon.training.runs.train import ObserveOptions, TrainOptions, train

BATCH = 256
MEANS_OF_MAPS = {"score_residual", "score_contribution", "score_share", "score_distances"}
"""Means of maps that are only for people. They are left out: most rank like the score that the map explains."""

Floats = NDArray[np.float64]


class Candidate(NamedTuple):
    """A detector with its settings, in the form of the flags of `andon train`."""

    detector: str
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Detector and flags, as on the command line."""
        return " ".join([self.detector, *(f"--{name} {value}" for name, value in self.settings.items())])


class Windows(Struct, frozen=True, kw_only=True):
    """Scores of the windows of one run, in the order of time."""

    ends: NDArray[np.intp]
    """Index of the last row of each window, ``[n]``."""
    scores: dict[str, Floats]
    """Scores ``[n]`` by name. ``score`` is the deciding score. The others are the file's `score_*`, without this prefix."""
    rejected: NDArray[np.bool_]


def rows_as_log(values: Mapping[str, NDArray[np.float32]], names: Sequence[str]) -> Log:
    """Return a log of runs ``[n, C]`` by name, with one row per second.

    The original time stamps are not used, so that windows are slices of rows.
    """
    runs = tuple(
        Run(name=name, times_s=np.arange(len(rows), dtype=np.float64), values=rows) for name, rows in values.items()
    )
    channels = tuple(Channel(name=name) for name in names)
    return Log(
        found=FoundLogs(channels=channels, period_s=1.0, runs=len(runs), rows=sum(map(len, values.values()))),
        runs=runs,
    )


def train_detector(
    candidate: Candidate,
    good: Log,
    *,
    seed: int,
    promise: PromiseRequest,
    calibration_share: float = 0.3,
    reading: WindowReading = AS_IT_IS,
) -> Detector:
    """Train on good rows, export and load the file. The threshold comes from the rows that training held back."""
    known = recipe(candidate.detector)
    settings = from_mapping(known.settings, dict(candidate.settings), where=candidate.name)
    with tempfile.TemporaryDirectory() as folder:
        run = train(
            known,
            good,
            Path(folder) / "run",
            settings=settings,
            options=TrainOptions(
                seed=seed,
                calibration_share=calibration_share,
                detrend=reading.detrend,
                context=reading.context,
                device="cpu",
                threads=1,
            ),
            observe=ObserveOptions(picture_epochs=NONE),
        )
        exported = export_run(
            run, Path(folder) / "model.onnx", request=CalibrationRequest(promise=promise, date=""), data=good
        )
    return Detector.from_bytes(exported.model.data)


def judge(detector: Detector, log: Log, *, hop: int = 1) -> dict[str, Windows]:
    """Score the windows of each run. With a hop of 1, a window ends at each row from the first possible one."""
    spec = detector.card.input
    assert isinstance(spec, WindowSpec)
    windows = cut(log, spec, hop=hop)
    by_run: dict[str, list[tuple[int, NDArray[np.float32]]]] = {run.name: [] for run in log.runs}
    for ref in windows.refs:
        item = windows.read(ref)
        if isinstance(item, Item):
            by_run[ref.group].append((round((ref.time_s or 0.0) / spec.period_s), np.asarray(item.data, np.float32)))
    return {name: _judged(detector, some) for name, some in by_run.items()}


def _judged(detector: Detector, windows: list[tuple[int, NDArray[np.float32]]]) -> Windows:
    verdicts = [
        verdict
        for first in range(0, len(windows), BATCH)
        for verdict in detector.batch([data for _, data in windows[first : first + BATCH]])
    ]
    others = sorted(name for name in detector.card.outputs if name.startswith("score_") and name not in MEANS_OF_MAPS)
    return Windows(
        ends=np.array([end for end, _ in windows], np.intp),
        scores={"score": np.array([verdict.score for verdict in verdicts])}
        | {name.removeprefix("score_"): np.array([float(v.evidence[name]) for v in verdicts]) for name in others},
        rejected=np.array([verdict.status == Status.REJECT for verdict in verdicts], np.bool_),
    )


def row_scores(ends: NDArray[np.intp], scores: Floats, rows: int, steps: int) -> Floats:
    """Return for each row the lowest score of the windows that contain it, ``[rows]``; NaN if no window does.

    So a row is above a threshold if all windows that contain it are above it.

    >>> row_scores(np.array([1, 2, 3]), np.array([5.0, 7.0, 6.0]), 5, 2).tolist()
    [5.0, 5.0, 6.0, 6.0, nan]
    """
    padded = np.full(rows + steps - 1, np.inf)
    padded[ends] = scores
    lowest: Floats = np.lib.stride_tricks.sliding_window_view(padded, steps).min(axis=1)
    return np.where(np.isinf(lowest), np.nan, lowest)
