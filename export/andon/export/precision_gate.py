"""Check that a file at a lower precision is worth using: faster on this machine, with nearly the same decisions.

The comparison is with the float32 file of the same scorer. Each file has its own threshold, from the same calibration parts.
No test part is used: damage is drawn onto the calibration parts.
"""

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.calibration.scoring import Scores, score
from andon.damage.synthetic_defects import SyntheticDefects
from andon.evaluation.figures.ranking import auroc
from andon.export.parity import raw_scores
from andon.foundation.errors import DeviceError, ParityError, PrecisionError
from andon.foundation.progress import Progress, silent
from andon.runtime.bench_pair import BenchPair, bench_pair
from andon.runtime.detector import Detector
from andon.runtime.items import Item
from andon.runtime.model_file.format import parse
from andon.runtime.schema import Status
from andon.runtime.session import Device, Session, onnxruntime, open_session
from andon.sources.collection import Collection

SPEED_UP = 1.2
"""Smallest speed-up over float32 that is worth a loss of accuracy."""
AUROC_LOSS = 0.005
"""Largest loss of AUROC on synthetic defects."""
AGREEMENT = 0.95
"""Smallest share of parts and synthetic defects on which both files decide the same."""
PARTS = 100
"""Upper limit of good parts that get damage. Each gives two damaged copies."""

BenchFiles = Callable[[Path, Path], BenchPair]
"""Function that measures the speed of two files with alternating calls."""


class PrecisionCheck(Struct, frozen=True, kw_only=True):
    """Figures of a file at a lower precision, compared with the float32 file."""

    speed_up: float
    """Time of the float32 file divided by the time of this one, on one thread of this machine or on its GPU."""
    low: float
    """Lower limit of the speed-up, with 95 % confidence."""
    high: float
    """Upper limit of the speed-up."""
    auroc: float
    """AUROC on good parts and synthetic defects."""
    auroc_float32: float
    """The same of the float32 file."""
    agreement: float
    """Share of these good parts and defects on which both files decide the same: pass or not."""
    compared: int
    """Number of these good parts and defects."""
    size_mb: float
    """Size of the file."""
    size_mb_float32: float
    """The same of the float32 file."""

    @property
    def sentence(self) -> str:
        """All figures in one sentence."""
        return (
            f"{self.speed_up:.2f} times as fast as float32 on this machine (95 % limits {self.low:.2f} to {self.high:.2f}), "
            f"AUROC on synthetic defects {self.auroc:.4f} (float32: {self.auroc_float32:.4f}), the same decision on "
            f"{self.agreement:.1%} of {self.compared} parts and defects, {self.size_mb:.2f} MB (float32: "
            f"{self.size_mb_float32:.2f} MB)"
        )


def failure(check: PrecisionCheck) -> str:
    """Return the first requirement that a file does not meet. Return an empty text if it meets all."""
    if not check.speed_up >= SPEED_UP:
        return f"at least {SPEED_UP} times the speed of float32"
    if not check.auroc >= check.auroc_float32 - AUROC_LOSS:
        return f"an AUROC at most {AUROC_LOSS} below that of float32"
    if not check.agreement >= AGREEMENT:
        return f"the same decision as float32 on at least {AGREEMENT:.0%} of parts"
    return ""


def precision_gate(
    reference: bytes,
    candidate: bytes,
    good: Collection,
    *,
    device: Device = "cpu",
    bench: BenchFiles = bench_pair,
    progress: Progress = silent,
) -> PrecisionCheck:
    """Compare two calibrated files of one scorer: float32 and a lower precision.

    Args:
        reference: the float32 file.
        candidate: the file at the lower precision.
        good: the calibration parts, frames. Damage is drawn onto them.
        device: the device to score on.
        bench: measures the speed.
        progress: reports scoring.

    Raises:
        PrecisionError: the candidate does not meet a requirement. The message has the figures.
        ParityError: the candidate is int8 and depends too much on how a machine computes it.
    """
    card = parse(candidate).card
    precision = card.precision
    defects = SyntheticDefects(good, card.input, most=PARTS)
    truth = defects.truth.defective
    damaged = np.array([truth[ref.key] for ref in defects.refs])
    exact, lower = (score(data, defects, device=device, progress=progress) for data in (reference, candidate))
    used = ~exact.lost
    if not used.any() or damaged[used].all() or not damaged[used].any():
        raise PrecisionError(
            f"precision {precision}: expected frames onto which damage can be drawn, got none: they are unreadable or "
            f"nearly flat. The loss of accuracy cannot be measured. Leave out --precision {precision}."
        )
    if precision == "int8":
        check_arithmetic(candidate, _some(defects))
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / "float32.onnx", Path(folder) / f"{precision}.onnx"
        for path, data in zip(paths, (reference, candidate), strict=True):
            path.write_bytes(data)
        speed = bench(*paths)
    check = PrecisionCheck(
        speed_up=1 / speed.ratio,
        low=1 / speed.high,
        high=1 / speed.low,
        auroc=auroc(_ranked(lower)[used], damaged[used]),
        auroc_float32=auroc(_ranked(exact)[used], damaged[used]),
        agreement=float(np.mean((_passes(exact) == _passes(lower))[used])),
        compared=int(used.sum()),
        size_mb=len(candidate) / 1e6,
        size_mb_float32=len(reference) / 1e6,
    )
    missing = failure(check)
    if missing:
        raise PrecisionError(
            f"precision {precision}: expected {missing}, got {check.sentence}. Leave out --precision {precision}."
        )
    return check


def check_arithmetic(data: bytes, items: Sequence[NDArray[Any]]) -> None:
    """Refuse a file whose scores depend more than it states on the instructions with which a machine computes it.

    Without optimisations ONNX Runtime rounds to the same levels but computes in float32 between them. Its scores show how much
    a rounding to the neighbouring level matters.

    Raises:
        ParityError: a score, or the golden sample, differs by more than the file's tolerance.
    """
    model = parse(data)
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    usual = Detector(model, open_session(data), frame_size="any")
    other = Detector(model, Session(plain.run, "cpu"), frame_size="any")
    unit = model.card.calibration.good_scale if model.card.calibration else 0.0
    for item in items:
        (one,), (two,) = raw_scores(usual, [item]), raw_scores(other, [item])
        apart = abs(one - two) / max(abs(one), unit, 1e-30)
        if not math.isnan(one) and not apart <= model.card.tolerance:
            raise ParityError(
                f"precision {model.card.precision}: expected scores that differ by at most {model.card.tolerance} between "
                f"integer and float arithmetic, got {apart:.3g}. Leave out --precision {model.card.precision}."
            )
    try:
        other.verify()
    except DeviceError as error:
        raise ParityError(
            f"precision {model.card.precision}: the golden sample depends on the arithmetic of the machine ({error}) Leave "
            f"out --precision {model.card.precision}."
        ) from error


def _some(parts: Collection, count: int = 10) -> list[NDArray[Any]]:
    """Return readable frames, picked at even distances."""
    step = max(1.0, len(parts.refs) / count)
    picked = (parts.read(parts.refs[int(place * step)]) for place in range(min(len(parts.refs), count)))
    return [item.data for item in picked if isinstance(item, Item)]


def _ranked(scores: Scores) -> NDArray[np.float64]:
    """Return the scores. Parts that are INVALID by their content are stopped too, so they count above all others."""
    finite = np.isfinite(scores.score)
    highest = float(scores.score[finite].max(initial=0.0))
    return np.where(finite, scores.score, highest + 1.0)


def _passes(scores: Scores) -> NDArray[np.bool_]:
    passes: NDArray[np.bool_] = np.isin(scores.status, (Status.OK, Status.REVIEW))
    return passes
