"""Make one checked, calibrated model file from a run folder.

example:
  andon export run/ -o bottle.onnx                       # the strictest promise that the parts support
  andon export run/ -o bottle.onnx --false-reject 0.05   # at most 5 % of good parts rejected, with 95 % confidence
  andon export run/ -o bottle.onnx --no-promise          # too few parts: an estimate, and the file says so
  andon export run/ -o other.onnx --pool max --smooth 2  # the same weights, another score rule; nothing is trained again
  andon export run/ -o early.onnx --epoch 20             # a checkpoint (train --checkpoint-epochs), also of an interrupted run

The settings of the training say how the detector's evidence becomes the score. --map or --score, --pool, --share and --smooth
change one field each, and the threshold is calibrated on the result. Do not choose them by the parts that you test on: the
figures for these parts would be better than the detector is.
"""

import argparse

from andon.cli._numbers import whole

_RULE = ("map", "score", "pool", "share", "smooth")
SUMMARY = "make one checked, calibrated model file from a run folder"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("run_folder", metavar="RUN", help="the folder that 'andon train' wrote")
    parser.add_argument("-o", "--out", required=True, metavar="FILE.onnx", help="the model file")
    parser.add_argument(
        "--epoch",
        type=whole(1, 1_000_000_000),
        metavar="N",
        help="export the checkpoint of this epoch (default: the weights that training kept)",
    )
    parser.add_argument(
        "--false-reject",
        type=float,
        default=None,
        metavar="A",
        help="promise that at most this share of good parts is rejected (default: the strictest that the parts support)",
    )
    parser.add_argument(
        "--confidence", type=float, default=0.95, metavar="C", help="confidence of the promise (default: 0.95)"
    )
    parser.add_argument(
        "--no-promise", action="store_true", help="write an estimate where the parts support no promise"
    )
    rule = parser.add_argument_group("score rule", "default: as the run's settings say")
    decides = rule.add_mutually_exclusive_group()
    decides.add_argument(
        "--map", metavar="NAME", help="pool this map to the score; the error for a wrong name lists the right ones"
    )
    decides.add_argument("--score", metavar="NAME", help="use this score as it is")
    rule.add_argument("--pool", choices=["mean", "top", "max"], help="how to pool the map")
    rule.add_argument(
        "--share",
        type=float,
        metavar="X",
        help="with --pool top: average this share of the highest values, above 0 to 1",
    )
    rule.add_argument(
        "--smooth",
        type=float,
        metavar="S",
        help="smooth the map by a Gaussian of this standard deviation, in cells; 0: not at all; frames only",
    )
    parser.add_argument("--data", metavar="PATH", help="where the data are now, if they were moved since training")
    parser.add_argument("--golden", choices=["synthetic", "real"], default="synthetic",
                        help="how other machines check themselves; real keeps a part in the file")  # fmt: skip
    parser.add_argument("--name", default="", help="name of the model (default: the stem of the file name)")
    parser.add_argument("--json", action="store_true", help="print the object of 'andon inspect --json', and parity")


def run(args: argparse.Namespace) -> int:
    """Export, and print what is promised and which good parts scored highest."""
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
    changes = {name: getattr(args, name) for name in _RULE if getattr(args, name) is not None}
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
