"""What a model file's verdicts are worth on parts whose truth is known.

example:
  andon evaluate bottle.onnx --data bottle/                  # test/good, test/TYPE, masks in ground_truth/TYPE
  andon evaluate bottle.onnx --data parts/ --truth truth.csv # columns key,label[,kind]
  andon evaluate pump.onnx --data logs/                      # logs with a label column, a table by file
  andon evaluate bottle.onnx --data bottle/ --report pages/  # and one HTML page to look at, to mail, to file

Thresholds and settings are never chosen here: figures at the embedded threshold are what the line will see.
"""

import argparse
from pathlib import Path
from typing import Any

SUMMARY = "AUROC, false rejects, misses, localisation on parts of known truth"


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags."""
    parser.add_argument("file", metavar="FILE.onnx", help="a model file")
    parser.add_argument(
        "--data", required=True, metavar="PATH", help="a tree with test/good and test/TYPE, or labelled logs"
    )
    parser.add_argument(
        "--truth", type=Path, metavar="CSV", help="labels where folders do not tell: columns key,label[,kind]"
    )
    parser.add_argument("--frame-size", choices=["calibrated", "any"], default="calibrated", help="as for score")
    parser.add_argument("--device", choices=["cpu", "cuda", "auto"], default="cpu", help="where to run (default cpu)")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="write index.html, with curves, the worst parts and heat maps, and its pictures",
    )
    parser.add_argument("--json", action="store_true", help="one object")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print."""
    import msgspec

    from andon.runtime.detector import Detector
    from andon.runtime.errors import ConfigError
    from andon.runtime.extras import needs
    from andon.runtime.progress import ProgressLine
    from andon.runtime.schema import WindowSpec

    with needs("evaluate", "evaluating"):
        import scipy  # noqa: F401
        import sklearn  # noqa: F401

        if args.report is not None:
            import matplotlib as mpl  # noqa: F401
    if args.report is not None:
        from andon.calibration.evaluation.page import require_place

        require_place(args.report)  # before minutes of judging
    detector = Detector.load(args.file, device=args.device, frame_size=args.frame_size)
    if isinstance(detector.card.input, WindowSpec):
        from andon.calibration.evaluation.logs import judge_logs, log_figures

        if args.truth is not None:
            raise ConfigError(
                "--truth is for pictures; logs say what is true in a column named anomaly, label or faulty."
            )
        verdicts = judge_logs(detector, args.data, progress=ProgressLine())
        figures: Any = log_figures(detector, verdicts)
        if args.report is not None:
            from andon.calibration.evaluation.report import logs_report

            logs_report(args.report, _subject(args, detector), figures, verdicts, detector, progress=ProgressLine())
        print(msgspec.json.encode(figures).decode() if args.json else render_logs(figures) + _place(args))
        return 0
    from andon.calibration.evaluation.evaluate import evaluate
    from andon.sources.opening import open_for
    from andon.sources.truth import table_truth, tree_truth

    collection = open_for(args.data, detector.card.input, part="evaluation")
    truth = table_truth(args.truth) if args.truth else tree_truth(Path(args.data))
    figures, judged = evaluate(detector, collection, truth, progress=ProgressLine())
    if args.report is not None:
        from andon.calibration.evaluation.report import frames_report, parts_sections

        shown = parts_sections(detector, collection, truth, judged, progress=ProgressLine())
        frames_report(args.report, _subject(args, detector), figures, judged, shown)
    print(msgspec.json.encode(figures).decode() if args.json else render(figures) + _place(args))
    return 0


def _subject(args: argparse.Namespace, detector: Any) -> Any:
    """Names without folders: a page that is mailed around need not tell how this machine is laid out."""
    from andon.calibration.evaluation.report import subject_of

    data = args.data if not Path(args.data).exists() else Path(args.data).resolve().name
    return subject_of(detector, Path(args.file).name, data)


def _place(args: argparse.Namespace) -> str:
    return f"\nreport         {args.report / 'index.html'}" if args.report is not None else ""


def render(figures: Any) -> str:
    """What people read of an `Evaluation`."""
    good, defect = figures.n_good, figures.n_defect
    kept = {True: "as promised", False: "MORE THAN PROMISED", None: "no promise"}[figures.within_promise]
    rows = [
        f"parts          {good} good, {defect} defective, {figures.invalid} INVALID",
        f"AUROC          {figures.auroc:.4f}",
        f"AUPR           {figures.aupr:.4f}   (chance gives {figures.prevalence:.3f})",
        f"false rejects  {figures.false_reject_rate:.2%} of good   ({kept}: {figures.promise})",
        f"misses         {figures.miss_rate:.2%} of defective, at the embedded threshold {figures.threshold:.6g}",
        f"TPR at 5% FPR  {figures.tpr_at_5_percent_fpr:.4f}   best F1, unknowable beforehand: {figures.oracle_f1_max:.4f}",
    ]
    if figures.aupro is not None:
        step = "" if figures.mask_step == 1 else f"   (every {figures.mask_step}. pixel)"
        rows += [f"pixel AUROC    {figures.pixel_auroc:.4f}", f"AUPRO(0.3)     {figures.aupro:.4f}{step}"]
    if figures.by_defect:
        rows.append(f"{'type':<22} {'n':>5} {'AUROC':>7} {'missed':>7}")
        rows += [
            f"{kind:<22} {part.n:>5} {part.auroc:>7.4f} {part.miss_rate:>7.1%}"
            for kind, part in figures.by_defect.items()
        ]
    return "\n".join(rows)


def render_logs(figures: Any) -> str:
    """What people read of a `LogEvaluation`."""
    rows = [
        f"{'file':<28} {'good':>6} {'faulty':>6} {'AUROC':>7} {'AUPR':>7} {'false rejects':>14} {'caught':>8} {'dummy':>6}"
    ]
    for run in [*figures.runs, figures.total]:
        auroc = f"{run.auroc:.4f}" if run.auroc is not None else "-"
        aupr = f"{run.aupr:.4f}" if run.aupr is not None else "-"
        counts = run.counts
        rejects = f"{counts.false_rejects} ({counts.false_rejects / counts.good:.1%})" if counts.good else "-"
        rows.append(
            f"{run.name:<28} {counts.good:>6} {counts.defective:>6} {auroc:>7} {aupr:>7} {rejects:>14} "
            f"{f'{counts.caught}/{counts.faults}':>8} {counts.dummy_caught:>6.1f}"
        )
    rows.append(f"promise: {figures.promise}; dummy: faults caught by rejecting at random at that rate")
    return "\n".join(rows)
