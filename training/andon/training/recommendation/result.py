"""The recommendation: a row for each candidate, the choice, and one sentence that states how sure it is."""

from collections.abc import Sequence

from msgspec import Struct

from andon.evaluation.figures.intervals import Interval

CHANCE = 0.5
"""AUROC of random scores."""


class Row(Struct, frozen=True, kw_only=True):
    """Results of one candidate."""

    name: str
    latency_ms: float
    """Median time for one frame on one thread."""
    low_ms: float
    high_ms: float
    """95 % limits of the median."""
    latency_p99_ms: float
    cpu_ms: float
    """Median CPU time for one frame. It hardly grows while other programs use the CPU."""
    keeps_budget: bool
    file_mb: float
    train_s: float | None
    """Wall time of the training; None if it was interrupted."""
    auroc: float | None
    """AUROC on synthetic defects. None if no damage was visible on the parts."""
    auroc_interval: Interval | None
    invalid: int
    """Number of the pictures with synthetic defects, and of their good parts, that the file found INVALID."""
    real_auroc: float | None
    """AUROC on labelled parts. It is only shown: the choice does not depend on it. None if there are no such parts."""
    real_interval: Interval | None


class Failed(Struct, frozen=True, kw_only=True):
    """A candidate without results."""

    name: str
    why: str


class Recommendation(Struct, frozen=True, kw_only=True):
    """The result of `recommend`."""

    data: str
    budget_ms: float
    gain: float
    seed: int
    chosen: str | None
    rival: str | None
    """The best of the other candidates that keep the budget."""
    difference: float | None
    """AUROC of the chosen candidate minus that of the rival, on synthetic defects."""
    difference_interval: Interval | None
    decided: bool
    """True if the interval of the difference excludes 0."""
    sentence: str
    notes: tuple[str, ...]
    rows: tuple[Row, ...]
    """Sorted by time."""
    failed: tuple[Failed, ...]
    good_parts: int
    """Number of good parts, without copies."""
    judged_good: int
    """Number of good parts that judged the candidates."""
    judged_defects: int
    """Number of synthetic defects on them."""
    real_good: int
    real_defects: int
    """Numbers of labelled parts."""
    separate: bool
    """True if the parts that judged the candidates do not calibrate the file."""
    model: str | None
    """Path of the model file."""
    promise: str
    command: str
    """The command that exports this file again, for example with another promise."""
    date: str

    @property
    def complete(self) -> bool:
        """True if a file was recommended and no candidate failed."""
        return self.chosen is not None and not self.failed


def sentence(
    rows: Sequence[Row],
    *,
    chosen: str | None,
    rival: str | None,
    difference: float | None,
    interval: Interval | None,
    budget_ms: float,
) -> str:
    """Return the sentence that states what to ship, and how sure the choice is."""
    by_name = {row.name: row for row in rows}
    if chosen is None:
        return _nothing(rows, budget_ms)
    row = by_name[chosen]
    begin = f"Ship {chosen}: {row.latency_ms:.1f} ms for a frame, AUROC {row.auroc:.3f} on synthetic defects."
    if row.auroc_interval is not None and row.auroc_interval.low <= CHANCE:
        begin += f" This is not clearly better than chance ({CHANCE:g}): a larger --budget-ms may be needed."
    if rival is None or difference is None or interval is None:
        return f"{begin} No other candidate keeps {budget_ms:g} ms, so there is nothing to compare it with."
    other = by_name[rival]
    limits = f"{interval.low:+.3f} to {interval.high:+.3f}"
    times = f"{other.latency_ms:.1f} ms"
    if interval.low <= 0 <= interval.high:
        return (
            f"{begin} Whether it detects more than {rival} ({times}) is not decided: the difference is {difference:+.3f}, "
            f"95 % interval {limits}."
        )
    if difference > 0:
        return f"{begin} It detects more than {rival} ({times}): the difference is {difference:+.3f}, 95 % interval {limits}."
    return (
        f"{begin} {rival} detects more, but takes {times}: the difference is {difference:+.3f}, 95 % interval {limits}, which "
        "is less than the gain that a slower file must bring."
    )


def _nothing(rows: Sequence[Row], budget_ms: float) -> str:
    if not rows:
        return "Nothing to ship: every candidate failed."
    fastest = min(rows, key=lambda row: row.latency_ms)
    if fastest.latency_ms > budget_ms:
        return (
            f"Nothing to ship: no candidate keeps {budget_ms:g} ms. The fastest is {fastest.name} with "
            f"{fastest.latency_ms:.1f} ms. Give a larger --budget-ms, or send smaller frames."
        )
    return (
        "Nothing to ship: the candidates that keep the budget have no AUROC, because no visible damage could be drawn onto "
        "the good parts. Collect labelled defects, and use 'andon compare'."
    )


def markdown(of: Recommendation) -> str:
    """Return the sentence, the table and the notes as text."""
    head = ["", "candidate", "ms [95 %]", f"keeps {of.budget_ms:g} ms", "synthetic AUROC [95 %]"]
    head += ["real AUROC [95 %]"] if of.real_defects else []
    head += ["MB", "training, s"]
    lines = [head, ["---"] * len(head)]
    for row in of.rows:
        cells = ["**>**" if row.name == of.chosen else "", row.name]
        cells += [f"{row.latency_ms:.1f} [{row.low_ms:.1f}, {row.high_ms:.1f}]", "yes" if row.keeps_budget else "no"]
        cells += [_figure(row.auroc, row.auroc_interval)]
        cells += [_figure(row.real_auroc, row.real_interval)] if of.real_defects else []
        cells += [f"{row.file_mb:.1f}", "-" if row.train_s is None else f"{row.train_s:.0f}"]
        lines.append(cells)
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    notes = "".join(f"* {note}\n" for note in (*(f"{one.name}: failed: {one.why}" for one in of.failed), *of.notes))
    return f"{of.sentence}\n\n{table}\n\n{notes}"


def _figure(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if interval is None else f"{value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
