"""Make the table of a comparison from the results in its folder: rows by set and detector, and means over the sets."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Literal

import msgspec
from msgspec import Struct

from andon.foundation.errors import DataError
from andon.sources.pictures.folder import natural
from andon.training.comparison.results import CellStatus, Result

Kind = Literal["frame", "window"]
FEW = 3
"""Largest number of seeds for which the table shows the range. A standard deviation of so few values is not reliable."""


class Spread(Struct, frozen=True, kw_only=True):
    """The values of one result over seeds."""

    mean: float
    low: float
    high: float
    sd: float | None
    """Sample standard deviation (denominator n - 1); None for one value."""
    n: int


class Row(Struct, frozen=True, kw_only=True):
    """One detector on one set, or its mean over sets."""

    kind: Kind
    set: str
    """Empty for the mean over sets."""
    detector: str
    n: int
    """Number of seeds that are done. For a mean over sets: seeds that are done on each set."""
    sets: int
    """1, or the number of sets in the mean."""
    figures: dict[str, Spread]
    """Results by name.

    In a mean over sets, `mean` weighs each set equally. The other numbers are over the seeds that are done on each set.
    """


class SetMasks(Struct, frozen=True, kw_only=True):
    """The masks of a set."""

    set: str
    ignore: str | None
    """Digest of the ignore mask; None without one."""
    region: str | None
    """Digest of the region; None without one."""
    judged_share: float | None
    """Share of the frame's pixels that count; None as long as no cell of the set is done."""


class Unfinished(Struct, frozen=True, kw_only=True):
    """A cell whose last attempt failed."""

    folder: str
    message: str


class Table(Struct, frozen=True, kw_only=True):
    """The whole table: ``table.json``."""

    cells: int
    done: int
    busy: int
    rows: tuple[Row, ...]
    means: tuple[Row, ...]
    """Means over sets, for detectors with results on at least two sets."""
    failed: tuple[Unfinished, ...]
    masks: tuple[SetMasks, ...] = ()
    """Masks of the sets that have some."""


class Column(Struct, frozen=True, kw_only=True):
    """A column of the printed table."""

    figure: str
    heading: str
    form: Literal["area", "share", "percent", "number"] = "area"
    spread: bool = True


COLUMNS: dict[Kind, tuple[Column, ...]] = {
    "frame": (
        Column(figure="auroc", heading="AUROC"),
        Column(figure="aupr", heading="AUPR"),
        Column(figure="pixel_auroc", heading="pixel AUROC"),
        Column(figure="aupro", heading="AUPRO(.3)"),
        Column(figure="synthetic_auroc", heading="AUROC, synthetic defects"),
        Column(figure="tpr_at_5_percent_fpr", heading="TPR at 5% FPR"),
    ),
    "window": (
        Column(figure="mean_auroc", heading="AUROC, mean of files"),
        Column(figure="auroc", heading="AUROC, all files"),
        Column(figure="aupr", heading="AUPR"),
        Column(figure="mean_vus_pr", heading="VUS-PR, mean of files"),
        Column(figure="faults_caught", heading="faults caught", form="percent"),
        Column(figure="caught_by_chance", heading="by chance", form="percent", spread=False),
        Column(figure="false_events_a_day", heading="false events a day", form="number"),
        Column(figure="median_delay_s", heading="median delay s", form="number"),
    ),
}
"""Columns by kind of detector. The first column sets the order of detectors within a set."""
DECISION = (
    Column(figure="false_reject_rate", heading="false rejects", form="percent"),
    Column(figure="promised", heading="promised", form="percent", spread=False),
    Column(figure="within_promise", heading="promise kept", form="share", spread=False),
    Column(figure="miss_rate", heading="missed", form="percent"),
)
COSTS = (
    Column(figure="latency_ms", heading="ms", form="number", spread=False),
    Column(figure="file_mb", heading="MB", form="number", spread=False),
    Column(figure="train_s", heading="train s", form="number", spread=False),
    Column(figure="train_cpu_s", heading="CPU s", form="number", spread=False),
)
NOT_SHOWN = frozenset(
    {"n_good", "n_defect", "prevalence", "invalid", "threshold", "mask_step", "oracle_f1_max", "tpr_at_1_percent_fpr"}
    | {"fpr_at_recall", "recall", "unknown", "unjudged", "gemm_ms", "export_s", "evaluate_s", "n_train"}
    | {"good_windows", "defective_windows", "faults", "files", "event_recall", "false_events", "good_s", "vus_buffer"}
    | {"refractory_s", "f1", "f1_always", "false_alarm_rate", "missed_alarm_rate"}
    | {"window_mean_auroc", "window_mean_vus_pr"}
    | {"unmasked", "ignored_defects", "frames"}
)
"""Results that are only in ``table.json``, as are names that end in _low or _high.

Other unlisted results get their own column.
"""


def table_of(cells: Sequence[CellStatus], *, where: str = "") -> Table:
    """Make the table from the status of all cells.

    Raises:
        DataError: there are no cells.
    """
    if not cells:
        raise DataError(f"{where}: expected the folder of a comparison with folders SET/DETECTOR/seed-N, found none.")
    done = [cell.result for cell in cells if cell.result is not None]
    by_row = sorted(done, key=_place)
    rows = [_row(list(of_row)) for _, of_row in groupby(by_row, key=_place)]
    by_detector = sorted(done, key=_detector)
    means = [_mean(list(of_one)) for _, of_one in groupby(by_detector, key=_detector)]
    return Table(
        cells=len(cells),
        done=len(done),
        busy=sum(cell.busy for cell in cells),
        rows=tuple(_ordered(rows)),
        means=tuple(_ordered([row for row in means if row.sets > 1])),
        failed=tuple(
            Unfinished(folder=cell.folder, message=cell.failure.message)
            for cell in cells
            if cell.failure is not None and not cell.busy
        ),
        masks=_masks(cells),
    )


def as_json(table: Table) -> bytes:
    """Return the content of ``table.json``."""
    return msgspec.json.format(msgspec.json.encode(table), indent=1) + b"\n"


def markdown(table: Table) -> str:
    """Return the table as Markdown: ``table.md``."""
    waiting = table.cells - table.done - table.busy - len(table.failed)
    counts = [f"{table.done} of {table.cells} cells done"]
    counts += [f"{len(table.failed)} failed"] if table.failed else []
    counts += [f"{table.busy} in progress"] if table.busy else []
    counts += [f"{waiting} not started or interrupted"] if waiting else []
    blocks = [", ".join(counts) + "."]
    for kind in ("frame", "window"):
        rows = [row for row in table.rows if row.kind == kind]
        means = [row for row in table.means if row.kind == kind]
        if rows:
            blocks.append(_lines(rows, kind, "set", [row.set for row in rows]))
        if means:
            of = len({row.set for row in rows})
            blocks.append("Means over sets, each with equal weight. Compare only means over all sets.")
            blocks.append(_lines(means, kind, "sets", [f"{row.sets} of {of}" for row in means]))
    blocks += _masked(table.masks, table.rows)
    blocks += _prevalences(table.rows)
    blocks += _against_baseline(table.rows)
    if any(row.n > 1 for row in table.rows):
        blocks.append(f"Means over seeds, with the range for 2 or {FEW} seeds and the standard deviation for more.")
    blocks += ["\n".join(f"- {cell.folder}: {cell.message}" for cell in table.failed)] if table.failed else []
    return "\n\n".join(blocks) + "\n"


def spread(values: Sequence[float]) -> Spread:
    """Return mean, range and standard deviation of at least one value.

    >>> spread([0.9, 1.0]).mean, spread([0.9]).sd
    (0.95, None)
    """
    return Spread(
        mean=statistics.fmean(values),
        low=min(values),
        high=max(values),
        sd=statistics.stdev(values) if len(values) > 1 else None,
        n=len(values),
    )


def _place(result: Result) -> tuple[str, str, str]:
    return result.kind, result.cell.set, result.cell.name


def _detector(result: Result) -> tuple[str, str]:
    return result.kind, result.cell.name


def _row(results: Sequence[Result]) -> Row:
    first = results[0]
    by_seed = [_figures_of(result) for result in results]
    names = dict.fromkeys(name for figures in by_seed for name in figures)
    return Row(
        kind=first.kind,
        set=first.cell.set,
        detector=first.cell.name,
        n=len(results),
        sets=1,
        figures={name: spread([figures[name] for figures in by_seed if name in figures]) for name in names},
    )


def _mean(results: Sequence[Result]) -> Row:
    """Return a row of means over sets, each with equal weight.

    The spread is the spread of the mean over sets from seed to seed. Only seeds that are done on each set count for it.
    """
    sets: dict[str, list[Result]] = {}
    for result in results:
        sets.setdefault(result.cell.set, []).append(result)
    rows = [_row(of_set) for of_set in sets.values()]
    values = {(result.cell.set, result.cell.seed): _figures_of(result) for result in results}
    seeds = [
        seed
        for seed in sorted({result.cell.seed for result in results})
        if all((name, seed) in values for name in sets)
    ]
    figures = {}
    # a figure that is missing in one set gets no mean: readers would compare it with means over all sets
    for name in [name for name in rows[0].figures if all(name in row.figures for row in rows)]:
        over_sets = [
            statistics.fmean(values[one, seed][name] for one in sets)
            for seed in seeds
            if all(name in values[one, seed] for one in sets)
        ]
        mean = statistics.fmean(row.figures[name].mean for row in rows)
        figures[name] = msgspec.structs.replace(spread(over_sets or [mean]), mean=mean, n=len(over_sets))
    first = results[0]
    return Row(kind=first.kind, set="", detector=first.cell.name, n=len(seeds), sets=len(sets), figures=figures)


def _figures_of(result: Result) -> dict[str, float]:
    costs = {
        "latency_ms": result.latency_ms,
        "gemm_ms": result.gemm_ms,
        "file_mb": result.file_mb,
        "train_s": result.training.wall_s,
        "train_cpu_s": result.training.cpu_s,
        "export_s": result.export_s,
        "evaluate_s": result.evaluate_s,
        "n_train": float(result.n_train),
    }
    return {**result.figures, **{name: value for name, value in costs.items() if value is not None}}


def _ordered(rows: Iterable[Row]) -> list[Row]:
    """Return the rows in order: frames first, then sets in natural order, then the best detector first."""
    listed = list(rows)
    places = {name: place for place, name in enumerate(natural({row.set for row in listed}))}

    def rank(row: Row) -> tuple[str, int, float, str]:
        best = row.figures.get(COLUMNS[row.kind][0].figure)
        return row.kind, places[row.set], -(best.mean if best else -1.0), row.detector

    return sorted(listed, key=rank)


def _masks(cells: Sequence[CellStatus]) -> tuple[SetMasks, ...]:
    """Return the masks of the sets that have some, in natural order of the sets."""
    found: dict[tuple[str, str | None, str | None], float | None] = {}
    for cell in cells:
        digests = cell.key.masks
        if digests:
            place = (cell.key.set, digests.get("ignore"), digests.get("region"))
            found[place] = found.get(place) or (cell.result.judged_share if cell.result else None)
    return tuple(
        SetMasks(set=of_set, ignore=ignore, region=region, judged_share=share)
        for name in natural({place[0] for place in found})
        for (of_set, ignore, region), share in found.items()
        if of_set == name
    )


def _masked(masks: Sequence[SetMasks], rows: Sequence[Row]) -> list[str]:
    """Return a note that names the sets with masks, the share of the pixels that count, and defects that are ignored."""
    notes = []
    for one in masks:
        digests = [
            f"{name} sha256 {digest[:12]}"
            for name, digest in (("ignore", one.ignore), ("region", one.region))
            if digest
        ]
        share = "" if one.judged_share is None else f" {100 * one.judged_share:.1f} % of the pixels count"
        notes.append(f"{_escaped(one.set)}{share} ({', '.join(digests)})")
    if not notes:
        return []
    lost = _ignored_defects(masks, rows)
    said = f" Defective parts whose defects lie only in ignored pixels: {', '.join(lost)}." if lost else ""
    return [f"Sets with masks: {', '.join(notes)}.{said}"]


def _ignored_defects(masks: Sequence[SetMasks], rows: Sequence[Row]) -> list[str]:
    """Return the number of such defects for each set that has some. Detectors differ in it only by INVALID parts."""
    notes = []
    for name in dict.fromkeys(one.set for one in masks):
        counts = [
            row.figures["ignored_defects"].high for row in rows if row.set == name and "ignored_defects" in row.figures
        ]
        most = max(counts, default=0.0)
        if most:
            notes.append(f"{_escaped(name)} {most:.0f}")
    return notes


def _prevalences(rows: Sequence[Row]) -> list[str]:
    """Return a note with the share of defects by set. This share is the AUPR of random scores, and it differs between sets."""
    notes = []
    for name in natural({row.set for row in rows}):
        shares = [
            share for row in rows if row.set == name and "aupr" in row.figures for share in _defective(row.figures)
        ]
        if shares:
            # detectors may cut a log into different windows, and INVALID parts do not count
            low, high = _percent(min(shares)), _percent(max(shares))
            notes.append(f"{name} {low if low == high else f'{low} to {high}'} %")
    return [f"AUPR of chance is the share of defects: {', '.join(notes)}."] if notes else []


def _against_baseline(rows: Sequence[Row]) -> list[str]:
    """Return a note for each set of windows: which detectors do not beat the baseline that is evaluated on the same windows."""
    notes = []
    for name in natural({row.set for row in rows if row.kind == "window"}):
        known = [
            (row.detector, pair)
            for row in rows
            if row.set == name
            and row.kind == "window"
            and (pair := _pair(row.figures)) is not None
            and row.detector.split()[0] != "window_mean"
        ]
        beaten = [
            f"`{_escaped(detector)}` ({own:.3f} against {base:.3f})" for detector, (own, base) in known if own <= base
        ]
        if beaten:
            notes.append(f"- {name}: {', '.join(beaten)}")
    if not notes:
        return []
    head = (
        "These detectors do not beat the baseline, the mean of the worst channel (`window_mean`), by VUS-PR, or by AUROC "
        "without VUS-PR. Try another detector or window length:"
    )
    return ["\n".join([head, "", *notes])]


def _pair(figures: Mapping[str, Spread]) -> tuple[float, float] | None:
    """Return a figure of the detector and of the baseline on the same windows; None if nothing was compared."""
    for own, baseline in (("mean_vus_pr", "window_mean_vus_pr"), ("mean_auroc", "window_mean_auroc")):
        if own in figures and baseline in figures:
            return figures[own].mean, figures[baseline].mean
    return None


def _defective(figures: Mapping[str, Spread]) -> list[float]:
    """Return the share of defects: its range over seeds for parts, one number for windows; empty if unknown."""
    if "prevalence" in figures:
        return [figures["prevalence"].low, figures["prevalence"].high]
    good, defective = (figures[name].mean if name in figures else 0.0 for name in ("good_windows", "defective_windows"))
    return [defective / (good + defective)] if good + defective else []


def _percent(value: float) -> str:
    return f"{100 * value:.0f}" if value >= 0.01 else f"{100 * value:.2g}"


def _lines(rows: Sequence[Row], kind: Kind, what: str, names: Sequence[str]) -> str:
    present = dict.fromkeys(name for row in rows for name in row.figures)
    known = [*COLUMNS[kind], *DECISION, *COSTS]
    listed = {column.figure for column in known} | NOT_SHOWN
    others = [name for name in present if name not in listed and not name.endswith(("_low", "_high"))]
    columns = [
        *(column for column in COLUMNS[kind] if column.figure in present),
        *(Column(figure=name, heading=name.replace("_", " "), form="number") for name in others),
        *(column for column in (*DECISION, *COSTS) if column.figure in present),
    ]
    cells = [[what, "detector", "seeds", *(column.heading for column in columns)]]
    cells.append(["---", "---", *["---:"] * (len(columns) + 1)])
    for name, row in zip(names, rows, strict=True):
        figures = [_printed(row.figures.get(column.figure), column, counted=row.sets == 1) for column in columns]
        cells.append([_escaped(name), f"`{_escaped(row.detector)}`", str(row.n), *figures])
    widths = [max(len(line[at]) for line in cells) for at in range(len(cells[0]))]
    return "\n".join(_line(line, widths) for line in cells)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    if cells[0] == "---":
        filled = [
            ("-" * (width - 1) + ":") if cell.endswith(":") else "-" * width
            for cell, width in zip(cells, widths, strict=True)
        ]
    else:
        filled = [
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
    return "| " + " | ".join(filled) + " |"


def _printed(value: Spread | None, column: Column, *, counted: bool) -> str:
    if value is None:
        return "-"
    if column.form == "share":
        return f"{round(value.mean * value.n)} of {value.n}" if counted else f"{value.mean:.0%}"
    text = _number(value.mean, column.form)
    if not column.spread or value.sd is None or value.n < 2:
        return text
    if value.n > FEW:
        return f"{text} (sd {_number(value.sd, column.form)})"
    low, high = _number(value.low, column.form), _number(value.high, column.form)
    return text if low == high == text else f"{text} ({low} to {high})"


def _number(value: float, form: str) -> str:
    if form == "area":
        return f"{value:.3f}"
    if form == "percent":
        return f"{100 * value:.1f}%"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
