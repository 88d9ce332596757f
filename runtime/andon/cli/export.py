"""Make one checked, calibrated model file from a run folder.

example:
  andon export run/ -o bottle.onnx                       # the strongest promise that the parts carry
  andon export run/ -o bottle.onnx --false-reject 0.05   # at most 5 % of good parts rejected, with 95 % confidence
  andon export run/ -o bottle.onnx --no-promise          # too few parts: an estimate, and the file says so
  andon export run/ -o other.onnx --pool max --smooth 2  # the same weights, read otherwise; nothing is trained anew
  andon export run/ -o early.onnx --epoch 20             # a checkpoint (train --checkpoint-epochs), also of a run cut short

How the detector's evidence becomes the score was settled by the settings of the training; --map or --score, --pool, --share
and --smooth change it, each alone. The threshold is calibrated on what comes of it. Choose by parts that no figure of yours is
reported on: a reading that was chosen by the test part looks better on it than it is.
"""

import argparse

from andon.cli._numbers import whole

_READING = ("map", "score", "pool", "share", "smooth")
SUMMARY = "one checked, calibrated model file from a run folder"


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags."""
    parser.add_argument("run_folder", metavar="RUN", help="what 'andon train' wrote")
    parser.add_argument("-o", "--out", required=True, metavar="FILE.onnx", help="the model file")
    parser.add_argument(
        "--epoch", type=whole(1, 1_000_000_000), metavar="N", help="a checkpoint instead of the weights that stayed"
    )
    parser.add_argument(
        "--false-reject",
        type=float,
        default=None,
        metavar="A",
        help="promise that at most this share of good parts is rejected (default: the strongest that the parts carry)",
    )
    parser.add_argument("--confidence", type=float, default=0.95, metavar="C", help="of the promise (default 0.95)")
    parser.add_argument("--no-promise", action="store_true", help="write an estimate where the parts carry no promise")
    reading = parser.add_argument_group("the reading", "where they are left out, the run's own")
    decides = reading.add_mutually_exclusive_group()
    decides.add_argument(
        "--map", metavar="NAME", help="the map that decides, pooled; a wrong name is told the right ones"
    )
    decides.add_argument("--score", metavar="NAME", help="the score that decides, as it is")
    reading.add_argument("--pool", choices=["mean", "top", "max"], help="how the map becomes a score")
    reading.add_argument(
        "--share", type=float, metavar="X", help="of the map's highest values that top averages, above 0 to 1"
    )
    reading.add_argument(
        "--smooth",
        type=float,
        metavar="S",
        help="standard deviation of the map's Gaussian in its cells; frames, 0: none",
    )
    parser.add_argument("--data", metavar="PATH", help="where the data lie now, if they were moved since training")
    parser.add_argument("--golden", choices=["synthetic", "real"], default="synthetic",
                        help="how other machines check themselves; real keeps a part in the file")  # fmt: skip
    parser.add_argument("--name", default="", help="of the model (default: the file's)")
    parser.add_argument("--json", action="store_true", help="print what 'andon inspect --json' prints, and parity")


def run(args: argparse.Namespace) -> int:
    """Export, and tell what is promised and which good parts scored highest."""
    import json
    from datetime import UTC, datetime

    from andon.cli.inspect import facts, render
    from andon.foundation.extras import needs
    from andon.foundation.printable import printable
    from andon.foundation.progress import ProgressLine

    with needs("train", "exporting"):
        from andon.calibration.request import CalibrationRequest, PromiseRequest
        from andon.training.runs.export_run import export_run, rule_of
        from andon.training.runs.run_folder import load

    run_folder = load(args.run_folder, epoch=args.epoch)
    changes = {name: getattr(args, name) for name in _READING if getattr(args, name) is not None}
    exported = export_run(
        run_folder,
        args.out,
        request=CalibrationRequest(
            promise=PromiseRequest(
                false_reject=args.false_reject, confidence=args.confidence, no_promise=args.no_promise
            ),
            date=datetime.now(UTC).date().isoformat(),
        ),
        rule=rule_of(run_folder, changes) if changes else None,
        name=args.name,
        data=args.data,
        golden_real=args.golden == "real",
        progress=ProgressLine(),
    )
    if args.json:
        parity = {
            "compared": exported.parity.compared,
            "worst_relative": exported.parity.worst_relative,
            "near_threshold": exported.parity.near_threshold,
        }
        print(json.dumps(facts(exported.model) | {"parity": parity, "file": str(exported.path)}))
        return 0
    print(render(exported.model))
    print(
        f"parity      {exported.parity.compared} items, worst relative difference {exported.parity.worst_relative:.1g}"
        f"; {exported.parity.near_threshold} so near the threshold that their status was not compared"
    )
    highest = ", ".join(f"{printable(key)} ({score:.4g})" for key, score in exported.top_parts)
    print(f"look at     the highest-scoring good parts; a bad one among them would have set the threshold: {highest}")
    print(f"written     {exported.path}")
    return 0
