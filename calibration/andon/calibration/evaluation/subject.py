"""What was evaluated, as far as it is known, and what its promise is worth here, in words."""

from msgspec import Struct

from andon.calibration.evaluation.page import Tile, Tone, counted
from andon.runtime.detector import Detector
from andon.runtime.schema import FrameSpec, percent


class Subject(Struct, frozen=True, kw_only=True):
    """What was evaluated, as far as it is known: a log of verdicts knows less than a model file."""

    name: str
    """Of the file."""
    data: str
    """What it was evaluated on."""
    promise: str = ""
    alpha: float | None = None
    """The promised rate; None without a promise."""
    rows: tuple[tuple[str, str], ...] = ()
    """More about it, name and value."""


def subject_of(detector: Detector, name: str, data: str) -> Subject:
    """Everything that the model file says of itself."""
    card = detector.card
    spec, calibration = card.input, card.calibration
    if isinstance(spec, FrameSpec):
        size = " x ".join(map(str, reversed(spec.frame_size))) if spec.frame_size else "any size"
        judges = f"{'RGB' if spec.channels == 3 else 'grey'} frames, {size}, seen at {spec.size[1]} x {spec.size[0]} px"
    else:
        judges = f"windows of {spec.steps} rows, {spec.period_s:g} s apart, of {len(spec.channels)} channels"
    rows = [("detector", f"{card.detector}, version {card.detector_version}"), ("judges", judges)]
    if calibration is not None:
        rows += [
            ("promise", calibration.sentence),
            ("calibrated", ", ".join(filter(None, [calibration.date, calibration.dependence]))),
        ]
    rows += [("threshold", f"{detector.threshold:.6g}"), ("digest", detector.model.short_digest)]
    return Subject(
        name=name,
        data=data,
        promise=calibration.sentence if calibration else "",
        alpha=calibration.alpha if calibration and calibration.kind.startswith("promise") else None,
        rows=tuple(rows),
    )


def verdict_on(
    alpha: float | None, false_rejects: int, n_good: int, within: bool | None, unit: str
) -> tuple[Tone, str]:
    """Whether the promise was kept: tone and headline."""
    rate = f"{false_rejects} of {counted(n_good, f'good {unit}')} rejected"
    if n_good:
        rate += f" ({false_rejects / n_good:.2%})"
    if within is None or alpha is None or not n_good:
        return "plain", f"No promise to hold it to: {rate}."
    promised = f"at most {percent(alpha)} were promised"
    if not within:
        return "bad", f"Promise not kept: {rate}; {promised}."
    if false_rejects > alpha * n_good:
        return "plain", f"More than promised, but no more than chance allows: {rate}; {promised}."
    return "good", f"Promise kept: {rate}; {promised}."


def promise_lines(subject: Subject, n_good: int, within: bool | None, units: str) -> list[str]:
    """What the file promises, and what chance allows."""
    if within is None or subject.alpha is None or not n_good:
        return [f"The file says: {subject.promise}."] if subject.promise else []
    from scipy.stats import binom

    allowed = int(binom.ppf(0.99, n_good, subject.alpha))
    end = (
        "That casts no doubt on the promise, and proves nothing."
        if within
        else "These differ from those it was calibrated on, or some labels are wrong: look at the false rejects below."
    )
    chance = f"Of {n_good} good {units}, up to {allowed} rejects can be put down to chance."
    return [f"The file promises: {subject.promise}. {chance} {end}"]


def found(missed: int, n: int, what: str) -> str:
    """How many passed."""
    if not missed:
        return f"All {n} {what}s were found." if n > 1 else f"The one {what} was found."
    return f"{missed} of {counted(n, what)} passed ({missed / n:.1%}); no promise is about {what}s."


def tiles_of(subject: Subject, tone: Tone, false_rejects: int, n_good: int, units: str) -> list[Tile]:
    """The figure of the promise; none without good ones."""
    if not n_good:
        return []
    promised = f"; promised: at most {percent(subject.alpha)}" if subject.alpha is not None else ""
    note = f"{false_rejects} of {n_good} good {units}{promised}"
    return [Tile(value=f"{false_rejects / n_good:.2%}", name="false rejects", note=note, tone=tone)]
