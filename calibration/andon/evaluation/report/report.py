"""Write the report of an evaluation, a page for quality engineers: ``index.html`` and its pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from andon.evaluation.baseline import baseline_sentence
from andon.evaluation.figures.other_scores import Areas, areas, by_score
from andon.evaluation.figures.part_figures import Evaluation
from andon.evaluation.figures.score_arrays import ScoreArrays, score_arrays
from andon.evaluation.judged_parts import JudgedPart
from andon.evaluation.logs import LogEvaluation, LogVerdicts
from andon.evaluation.report import gallery, report_folder, stretches
from andon.evaluation.report.fault_tables import fault_sections, kinds_of_faults, runs_section
from andon.evaluation.report.figure_table import FigureRow, figures_section, frame_rows, log_rows
from andon.evaluation.report.first_channels import first_channels
from andon.evaluation.report.headline import (
    ModelFacts,
    found,
    found_tone,
    model_facts,
    promise_lines,
    tiles_of,
    verdict_on,
)
from andon.evaluation.report.page import Page, ReportTable, Section, Tile, Tone, counted
from andon.evaluation.report.per_class import curves, kinds_section
from andon.evaluation.report.plots import latent_plane, log_stretches, score_curves, window_examples
from andon.evaluation.report.plots.verdicts import figures_table
from andon.foundation.progress import Progress, silent
from andon.runtime.detector import Detector
from andon.runtime.heat_map import limit_is_threshold, map_limit
from andon.runtime.schema import FrameSpec, Status, WindowSpec
from andon.sources.collection import Collection
from andon.sources.truth import Truth

__all__ = ["ModelFacts", "frames_page", "frames_report", "logs_page", "logs_report", "model_facts", "parts_sections"]


def frames_report(
    folder: Path,
    model: ModelFacts,
    figures: Evaluation,
    judged: Sequence[JudgedPart],
    sections: Sequence[Section] = (),
) -> Path:
    """Write the report on parts and return the path of the page.

    `sections` with pictures of parts come from `parts_sections`. Without them, for example for a log of verdicts, the page shows
    results and curves only, and a note that explains it.

    Raises:
        ConfigError: the folder holds anything except an earlier report, or cannot be written to.
    """
    return report_folder.write(frames_page(model, figures, judged, sections), folder)


def frames_page(
    model: ModelFacts, figures: Evaluation, judged: Sequence[JudgedPart], sections: Sequence[Section] = ()
) -> Page:
    """Return the page on parts."""
    parts = score_arrays(judged)
    tone, headline, summary, tiles = _parts_in_short(model, figures, len(judged), parts)
    rows = frame_rows(figures, parts)
    listed = sections or (_from_verdicts_alone(figures.unit),)
    return Page(
        title=model.name,
        subtitle=f"andon evaluate: verdicts of this model file on {figures.unit}s with a known truth",
        tone=tone,
        headline=headline,
        tiles=tuple(tiles),
        summary=tuple(summary),
        sections=(
            figures_section(rows),
            curves(
                parts, judged, areas=(figures.auroc, figures.aupr), threshold=figures.threshold, alpha=model.alpha,
                unit=figures.unit,
            ),
            *_other_outputs(judged, figures.by_score, figures.unit),
            *kinds_section(parts, figures.threshold, figures.by_defect, figures.unit),
            *listed,
            *_small_print(rows, model),
        ),
        footer=_FOOTER,
    )  # fmt: skip


def _parts_in_short(
    model: ModelFacts, figures: Evaluation, count: int, parts: ScoreArrays
) -> tuple[Tone, str, list[str], list[Tile]]:
    n_good, n_defect = int((~parts.defective).sum()), int(parts.defective.sum())
    false_rejects = int(parts.rejected[~parts.defective].sum())
    missed = int((~parts.rejected[parts.defective]).sum())
    tone, headline = verdict_on(
        model.alpha, false_rejects, n_good, figures.within_promise, figures.unit,
        caught=n_defect - missed, n_defect=n_defect,
    )  # fmt: skip
    frames = f", each by its worst frame ({figures.frames} frames)" if figures.frames else ""
    summary = [
        f"{counted(count, figures.unit)} judged{frames} (data: {model.data}): {n_good} good, {n_defect} defective"
        + (
            f", and {figures.invalid} that could not be judged (INVALID, counted separately)."
            if figures.invalid
            else "."
        ),
        *promise_lines(model, false_rejects, n_good, figures.within_promise, f"{figures.unit}s"),
    ]
    tiles = tiles_of(model, tone, false_rejects, n_good, f"{figures.unit}s")
    if n_defect:
        what = "defect" if figures.unit == "part" else "defective window"
        summary[0] += " " + found(missed, n_defect, what)
        if figures.miss_bound is not None:
            sentence = figures.miss_bound.sentence
            summary.append(
                f"{sentence[0].upper()}{sentence[1:]}. This holds if they chose neither threshold nor settings."
            )
        passed = f"{missed} of {counted(n_defect, what)} passed"
        tiles.append(Tile(value=f"{missed / n_defect:.2%}", name="misses", note=passed, tone=found_tone(tone, missed)))
    if parts.both:
        note = "separates good from defective; 1 is perfect, .5 is chance"
        tiles.append(Tile(value=f"{figures.auroc:.4f}", name="AUROC", note=note))
    tiles.append(Tile(value=f"{figures.invalid}", name="INVALID", note="could not be judged; left out of all rates"))
    return tone, headline, summary, tiles


def _from_verdicts_alone(unit: str) -> Section:
    if unit == "part":
        return Section(
            title="Parts", text=("This report was made from a log of verdicts, so it has no pictures of parts.",)
        )
    note = (
        "This report was made from a log of verdicts. Faults caught, delays and false events need the sensor log: "
        "andon evaluate FILE.onnx --data LOG --report DIR"
    )
    return Section(title="Events", text=(note,))


def _other_outputs(judged: Sequence[JudgedPart], known: Mapping[str, Areas], unit: str) -> list[Section]:
    """Return the sections on other scores and on the latent plane, if the file gives them."""
    valid = [part for part in judged if part.status != Status.INVALID and np.isfinite(part.score)]
    scores = by_score(
        next(iter(known), "score"), np.array([part.score for part in valid]), [part.other_scores for part in valid]
    )
    defective = np.array([part.defective for part in valid], np.bool_)
    return [*score_curves.section(scores, defective, areas(scores, defective)), *latent_plane.section(judged, unit)]


def parts_sections(
    detector: Detector,
    collection: Collection,
    truth: Truth,
    judged: Sequence[JudgedPart],
    *,
    each: int = gallery.EACH,
    progress: Progress = silent,
) -> tuple[Section, ...]:
    """Return galleries of the worst false rejects, the worst misses and each type. Their parts are read and judged again."""
    spec = detector.card.input
    assert isinstance(spec, FrameSpec)
    galleries = gallery.choose(judged, each)
    shown = gallery.look_at(
        detector, collection, truth, [part for some in galleries for part in some.parts], progress=progress
    )
    limit = map_limit(detector.card, detector.threshold)
    made = gallery.exhibits(galleries, shown, spec, limit=limit, crop=spec.crop)
    mapped = any(one.map is not None for one in shown.values())
    return tuple(
        Section(
            title=some.title,
            text=(some.text,),
            pictures=(gallery.colour_bar(limit, is_threshold=limit_is_threshold(detector.card)),)
            if mapped and number == 0
            else (),
            exhibits=tuple(exhibits),
        )
        for number, (some, exhibits) in enumerate(zip(galleries, made, strict=True))
    )


def logs_report(
    folder: Path,
    model: ModelFacts,
    figures: LogEvaluation,
    verdicts: LogVerdicts,
    detector: Detector,
    *,
    progress: Progress = silent,
) -> Path:
    """Write the report on logs and return the path of the page.

    Raises:
        ConfigError: the folder holds anything except an earlier report, or cannot be written to.
    """
    return report_folder.write(logs_page(model, figures, verdicts, detector, progress=progress), folder)


def logs_page(
    model: ModelFacts,
    figures: LogEvaluation,
    verdicts: LogVerdicts,
    detector: Detector,
    *,
    progress: Progress = silent,
) -> Page:
    """Return the page on logs."""
    spec = detector.card.input
    assert isinstance(spec, WindowSpec)
    judged = stretches.judged_windows(verdicts)
    parts = score_arrays(judged)
    happened = stretches.faults(verdicts)
    tone, headline, summary, tiles = _log_in_short(model, figures, len(judged), happened)
    rows = log_rows(figures, parts)
    drawn = log_stretches.draw(detector, verdicts, stretches.choose(verdicts, spec), progress=progress)
    channels = first_channels(detector, verdicts, happened, progress=progress)
    whole = log_stretches.overview(verdicts, spec, detector.threshold)
    total = figures.total
    return Page(
        title=model.name,
        subtitle="andon evaluate: verdicts of this model file on logs with known faults",
        tone=tone,
        headline=headline,
        tiles=tuple(tiles),
        summary=tuple(summary),
        sections=(
            figures_section(rows),
            *kinds_of_faults(happened, channels),
            *fault_sections(happened, channels),
            Section(
                title="Stretches of the log",
                text=("True faults are shaded orange, recovery is grey. Each score is drawn at the end of its window.",),
                exhibits=tuple(drawn),
            ),
            *window_examples.section(detector, verdicts),
            *([Section(title="Whole runs", pictures=tuple(whole))] if whole else []),
            curves(
                parts, judged, areas=(total.auroc, total.aupr), threshold=figures.threshold, alpha=model.alpha,
                unit="window",
            ),
            *_other_outputs(judged, figures.by_score, "window"),
            *kinds_section(parts, figures.threshold, {}, "window"),
            *([runs_section(figures)] if len(figures.runs) > 1 else []),
            *_small_print(rows, model),
        ),
        footer=_FOOTER,
    )  # fmt: skip


def _log_in_short(
    model: ModelFacts, figures: LogEvaluation, count: int, happened: Sequence[stretches.FaultRow]
) -> tuple[Tone, str, list[str], list[Tile]]:
    counts = figures.total.counts
    tone, headline = verdict_on(
        model.alpha, counts.false_rejects, counts.good, figures.within_promise, "window",
        caught=counts.defective - counts.misses, n_defect=counts.defective,
    )  # fmt: skip
    windows = counted(count + counts.neither, "window")
    first = (
        f"{windows} judged, in {counted(len(figures.runs), 'run')} (data: {model.data}): "
        f"{counts.good} good, {counts.defective} with a fault"
        + (f", {counts.neither} in recovery (neither good nor faulty)" if counts.neither else "")
    )
    summary = [
        first + (f", {counts.invalid} that could not be judged (INVALID)." if counts.invalid else "."),
        *promise_lines(model, counts.false_rejects, counts.good, figures.within_promise, "windows"),
    ]
    against = baseline_sentence(figures)
    summary += [f"Baseline: {against}."] if against else []
    tiles = tiles_of(model, tone, counts.false_rejects, counts.good, "windows")
    if counts.faults:
        rate = "promised" if model.alpha is not None else "estimated"
        by_chance = f"random rejects at the {rate} rate would catch"
        caught = f"{counts.caught} of {counted(counts.faults, 'fault')} were caught by at least one window"
        summary.insert(1, f"{caught}; {by_chance} {counts.dummy_caught:.1f} on average.")
        note = f"faults; random rejects: {counts.dummy_caught:.1f}"
        value = f"{counts.caught} of {counts.faults}"
        tiles.append(Tile(value=value, name="caught", note=note, tone=found_tone(tone, counts.faults - counts.caught)))
    delays = [row.delay_s for row in happened if row.delay_s is not None]
    if delays:
        note = f"median of caught faults; longest {max(delays):.3g} s"
        tiles.append(Tile(value=f"{np.median(delays):.3g} s", name="delay", note=note))
    if figures.total.auroc is not None:
        note = "separates good from faulty windows; 1 is perfect"
        tiles.append(Tile(value=f"{figures.total.auroc:.4f}", name="AUROC", note=note))
    return tone, headline, summary, tiles


_FOOTER = (
    "Made by andon evaluate --report. The threshold and all settings come from the model file. None was chosen on these data. "
    "The same file and data give the same page."
)


def _small_print(rows: Sequence[FigureRow], model: ModelFacts) -> list[Section]:
    about = (("name", model.name), ("evaluated on", model.data), *model.rows)
    return [
        Section(title="Model file", tables=(ReportTable(head=("", ""), rows=about, words=(0, 1)),)),
        Section(
            title="Figures as a picture (for slides)", folded=True, pictures=(figures_table([row[:3] for row in rows]),)
        ),
    ]
