"""Build the headline of a report: the evaluated file, and whether its promise was kept, in words."""

from msgspec import Struct

from andon.evaluation.report.page import Tile, Tone, counted
from andon.runtime.calibration_facts import percent
from andon.runtime.detector import Detector
from andon.runtime.schema import FrameSpec


class ModelFacts(Struct, frozen=True, kw_only=True):
    """Facts about the evaluated file. A log of verdicts contains fewer facts than a model file."""

    name: str
    """Name of the model file, or of the log of verdicts."""
    data: str
    """The data on which the file was evaluated."""
    promise: str = ""
    alpha: float | None = None
    """The promised rate; None without a promise."""
    rows: tuple[tuple[str, str], ...] = ()
    """More facts, name and value."""


def model_facts(detector: Detector, name: str, data: str) -> ModelFacts:
    """Return the facts that the model file contains."""
    card = detector.card
    spec, calibration = card.input, card.calibration
    if isinstance(spec, FrameSpec):
        size = " x ".join(map(str, spec.frame_size)) if spec.frame_size else "any size"
        colour = "RGB" if spec.channels == 3 else "grey"
        seen = "resized to" if spec.tiles is None else f"cut into {spec.tiles.rows} x {spec.tiles.columns} tiles of"
        judges = f"{colour} frames, {size}, {seen} {spec.size[0]} x {spec.size[1]} px (height x width)"
    else:
        judges = f"windows of {spec.steps} rows, {spec.period_s:g} s apart, of {len(spec.channels)} channels"
    rows = [("detector", f"{card.detector}, version {card.detector_version}"), ("judges", judges)]
    if calibration is not None:
        rows += [
            ("promise", detector.promise),
            *(calibration.further_sentences if detector.promised else ()),
            *(("audit", sentence) for sentence in calibration.audit_sentences if detector.promised),
            (
                "calibrated",
                ", ".join(filter(None, [calibration.date, calibration.drawn, calibration.invalid_sentence])),
            ),
        ]
    rows += [("threshold", f"{detector.threshold:.6g}"), ("digest", detector.model.short_digest)]
    return ModelFacts(
        name=name,
        data=data,
        promise=detector.promise,
        alpha=calibration.alpha if calibration and detector.promised else None,
        rows=tuple(rows),
    )


def verdict_on(
    alpha: float | None, false_rejects: int, n_good: int, within: bool | None, unit: str, *, caught: int, n_defect: int
) -> tuple[Tone, str]:
    """Return the tone, and a headline that states whether the promise was kept.

    Without a promise, a file is bad only if it rejects good parts at least as often as defective ones.
    """
    rate = f"{false_rejects} of {counted(n_good, f'good {unit}')} rejected"
    if n_good:
        rate += f" ({false_rejects / n_good:.2%})"
    if within is None or alpha is None or not n_good:
        if n_good and n_defect and false_rejects and false_rejects * n_defect >= caught * n_good:
            defective = f"{caught} of {n_defect} defective ones ({caught / n_defect:.2%})"
            return "bad", f"Good {unit}s are rejected at least as often as defective ones: {rate}, {defective}."
        return "plain", f"This file makes no promise: {rate}."
    promised = f"the promise is at most {percent(alpha)}"
    if not within:
        return "bad", f"Promise not kept: {rate}; {promised}."
    if false_rejects > alpha * n_good:
        return "plain", f"More than promised, but within what chance allows: {rate}; {promised}."
    return "good", f"Promise kept: {rate}; {promised}."


def promise_lines(model: ModelFacts, false_rejects: int, n_good: int, within: bool | None, units: str) -> list[str]:
    """Return the promise, the number of rejects that chance allows, and whether these parts confirm the promise, as text."""
    if within is None or model.alpha is None or not n_good:
        return [f"Statement in the file: {model.promise}."] if model.promise else []
    from scipy.stats import binom, binomtest

    allowed = int(binom.ppf(0.99, n_good, model.alpha))
    # the exact upper limit of the true rate, one-sided (Clopper and Pearson 1934)
    at_most = float(binomtest(false_rejects, n_good, alternative="less").proportion_ci(0.95, "exact").high)
    if not within:
        end = f"These {units} differ from the calibration {units}, or some labels are wrong. Look at the false rejects below."
    elif at_most <= model.alpha:
        end = f"These {units} confirm the promise at 95 % confidence."
    else:
        end = f"Consistent with the promise; too few {units} to confirm it."
    chance = f"With {n_good} good {units}, up to {allowed} rejects can be chance."
    return [f"The file promises: {model.promise}. {chance} {end}"]


def found(missed: int, n: int, what: str) -> str:
    """Return the number of defects that passed, in words."""
    if not missed:
        return f"All {n} {what}s were found." if n > 1 else f"The one {what} was found."
    return f"{missed} of {counted(n, what)} passed ({missed / n:.1%}). No promise covers {what}s."


def found_tone(tone: Tone, missed: int) -> Tone:
    """Return the tone for the defects that were found: good only if the promise is kept too.

    The reason is that a file that rejects everything finds every defect.

    Args:
        tone: tone of the promise, from `verdict_on`.
        missed: number of defects that passed.
    """
    if missed:
        return "bad"
    return "good" if tone == "good" else "plain"


def tiles_of(model: ModelFacts, tone: Tone, false_rejects: int, n_good: int, units: str) -> list[Tile]:
    """Return the tile of the false-reject rate; nothing without good parts."""
    if not n_good:
        return []
    promised = f"; promised: at most {percent(model.alpha)}" if model.alpha is not None else ""
    note = f"{false_rejects} of {n_good} good {units}{promised}"
    return [Tile(value=f"{false_rejects / n_good:.2%}", name="false rejects", note=note, tone=tone)]
