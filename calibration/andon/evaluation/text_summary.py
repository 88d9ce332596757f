"""Render the results of an evaluation as text for a terminal.

Brackets show 95 % confidence intervals: exact binomial for false rejects and misses of independent parts, bootstrap (1000
resamples of parts or files) for all other results.
"""

from andon.evaluation.baseline import baseline_sentence
from andon.evaluation.figures.part_figures import Evaluation, Intervals, ScoreSpread
from andon.evaluation.logs import LogEvaluation, LogIntervals, RunFigures
from andon.foundation.printable import printable
from andon.runtime.calibration_facts import percent_up

_JUDGE_THE_LOG = "andon evaluate FILE.onnx --data LOG"


def parts_text(figures: Evaluation) -> str:
    """Return the results for parts as text."""
    kept = {True: "as promised", False: "MORE THAN PROMISED", None: "no promise"}[figures.within_promise]
    # a log of verdicts does not contain the promise; the model file does
    promised = (f"({kept}: {figures.promise})",) if figures.promise else ()
    count, intervals = figures.confusion, figures.intervals
    parts = [f"{figures.n_good} good, {figures.n_defect} defective, {figures.invalid} INVALID"]
    parts += [f"each judged by its worst frame ({figures.frames} frames)"] if figures.frames else []
    parts += [f"{figures.unknown} without a known truth"] if figures.unknown else []
    parts += [f"{figures.unjudged} never judged"] if figures.unjudged else []

    def row(label: str, name: str, *more: str, form: str = ".4f") -> str:
        found = getattr(figures, name)
        value = "-" if found is None else f"{found:{form}}{_interval(intervals, name, form)}"
        return f"{label:<14} {'   '.join((value, *more))}"

    windows = figures.unit == "window"
    rows = [
        f"{figures.unit + 's':<14} {', '.join(parts)}",
        *(
            [f"{'':<15}for faults caught, delays and false events, evaluate the log: {_JUDGE_THE_LOG}"]
            if windows
            else []
        ),
    ]
    both = figures.auroc is not None
    if both:
        rows += [row("AUROC", "auroc"), row("AUPR", "aupr", f"(chance level {figures.prevalence:.3f})")]
    if figures.n_good:
        counted = f"{count.false_rejects} of {figures.n_good} good"
        rows.append(row("false rejects", "false_reject_rate", counted, *promised, form=".2%"))
    if figures.n_defect:
        counted = f"{count.misses} of {figures.n_defect} defective; threshold {figures.threshold:.6g}"
        rows.append(row("misses", "miss_rate", counted, form=".2%"))
    if figures.miss_bound is not None:
        rows.append(f"{'':<15}{figures.miss_bound.sentence}")
    if both:
        rows += [
            row("TPR at 1% FPR", "tpr_at_1_percent_fpr"),
            row("TPR at 5% FPR", "tpr_at_5_percent_fpr", f"best F1 over all thresholds: {figures.oracle_f1_max:.4f}"),
            row("FPR at recall", "fpr_at_recall", f"(recall {figures.recall:g})"),
        ]
    else:
        only, missing = ("good", "defective") if figures.n_good else ("defective", "good")
        rows.append(f"{'':<15}{only} {figures.unit}s only: AUROC and similar results also need {missing} ones")
    spreads = (("good", figures.scores_good), ("defective", figures.scores_defect))
    rows.append("scores         " + ", ".join(f"{name} {_spread(one)}" for name, one in spreads if one is not None))
    if figures.aupro is not None:
        step: tuple[str, ...] = () if figures.mask_step == 1 else (f"(one in {figures.mask_step} rows and columns)",)
        step += (f"({figures.unmasked} defective without a mask are left out)",) if figures.unmasked else ()
        rows += [row("pixel AUROC", "pixel_auroc"), row("AUPRO(0.3)", "aupro", *step)]
    if figures.ignored_defects:
        rows.append(f"ignored        {figures.ignored_defects} defective only in pixels that the file ignores")
    rows += _by_score(figures)
    if figures.by_defect:
        by_name = {printable(kind): part for kind, part in figures.by_defect.items()}  # names of folders
        width = max(22, *map(len, by_name))
        bounded = any(part.miss_at_most is not None for part in by_name.values())
        rows.append(f"{'type':<{width}} {'n':>5} {'AUROC':>7} {'missed':>7}{'  at most' if bounded else ''}")
        rows += [
            f"{kind:<{width}} {part.n:>5} {'-' if part.auroc is None else f'{part.auroc:.4f}':>7} {part.miss_rate:>7.1%}"
            + (f"  {'-' if part.miss_at_most is None else percent_up(part.miss_at_most):>7}" if bounded else "")
            for kind, part in by_name.items()
        ]
        if bounded:
            rows.append(
                "at most: bounds for such defects, all of them together with 95 % confidence; from 10 defects of a type"
            )
    return "\n".join(rows)


def logs_text(figures: LogEvaluation) -> str:
    """Return the results for logs as text: one line for each file, then the results for all files together."""
    numbers = f"{'good':>6} {'faulty':>6} {'INVALID':>7} {'AUROC':>7} {'AUPR':>7} {'false rejects':>14} {'caught':>8}"
    rows = [f"{'file':<28} {numbers} {'dummy':>6}"]
    for run in [*figures.runs, figures.total]:
        auroc = f"{run.auroc:.4f}" if run.auroc is not None else "-"
        aupr = f"{run.aupr:.4f}" if run.aupr is not None else "-"
        counts = run.counts
        rejects = f"{counts.false_rejects} ({counts.false_rejects / counts.good:.1%})" if counts.good else "-"
        rows.append(
            f"{printable(run.name):<28} {counts.good:>6} {counts.defective:>6} {counts.invalid:>7} {auroc:>7} {aupr:>7} "
            f"{rejects:>14} "
            f"{f'{counts.caught}/{counts.faults}':>8} {counts.dummy_caught:>6.1f}"
        )
    count = figures.total.counts
    if count.invalid:
        every = count.good + count.defective + count.neither + count.invalid
        rows.append(
            f"{count.invalid} of {every} windows could not be judged (INVALID); they are left out of all results"
        )
    rows.append(f"promise: {figures.promise}; dummy: faults caught by rejecting at random at that rate")
    return "\n".join([*rows, "", *_over_time(figures), *_by_score(figures)])


def _by_score(figures: Evaluation | LogEvaluation) -> list[str]:
    """Return a table of all scores, the deciding one first; nothing if the file gives only one."""
    if not figures.by_score:
        return []
    decides = next(iter(figures.by_score))
    return [
        f"{'score':<22} {'AUROC':>7} {'AUPR':>7}",
        *(
            f"{name:<22} {one.auroc:>7.4f} {one.aupr:>7.4f}" + ("  decides" if name == decides else "")
            for name, one in figures.by_score.items()
        ),
    ]


def _over_time(figures: LogEvaluation) -> list[str]:
    """Return the results for events and rows of all files."""
    total = figures.total
    good = f"({total.false_events} in {total.good_s / 3600:.3g} h of good operation; "
    good += f"alarms closer than {figures.refractory_s:g} s are one)"
    always = () if figures.f1_always is None else (f"(an alarm at every row gives {figures.f1_always:.4f})",)

    def row(label: str, name: str, *more: str, form: str = ".4f", of: LogEvaluation | RunFigures = figures) -> str:
        value = getattr(of, name)
        shown = "-" if value is None else f"{value:{form}}{_interval(figures.intervals, name, form)}"
        return f"{label:<18} {'   '.join((shown, *more))}"

    return [
        row("faults caught", "event_recall", form=".2%", of=total),
        row("false events a day", "false_events_a_day", good, form=".3g", of=total),
        row("median delay, s", "median_delay_s", "(a missed fault counts with its full length)", form=".3g", of=total),
        row("VUS-PR", "mean_vus_pr", f"(mean of files, buffers of 0 to {figures.vus_buffer} rows)"),
        *_against_baseline(figures),
        row("F1 of rows", "f1", *always),
        row("good rows alarmed", "false_alarm_rate", form=".2%"),
        row("faulty rows missed", "missed_alarm_rate", form=".2%"),
    ]


def _against_baseline(figures: LogEvaluation) -> list[str]:
    sentence = baseline_sentence(figures)
    return [f"{'baseline':<18} {sentence}"] if sentence else []


def _interval(intervals: Intervals | LogIntervals | None, name: str, form: str = ".4f") -> str:
    found = getattr(intervals, name, None)
    # an interval of a single point only means that all resamples were equal, as with scores that separate perfectly
    return f" [{found.low:{form}}, {found.high:{form}}]" if found and found.low < found.high else ""


def _spread(spread: ScoreSpread) -> str:
    return f"{spread.mean:.4g}" + ("" if spread.sd is None else f" ± {spread.sd:.3g}")
