"""What a model file's verdicts are worth on parts whose truth is known.

example:
  andon evaluate bottle.onnx --data bottle/                  # test/good, test/TYPE, masks in ground_truth/TYPE
  andon evaluate bottle.onnx --data parts/ --truth truth.csv # columns key,label[,kind]
  andon evaluate digits.onnx --data mnist:anomaly=5,root=data/mnist         # a labelled set: some classes are defects
  andon evaluate pump.onnx --data logs/                      # logs with a label column, a table by file
  andon evaluate verdicts.jsonl --truth truth.csv            # what score --json or the monitor wrote; keys are its items
  andon evaluate bottle.onnx --synthetic --run run/          # nobody has defects yet: on damage drawn onto good parts
  andon evaluate bottle.onnx --data bottle/ --report pages/  # and one HTML page to look at, to mail, to file

Thresholds and settings are never chosen here: figures at the embedded threshold are what the line will see. In brackets:
95 % intervals, over parts or files drawn anew (1000 times); of false rejects and misses, the exact ones.

A test part of good parts alone shows whether the promise holds, one of defective parts alone what is missed; AUROC and its like
need both.

With --group the rates, AUROC and intervals are of parts: of the frames of one part the highest score counts, as the promise
of a file that was trained with --group has it.

With --synthetic each good part counts once as it is and twice with damage of kinds that no detector learns from. It
says which settings see more, not what the line will see. --run takes the parts that training kept back, so that settings can
be chosen and the test part stays unseen; the threshold was set on these very parts, so that of false rejects they say
nothing. Copies of one part resemble each other: the interval of misses, which counts them one by one, is too narrow.
"""

import argparse
from pathlib import Path
from typing import Any

from andon.cli import _class_set
from andon.cli._numbers import MAX_SEED, whole
from andon.foundation.printable import printable

SUMMARY = "AUROC, false rejects, misses, localisation on parts of known truth"


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags."""
    parser.add_argument("file", metavar="FILE", help="a model file, or verdicts that were written as JSON lines")
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="a tree with test/good and test/TYPE, or labelled logs; with --run: where that run's good parts lie now",
    )
    _class_set.add_flags(parser)
    parser.add_argument(
        "--truth", type=Path, metavar="CSV", help="labels where folders do not tell: columns key,label[,kind]"
    )
    parser.add_argument(
        "--group",
        metavar="REGEX|CSV",
        help="which frames show one part, as for train; a part then counts by the worst of its frames",
    )
    parser.add_argument(
        "--synthetic", action="store_true", help="draw damage onto good parts; needs no labelled defects"
    )
    parser.add_argument("--run", dest="run_folder", metavar="RUN",
                        help="with --synthetic: the good parts that this training kept back")  # fmt: skip
    parser.add_argument("--frame-size", choices=["calibrated", "any"], help="as for score")
    parser.add_argument("--device", choices=["cpu", "cuda", "auto"], help="where to run (default cpu)")
    parser.add_argument("--recall", type=float, metavar="SHARE",
                        help="tell how many good parts finding this share of the defects would cost (default 0.99)")  # fmt: skip
    parser.add_argument("--no-intervals", action="store_true", help="do not resample: quicker")
    parser.add_argument("--seed", type=whole(0, MAX_SEED), default=0, metavar="N",
                        help="of the resampling, and of synthetic damage (default 0)")  # fmt: skip
    parser.add_argument("--vus-buffer", type=whole(0, 100_000), metavar="ROWS",
                        help="logs: longest buffer of VUS-PR (default: the rows of a window)")  # fmt: skip
    parser.add_argument("--refractory-s", type=float, metavar="S",
                        help="logs: alarms closer than this are one event (default: steps and hop of a window)")  # fmt: skip
    parser.add_argument(
        "--model", metavar="DIGEST", help="JSON lines: whose verdicts, where several model files judged"
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="write index.html, with curves, the worst parts and heat maps, and its pictures",
    )
    parser.add_argument("--json", action="store_true", help="one object")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print."""
    from andon.evaluation.verdict_log import is_verdict_log
    from andon.foundation.errors import ConfigError
    from andon.foundation.extras import needs
    from andon.foundation.progress import ProgressLine
    from andon.runtime.detector import Detector
    from andon.runtime.schema import WindowSpec

    with needs("evaluate", "evaluating"):
        import scipy  # noqa: F401
        import sklearn  # noqa: F401

        if args.report is not None:
            import jinja2  # noqa: F401
            import matplotlib as mpl  # noqa: F401
    _class_set.take_in(args)
    _check(args)
    recall = 0.99 if args.recall is None else args.recall
    drawn: dict[str, Any] = {"intervals": not args.no_intervals, "seed": args.seed, "progress": ProgressLine()}
    if is_verdict_log(Path(args.file)):
        _refuse(args, "logs with a model file", "vus_buffer", "refractory_s")
        _refuse(args, "model files", "synthetic", "device", "frame_size")
        return _of_verdicts(args, drawn | {"recall": recall})
    _refuse(args, "verdicts that were written down", "model")
    if args.data is None and args.run_folder is None:
        raise ConfigError("a model file needs something to judge: --data PATH, or --synthetic --run RUN.")
    detector = Detector.load(args.file, device=args.device or "cpu", frame_size=args.frame_size or "calibrated")
    if isinstance(detector.card.input, WindowSpec):
        _refuse(args, "pictures; logs say what is true in a column named anomaly, label or faulty", "truth")
        _refuse(args, "pictures", "synthetic", "group", "frame_size", "recall")
        return _of_logs(args, detector, drawn)
    _refuse(args, "logs", "vus_buffer", "refractory_s")
    return _of_frames(args, detector, drawn | {"recall": recall})


def _check(args: argparse.Namespace) -> None:
    from andon.foundation.errors import ConfigError

    if args.refractory_s is not None and not args.refractory_s >= 0:
        raise ConfigError(f"expected --refractory-s of at least 0 seconds, got {args.refractory_s:g}.")
    if args.recall is not None and not 0 < args.recall <= 1:
        raise ConfigError(f"expected --recall within 0 < recall <= 1, got {args.recall:g}.")
    if not args.synthetic:
        _refuse(args, "--synthetic", "run_folder")
    elif args.truth is not None:
        raise ConfigError("--synthetic makes its own truth: leave --truth out.")
    elif args.group is not None:
        raise ConfigError("--synthetic damages frames one by one: leave --group out.")
    if args.report is not None:
        from andon.evaluation.report.report_folder import require_place

        require_place(args.report)  # before minutes of judging


def _refuse(args: argparse.Namespace, only: str, *names: str) -> None:
    """A flag that would have no effect is a misunderstanding."""
    from andon.foundation.errors import ConfigError

    for name in names:
        if getattr(args, name) not in (None, False):
            raise ConfigError(f"--{name.removesuffix('_folder').replace('_', '-')} is for {only}.")


def _of_frames(args: argparse.Namespace, detector: Any, drawn: dict[str, Any]) -> int:
    import msgspec

    from andon.evaluation.frames import evaluate
    from andon.foundation.errors import DataError
    from andon.foundation.progress import ProgressLine
    from andon.sources.opening import labelled_for

    if args.synthetic:
        collection, truth = _synthetic(args, detector)
    else:
        collection, truth = labelled_for(args.data, detector.card.input, table=args.truth, group=args.group)
    by_part = args.group is not None
    figures, judged = evaluate(detector, collection, truth, by_part=by_part, **drawn)
    if args.synthetic and not figures.n_defect:
        raise DataError("no damage shows on these good parts: are they of one flat grey? Give pictures with contrast.")
    if args.run_folder is not None:  # parts that set a threshold cannot tell whether its promise holds
        figures = msgspec.structs.replace(figures, promise="", within_promise=None)
    if args.report is not None:
        from andon.evaluation.report.report import frames_report, parts_sections

        shown = parts_sections(detector, collection, truth, judged, progress=ProgressLine())
        frames_report(args.report, _model_facts(args, detector), figures, judged, shown)
    print(msgspec.json.encode(figures).decode() if args.json else render(figures) + _place(args))
    return 0


def _synthetic(args: argparse.Namespace, detector: Any) -> tuple[Any, Any]:
    """Good parts and damaged copies of them, with their truth."""
    from andon.foundation.errors import ConfigError
    from andon.foundation.extras import needs
    from andon.sources.opening import good_for

    with needs("train", "--synthetic"):
        from andon.damage.synthetic_defects import SyntheticDefects

        if args.run_folder is None:
            good = good_for(args.data, detector.card.input)
        else:
            from andon.training.runs.export_run import calibration_part
            from andon.training.runs.run_folder import load

            run = load(args.run_folder)
            if run.record.fingerprint != detector.card.data_fingerprint:
                raise ConfigError(
                    f"{args.file} was not made from {args.run_folder}: they learnt from other parts, so that what the run kept "
                    "back may be what the file has learnt from. Give the run that it was exported from."
                )
            good = calibration_part(run, args.data)
    defects = SyntheticDefects(good, seed=args.seed)
    return defects, defects.truth


def _of_logs(args: argparse.Namespace, detector: Any, drawn: dict[str, Any]) -> int:
    import msgspec

    from andon.evaluation.logs import judge_logs, log_figures

    verdicts = judge_logs(detector, args.data, progress=drawn["progress"])
    figures = log_figures(detector, verdicts, vus_buffer=args.vus_buffer, refractory_s=args.refractory_s,
                          intervals=drawn["intervals"], seed=args.seed)  # fmt: skip
    if args.report is not None:
        from andon.evaluation.report.report import logs_report

        logs_report(args.report, _model_facts(args, detector), figures, verdicts, detector, progress=drawn["progress"])
    print(msgspec.json.encode(figures).decode() if args.json else render_logs(figures) + _place(args))
    return 0


def _of_verdicts(args: argparse.Namespace, drawn: dict[str, Any]) -> int:
    """Verdicts that were written down, against a table or a tree."""
    import msgspec

    from andon.evaluation.verdict_log import evaluate_verdicts, read_verdicts
    from andon.foundation.errors import ConfigError
    from andon.sources.opening import shown, truth_of

    if args.truth is None and args.data is None:
        raise ConfigError("verdicts need what is true of their items: --truth TABLE.csv, or --data TREE.")
    truth = truth_of(args.data, table=args.truth)
    log = read_verdicts(Path(args.file), model=args.model)
    figures, judged = evaluate_verdicts(log, truth, group=args.group, **drawn)
    if args.report is not None:
        from andon.evaluation.report.report import ModelFacts, frames_report

        model = ModelFacts(name=Path(args.file).name, data=args.truth.name if args.truth else shown(args.data))
        frames_report(args.report, model, figures, judged)
    print(msgspec.json.encode(figures).decode() if args.json else render(figures) + _place(args))
    return 0


def _model_facts(args: argparse.Namespace, detector: Any) -> Any:
    """Names without folders: a page that is mailed around need not tell how this machine is laid out."""
    from andon.evaluation.report.report import model_facts
    from andon.sources.opening import shown

    data = shown(str(args.data if args.data is not None else args.run_folder))
    return model_facts(detector, Path(args.file).name, f"synthetic defects on {data}" if args.synthetic else data)


def _place(args: argparse.Namespace) -> str:
    return f"\nreport         {args.report / 'index.html'}" if args.report is not None else ""


_JUDGE_THE_LOG = "andon evaluate FILE.onnx --data LOG"


def render(figures: Any) -> str:
    """What people read of an `Evaluation`."""
    kept = {True: "as promised", False: "MORE THAN PROMISED", None: "no promise"}[figures.within_promise]
    # of verdicts that were written down the promise is not known: it is in the model file
    promised = (f"({kept}: {figures.promise})",) if figures.promise else ()
    count, drawn = figures.confusion, figures.intervals
    parts = [f"{figures.n_good} good, {figures.n_defect} defective, {figures.invalid} INVALID"]
    parts += [f"each by the worst of its frames ({figures.frames} in all)"] if figures.frames else []
    parts += [f"{figures.unknown} of unknown truth"] if figures.unknown else []
    parts += [f"{figures.unjudged} never judged"] if figures.unjudged else []

    def row(label: str, name: str, *more: str, form: str = ".4f") -> str:
        found = getattr(figures, name)
        value = "-" if found is None else f"{found:{form}}{_interval(drawn, name, form)}"
        return f"{label:<14} {'   '.join((value, *more))}"

    windows = figures.unit == "window"
    rows = [
        f"{figures.unit + 's':<14} {', '.join(parts)}",
        *([f"{'':<15}faults caught, delays and false events need the log: {_JUDGE_THE_LOG}"] if windows else []),
    ]
    both = figures.auroc is not None
    if both:
        rows += [row("AUROC", "auroc"), row("AUPR", "aupr", f"(chance gives {figures.prevalence:.3f})")]
    if figures.n_good:
        told = f"{count.false_rejects} of the good"
        rows.append(row("false rejects", "false_reject_rate", told, *promised, form=".2%"))
    if figures.n_defect:
        told = f"{count.misses} of the defective; threshold {figures.threshold:.6g}"
        rows.append(row("misses", "miss_rate", told, form=".2%"))
    if both:
        rows += [
            row("TPR at 1% FPR", "tpr_at_1_percent_fpr"),
            row("TPR at 5% FPR", "tpr_at_5_percent_fpr", f"best F1, unknowable before: {figures.oracle_f1_max:.4f}"),
            row("FPR at recall", "fpr_at_recall", f"(recall {figures.recall:g})"),
        ]
    else:
        only, missing = ("good", "defective") if figures.n_good else ("defective", "good")
        rows.append(f"{'':<15}{only} {figures.unit}s only: AUROC and its like need {missing} ones, too")
    spreads = (("good", figures.scores_good), ("defective", figures.scores_defect))
    rows.append("scores         " + ", ".join(f"{name} {_spread(one)}" for name, one in spreads if one is not None))
    if figures.aupro is not None:
        step: tuple[str, ...] = () if figures.mask_step == 1 else (f"(every {figures.mask_step}. pixel)",)
        step += (f"({figures.unmasked} defective without a mask left out)",) if figures.unmasked else ()
        rows += [row("pixel AUROC", "pixel_auroc"), row("AUPRO(0.3)", "aupro", *step)]
    rows += _by_score(figures)
    if figures.by_defect:
        by_name = {printable(kind): part for kind, part in figures.by_defect.items()}  # names of folders
        width = max(22, *map(len, by_name))
        rows.append(f"{'type':<{width}} {'n':>5} {'AUROC':>7} {'missed':>7}")
        rows += [
            f"{kind:<{width}} {part.n:>5} {'-' if part.auroc is None else f'{part.auroc:.4f}':>7} {part.miss_rate:>7.1%}"
            for kind, part in by_name.items()
        ]
    return "\n".join(rows)


def render_logs(figures: Any) -> str:
    """What people read of a `LogEvaluation`."""
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
        rows.append(f"{count.invalid} of {every} windows could not be judged (INVALID): no figure counts them")
    rows.append(f"promise: {figures.promise}; dummy: faults caught by rejecting at random at that rate")
    return "\n".join([*rows, "", *_over_time(figures), *_by_score(figures)])


def _by_score(figures: Any) -> list[str]:
    """All scores of a file that gives several, the deciding one first."""
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


def _over_time(figures: Any) -> list[str]:
    """Events and rows of a `LogEvaluation`, over all files."""
    total = figures.total
    good = f"({total.false_events} in {total.good_s / 3600:.3g} h of good operation; "
    good += f"alarms closer than {figures.refractory_s:g} s are one)"
    always = () if figures.f1_always is None else (f"(an alarm at every row gives {figures.f1_always:.4f})",)

    def row(label: str, name: str, *more: str, form: str = ".4f", of: Any = figures) -> str:
        value = getattr(of, name)
        told = "-" if value is None else f"{value:{form}}{_interval(figures.intervals, name, form)}"
        return f"{label:<18} {'   '.join((told, *more))}"

    return [
        row("faults caught", "event_recall", form=".2%", of=total),
        row("false events a day", "false_events_a_day", good, form=".3g", of=total),
        row("median delay, s", "median_delay_s", "(a miss counts with the fault's whole length)", form=".3g", of=total),
        row("VUS-PR", "mean_vus_pr", f"(mean of files, buffers of 0 to {figures.vus_buffer} rows)"),
        row("F1 of rows", "f1", *always),
        row("good rows alarmed", "false_alarm_rate", form=".2%"),
        row("faulty rows missed", "missed_alarm_rate", form=".2%"),
    ]


def _interval(drawn: Any, name: str, form: str = ".4f") -> str:
    found = getattr(drawn, name, None)
    # a single point only says that every draw looked alike, as where scores separate perfectly
    return f" [{found.low:{form}}, {found.high:{form}}]" if found and found.low < found.high else ""


def _spread(spread: Any) -> str:
    return f"{spread.mean:.4g}" + ("" if spread.sd is None else f" ± {spread.sd:.3g}")
