"""What an evaluation found, as a page that a quality engineer can read, mail and file: ``index.html`` and its pictures."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from andon.calibration.evaluation import gallery, page, plots, stretches
from andon.calibration.evaluation.bootstrap import Interval, rate_interval
from andon.calibration.evaluation.evaluate import Evaluation, Judged, KindFigures
from andon.calibration.evaluation.logs import LogEvaluation, LogVerdicts
from andon.calibration.evaluation.page import Page, Section, Table, Tile, Tone
from andon.runtime.detector import Detector
from andon.runtime.progress import Progress, silent
from andon.runtime.schema import FrameSpec, WindowSpec, percent
from andon.sources.items import Collection
from andon.sources.truth import Truth

MOST_FAULTS = 100
"""Rows of the table of faults."""
MOST_RUNS = 60
MOST_KINDS = 60


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


def frames_report(
    folder: Path,
    subject: Subject,
    figures: Evaluation,
    judged: Sequence[Judged],
    sections: Sequence[Section] = (),
) -> Path:
    """Write the report on parts; gives the place of the page. `sections` with pictures of parts come from `parts_sections`.

    Without them, as from a log of verdicts, it shows figures and curves, and says so.

    Raises:
        ConfigError: the folder holds something else than an earlier report, or cannot be written to.
    """
    return page.write(frames_page(subject, figures, judged, sections), folder)


def frames_page(
    subject: Subject, figures: Evaluation, judged: Sequence[Judged], sections: Sequence[Section] = ()
) -> Page:
    """The page on parts, not yet written."""
    parts = plots.scored(judged)
    n_good, n_defect = int((~parts.defective).sum()), int(parts.defective.sum())
    false_rejects = int(parts.rejected[~parts.defective].sum())
    missed = int((~parts.rejected[parts.defective]).sum())
    tone, headline = _verdict(subject.alpha, false_rejects, n_good, figures.within_promise, "part")
    summary = [
        f"{plots.counted(len(judged), 'part')} of {subject.data} judged: {n_good} good, {n_defect} defective"
        + (f", and {figures.invalid} that could not be judged (INVALID, counted apart)." if figures.invalid else "."),
        *_promise_lines(subject, n_good, figures.within_promise, "parts"),
    ]
    if n_defect:
        summary[0] += " " + _found(missed, n_defect, "defect")
    tiles = _tiles(subject, tone, false_rejects, n_good, "parts")
    if n_defect:
        tiles.append(
            Tile(
                value=f"{missed / n_defect:.2%}",
                name="misses",
                note=f"{missed} of {plots.counted(n_defect, 'defect')} passed",
                tone="bad" if missed else "good",
            )
        )
    if parts.both:
        tiles.append(
            Tile(
                value=f"{figures.auroc:.4f}", name="AUROC", note="good from defective over all thresholds; 1 is perfect"
            )
        )
    tiles.append(Tile(value=f"{figures.invalid}", name="INVALID", note="could not be judged; part of no rate"))
    rows = _frame_rows(figures, parts)
    listed = sections or (
        Section(title="Parts", text=("Made from verdicts alone: there were no pictures of parts to show.",)),
    )
    return Page(
        title=subject.name,
        subtitle="andon evaluate: what this file's verdicts are worth on parts whose truth is known",
        tone=tone,
        headline=headline,
        tiles=tuple(tiles),
        summary=tuple(summary),
        sections=(
            _figures_section(rows),
            _curves(
                parts,
                judged,
                areas=(figures.auroc, figures.aupr),
                threshold=figures.threshold,
                alpha=subject.alpha,
                unit="part",
            ),
            *_kinds_section(parts, figures.threshold, figures.by_defect, "part"),
            *listed,
            *_small_print(rows, subject),
        ),
        footer=_FOOTER,
    )


def parts_sections(
    detector: Detector,
    collection: Collection,
    truth: Truth,
    judged: Sequence[Judged],
    *,
    each: int = gallery.EACH,
    progress: Progress = silent,
) -> tuple[Section, ...]:
    """Galleries of the worst false rejects and misses and of each type; these parts are read and judged once more."""
    spec, calibration = detector.card.input, detector.card.calibration
    assert isinstance(spec, FrameSpec)
    chosen = gallery.choose(judged, each)
    shown = gallery.look_at(
        detector, collection, truth, [part for some in chosen for part in some.parts], progress=progress
    )
    scale = calibration.map_scale if calibration and calibration.map_scale else 1.0
    made = gallery.exhibits(chosen, shown, map_scale=scale, crop=spec.crop)
    mapped = any(one.map is not None for one in shown.values())
    return tuple(
        Section(
            title=some.title,
            text=(some.text,),
            pictures=(gallery.colour_bar(scale),) if mapped and number == 0 else (),
            exhibits=tuple(exhibits),
        )
        for number, (some, exhibits) in enumerate(zip(chosen, made, strict=True))
    )


def logs_report(
    folder: Path,
    subject: Subject,
    figures: LogEvaluation,
    verdicts: LogVerdicts,
    detector: Detector,
    *,
    progress: Progress = silent,
) -> Path:
    """Write the report on logs; gives the place of the page.

    Raises:
        ConfigError: the folder holds something else than an earlier report, or cannot be written to.
    """
    return page.write(logs_page(subject, figures, verdicts, detector, progress=progress), folder)


def logs_page(
    subject: Subject,
    figures: LogEvaluation,
    verdicts: LogVerdicts,
    detector: Detector,
    *,
    progress: Progress = silent,
) -> Page:
    """The page on logs, not yet written."""
    spec = detector.card.input
    assert isinstance(spec, WindowSpec)
    judged = stretches.judged_windows(verdicts)
    parts = plots.scored(judged)
    counts = figures.total.counts
    tone, headline = _verdict(subject.alpha, counts.false_rejects, counts.good, figures.within_promise, "window")
    windows = plots.counted(len(judged) + counts.neither, "window")
    first = (
        f"{windows} of {subject.data} judged, in {plots.counted(len(figures.runs), 'run')}: "
        f"{counts.good} good, {counts.defective} with a fault in them"
        + (f", {counts.neither} in recovery (counted as neither)" if counts.neither else "")
    )
    summary = [
        first + (f", {counts.invalid} that could not be judged." if counts.invalid else "."),
        *_promise_lines(subject, counts.good, figures.within_promise, "windows"),
    ]
    if counts.faults:
        rate = "promised" if subject.alpha is not None else "estimated"
        by_chance = f"rejecting windows at random at the {rate} rate would have caught"
        caught = f"{counts.caught} of {plots.counted(counts.faults, 'fault')} were caught by at least one window"
        summary.insert(1, f"{caught}; {by_chance} {counts.dummy_caught:.1f}.")
    happened = stretches.faults(verdicts)
    delays = [row.delay_s for row in happened if row.delay_s is not None]
    tiles = _tiles(subject, tone, counts.false_rejects, counts.good, "windows")
    if counts.faults:
        note = f"faults; at random {counts.dummy_caught:.1f}"
        tiles.append(
            Tile(
                value=f"{counts.caught} of {counts.faults}",
                name="caught",
                note=note,
                tone="good" if counts.caught == counts.faults else "bad",
            )
        )
    if delays:
        tiles.append(
            Tile(value=f"{np.median(delays):.3g} s", name="delay", note=f"median; the longest {max(delays):.3g} s")
        )
    if figures.total.auroc is not None:
        tiles.append(
            Tile(value=f"{figures.total.auroc:.4f}", name="AUROC", note="windows, over all thresholds; 1 is perfect")
        )
    rows = _log_rows(figures, parts)
    drawn = stretches.draw(detector, verdicts, stretches.choose(verdicts, spec), progress=progress)
    examples = stretches.examples(detector, verdicts)
    whole = stretches.overview(verdicts, spec, detector.threshold)
    sections = [
        _figures_section(rows),
        *_fault_sections(happened),
        Section(
            title="Stretches of the log",
            text=("True faults are shaded orange, recovery grey. A score stands at the end of its window.",),
            exhibits=tuple(drawn),
        ),
    ]
    if examples is not None:
        sections.append(Section(title="Windows beside each other", pictures=(examples,)))
    if whole:
        sections.append(Section(title="Whole runs", pictures=tuple(whole)))
    total = figures.total
    sections.append(
        _curves(
            parts,
            judged,
            areas=(total.auroc, total.aupr),
            threshold=figures.threshold,
            alpha=subject.alpha,
            unit="window",
        )
    )
    sections += _kinds_section(parts, figures.threshold, {}, "window")
    if len(figures.runs) > 1:
        sections.append(_runs_section(figures))
    sections += _small_print(rows, subject)
    return Page(
        title=subject.name,
        subtitle="andon evaluate: what this file's verdicts are worth on logs whose faults are known",
        tone=tone,
        headline=headline,
        tiles=tuple(tiles),
        summary=tuple(summary),
        sections=tuple(sections),
        footer=_FOOTER,
    )


_FOOTER = (
    "Made by andon evaluate --report. Threshold and settings come from the model file; none was chosen on these data. "
    "The same file and data give the same page."
)


def _verdict(alpha: float | None, false_rejects: int, n_good: int, within: bool | None, unit: str) -> tuple[Tone, str]:
    rate = f"{false_rejects} of {plots.counted(n_good, f'good {unit}')} rejected"
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


def _promise_lines(subject: Subject, n_good: int, within: bool | None, units: str) -> list[str]:
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


def _found(missed: int, n: int, what: str) -> str:
    if not missed:
        return f"All {n} {what}s were found." if n > 1 else f"The one {what} was found."
    return f"{missed} of {plots.counted(n, what)} passed ({missed / n:.1%}); no promise is about {what}s."


def _tiles(subject: Subject, tone: Tone, false_rejects: int, n_good: int, units: str) -> list[Tile]:
    if not n_good:
        return []
    promised = f"; promised: at most {percent(subject.alpha)}" if subject.alpha is not None else ""
    note = f"{false_rejects} of {n_good} good {units}{promised}"
    return [Tile(value=f"{false_rejects / n_good:.2%}", name="false rejects", note=note, tone=tone)]


Row = tuple[str, str, str, str]
"""A figure: name, value, interval, what it means."""


def _figures_section(rows: Sequence[Row]) -> Section:
    table = Table(head=("figure", "value", "95 % interval", "in words"), rows=tuple(rows), words=(0, 3), stacked=True)
    return Section(title="Figures", tables=(table,))


def _small_print(rows: Sequence[Row], subject: Subject) -> list[Section]:
    about = (("name", subject.name), ("evaluated on", subject.data), *subject.rows)
    return [
        Section(title="The file", tables=(Table(head=("", ""), rows=about, words=(0, 1)),)),
        Section(
            title="The figures as a picture", folded=True, pictures=(plots.figures_table([row[:3] for row in rows]),)
        ),
    ]


def _frame_rows(figures: Evaluation, parts: plots.Scored) -> list[Row]:
    good, defects = parts.rejected[~parts.defective], parts.rejected[parts.defective]
    drawn = figures.intervals
    rows: list[Row] = []
    if len(good):
        count, n = int(good.sum()), len(good)
        ends = _between(drawn.false_reject_rate if drawn else rate_interval(count, n), ".2%")
        rows.append(("false rejects", f"{count / n:.2%}", ends, f"{count} of {n} good parts rejected"))
    if len(defects):
        count, n = int((~defects).sum()), len(defects)
        ends = _between(drawn.miss_rate if drawn else rate_interval(count, n), ".2%")
        rows.append(("misses", f"{count / n:.2%}", ends, f"{count} of {n} defects passed"))
    if parts.both:
        ranked = "how well scores part good from defective; .5 is chance, 1 perfect"
        chance = f"average precision; chance gives {figures.prevalence:.3f}"
        rows += [
            ("AUROC", f"{figures.auroc:.4f}", _between(drawn.auroc if drawn else None, ".4f"), ranked),
            ("AUPR", f"{figures.aupr:.4f}", _between(drawn.aupr if drawn else None, ".4f"), chance),
        ]
        for value, share, drawn_ends in (
            (figures.tpr_at_1_percent_fpr, "1 %", drawn.tpr_at_1_percent_fpr if drawn else None),
            (figures.tpr_at_5_percent_fpr, "5 %", drawn.tpr_at_5_percent_fpr if drawn else None),
        ):
            words = "with a threshold chosen on these very good parts"
            rows.append((f"found at {share} false rejects", f"{value:.2%}", _between(drawn_ends, ".2%"), words))
        words = "good parts that would be rejected with a threshold chosen on these very defects"
        price = _between(drawn.fpr_at_recall if drawn else None, ".2%")
        rows.append((f"price of finding {percent(figures.recall)}", f"{figures.fpr_at_recall:.2%}", price, words))
        words = "over all thresholds: nobody can know it beforehand"
        best = _between(drawn.oracle_f1_max if drawn else None, ".4f")
        rows.append(("best F1", f"{figures.oracle_f1_max:.4f}", best, words))
    if figures.pixel_auroc is not None:
        words = "how well the heat map finds the pixels of the masks"
        rows.append(
            ("pixel AUROC", f"{figures.pixel_auroc:.4f}", _between(drawn.pixel_auroc if drawn else None, ".4f"), words)
        )
    if figures.aupro is not None:
        step = "" if figures.mask_step in (None, 1) else f"; every {figures.mask_step}. pixel"
        words = f"the same, each defect weighing the same, up to 30 % false pixels{step}"
        rows.append(("AUPRO (.3)", f"{figures.aupro:.4f}", _between(drawn.aupro if drawn else None, ".4f"), words))
    if figures.unknown:
        rows.append(("of unknown truth", f"{figures.unknown}", "", "left out of everything here"))
    if figures.unjudged:
        rows.append(("never judged", f"{figures.unjudged}", "", "of known truth, without a verdict"))
    rows.append(("INVALID", f"{figures.invalid}", "", "not judged: unreadable, no contrast; part of no rate above"))
    return rows


def _log_rows(figures: LogEvaluation, parts: plots.Scored) -> list[Row]:
    """Windows of one log depend on each other, so that rates have intervals only where whole files were drawn anew."""
    counts, total, drawn = figures.total.counts, figures.total, figures.intervals
    rows: list[Row] = []
    if counts.good:
        words = f"{counts.false_rejects} of {counts.good} good windows rejected"
        rate = counts.false_rejects / counts.good
        rows.append(
            ("false rejects", f"{rate:.2%}", _between(drawn.false_reject_rate if drawn else None, ".2%"), words)
        )
    if total.false_events_a_day is not None:
        words = f"{total.false_events} in {total.good_s / 3600:.3g} h of good operation; alarms close together are one"
        rows.append(
            (
                "false events a day",
                f"{total.false_events_a_day:.3g}",
                _between(drawn.false_events_a_day if drawn else None, ".3g"),
                words,
            )
        )
    if counts.faults:
        words = f"{counts.caught} of {counts.faults}; at random {counts.dummy_caught:.1f}"
        ends = _between(drawn.event_recall if drawn else rate_interval(counts.caught, counts.faults), ".2%")
        rows.append(("faults caught", f"{counts.caught / counts.faults:.1%}", ends, words))
    if counts.defective:
        words = f"{counts.misses} of {counts.defective} windows that touch a fault passed"
        rate = counts.misses / counts.defective
        rows.append(("windows missed", f"{rate:.2%}", _between(drawn.miss_rate if drawn else None, ".2%"), words))
    if total.auroc is not None and total.aupr is not None:
        chance = f"average precision; chance gives {float(parts.defective.mean()):.3f}"
        rows += [
            ("AUROC", f"{total.auroc:.4f}", "", "over all windows; .5 is chance, 1 perfect"),
            ("AUPR", f"{total.aupr:.4f}", "", chance),
        ]
    if figures.mean_auroc is not None and len(figures.runs) > 1:
        ends = _between(drawn.mean_auroc if drawn else None, ".4f")
        rows.append(("AUROC, mean of runs", f"{figures.mean_auroc:.4f}", ends, "each run by itself"))
    if figures.mean_vus_pr is not None:
        words = (
            f"precision and recall of rows, edges of faults softened by up to {figures.vus_buffer} rows; mean of runs"
        )
        rows.append(
            ("VUS-PR", f"{figures.mean_vus_pr:.4f}", _between(drawn.mean_vus_pr if drawn else None, ".4f"), words)
        )
    rows.append(("INVALID", f"{counts.invalid}", "", "windows with holes; part of no rate above"))
    return rows


def _between(ends: Interval | None, form: str) -> str:
    """An interval in words. A single point only says that every draw looked alike: better nothing than that."""
    return "" if ends is None or not ends.low < ends.high else f"{ends.low:{form}} to {ends.high:{form}}"


def _curves(
    parts: plots.Scored,
    judged: Sequence[Judged],
    *,
    areas: tuple[float | None, float | None],
    threshold: float,
    alpha: float | None,
    unit: str,
) -> Section:
    pictures = []
    text: tuple[str, ...] = ()
    auroc, aupr = areas
    if parts.both and auroc is not None and aupr is not None:
        pictures += [plots.roc(parts, auroc, alpha), plots.precision_recall(parts, aupr)]
    else:
        only = "good" if not parts.defective.any() else "defective"
        text = (f"There are {only} {unit}s only: curves over both classes cannot be drawn.",)
    pictures.append(plots.confusion(judged, unit))
    if len(parts.scores):
        pictures.append(plots.histogram(parts, threshold, unit))
    return Section(title="Scores and verdicts", text=text, pictures=tuple(pictures))


def _kinds_section(parts: plots.Scored, threshold: float, known: Mapping[str, KindFigures], unit: str) -> list[Section]:
    if not len(parts.scores):
        return []
    spreads = plots.spreads(parts)
    text = tuple(
        f"Good {unit}s score {one.mean:.4g} on average (standard deviation {one.sd:.3g})."
        for one in spreads
        if not one.defective and math.isfinite(one.sd)
    )
    if known:
        text += ("The AUROC of a type is against all good parts.",)
    pictures = [plots.mean_bars(parts, threshold)]
    recalls = plots.recalls(parts)
    if not recalls:
        return [Section(title="By class", text=text, pictures=tuple(pictures))]
    by_kind = {one.kind: one for one in spreads if one.defective}
    rows = []
    for recall in recalls[:MOST_KINDS]:
        one = by_kind.get(recall.kind) or by_kind[plots.ALL_DEFECTS]
        area = (f"{known[recall.kind].auroc:.4f}" if recall.kind in known else "–",) if known else ()
        sd = f"{one.sd:.3g}" if math.isfinite(one.sd) else "–"
        share = f"{recall.found / recall.n:.1%}"
        ends = _between(recall.interval, ".1%")
        rows.append((recall.kind, str(recall.n), share, ends, *area, f"{one.mean:.4g}", sd))
    if len(rows) < len(recalls):
        text += (f"{len(rows)} of {len(recalls)} types are listed.",)
    head = ("type", "n", "found", "95 % interval", *(("AUROC",) if known else ()), "mean score", "sd")
    pictures.insert(0, plots.recall_bars(parts, unit))
    return [
        Section(
            title=f"By type of {'defect' if unit == 'part' else 'fault'}",
            text=text,
            tables=(Table(head=head, rows=tuple(rows)),),
            pictures=tuple(pictures),
        )
    ]


def _fault_sections(rows: Sequence[stretches.FaultRow]) -> list[Section]:
    if not rows:
        return []
    # misses are what one looks for; both halves stay in the order of time
    shown = [row for row in rows if row.delay_s is None][:MOST_FAULTS]
    shown += [row for row in rows if row.delay_s is not None][: MOST_FAULTS - len(shown)]
    if len(shown) == len(rows):
        shown = list(rows)
    delays = np.array([row.delay_s for row in rows if row.delay_s is not None])
    text = []
    if len(delays):
        text.append(
            "Delay: from the first faulty row to the end of the first rejected window that touches the fault; "
            f"median {np.median(delays):.3g} s, longest {delays.max():.3g} s."
        )
    if any(row.origin_s for row in rows):
        text.append("Times are counted from the begin of each run.")
    if len(shown) < len(rows):
        text.append(f"{len(shown)} of {len(rows)} faults are listed, missed ones first.")
    table = Table(
        head=("run", "fault", "begins [s]", "lasts [s]", "caught", "delay [s]", "highest score"),
        rows=tuple(
            (
                row.run,
                row.kind,
                f"{row.onset_s - row.origin_s:.6g}",
                f"{row.end_s - row.onset_s:.4g}",
                "MISSED" if row.delay_s is None else "caught",
                "–" if row.delay_s is None else f"{row.delay_s:.3g}",
                f"{row.highest:.4g}" if math.isfinite(row.highest) else "–",
            )
            for row in shown
        ),
        words=(0, 1, 4),
    )
    return [Section(title="Faults", text=tuple(text), tables=(table,))]


def _runs_section(figures: LogEvaluation) -> Section:
    runs = figures.runs[:MOST_RUNS]
    text = (f"{len(runs)} of {len(figures.runs)} runs are listed.",) if len(runs) < len(figures.runs) else ()
    rows = tuple(
        (
            run.name,
            str(run.counts.good),
            str(run.counts.false_rejects),
            str(run.counts.defective),
            f"{run.counts.caught} of {run.counts.faults}",
            f"{run.auroc:.4f}" if run.auroc is not None else "–",
        )
        for run in runs
    )
    head = ("run", "good windows", "false rejects", "faulty windows", "faults caught", "AUROC")
    return Section(title="By run", text=text, tables=(Table(head=head, rows=rows),))
