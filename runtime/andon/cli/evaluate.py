"""Evaluate a model file on labelled parts: AUROC, false rejects, misses, localisation.

example:
  andon evaluate bottle.onnx --data bottle/                  # test/good, test/TYPE, masks in ground_truth/TYPE
  andon evaluate bottle.onnx --data parts/ --truth truth.csv # columns key,label[,kind]
  andon evaluate digits.onnx --data mnist:anomaly=5,root=data/mnist  # a labelled set: some classes are defects
  andon evaluate pump.onnx --data logs/                      # logs with a label column; prints one row per file
  andon evaluate pump.onnx --data log.csv --truth faults.csv # logs without one: columns start,end[,kind][,file]
  andon evaluate verdicts.jsonl --truth truth.csv            # verdicts from 'score --json' or 'monitor'
  andon evaluate bottle.onnx --synthetic --run run/          # no defects yet: use damage drawn onto good parts
  andon evaluate bottle.onnx --data bottle/ --report pages/  # also write one HTML page

This command never chooses thresholds or settings. It uses the threshold of the model file. Therefore, the results show
what happens on the line. Brackets show 95 % confidence intervals: exact binomial for false rejects and misses, bootstrap (1000
resamples of parts or files) for the rest.

Good parts are enough to check the promise. Defective parts are enough to count misses. AUROC and similar results need both.

With --group, all results are about parts instead of frames: the highest score of a part's frames counts. Use it for a model
file that was trained with --group, because its promise is about parts.

With --synthetic, each good part is used once unchanged and twice with damage of types that no detector trains on. The results
show which settings detect more, not how many defects are found on the line. Use --run to draw damage onto the calibration parts
of a run, so that the test parts stay unseen while you choose settings. The threshold was set on these parts. Therefore, false
rejects on them have no meaning. The interval of misses treats the damaged copies as independent and is therefore too narrow.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from andon.cli import _class_set
from andon.cli._numbers import MAX_SEED, whole

SUMMARY = "evaluate a model file on labelled parts: AUROC, false rejects, misses"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("file", metavar="FILE", help="model file, or verdicts as JSON lines")
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="a tree with test/good and test/TYPE, or labelled logs; with --run: new location of the run's data, if moved",
    )
    _class_set.add_flags(parser)
    parser.add_argument(
        "--truth",
        type=Path,
        metavar="CSV",
        help="labels, if the data do not give them. Pictures: columns key,label[,kind]. Logs: faulty intervals, columns "
        "start,end[,kind][,file]",
    )
    parser.add_argument("--sort", action="store_true", help="logs: sort the rows of each file by their times")
    parser.add_argument(
        "--group",
        metavar="REGEX|CSV",
        help="frames that show one part, as for train; the worst frame of a part then counts",
    )
    parser.add_argument(
        "--synthetic", action="store_true", help="draw damage onto good parts; no labelled defects are needed"
    )
    parser.add_argument("--run", dest="run_folder", metavar="RUN",
                        help="with --synthetic: use the calibration parts of this run")  # fmt: skip
    parser.add_argument(
        "--frame-size",
        choices=["calibrated", "any"],
        help="any: also judge frames of other sizes, which the promise does not cover (default: calibrated)",
    )
    parser.add_argument(
        "--device",
        choices=["cpu", "cuda", "auto"],
        help="device to run on; auto uses the device of the calibration (default: cpu)",
    )
    parser.add_argument(
        "--provider",
        choices=["calibrated", "any"],
        help="any: also judge on another type of device than the calibrated one, without a promise (default: calibrated)",
    )
    parser.add_argument("--recall", type=float, metavar="SHARE",
                        help="print the false-reject rate at the threshold that finds this share of the defects "
                        "(default: 0.99)")  # fmt: skip
    parser.add_argument("--no-intervals", action="store_true", help="skip the bootstrap intervals (faster)")
    parser.add_argument("--seed", type=whole(0, MAX_SEED), default=0, metavar="N",
                        help="seed of the bootstrap and of synthetic damage (default: 0)")  # fmt: skip
    parser.add_argument("--vus-buffer", type=whole(0, 100_000), metavar="ROWS",
                        help="logs: longest tolerance around a fault for VUS-PR (volume under the precision-recall surface), "
                        "in rows (default: rows of a window)")  # fmt: skip
    parser.add_argument("--refractory-s", type=float, metavar="S",
                        help="logs: seconds within which alarms count as one "
                             "(default: length of a window plus its hop)")  # fmt: skip
    parser.add_argument(
        "--model", metavar="DIGEST", help="JSON lines: use the verdicts of this model file, if there are several"
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="write a page DIR/index.html with curves, worst parts and heat maps",
    )
    parser.add_argument("--json", action="store_true", help="print the results as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print the results."""
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
        _refuse(args, "model files", "synthetic", "device", "frame_size", "provider")
        _refuse(args, "logs with a model file", "sort")
        return _of_verdicts(args, drawn | {"recall": recall})
    _refuse(args, "logs of verdicts", "model")
    if args.data is None and args.run_folder is None:
        raise ConfigError("expected parts to judge, got none. Give --data PATH, or --synthetic --run RUN.")
    detector = Detector.load(
        args.file,
        device=args.device or "cpu",
        frame_size=args.frame_size or "calibrated",
        provider=args.provider or "calibrated",
    )
    if isinstance(detector.card.input, WindowSpec):
        _refuse(args, "pictures", "synthetic", "group", "frame_size", "recall")
        return _of_logs(args, detector, drawn)
    _refuse(args, "logs", "vus_buffer", "refractory_s", "sort")
    return _of_frames(args, detector, drawn | {"recall": recall})


def _check(args: argparse.Namespace) -> None:
    from andon.foundation.errors import ConfigError

    if args.refractory_s is not None and not args.refractory_s >= 0:
        raise ConfigError(f"--refractory-s: expected at least 0 seconds, got {args.refractory_s:g}.")
    if args.recall is not None and not 0 < args.recall <= 1:
        raise ConfigError(
            f"--recall: expected a share above 0 and at most 1, got {args.recall:g}. Example: --recall 0.99."
        )
    if not args.synthetic:
        _refuse(args, "--synthetic", "run_folder")
    elif args.truth is not None:
        raise ConfigError("--synthetic creates its own labels. Leave --truth out.")
    elif args.group is not None:
        raise ConfigError("--synthetic damages single frames. Leave --group out.")
    if args.report is not None:
        from andon.evaluation.report.report_folder import require_place

        require_place(args.report)  # now, and not after minutes of judging


def _refuse(args: argparse.Namespace, only: str, *names: str) -> None:
    """Refuse flags that would have no effect."""
    from andon.foundation.errors import ConfigError

    for name in names:
        if getattr(args, name) not in (None, False):
            raise ConfigError(
                f"--{name.removesuffix('_folder').replace('_', '-')} has an effect only with {only}. Leave it out."
            )


def _of_frames(args: argparse.Namespace, detector: Any, drawn: dict[str, Any]) -> int:
    import msgspec

    from andon.evaluation.frames import evaluate
    from andon.evaluation.text_summary import parts_text
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
        raise DataError(
            "synthetic damage is not visible on these good parts. Are they uniformly grey? Give pictures with contrast."
        )
    if args.run_folder is not None:  # parts that set the threshold cannot confirm its promise
        figures = msgspec.structs.replace(figures, promise="", within_promise=None)
    if args.report is not None:
        from andon.evaluation.report.report import frames_report, parts_sections

        shown = parts_sections(detector, collection, truth, judged, progress=ProgressLine())
        frames_report(args.report, _model_facts(args, detector), figures, judged, shown)
    return _print(args, figures, parts_text)


def _synthetic(args: argparse.Namespace, detector: Any) -> tuple[Any, Any]:
    """Return good parts and damaged copies of them, with their labels."""
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
                    f"--run: expected the run that {args.file} was exported from, got {args.run_folder}, which was trained on "
                    "other data. The model file may have been trained on its calibration parts. Give the right run."
                )
            good = calibration_part(run, args.data)
    defects = SyntheticDefects(good, detector.card.input, seed=args.seed)
    return defects, defects.truth


def _of_logs(args: argparse.Namespace, detector: Any, drawn: dict[str, Any]) -> int:
    from andon.evaluation.logs import judge_logs, log_figures
    from andon.evaluation.text_summary import logs_text
    from andon.sources.opening import open_log

    log = open_log(args.data, sort=args.sort, truth=args.truth)
    verdicts = judge_logs(detector, log, progress=drawn["progress"])
    figures = log_figures(detector, verdicts, vus_buffer=args.vus_buffer, refractory_s=args.refractory_s,
                          intervals=drawn["intervals"], seed=args.seed)  # fmt: skip
    if args.report is not None:
        from andon.evaluation.report.report import logs_report

        logs_report(args.report, _model_facts(args, detector), figures, verdicts, detector, progress=drawn["progress"])
    return _print(args, figures, logs_text)


def _of_verdicts(args: argparse.Namespace, drawn: dict[str, Any]) -> int:
    """Evaluate a log of verdicts against a table or a tree."""
    from andon.evaluation.text_summary import parts_text
    from andon.evaluation.verdict_log import evaluate_verdicts, read_verdicts
    from andon.foundation.errors import ConfigError
    from andon.sources.opening import shown, truth_of

    if args.truth is None and args.data is None:
        raise ConfigError("expected labels for the verdicts, got none. Give --truth TABLE.csv, or --data TREE.")
    truth = truth_of(args.data, table=args.truth)
    log = read_verdicts(Path(args.file), model=args.model)
    figures, judged = evaluate_verdicts(log, truth, group=args.group, **drawn)
    if args.report is not None:
        from andon.evaluation.report.report import ModelFacts, frames_report

        model = ModelFacts(name=Path(args.file).name, data=args.truth.name if args.truth else shown(args.data))
        frames_report(args.report, model, figures, judged)
    return _print(args, figures, parts_text)


def _model_facts(args: argparse.Namespace, detector: Any) -> Any:
    """Return the model's facts for the report. Names have no folders, because a report must not show the file system."""
    from andon.evaluation.report.report import model_facts
    from andon.sources.opening import shown

    data = shown(str(args.data if args.data is not None else args.run_folder))
    return model_facts(detector, Path(args.file).name, f"synthetic defects on {data}" if args.synthetic else data)


def _print(args: argparse.Namespace, figures: Any, text: Callable[[Any], str]) -> int:
    import msgspec

    if args.json:
        print(msgspec.json.encode(figures).decode())
        return 0
    print(text(figures))
    if args.report is not None:
        print(f"report         {args.report / 'index.html'}")
    return 0
