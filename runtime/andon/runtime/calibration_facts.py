"""What a threshold was calibrated to and on: the typed facts behind each sentence that people read.

These structs are part of the card (`andon.runtime.schema`). A sentence is rendered from its struct and never read back. Fields
that are marked "reserved" have their final type and bounds, and nothing writes them yet (`docs/model-file.md`, section 11).
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
"""At most what JSON numbers hold exactly in every language."""
AtLeastOne = Annotated[int, Meta(ge=1, le=2**53)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
ShortText = Annotated[str, Meta(max_length=500)]

Precision = Literal["float32", "float16", "int8"]
Provider = Literal["cpu", "cuda"]
StatementKind = Literal["promise", "promise(n_eff)", "estimate", "manual"]
SamplingMethod = Literal["single_files", "grouped_files", "one_per_lot", "one_per_run", "effective_number", "blocks"]

_SINGLE_FILES_1_0 = "each file was taken as an independent part"
"""What a file of schema 1.0 says where no files were grouped."""


class Steadiness(Struct, frozen=True, kw_only=True):
    """Result of the check that the scores did not drift while the calibration parts were recorded. Reserved."""

    p: Fraction
    """Smallest p-value over the comparisons."""
    limit: Fraction
    """A promise is refused below it."""
    pieces: tuple[Annotated[int, Meta(ge=2, le=1000)], ...] = ()
    """Numbers of pieces into which the record was cut."""


class Sampling(Struct, frozen=True, kw_only=True):
    """How the calibration units were drawn, and how far they depend on each other."""

    method: SamplingMethod
    """``single_files``: each file is an independent part. ``grouped_files``: the user grouped the files of a part.
    ``one_per_lot``: one part was drawn at random from each lot. ``one_per_run``: one window from each independent run.
    ``effective_number``: dependent units, counted by their effective number. ``blocks`` (reserved): block maxima."""
    units: Count
    """Good units before the draw. `Calibration.n` of them were used."""
    groups: Count | None = None
    """Lots or runs that they come from; None where each unit stands alone."""
    days: Count | None = None
    """Calendar days that they come from. Reserved."""
    frames: AtLeastOne | None = None
    """Frames of each part, where all parts have the same number. Reserved."""
    tau_ranks: Annotated[float, Meta(ge=1.0)] | None = None
    """Autocorrelation time of the ranks, in units. Reserved."""
    tau_exceedances: Annotated[float, Meta(ge=1.0)] | None = None
    """Autocorrelation time of the indicator of high scores, in units. Reserved."""
    design_effect: Annotated[float, Meta(ge=1.0)] | None = None
    """How many units of a group count as one. Reserved."""
    tau_rule: Literal["larger", "exceedances"] = "larger"
    """Which time counts; ``exceedances`` makes the promise approximate. Reserved."""
    block_units: AtLeastOne | None = None
    """Length of a block, in units. Reserved."""
    steadiness: Steadiness | None = None

    @property
    def sentence(self) -> str:
        """Say in words how the units were drawn."""
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
    """At most `rejects` of the next `parts` good parts are rejected. Reserved."""

    parts: AtLeastOne
    rejects: Count
    confidence: Fraction
    """Probability that it holds, over the draw of the calibration parts (and of the shift, where `share` is null)."""
    share: Fraction | None = None
    """It holds for at least this share of all shifts; None: it is about the next shift only."""
    approximate: bool = False
    """Whether it was found through effective numbers."""


class ReviewBand(Struct, frozen=True, kw_only=True):
    """What the lower limit of the band (`andon.review`) says. Reserved."""

    source: Literal["good_parts", "defects"]
    """What the limit was chosen by."""
    alpha: Fraction
    """At most this share of good parts is not passed: REVIEW, REJECT, or INVALID by its content."""
    above: Count
    """How many of the `n` scores lie above the order statistic that became the limit."""
    confidence: Fraction
    """Joint confidence of this statement and of the promise about rejected parts."""


class MissBound(Struct, frozen=True, kw_only=True):
    """How many defects pass at most, from known ones. Reserved."""

    defects: AtLeastOne
    missed: Count
    beta: Fraction
    """At most this share of such defects passes."""
    confidence: Fraction
    limit: Literal["review", "threshold"] = "threshold"
    """A defect passes where it scores at most this limit."""
    part_keys_sha256: Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")] = ""
    """Digest over the sorted keys of the defects, one a line."""


class Audit(Struct, frozen=True, kw_only=True):
    """Good parts that were counted later, against the threshold as it stood. Reserved."""

    date: ShortText
    andon: ShortText = ""
    """Version that counted."""
    parts: AtLeastOne
    """Good parts, none of which was calibrated on."""
    rejects: Count
    alpha: Fraction
    """Share that was promised."""
    confidence: Fraction
    looks: Literal["once", "anytime"]
    """Whether the bounds hold for one planned look, or at any time."""
    lower: Fraction
    upper: Fraction
    finding: Literal["confirmed", "violated", "undecided"]
    tau: Annotated[float, Meta(ge=1.0)] = 1.0
    """Autocorrelation time of the counted parts, in parts."""
    part_keys_sha256: Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")] = ""
    """Digest over the sorted keys of the parts, one a line."""


class Cusum(Struct, frozen=True, kw_only=True):
    """Two-sided CUSUM on z: ``S = max(0, S + z - k)``, an alarm above `h`. Reserved."""

    k: Positive
    h: Positive
    run_length: AtLeastOne
    """Good parts between two false alarms, on average."""
    confidence: Fraction
    """Share of calibrations of this size that reach the run length."""


class Distance(Struct, frozen=True, kw_only=True):
    """Distance between the last `window` scores and those of the calibration parts. Reserved."""

    window: AtLeastOne
    limit: Positive
    bins: Annotated[int, Meta(ge=2, le=1000)] | None = None
    """Bins of equal mass; None where the distance needs none."""


class BudgetChart(Struct, frozen=True, kw_only=True):
    """Bernoulli CUSUM on rejects: 1 less for a pass, `step` - 1 more for a reject, an alarm from `h`. Reserved."""

    expected: Fraction
    """Expected share of rejects."""
    raised: Fraction
    """Share that it is tuned to find."""
    step: AtLeastOne
    h: AtLeastOne
    quiet_parts: AtLeastOne
    """Parts of a clean shift that stays quiet with a probability of 95 %."""


class DriftReference(Struct, frozen=True, kw_only=True):
    """What later scores are compared with, and the limits of the charts. Reserved."""

    n: AtLeastOne
    """Scores that it was made from."""
    tau: Annotated[float, Meta(ge=1.0)] = 1.0
    """Autocorrelation time of z, in units."""
    z: Annotated[tuple[float, ...], Meta(max_length=257)] = ()
    """``z[number of knots <= score]``, as `andon.tail_p`, from the mid form of the p-value."""
    cusum: Cusum | None = None
    budget: BudgetChart | None = None
    psi: Distance | None = None
    ks: Distance | None = None


class Quantiles(Struct, frozen=True, kw_only=True):
    """Of a statistic over the good frames. Reserved."""

    q01: float
    q50: float
    q99: float


class FrameHealth(Struct, frozen=True, kw_only=True):
    """Distribution of the statistics of frame health over the good parts, in raw levels of the input. Reserved."""

    n: AtLeastOne
    """Frames that were measured."""
    low: Quantiles | None = None
    """1 % quantile of a frame's levels."""
    high: Quantiles | None = None
    """99 % quantile of a frame's levels."""
    overexposed: Quantiles | None = None
    """Share of the pixels within 2 % of the highest level."""
    contrast: Quantiles | None = None
    """Standard deviation of the levels."""
    sharpness: Quantiles | None = None
    """Variance of the Laplacian, median over crops at full resolution."""
    row_jump: Quantiles | None = None
    """Largest jump between two rows, relative to the rows around: torn frames."""
    repeated_rows: Quantiles | None = None
    """Share of the rows that equal the row above: smeared frames."""
    difference: Quantiles | None = None
    """Mean absolute difference from the frame before: frozen frames."""


class Move(Struct, frozen=True, kw_only=True):
    """How far a recalibration moved the threshold, by ranks. Reserved."""

    n_before: AtLeastOne
    above_before: Count
    """New parts above the old threshold."""
    above_after: Count
    """Old scores above the new threshold."""
    p: Fraction
    """Smallest tail probability over the tests of both directions."""
    median_shift: float = 0.0
    """Of the median score, in units of the old ``threshold - median``."""
    implausible: bool = False
    forced: bool = False


class Calibration(Struct, frozen=True, kw_only=True):
    """What the threshold was calibrated to, and on what."""

    kind: StatementKind
    alpha: Fraction
    """Promised share of good parts that are rejected, at most."""
    confidence: Fraction
    """Probability, over the draw of the calibration parts, that the promise holds."""
    n: int
    """Good parts (or windows) that the threshold was calibrated on. One that is INVALID by its content counts as rejected."""
    n_eff: float
    """Effective number after dependence; equal to `n` where the parts are independent."""
    above: int
    """How many of the n lie above the order statistic that became the threshold."""
    unit: Literal["part", "window", "block"] = "part"
    sampling: Sampling | None = None
    """How the parts were drawn. None in a file of schema 1.0."""
    dependence: str = ""
    """The same in words, in a file of schema 1.0; empty since."""
    tau: float = 1.0
    """Integrated autocorrelation time, in units."""
    invalid: int = 0
    """Calibration parts that were lost to their input (unreadable, a gap, another kind): left out."""
    part_keys_sha256: str = ""
    """Digest over the sorted keys of the calibration parts, one a line."""
    good_median: float = 0.0
    good_scale: float = 1.0
    """Median |score| of the good parts: the unit of the parity tolerance."""
    map_scale: float | None = None
    """99.9 % quantile of the deciding maps of good parts: heat maps run from 0 to 1.5 times this."""
    date: str = ""
    """ISO date, as given by whoever calibrated."""
    precision: Precision | None = None
    """Precision of the graph that scored the parts. None in a file of schema 1.0."""
    provider: Provider | None = None
    """Provider class that scored the parts. None in a file of schema 1.0."""
    shift: ShiftPromise | None = None
    review: ReviewBand | None = None
    misses: MissBound | None = None
    audits: Annotated[tuple[Audit, ...], Meta(max_length=1000)] = ()
    drift: DriftReference | None = None
    health: FrameHealth | None = None

    @property
    def promised(self) -> bool:
        """Whether the file promises a share of false rejects: `alpha` is then a bound, otherwise only a guess."""
        return self.kind in ("promise", "promise(n_eff)")

    @property
    def grouped(self) -> bool:
        """Whether several files made one part, so that a single file does not count as a part."""
        if self.sampling is None:
            return self.dependence not in ("", _SINGLE_FILES_1_0)
        return self.sampling.method in ("grouped_files", "one_per_lot")

    @property
    def drawn(self) -> str:
        """Say how the parts were drawn, as people read it; empty where the file does not say."""
        return self.sampling.sentence if self.sampling else self.dependence

    @property
    def sentence(self) -> str:
        """The statement as people read it."""
        units = self.unit + "s"
        parts = f"{self.n} {units}"
        if self.kind == "manual":
            return f"no promise: a person chose the threshold; {parts} of good stock were scored"
        if self.kind == "estimate":
            return (
                f"no promise, an estimate: about {100 * self.alpha:.2g} % of good {units} may be rejected, or more; "
                f"from {parts}, too few for a promise"
            )
        approximate = f" (worth {self.n_eff:.0f} independent ones)" if self.kind == "promise(n_eff)" else ""
        return (
            f"with {percent(self.confidence)} confidence at most {percent(self.alpha)} of good {units} are rejected; "
            f"from {parts}{approximate}"
        )


def percent(share: float) -> str:
    """Write a share as a percentage with as few digits as it needs, e.g. 0.001 as ``0.1 %``."""
    return f"{100 * share:.6g} %"
