"""From the scores of good parts to the numbers in a model file: threshold, tail, promise, one more entry in its log.

Export calls this on a blank file, and a box on site on a file it has run for years: one path, one test.
"""

import hashlib
import logging
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.calibration.dependence import dependence_time, design_effect, effective_number
from andon.calibration.promise import LADDER, allowance, expected_rate, ladder_alpha, parts_needed
from andon.calibration.scoring import Scores
from andon.calibration.tail import tail
from andon.runtime import __version__
from andon.runtime.detector import PARITY
from andon.runtime.errors import CalibrationError, NotEnoughParts
from andon.runtime.model_file import LogEntry, ModelFile, Tail, append_log, parse, seal
from andon.runtime.schema import Calibration, StatementKind, WindowSpec, percent
from andon.sources.items import Ref

logger = logging.getLogger(__name__)

MAX_INVALID = 0.05
"""Share of calibration parts that may be INVALID: more means that something is wrong with the pictures, not the parts."""


SINGLE_FILES = "each file was taken as an independent part"
"""What a file says of its parts where nobody grouped pictures."""


class Wish(Struct, frozen=True, kw_only=True):
    """What somebody wants promised."""

    false_reject: float | None = None
    """Largest share of good parts that may be rejected; None: the strongest on the ladder that the parts carry."""
    confidence: float = 0.95
    no_promise: bool = False
    """Write an estimate where the parts carry no promise; the file then says so."""


class Sample(Struct, frozen=True, kw_only=True):
    """One score a unit, with what is known of how the units depend on each other."""

    scores: NDArray[np.float64]
    """``[n]``, valid ones only."""
    runs: tuple[NDArray[np.float64], ...]
    """The same scores by contiguous run, in time; empty where the units are taken as independent."""
    keys: tuple[str, ...]
    invalid: int
    unit: str
    dependence: str


def calibrate(data: bytes, scores: Scores, wish: Wish, *, date: str, grouped: bool = False, seed: int = 0) -> bytes:
    """Write threshold, tail and promise into a model file, blank or calibrated before.

    Args:
        data: the model file.
        scores: what this very file made of the calibration part (`scoring.score`).
        wish: the promise.
        date: ISO date for the file's log.
        grouped: whether somebody said which files belong to one part or lot.
        seed: draws one part of each lot.

    Raises:
        NotEnoughParts: with the number of parts needed and the strongest promise that these carry.
        CalibrationError: too many INVALID parts, or scores that carry nothing.
    """
    model = parse(data, allow_blank=True)
    sample = reduce_to_units(scores, windows=isinstance(model.card.input, WindowSpec), grouped=grouped, seed=seed)
    good_scale = float(np.median(np.abs(sample.scores)))
    lifted = lift(np.sort(sample.scores), good_scale)
    statement, above = _statement(sample, wish)
    threshold = float(lifted[len(lifted) - 1 - above])
    _warn_of_ties(lifted, threshold, above)
    knots = tail(lifted)
    calibration = Calibration(
        kind=statement.kind,
        alpha=statement.alpha,
        confidence=wish.confidence,
        n=len(lifted),
        n_eff=statement.n_eff,
        above=above,
        unit="window" if sample.unit == "window" else "part",
        dependence=sample.dependence,
        tau=statement.tau,
        invalid=sample.invalid,
        part_keys_sha256=hashlib.sha256("\n".join(sorted(sample.keys)).encode()).hexdigest(),
        good_median=float(np.median(sample.scores)),
        good_scale=good_scale,
        map_scale=float(np.quantile(scores.map_values, 0.999)) if len(scores.map_values) else None,
        date=date,
    )
    return _sealed(model, calibration, Tail(threshold=threshold, review=threshold, x=knots.x, p=knots.p))


def refuse_too_few(count: int, wish: Wish, *, windows: bool) -> None:
    """Before anything is computed: so many parts cannot carry the promise, whatever they score.

    Args:
        count: parts or windows at hand, an upper bound of what they are worth.
        wish: the promise.
        windows: whether they are windows.

    Raises:
        NotEnoughParts: with the number of parts needed and the strongest promise that these carry.
        ConfigError: a fraction out of bounds.
    """
    alpha = max(LADDER) if wish.false_reject is None else wish.false_reject
    parts_needed(alpha, wish.confidence)  # refuses no fractions, though nothing is promised
    if not wish.no_promise:
        allowance(count, alpha, wish.confidence, unit="window" if windows else "part")


def lift(scores: NDArray[np.float64], good_scale: float) -> NDArray[np.float32]:
    """Scores raised by the parity tolerance: what the same parts may score at most on another machine.

    Raising a threshold never breaks a promise, so that files may move between machines.
    """
    raised = scores + PARITY * np.maximum(np.abs(scores), good_scale)
    lifted: NDArray[np.float32] = np.nextafter(raised.astype(np.float32), np.float32(np.inf))
    return lifted


def reduce_to_units(scores: Scores, *, windows: bool, grouped: bool, seed: int = 0) -> Sample:
    """One score a decision: the maximum over a part's frames; of several parts of a lot one, drawn; windows as they are.

    Raises:
        CalibrationError: nothing valid, or more than 5 % INVALID.
    """
    _check_invalid(scores)
    if windows:
        return _windows(scores)
    parts = _worst_frames(scores)
    valid = {part: entry for part, entry in parts.items() if np.isfinite(entry[1])}
    lots: dict[str, list[str]] = {}
    for part, (ref, _) in valid.items():
        lots.setdefault(ref.group, []).append(part)
    if len(lots) < len(valid):
        generator = np.random.default_rng(seed)
        chosen = [str(generator.choice(sorted(members))) for _, members in sorted(lots.items())]
        dependence = f"one part drawn from each of {len(lots)} lots ({len(valid)} parts), so that lots may differ"
    else:
        chosen = sorted(valid)
        dependence = "parts as grouped on export" if grouped else SINGLE_FILES
    return Sample(
        scores=np.array([valid[part][1] for part in chosen]),
        runs=(),
        keys=tuple(chosen),
        invalid=len(parts) - len(valid),
        unit="part",
        dependence=dependence,
    )


class _Statement(Struct, frozen=True):
    kind: StatementKind
    alpha: float
    n_eff: float
    tau: float


def _statement(sample: Sample, wish: Wish) -> tuple[_Statement, int]:
    """The promise that the sample carries, and how many scores may lie above the threshold."""
    n = len(sample.scores)
    kind: StatementKind = "promise(n_eff)" if sample.runs else "promise"
    parts_needed(
        max(LADDER) if wish.false_reject is None else wish.false_reject, wish.confidence
    )  # refuses no fractions
    try:
        alpha, n_eff, tau = _promised(sample, wish)
    except NotEnoughParts:
        if not wish.no_promise:
            raise
        tau = _tau(sample, max(LADDER))
        n_eff = max(1, effective_number(n, tau))
        # The rate to expect of a threshold at the highest of so many independent scores; half of such guesses are broken.
        # A stronger wish changes nothing about the parts, so that it must not be written as if it were a finding.
        expected = expected_rate(n_eff, 0)
        return _Statement("estimate", max(wish.false_reject or expected, expected), float(n_eff), tau), 0
    if tau > 1.5:
        logger.warning(
            "windows depend on their neighbours over tau = %.3g windows: %d count as %d independent ones", tau, n, n_eff
        )
    above = allowance(n, alpha, wish.confidence, n_eff=n_eff, unit="window" if sample.unit == "window" else "part")
    return _Statement(kind, alpha, float(n_eff), tau), above


def _promised(sample: Sample, wish: Wish) -> tuple[float, int, float]:
    """Alpha, effective number and tau of the promise; the ladder is climbed from its strongest end."""
    n = len(sample.scores)
    unit = "window" if sample.unit == "window" else "part"
    if wish.false_reject is not None:
        tau = _tau(sample, wish.false_reject)
        n_eff = effective_number(n, tau, strict=bool(sample.runs) and wish.false_reject > 0.05)
        allowance(n, wish.false_reject, wish.confidence, n_eff=n_eff, unit="window" if unit == "window" else "part")
        return wish.false_reject, n_eff, tau
    for alpha in sorted(LADDER):
        tau = _tau(sample, alpha)
        n_eff = effective_number(n, tau)
        best = ladder_alpha(n_eff, wish.confidence) if n_eff else None
        if best is not None and best <= alpha:
            effective_number(n, tau, strict=bool(sample.runs) and alpha > 0.05)
            return alpha, n_eff, tau
    tau = _tau(sample, max(LADDER))
    allowance(
        n, max(LADDER), wish.confidence, n_eff=effective_number(n, tau), unit="window" if unit == "window" else "part"
    )
    raise NotEnoughParts(f"{n} good {unit}s carry no promise on the ladder down from {percent(max(LADDER))}.")


def _tau(sample: Sample, alpha: float) -> float:
    if not sample.runs:
        return 1.0
    return max(dependence_time(sample.runs, alpha), design_effect(sample.runs, alpha))


def _windows(scores: Scores) -> Sample:
    """Windows, by run in the order of time; windows of one run are not independent of each other."""
    order = sorted(
        (place for place in range(len(scores)) if scores.valid[place]),
        key=lambda place: (scores.refs[place].group, scores.refs[place].time_s or 0.0, scores.refs[place].key),
    )
    runs = tuple(scores.score[list(places)] for _, places in groupby(order, key=lambda place: scores.refs[place].group))
    alone = all(len(run) == 1 for run in runs)
    return Sample(
        scores=scores.score[order],
        runs=() if alone else runs,
        keys=tuple(scores.refs[place].key for place in order),
        invalid=int((~scores.valid).sum()),
        unit="window",
        dependence=f"one window from each of {len(runs)} independent runs"
        if alone
        else f"disjoint windows of {len(runs)} run{'s' if len(runs) > 1 else ''}, counted by their effective number",
    )


def _worst_frames(scores: Scores) -> dict[str, tuple[Ref, float]]:
    """By part: the highest score over its frames; NaN where all are INVALID."""
    worst: dict[str, tuple[Ref, float]] = {}
    for ref, score, valid in zip(scores.refs, scores.score, scores.valid, strict=True):
        value = float(score) if valid else float("nan")
        known = worst.get(ref.part)
        if known is None or value > known[1] or np.isnan(known[1]):
            worst[ref.part] = (ref, value)
    return worst


def _check_invalid(scores: Scores) -> None:
    invalid = int((~scores.valid).sum())
    if invalid == len(scores):
        raise CalibrationError(f"all {len(scores)} calibration parts are INVALID{_first_invalid(scores)}.")
    if invalid > MAX_INVALID * len(scores):
        raise CalibrationError(
            f"{invalid} of {len(scores)} calibration parts are INVALID{_first_invalid(scores)}; at most "
            f"{percent(MAX_INVALID)} may be. Look at these pictures before anything is promised about good ones."
        )


def _first_invalid(scores: Scores) -> str:
    from andon.runtime.schema import Reason

    for ref, valid, reason in zip(scores.refs, scores.valid, scores.reason, strict=True):
        if not valid:
            return f" (the first: {ref.key}, {Reason(reason).text})"
    return ""


def _warn_of_ties(lifted: NDArray[np.float32], threshold: float, above: int) -> None:
    at_threshold = int((lifted == np.float32(threshold)).sum())
    if (above > 0 and lifted[-1] == np.float32(threshold)) or at_threshold > max(1, 0.01 * len(lifted)):
        logger.warning(
            "%d of %d good scores equal the threshold: the score saturates, and defects may not rise above it",
            at_threshold,
            len(lifted),
        )


def _sealed(model: ModelFile, calibration: Calibration, numbers: Tail) -> bytes:
    from msgspec.structs import replace

    entry = LogEntry(
        date=calibration.date,
        andon=str(__version__),
        kind=calibration.kind,
        alpha=calibration.alpha,
        confidence=calibration.confidence,
        n=calibration.n,
        above=calibration.above,
        threshold=numbers.threshold,
        part_keys_sha256=calibration.part_keys_sha256,
        previous="",
    )
    card = replace(model.card, calibration=calibration)
    return seal(model.data, card=card, golden=model.golden, log=append_log(model.log, entry), tail=numbers)


def top_parts(sample: Sample, count: int) -> Sequence[tuple[str, float]]:
    """The highest-scoring good parts, for a person to look at: one bad part among the good sets the threshold."""
    order = np.argsort(-sample.scores)[:count]
    return [(sample.keys[place], float(sample.scores[place])) for place in order]
