"""Export a run folder to one checked, calibrated model file.

example:
  andon export run/ -o bottle.onnx                       # the strictest promise that the parts support
  andon export run/ -o bottle.onnx --false-reject 0.05   # at most 5 % of good parts rejected, with 95 % confidence
  andon export run/ -o bottle.onnx --shift-parts 500 --shift-rejects 30   # and at most 30 rejects in the next 500 good parts
  andon export run/ -o bottle.onnx --false-reject 0.05 --review 0.2   # REVIEW between "surely good" and REJECT
  andon export run/ -o bottle.onnx --review-defects defects/      # REVIEW where too many known defects would pass
  andon export run/ -o bottle.onnx --no-promise          # too few parts: an estimate, and the file says so
  andon export run/ -o other.onnx --pool max --smooth 2  # the same weights, another score rule; nothing is trained again
  andon export run/ -o open.onnx --scene off             # without the scene check: an empty frame can be OK
  andon export run/ -o small.onnx --precision int8       # faster on many CPUs; refused with figures where it is not
  andon export run/ -o early.onnx --epoch 20             # a checkpoint (train --checkpoint-epochs), also of an interrupted run

By default the settings of the training determine how the detector's evidence becomes the score. --map or --score, --pool,
--share and --smooth change this rule, and the threshold is calibrated on the result. Do not use your test
parts to choose these flags. The results on these parts would then be too optimistic.
"""

import argparse

from andon.cli._numbers import whole

_RULE = ("map", "score", "pool", "share", "smooth")
SUMMARY = "export a run folder to one checked, calibrated model file"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("run_folder", metavar="RUN", help="run folder from 'andon train'")
    parser.add_argument("-o", "--out", required=True, metavar="FILE.onnx", help="model file to write")
    parser.add_argument(
        "--epoch",
        type=whole(1, 1_000_000_000),
        metavar="N",
        help="export the checkpoint of this epoch (default: the final weights)",
    )
    parser.add_argument(
        "--false-reject",
        type=float,
        default=None,
        metavar="A",
        help="promise that at most this share of good parts is rejected, above 0 and below 1 (default: the strictest that the "
        "parts support)",
    )
    parser.add_argument(
        "--confidence",
        type=float,
        default=0.95,
        metavar="C",
        help="confidence of the promise, above 0 and below 1 (default: 0.95)",
    )
    shift = parser.add_argument_group("shift and review", "further promises from the same calibration parts")
    shift.add_argument(
        "--shift-parts",
        type=whole(1, 10_000_000),
        metavar="M",
        help="with --shift-rejects: number of good parts in a shift",
    )
    shift.add_argument(
        "--shift-rejects",
        type=whole(0, 10_000_000),
        metavar="R",
        help="with --shift-parts: promise that at most R good parts of the next shift are rejected",
    )
    shift.add_argument(
        "--every-shift",
        type=float,
        metavar="G",
        help="with --shift-parts: promise it for at least this share of all shifts, for example 0.95, instead of the next shift",
    )
    shift.add_argument(
        "--review",
        type=float,
        metavar="A",
        help="give REVIEW to high scores below the threshold, and promise that at most this share of good parts is REVIEW or "
        "REJECT (default: no REVIEW)",
    )
    shift.add_argument(
        "--review-defects",
        metavar="PATH",
        help="known defects: give REVIEW to scores below the threshold that too many such defects have. Needs about 3 / B "
        "different defects, which no other choice has used",
    )
    shift.add_argument(
        "--missed",
        type=float,
        metavar="B",
        help="with --review-defects: promise that at most this share of such defects passes (default: 0.05)",
    )
    parser.add_argument("--no-promise", action="store_true", help="write an estimate if the parts support no promise")
    rule = parser.add_argument_group("score rule", "default: the rule of the run's settings")
    decides = rule.add_mutually_exclusive_group()
    decides.add_argument(
        "--map", metavar="NAME", help="pool this map to a score; the error for a wrong name lists the valid ones"
    )
    decides.add_argument("--score", metavar="NAME", help="use this score of the detector without change")
    rule.add_argument(
        "--pool",
        choices=["mean", "top", "max"],
        help="pool the map by its mean, the mean of its highest values (top), or its maximum",
    )
    rule.add_argument(
        "--share",
        type=float,
        metavar="X",
        help="with --pool top: score = mean of the highest values; X is their share of all values, > 0 and <= 1",
    )
    rule.add_argument(
        "--smooth",
        type=float,
        metavar="S",
        help="frames: smooth the map by a Gaussian of this standard deviation, in cells of the map; 0 disables it",
    )
    parser.add_argument("--data", metavar="PATH", help="new location of the data, if they were moved since training")
    parser.add_argument("--golden", choices=["synthetic", "real"], default="synthetic",
                        help="sample with which other machines check their results: seeded noise, or a real part, which is then "
                        "stored in the file (default: synthetic)")  # fmt: skip
    parser.add_argument(
        "--scene",
        choices=["on", "off"],
        help="scene check: frames that are dark, covered, out of focus or without a part are INVALID. The training parts define "
        "what is normal. Without it, such a frame can be OK (default: on for patchcore, off for other detectors)",
    )
    parser.add_argument(
        "--precision",
        choices=["float32", "float16", "int8"],
        default="float32",
        help="int8: quantise the pretrained network (patchcore). float16: compute it in 16-bit floats, for CUDA only. Threshold "
        "and promise are those of the converted file. Refused with the figures if it is not 1.2 times as fast on this machine, "
        "or if it decides differently on synthetic defects (default: float32)",
    )
    parser.add_argument("--name", default="", help="name of the model (default: name of the file without .onnx)")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the JSON object of 'andon inspect --json', and the comparison of the exported model with the trained one",
    )


def run(args: argparse.Namespace) -> int:
    """Export, then print the promise and the good parts with the highest scores."""
    import json
    from datetime import UTC, datetime

    from msgspec import to_builtins

    from andon.cli.inspect import facts, render
    from andon.foundation.errors import ConfigError
    from andon.foundation.extras import needs
    from andon.foundation.printable import printable
    from andon.foundation.progress import ProgressLine
    from andon.sources.opening import open_defects

    with needs("train", "exporting"):
        from andon.calibration.known_defects import MISSED
        from andon.calibration.request import CalibrationRequest, PromiseRequest, ShiftRequest
        from andon.training.runs.export_run import export_run, rule_of
        from andon.training.runs.run_folder import load
        from andon.training.runs.summary import findings

    if (args.shift_parts is None) != (args.shift_rejects is None):
        raise ConfigError(
            "expected --shift-parts and --shift-rejects together, got one. Example: --shift-parts 500 --shift-rejects 5."
        )
    if args.every_shift is not None and args.shift_parts is None:
        raise ConfigError("--every-shift: expected --shift-parts and --shift-rejects with it, got neither.")
    shift = None
    if args.shift_parts is not None:
        shift = ShiftRequest(parts=args.shift_parts, rejects=args.shift_rejects, share=args.every_shift)
    run_folder = load(args.run_folder, epoch=args.epoch)
    defects = None
    if args.missed is not None and args.review_defects is None:
        raise ConfigError("--missed: expected --review-defects with it, got none.")
    if args.review_defects is not None:
        defects = open_defects(args.review_defects, run_folder.spec)
    changes = {name: getattr(args, name) for name in _RULE if getattr(args, name) is not None}
    exported = export_run(
        run_folder,
        args.out,
        request=CalibrationRequest(
            promise=PromiseRequest(
                false_reject=args.false_reject,
                confidence=args.confidence,
                no_promise=args.no_promise,
                shift=shift,
                review=args.review,
            ),
            date=datetime.now(UTC).date().isoformat(),
            drift=True,
        ),
        rule=rule_of(run_folder, changes) if changes else None,
        name=args.name,
        data=args.data,
        golden_real=args.golden == "real",
        scene=None if args.scene is None else args.scene == "on",
        progress=ProgressLine(),
        defects=defects,
        missed=MISSED if args.missed is None else args.missed,
        precision=args.precision,
    )
    if args.json:
        parity = {
            "compared": exported.parity.compared,
            "worst_relative": exported.parity.worst_relative,
            "near_threshold": exported.parity.near_threshold,
        }
        print(
            json.dumps(
                facts(exported.model)
                | {"parity": parity, "file": str(exported.path), "outlying_parts": list(exported.outlying_parts)}
                | ({"precision_check": to_builtins(exported.precision)} if exported.precision else {})
                | findings(run_folder)
            )
        )
        return 0
    print(render(exported.model))
    print(
        f"parity      {exported.parity.compared} items, worst relative difference {exported.parity.worst_relative:.1g}"
        f"; status not compared for {exported.parity.near_threshold} items very near the threshold"
    )
    if exported.precision is not None:
        print(f"{exported.model.card.precision:<11} {exported.precision.sentence}")
    highest = ", ".join(f"{printable(key)} ({score:.4g})" for key, score in exported.top_parts)
    print(f"check       good parts with the highest scores; a bad one among them would raise the threshold: {highest}")
    for warning in run_folder.record.warnings:
        print(f"warning     {warning.text}")
    print(f"written     {exported.path}")
    return 0
