"""From the scores of good parts to the numbers in a model file: threshold, tail, promise, one more entry in its log.

Export calls this on a blank file, and a box on site on a file it has run for years: one path, one test.
"""

import hashlib
import logging
from collections.abc import Sequence
from importlib.metadata import version
from itertools import groupby

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from andon.calibration.contents import copied_items, copied_runs
from andon.calibration.dependence import dependence_time, design_effect, effective_number
from andon.calibration.promise import LADDER, allowance, expected_rate, ladder_alpha, parts_needed
from andon.calibration.scoring import Scores
from andon.calibration.tail import tail
from andon.foundation.errors import CalibrationError, NotEnoughParts
from andon.runtime import __version__
from andon.runtime.detector import PARITY
from andon.runtime.model_file.format import LogEntry, ModelFile, Tail, append_log, parse, seal
from andon.runtime.schema import Calibration, Card, FrameSpec, Reason, StatementKind, WindowSpec, percent
from andon.sources.items import Ref

logger = logging.getLogger(__name__)

MAX_INVALID = 0.05
"""Share of calibration parts that may be INVALID: more means that something is wrong with the pictures, not the parts."""

_HIGHEST = np.nextafter(np.finfo(np.float32).max, np.float32(0))
"""Stands for +inf in the tail, whose knots lie one float32 above the scores."""


SINGLE_FILES = "each file was taken as an independent part"
"""What a file says of its parts where nobody grouped pictures."""


class PromiseRequest(Struct, frozen=True, kw_only=True):
    """What somebody wants promised."""

    false_reject: float | None = None
    """Largest share of good parts that may be rejected; None: the strongest on the ladder that the parts carry."""
    confidence: float = 0.95
    no_promise: bool = False
    """Write an estimate where the parts carry no promise; the file then says so."""


class Sample(Struct, frozen=True, kw_only=True):
    """One score a unit, with what is known of how the units depend on each other."""

    scores: NDArray[np.float64]
    """``[n]``; +inf for a unit that is INVALID by its content: the line does not pass it either."""
    runs: tuple[NDArray[np.float64], ...]
    """The same scores by contiguous run, in time, the highest finite one in place of +inf; empty where the units are taken as
    independent."""
    keys: tuple[str, ...]
    invalid: int
    """Units that were lost to their input, and are left out."""
    unit: str
    dependence: str


def calibrate(
    data: bytes, scores: Scores, wish: PromiseRequest, *, date: str, grouped: bool = False, seed: int = 0
) -> bytes:
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

    Equal contents count as one part. What depends on the parts is written anew into the card: frame size, provider, versions.
    """
    model = parse(data, allow_blank=True)
    windows = isinstance(model.card.input, WindowSpec)
    _warn_of_copies(scores, windows=windows)
    sample = reduce_to_units(scores, windows=windows, grouped=grouped, seed=seed)
    finite = sample.scores[np.isfinite(sample.scores)]
    good_scale = float(np.median(np.abs(finite)))
    lifted = lift(np.sort(sample.scores), good_scale)
    statement, above = _statement(sample, wish)
    _refuse_infinite(scores, lifted, statement, above, wish)
    threshold = float(lifted[len(lifted) - 1 - above])
    _warn_of_ties(lifted, threshold, above)
    knots = tail(np.minimum(lifted, _HIGHEST))
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
        good_median=float(np.median(finite)),
        good_scale=good_scale,
        map_scale=float(np.quantile(scores.map_values, 0.999)) if len(scores.map_values) else None,
        date=date,
    )
    return _sealed(
        model,
        _updated(model.card, scores),
        calibration,
        Tail(threshold=threshold, review=threshold, x=knots.x, p=knots.p),
    )


def refuse_too_few(count: int, wish: PromiseRequest, *, windows: bool) -> None:
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
    """Return one score a decision: the maximum over a part's frames; of several parts of a lot one, drawn; windows as they are.

    A part is INVALID where one of its frames is, as `andon.runtime.verdict.part_status` has it. INVALID by its content (no
    contrast, not finite) it counts as +inf, since the line would not pass it. Lost to its input (unreadable, a gap, another
    size) it says nothing about good parts and is left out. Of equal contents only the first by key counts.

    Raises:
        CalibrationError: nothing valid, or more than 5 % INVALID.
    """
    scores = without_copies(scores, windows=windows)
    if windows:
        _check_invalid(scores, len(scores), int((~scores.valid).sum()), int(scores.valid.sum()))
        return _windows(scores)
    parts = _worst_frames(scores)
    valid = {part: entry for part, entry in parts.items() if not np.isnan(entry[1])}
    judged = sum(np.isfinite(value) for _, value in valid.values())
    _check_invalid(scores, len(parts), len(parts) - judged, judged)
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


def _statement(sample: Sample, wish: PromiseRequest) -> tuple[_Statement, int]:
    """Return the promise that the sample supports, and how many scores may lie above the threshold."""
    n = len(sample.scores)
    kind: StatementKind = "promise(n_eff)" if sample.runs else "promise"
    parts_needed(
        max(LADDER) if wish.false_reject is None else wish.false_reject, wish.confidence
    )  # refuses no fractions
    try:
        alpha, n_eff, tau = _promised(sample, wish)
        above = allowance(n, alpha, wish.confidence, n_eff=n_eff, unit="window" if sample.unit == "window" else "part")
    except NotEnoughParts:
        if wish.no_promise:
            return _estimate(sample, wish)
        raise
    if wish.no_promise and np.isinf(sample.scores).sum() > above:
        return _estimate(sample, wish)
    if tau > 1.5:
        logger.warning(
            "windows depend on their neighbours over tau = %.3g windows: %d count as %d independent ones", tau, n, n_eff
        )
    return _Statement(kind, alpha, float(n_eff), tau), above


def _estimate(sample: Sample, wish: PromiseRequest) -> tuple[_Statement, int]:
    """Return the rate to expect of a threshold at the highest finite score. Half of such guesses are broken."""
    n = len(sample.scores)
    tau = _tau(sample, max(LADDER))
    n_eff = max(1, effective_number(n, tau))
    above = int(np.isinf(sample.scores).sum())
    expected = min(1.0, expected_rate(n_eff, -(-above * n_eff // n)))
    # A stronger wish changes nothing about the parts, so that it must not be written as if it were a finding.
    return _Statement("estimate", max(wish.false_reject or expected, expected), float(n_eff), tau), above


def _promised(sample: Sample, wish: PromiseRequest) -> tuple[float, int, float]:
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
        (place for place in range(len(scores)) if not scores.lost[place]),
        key=lambda place: (scores.refs[place].group, scores.refs[place].time_s or 0.0, scores.refs[place].key),
    )
    values = np.where(scores.valid, scores.score, np.inf)
    ranked = np.where(scores.valid, scores.score, scores.score[scores.valid].max())
    runs = tuple(ranked[list(places)] for _, places in groupby(order, key=lambda place: scores.refs[place].group))
    alone = all(len(run) == 1 for run in runs)
    return Sample(
        scores=values[order],
        runs=() if alone else runs,
        keys=tuple(scores.refs[place].key for place in order),
        invalid=int(scores.lost.sum()),
        unit="window",
        dependence=f"one window from each of {len(runs)} independent runs"
        if alone
        else f"disjoint windows of {len(runs)} run{'s' if len(runs) > 1 else ''}, counted by their effective number",
    )


def without_copies(scores: Scores, *, windows: bool) -> Scores:
    """Return the scores without those of items that repeat another one: frames one by one, windows by whole runs."""
    if not scores.contents:
        return scores
    contents = {ref.key: content for ref, content in zip(scores.refs, scores.contents, strict=True)}
    copies = copied_runs(scores.refs, contents) if windows else copied_items(scores.refs, contents)
    kept = [place for place, ref in enumerate(scores.refs) if (ref.group if windows else ref.key) not in copies]
    if len(kept) == len(scores):
        return scores
    return structs.replace(
        scores,
        refs=tuple(scores.refs[place] for place in kept),
        score=scores.score[kept],
        status=scores.status[kept],
        reason=scores.reason[kept],
        contents=tuple(scores.contents[place] for place in kept),
    )


def _warn_of_copies(scores: Scores, *, windows: bool) -> None:
    distinct = len(without_copies(scores, windows=windows))
    if distinct < len(scores):
        logger.warning(
            "%d calibration %s hold %d distinct one%s: each content counts once",
            len(scores), "windows" if windows else "pictures", distinct, "" if distinct == 1 else "s",
        )  # fmt: skip


def _worst_frames(scores: Scores) -> dict[str, tuple[Ref, float]]:
    """Return by part the highest score over its frames: +inf where one is INVALID by its content, else NaN where one is lost."""
    frames: dict[str, list[int]] = {}
    for place, ref in enumerate(scores.refs):
        frames.setdefault(ref.part, []).append(place)
    valid, lost = scores.valid, scores.lost
    worst: dict[str, tuple[Ref, float]] = {}
    for part, places in frames.items():
        if any(not valid[place] and not lost[place] for place in places):
            value = float("inf")
        elif any(lost[place] for place in places):
            value = float("nan")
        else:
            value = float(scores.score[places].max())
        worst[part] = (scores.refs[places[0]], value)
    return worst


def _check_invalid(scores: Scores, count: int, invalid: int, judged: int) -> None:
    if not judged:
        raise CalibrationError(f"all {count} calibration parts are INVALID{_first_invalid(scores)}.")
    if invalid > MAX_INVALID * count:
        raise CalibrationError(
            f"{invalid} of {count} calibration parts are INVALID{_first_invalid(scores)}; at most "
            f"{percent(MAX_INVALID)} may be. Look at these pictures before anything is promised about good ones."
        )


def _refuse_infinite(
    scores: Scores, lifted: NDArray[np.float32], statement: "_Statement", above: int, wish: PromiseRequest
) -> None:
    """Refuse a threshold that nothing could exceed: more parts are INVALID by their content than may lie above it."""
    infinite = int(np.isinf(lifted).sum())
    if infinite <= above:
        return
    weaker = [
        alpha
        for alpha in sorted(LADDER)
        if alpha > statement.alpha and statement.n_eff == len(lifted)
        if allowance(len(lifted), alpha, wish.confidence) >= infinite
    ]
    offer = f", or promise --false-reject {weaker[0]:g}" if weaker else ""
    raise CalibrationError(
        f"INVALID by their content, and so not passed: {infinite} of {len(lifted)} calibration parts{_first_invalid(scores)}. "
        f"A promise of {percent(statement.alpha)} from {len(lifted)} leaves room for {above}. Look at them: replace what is not "
        f"a good part and train again{offer}."
    )


def _first_invalid(scores: Scores) -> str:
    for ref, valid, reason in zip(scores.refs, scores.valid, scores.reason, strict=True):
        if not valid:
            return f" (the first: {ref.key}, {Reason(reason).text or 'a score that is not a finite number'})"
    return ""


def _warn_of_ties(lifted: NDArray[np.float32], threshold: float, above: int) -> None:
    at_threshold = int((lifted == np.float32(threshold)).sum())
    if (above > 0 and lifted[-1] == np.float32(threshold)) or at_threshold > max(1, 0.01 * len(lifted)):
        logger.warning(
            "%d of %d good scores equal the threshold: the score saturates, and defects may not rise above it",
            at_threshold,
            len(lifted),
        )


def _updated(card: Card, scores: Scores) -> Card:
    """Return the card with what depends on the calibration parts, on where they were scored and by what."""
    if isinstance(card.input, FrameSpec) and scores.frame_sizes:
        size = scores.frame_sizes[0] if len(scores.frame_sizes) == 1 else None
        card = structs.replace(card, input=structs.replace(card.input, frame_size=size))
    here = {package: version(package) for package in ("andon", "numpy", "onnxruntime")}
    return structs.replace(card, versions=card.versions | here, provider=scores.provider or card.provider)


def _sealed(model: ModelFile, card: Card, calibration: Calibration, numbers: Tail) -> bytes:
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
    card = structs.replace(card, calibration=calibration)
    return seal(model.data, card=card, golden=model.golden, log=append_log(model.log, entry), tail=numbers)


def top_parts(sample: Sample, count: int) -> Sequence[tuple[str, float]]:
    """The highest-scoring good parts, for a person to look at: one bad part among the good sets the threshold."""
    order = np.argsort(-sample.scores)[:count]
    return [(sample.keys[place], float(sample.scores[place])) for place in order]
