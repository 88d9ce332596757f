"""Typed facts about a calibration: the promise, the parts it is based on, and how they were drawn.

These structs are part of the card (`andon.runtime.schema`). Readable sentences are rendered from them and never parsed.
Fields marked "reserved" have their final type and bounds, and nothing writes them yet (`docs/model-file.md`, section 11).
"""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Annotated, Literal

from msgspec import Meta, Struct

Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
"""An integer up to 2**53, which JSON numbers hold exactly in every language."""
AtLeastOne = Annotated[int, Meta(ge=1, le=2**53)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
ShortText = Annotated[str, Meta(max_length=500)]

Precision = Literal["float32", "float16", "int8"]
Provider = Literal["cpu", "cuda"]
StatementKind = Literal["promise", "promise(n_eff)", "estimate", "manual"]
SamplingMethod = Literal["single_files", "grouped_files", "one_per_lot", "one_per_run", "effective_number", "blocks"]

MOST_AUDITS = 1000
"""Upper limit of the audits in a file."""

_SINGLE_FILES_1_0 = "each file was taken as an independent part"
"""Text in a file of schema 1.0 where no files were grouped."""


class Steadiness(Struct, frozen=True, kw_only=True):
    """Result of the check that the scores did not drift while the calibration windows were recorded."""

    p: Fraction
    """Smallest p-value over the comparisons."""
    limit: Fraction
    """Lowest p-value for which a promise is made."""
    pieces: tuple[Annotated[int, Meta(ge=2, le=1000)], ...] = ()
    """Numbers of pieces into which the sequence of scores was cut."""

    @property
    def sentence(self) -> str:
        """The result as a readable sentence."""
        found = "no drift found" if self.p >= self.limit else "the scores drifted"
        return f"{found} within the record (p = {self.p:.2g}, limit {self.limit:g}); states that it does not hold are unknown"


class Sampling(Struct, frozen=True, kw_only=True):
    """Method that was used to draw the calibration units, and their dependence on each other."""

    method: SamplingMethod
    """``single_files``: each file is an independent part. ``grouped_files``: the user grouped the files of a part.
    ``one_per_lot``: one part was drawn at random from each lot. ``one_per_run``: one window from each independent run.
    ``effective_number``: dependent units, counted by their effective number. ``blocks`` (reserved): block maxima."""
    units: Count
    """Number of good units before the draw. `Calibration.n` of them were used."""
    groups: Count | None = None
    """Number of lots or runs of these units. None where the units are independent."""
    days: Count | None = None
    """Number of calendar days on which the units were recorded. Reserved."""
    frames: AtLeastOne | None = None
    """Frames per part, where all parts have the same number. Reserved."""
    tau_ranks: Annotated[float, Meta(ge=1.0)] | None = None
    """Autocorrelation time of the ranks, in units. Reserved."""
    tau_exceedances: Annotated[float, Meta(ge=1.0)] | None = None
    """Autocorrelation time of the indicator of high scores, in units. Reserved."""
    design_effect: Annotated[float, Meta(ge=1.0)] | None = None
    """Number of dependent units that contain as much information as one independent unit. Reserved."""
    tau_rule: Literal["larger", "exceedances"] = "larger"
    """The autocorrelation time in use. ``exceedances`` makes the promise approximate. Reserved."""
    block_units: AtLeastOne | None = None
    """Length of a block, in units. Reserved."""
    steadiness: Steadiness | None = None

    @property
    def sentence(self) -> str:
        """The method as a readable sentence."""
        groups = self.groups or 0
        match self.method:
            case "single_files":
                return _SINGLE_FILES_1_0
            case "grouped_files":
                return "parts as grouped on export"
            case "one_per_lot":
                return f"one part drawn from each of {groups} lots ({self.units} parts), so that lots may differ"
            case "one_per_run":
                return f"one window from each of {groups} independent runs"
            case "effective_number":
                runs = f"{groups} run{'s' if groups > 1 else ''}"
                return f"disjoint windows of {runs}, counted by their effective number"
            case "blocks":
                return f"blocks of {self.block_units or 0} units, each counted by its highest score"


class ShiftPromise(Struct, frozen=True, kw_only=True):
    """At most `rejects` of the next `parts` good parts are rejected."""

    parts: AtLeastOne
    rejects: Count
    confidence: Fraction
    """Probability that the promise holds, for randomly chosen calibration parts (and a random shift, where `share` is null)."""
    share: Fraction | None = None
    """The promise holds for at least this share of all shifts. None means the next shift only."""
    approximate: bool = False
    """True if the promise is based on effective numbers of parts."""

    @property
    def sentence(self) -> str:
        """The promise as a readable sentence."""
        sure = f"with {percent(self.confidence)} confidence at most {self.rejects}"
        about = " (approximate, because parts depend on each other)" if self.approximate else ""
        if self.share is None:
            return f"{sure} of the next {self.parts} good parts are rejected{about}"
        return f"{sure} of {self.parts} good parts are rejected in at least {percent(self.share)} of all shifts{about}"


class ReviewBand(Struct, frozen=True, kw_only=True):
    """Statement about the lower limit of the review band (`andon.review`)."""

    source: Literal["good_parts", "defects"]
    """The parts that determined the limit."""
    alpha: Fraction
    """Upper bound for the share of good parts that do not pass: REVIEW, REJECT, or INVALID by their content."""
    above: Count
    """Number of scores, out of `n`, above the order statistic that became the limit."""
    confidence: Fraction
    """Joint confidence of this statement and of the promise about rejected parts."""

    @property
    def sentence(self) -> str:
        """The statement as a readable sentence."""
        also = "the promise about rejected parts holds as well"
        share = percent(self.alpha)
        if self.source == "defects":
            also = "the promise about rejected parts and the bound on missed defects hold as well"
            share = percent_up(self.alpha)
        sure = f"with {percent_down(self.confidence)} confidence"
        return f"{sure} at most {share} of good parts do not pass (review or reject), and {also}"


class MissBound(Struct, frozen=True, kw_only=True):
    """Upper bound for the share of defects that pass, from known defects."""

    defects: AtLeastOne
    missed: Count
    beta: Fraction
    """Upper bound for the share of such defects that pass."""
    confidence: Fraction
    limit: Literal["review", "threshold"] = "threshold"
    """The limit up to which a defect passes."""
    part_keys_sha256: Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")] = ""
    """Digest of the sorted keys of the defects, one key per line."""

    @property
    def sentence(self) -> str:
        """The bound as a readable sentence."""
        return (
            f"with {percent(self.confidence)} confidence at most {percent_up(self.beta)} of defects like these {self.defects} "
            f"pass ({self.missed} passed)"
        )


class Audit(Struct, frozen=True, kw_only=True):
    """A later count of rejected good parts, with the threshold that was in use then."""

    date: ShortText
    andon: ShortText = ""
    """Version of andon that made the count."""
    parts: AtLeastOne
    """Number of good parts. None of them was a calibration part."""
    rejects: Count
    alpha: Fraction
    """Promised share of rejects."""
    confidence: Fraction
    looks: Literal["once", "anytime"]
    """``once``: the bounds are valid for one planned evaluation. ``anytime``: they are always valid."""
    lower: Fraction
    upper: Fraction
    finding: Literal["confirmed", "violated", "undecided"]
    tau: Annotated[float, Meta(ge=1.0)] = 1.0
    """Autocorrelation time of the counted parts, in parts."""
    part_keys_sha256: Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")] = ""
    """Digest of the sorted keys of the parts, one key per line. Empty if only their number is known."""

    @property
    def sentence(self) -> str:
        """The finding as a readable sentence."""
        counted = f"{self.rejects} of {self.parts} were rejected"
        if self.tau > 1:
            counted += f", counted as {math.floor(self.parts / self.tau)} independent ones"
        sure, share = f"with {percent(self.confidence)} confidence", percent(self.alpha)
        match self.finding:
            case "confirmed":
                upper = percent_up(self.upper)
                return f"confirmed: {sure} at most {share} of good parts are rejected ({counted}: at most {upper})"
            case "violated":
                lower = percent_down(self.lower)
                return f"violated: {sure} more than {share} of good parts are rejected ({counted}: at least {lower})"
            case "undecided":
                return (
                    f"not decided: {counted}, which allows a share from {percent_down(self.lower)} to {percent_up(self.upper)} "
                    f"({percent(self.confidence)} confidence for each bound). The limit is {share}"
                )


class Cusum(Struct, frozen=True, kw_only=True):
    """Two-sided CUSUM on z: ``S = max(0, S + z - k)`` with an alarm above `h`."""

    k: Positive
    h: Positive
    run_length: AtLeastOne
    """Mean number of good parts between two false alarms."""
    confidence: Fraction
    """Share of calibrations of this size that reach the run length."""


class Distance(Struct, frozen=True, kw_only=True):
    """Distance between the last `window` scores and the scores of the calibration parts."""

    window: AtLeastOne
    limit: Positive
    bins: Annotated[int, Meta(ge=2, le=1000)] | None = None
    """Number of bins of equal mass. None where the distance uses no bins."""


class BudgetChart(Struct, frozen=True, kw_only=True):
    """Bernoulli CUSUM on rejects.

    The sum decreases by 1 for a pass and increases by `step` - 1 for a reject. The chart raises an alarm if the sum is at least
    `h`.
    """

    expected: Fraction
    """Expected share of rejects."""
    raised: Fraction
    """Share of rejects that the chart is designed to detect."""
    step: AtLeastOne
    h: AtLeastOne
    quiet_parts: AtLeastOne
    """Number of parts that give no alarm with a probability of 95 %, if the share of rejects is as expected."""


class DriftReference(Struct, frozen=True, kw_only=True):
    """Reference for later scores, and the limits of the charts."""

    n: AtLeastOne
    """Number of scores behind the reference."""
    tau: Annotated[float, Meta(ge=1.0)] = 1.0
    """Autocorrelation time of z, in units."""
    z: Annotated[tuple[float, ...], Meta(max_length=257)] = ()
    """Table of z by score.

    The index is the number of knots <= score, as for `andon.tail_p`. z is computed from the mid p-value.
    """
    cusum: Cusum | None = None
    budget: BudgetChart | None = None
    psi: Distance | None = None
    ks: Distance | None = None

    @property
    def sentence(self) -> str:
        """The limits as a readable sentence."""
        if self.cusum is None:
            return f"limits of drift charts from {self.n} scores, without a CUSUM"
        rate = f"at most one false alarm in {self.cusum.run_length} good scores on average"
        return f"limits of drift charts from {self.n} scores; CUSUM: {rate}, with {percent(self.cusum.confidence)} confidence"


class Quantiles(Struct, frozen=True, kw_only=True):
    """Quantiles of a statistic over the good frames."""

    q01: float
    q50: float
    q99: float


class FrameHealth(Struct, frozen=True, kw_only=True):
    """Distribution of frame statistics over the good parts, in grey levels of the raw frames."""

    n: AtLeastOne
    """Number of measured frames."""
    low: Quantiles | None = None
    """1 % quantile of the grey levels of a frame."""
    high: Quantiles | None = None
    """99 % quantile of the grey levels of a frame."""
    overexposed: Quantiles | None = None
    """Share of the pixels within 2 % of the highest possible grey level."""
    contrast: Quantiles | None = None
    """Standard deviation of the grey levels of a frame."""
    sharpness: Quantiles | None = None
    """Variance of the Laplacian, median over crops at full resolution."""
    row_jump: Quantiles | None = None
    """Largest jump between two neighbouring rows, relative to the rows around them. Detects torn frames."""
    repeated_rows: Quantiles | None = None
    """Share of the rows that equal the row above. Rows of one level do not count. Detects smeared frames."""
    difference: Quantiles | None = None
    """Mean absolute difference from the frame before. Detects frozen frames. Reserved."""


class Range(Struct, frozen=True, kw_only=True):
    """Lowest and highest value of a number."""

    low: float
    high: float


class ChannelHealth(Struct, frozen=True, kw_only=True):
    """Behaviour of a sensor channel in the good windows."""

    name: ShortText
    low: float
    """Lowest value."""
    high: float
    """Highest value."""
    constant_s: Positive | None = None
    """Longest time with one value, in seconds. None if the channel never changed."""
    period_s: Positive | None = None
    """Usual time between two samples in the logs, before they were put onto the grid of the windows. None if it is unknown."""
    spread: Range | None = None
    """Standard deviation within a window."""
    rate: Range | None = None
    """Largest change from one step to the next within a window."""


class Move(Struct, frozen=True, kw_only=True):
    """Change of the threshold by a recalibration, in ranks. Reserved."""

    n_before: AtLeastOne
    above_before: Count
    """Number of new parts above the old threshold."""
    above_after: Count
    """Number of old scores above the new threshold."""
    p: Fraction
    """Smallest tail probability over the tests of both directions."""
    median_shift: float = 0.0
    """Shift of the median score, in units of the old ``threshold - median``."""
    implausible: bool = False
    forced: bool = False


class Calibration(Struct, frozen=True, kw_only=True):
    """The statement about the threshold (promise or estimate) and the parts that it is based on."""

    kind: StatementKind
    """``promise``, ``promise(n_eff)`` (from dependent windows), ``estimate``, or ``manual`` (set by a person)."""
    alpha: Fraction
    """Upper bound for the share of good parts that are rejected, 0 to 1. Without a promise, `alpha` is only an estimate."""
    confidence: Fraction
    """Probability, for randomly chosen calibration parts, that their threshold keeps the promise."""
    n: int
    """Number of calibration parts (or windows). A part that is INVALID by its content counts as rejected."""
    n_eff: float
    """Effective number of independent parts. Equals `n` where the parts are independent."""
    above: int
    """Number of scores, out of `n`, above the order statistic that became the threshold."""
    unit: Literal["part", "window", "block"] = "part"
    """Unit of `n`."""
    sampling: Sampling | None = None
    """Method that was used to draw the parts. None in a file of schema 1.0."""
    dependence: str = ""
    """The sampling in words, in a file of schema 1.0. Empty in newer files."""
    tau: float = 1.0
    """Integrated autocorrelation time, in units."""
    invalid: int = 0
    """Number of calibration parts that were left out because of their input (unreadable, a gap, another type)."""
    invalid_content: Count = 0
    """Number of the `n` calibration parts that are INVALID by their content. They count as rejected."""
    part_keys_sha256: str = ""
    """Digest of the sorted keys of the calibration parts, one key per line."""
    good_median: float = 0.0
    """Median score of the good parts."""
    good_scale: float = 1.0
    """Median |score| of the good parts: the unit of the parity tolerance."""
    map_scale: float | None = None
    """99.9 % quantile of the deciding maps of good parts. `heat_map.map_limit` uses it if the threshold has other units."""
    date: str = ""
    """ISO date of the calibration, as the user gave it."""
    precision: Precision | None = None
    """Precision of the graph that scored the parts. None in a file of schema 1.0."""
    provider: Provider | None = None
    """Device type that scored the parts. None in a file of schema 1.0."""
    shift: ShiftPromise | None = None
    review: ReviewBand | None = None
    misses: MissBound | None = None
    audits: Annotated[tuple[Audit, ...], Meta(max_length=MOST_AUDITS)] = ()
    """Counts against this threshold, the oldest first. A new calibration begins without them."""
    drift: DriftReference | None = None
    health: FrameHealth | None = None
    """Statistics of good frames. None for windows, for too few frames, and in a file of an older version."""
    channel_health: Annotated[tuple[ChannelHealth, ...], Meta(max_length=65536)] = ()
    """The same for the channels of windows, in their order."""

    @property
    def promised(self) -> bool:
        """True if the file promises a share of false rejects. Otherwise `alpha` is only an estimate."""
        return self.kind in ("promise", "promise(n_eff)")

    @property
    def grouped(self) -> bool:
        """True if a part consists of several files. A single file then does not count as a part."""
        if self.sampling is None:
            return self.dependence not in ("", _SINGLE_FILES_1_0)
        return self.sampling.method in ("grouped_files", "one_per_lot")

    @property
    def drawn(self) -> str:
        """Sentence about how the parts were drawn. Empty where the file has no information about it."""
        return self.sampling.sentence if self.sampling else self.dependence

    @property
    def invalid_sentence(self) -> str:
        """Sentence about the calibration parts that could not be judged."""
        left_out = f"{self.invalid} unusable ones were left out"
        if not self.invalid_content:
            return left_out
        return f"{left_out}; {self.invalid_content} of the parts are INVALID by their content and count as rejected"

    @property
    def further_sentences(self) -> tuple[tuple[str, str], ...]:
        """Further statements about the thresholds, each with its name."""
        named = (("shift", self.shift), ("review", self.review), ("misses", self.misses))
        return tuple((name, statement.sentence) for name, statement in named if statement is not None)

    @property
    def audit_sentences(self) -> tuple[str, ...]:
        """The last three audits, the newest first, each with its date. The first one states how many there are."""
        sentences = [f"{audit.date}: {audit.sentence}" for audit in reversed(self.audits[-3:])]
        if len(self.audits) > 1:
            sentences[0] += f" (the last of {len(self.audits)} audits)"
        return tuple(sentences)

    @property
    def sentence(self) -> str:
        """The statement as a readable sentence."""
        units = self.unit + "s"
        parts = f"{self.n} {units}"
        if self.kind == "manual":
            return f"no promise: a person set the threshold; {parts} that are known to be good were scored"
        if self.kind == "estimate":
            return (
                f"no promise, an estimate: about {100 * self.alpha:.2g} % of good {units} may be rejected, or more; "
                f"from {parts}, too few for a promise"
            )
        approximate = f" (worth {self.n_eff:.0f} independent ones)" if self.kind == "promise(n_eff)" else ""
        return (
            f"with {percent(self.confidence)} confidence at most {percent(self.alpha)} of good {units} are rejected "
            f"or INVALID by their content; from {parts}{approximate}"
        )


def percent(share: float) -> str:
    """Format a share as a percentage without trailing zeros, for example 0.001 as ``0.1 %``."""
    return f"{100 * share:.6g} %"


def percent_up(share: float) -> str:
    """Format an upper bound as a percentage, rounded up to three digits, for example 0.0099361 as ``0.994 %``."""
    return percent(_rounded(share, ROUND_CEILING))


def percent_down(share: float) -> str:
    """Format a lower bound as a percentage, rounded down to three digits, for example 0.951505 as ``95.1 %``."""
    return percent(_rounded(share, ROUND_FLOOR))


def _rounded(share: float, towards: str) -> float:
    exact = Decimal(repr(share))  # 0.05 is meant as 5 %, although the nearest binary number is slightly above
    return float(exact.quantize(Decimal(1).scaleb(exact.adjusted() - 2), rounding=towards)) if share else 0.0
