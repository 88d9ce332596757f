"""Measure a model file's verdicts on parts whose truth is known.

example:
  andon evaluate bottle.onnx --data bottle/                  # test/good, test/TYPE, masks in ground_truth/TYPE
  andon evaluate bottle.onnx --data parts/ --truth truth.csv # columns key,label[,kind]
  andon evaluate digits.onnx --data mnist:anomaly=5,root=data/mnist         # a labelled set: some classes are defects
  andon evaluate pump.onnx --data logs/                      # logs with a label column, a table by file
  andon evaluate verdicts.jsonl --truth truth.csv            # verdicts of score --json or the monitor
  andon evaluate bottle.onnx --synthetic --run run/          # no defects yet: use damage drawn onto good parts
  andon evaluate bottle.onnx --data bottle/ --report pages/  # also write one HTML page

This command never chooses thresholds or settings: figures at the embedded threshold are what the line will see. Brackets
show 95 % confidence intervals: exact binomial for false rejects and misses, bootstrap (1000 resamples of parts or files) for
the rest.

Good parts alone show whether the promise holds, and defective parts alone show what is missed. AUROC and similar figures need
both.

With --group, rates, AUROC and intervals are about parts: the highest score of a part's frames counts, as the promise of a
file that was trained with --group means it.

With --synthetic, each good part is used once unchanged and twice with damage of kinds that no detector trains on. This shows
which settings detect more, not what the line will see. --run takes the parts that training kept back, so that the test part
stays unseen while settings are chosen. The threshold was set on these parts, so that false rejects on them mean nothing.
Copies of one part are similar: the interval of misses counts them as independent and is therefore too narrow.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from andon.cli import _class_set
from andon.cli._numbers import MAX_SEED, whole

SUMMARY = "AUROC, false rejects, misses, localisation on parts of known truth"


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags."""
    parser.add_argument("file", metavar="FILE", help="a model file, or verdicts as JSON lines")
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="a tree with test/good and test/TYPE, or labelled logs; with --run: where that run's good parts lie now",
    )
    _class_set.add_flags(parser)
    parser.add_argument(
        "--truth", type=Path, metavar="CSV", help="labels, if the folders do not give them: columns key,label[,kind]"
    )
    parser.add_argument(
        "--group",
        metavar="REGEX|CSV",
        help="which frames show one part, as for train; a part then counts by its worst frame",
    )
    parser.add_argument(
        "--synthetic", action="store_true", help="draw damage onto good parts; needs no labelled defects"
    )
    parser.add_argument("--run", dest="run_folder", metavar="RUN",
                        help="with --synthetic: the good parts that this training kept back")  # fmt: skip
    parser.add_argument("--frame-size", choices=["calibrated", "any"], help="as for score")
    parser.add_argument("--device", choices=["cpu", "cuda", "auto"], help="where to run (default cpu)")
    parser.add_argument("--recall", type=float, metavar="SHARE",
                        help="print the false rejects at which this share of the defects is found (default 0.99)")  # fmt: skip
    parser.add_argument("--no-intervals", action="store_true", help="do not resample (faster)")
    parser.add_argument("--seed", type=whole(0, MAX_SEED), default=0, metavar="N",
                        help="seed of the resampling and of synthetic damage (default 0)")  # fmt: skip
    parser.add_argument("--vus-buffer", type=whole(0, 100_000), metavar="ROWS",
                        help="logs: longest buffer of VUS-PR (default: rows of a window)")  # fmt: skip
    parser.add_argument("--refractory-s", type=float, metavar="S",
                        help="logs: alarms closer than this are one event (default: steps and hop of a window)")  # fmt: skip
    parser.add_argument(
        "--model", metavar="DIGEST", help="JSON lines: the model file whose verdicts are used, if there are several"
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="write index.html with curves, the worst parts and heat maps, and its pictures",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


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
    _refuse(args, "logs of verdicts", "model")
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
    """Refuse flags that would have no effect."""
    from andon.foundation.errors import ConfigError

    for name in names:
        if getattr(args, name) not in (None, False):
            raise ConfigError(f"--{name.removesuffix('_folder').replace('_', '-')} is for {only}.")


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
        raise DataError("no damage shows on these good parts: are they of one flat grey? Give pictures with contrast.")
    if args.run_folder is not None:  # parts that set the threshold cannot confirm its promise
        figures = msgspec.structs.replace(figures, promise="", within_promise=None)
    if args.report is not None:
        from andon.evaluation.report.report import frames_report, parts_sections

        shown = parts_sections(detector, collection, truth, judged, progress=ProgressLine())
        frames_report(args.report, _model_facts(args, detector), figures, judged, shown)
    return _print(args, figures, parts_text)


def _synthetic(args: argparse.Namespace, detector: Any) -> tuple[Any, Any]:
    """Return good parts and damaged copies of them, with their truth."""
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
    from andon.evaluation.logs import judge_logs, log_figures
    from andon.evaluation.text_summary import logs_text

    verdicts = judge_logs(detector, args.data, progress=drawn["progress"])
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
        raise ConfigError("verdicts need what is true of their items: --truth TABLE.csv, or --data TREE.")
    truth = truth_of(args.data, table=args.truth)
    log = read_verdicts(Path(args.file), model=args.model)
    figures, judged = evaluate_verdicts(log, truth, group=args.group, **drawn)
    if args.report is not None:
        from andon.evaluation.report.report import ModelFacts, frames_report

        model = ModelFacts(name=Path(args.file).name, data=args.truth.name if args.truth else shown(args.data))
        frames_report(args.report, model, figures, judged)
    return _print(args, figures, parts_text)


def _model_facts(args: argparse.Namespace, detector: Any) -> Any:
    """Return the model's facts for the report. Names are without folders: a report must not show the machine's layout."""
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
