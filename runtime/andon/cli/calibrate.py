"""Calibrate a model file again on site, from new good parts. No PyTorch is needed.

example:
  andon calibrate bottle.onnx --good shift/ -o new.onnx --reason "monthly check"
  andon calibrate bottle.onnx --good shift/ -o new.onnx --force --reason "new lamp"   # the scores have moved
  andon calibrate bottle.onnx --good shift/ --review-defects defects/ -o new.onnx   # REVIEW where too many defects would pass
  andon calibrate bottle.onnx --from verdicts.jsonl -o new.onnx --reason "shift 12"   # from stored scores of this file

The network stays the same. The scene check, the threshold and the promise are made new from the good parts. By default the new
file promises the same as the old one. Give good parts only: one bad part among them can raise the threshold. The command runs
with one thread and low priority, so it can run next to a monitor.

exit code 0: the new file is written. 2: it is not, and the old file is unchanged.
"""

import argparse
from typing import TYPE_CHECKING, Any

import msgspec

from andon.foundation.printable import printable
from andon.runtime.schema import json_number

if TYPE_CHECKING:
    from andon.calibration.recalibrate import Recalibrated
    from andon.calibration.request import PromiseRequest
    from andon.runtime.model_file.format import ModelFile

SUMMARY = "calibrate a model file again on site, from new good parts"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("file", metavar="FILE.onnx", help="calibrated model file")
    parts = parser.add_mutually_exclusive_group(required=True)
    parts.add_argument("--good", metavar="PATH", help="new good parts: a folder of pictures, or logs")
    parts.add_argument(
        "--from",
        dest="scores",
        metavar="FILE",
        help="stored scores of good parts by this file: JSON lines of 'andon score --json' or of the monitor, or CSV with the "
        "columns item, score and model",
    )
    parser.add_argument(
        "-o", "--out", required=True, metavar="NEW.onnx", help="model file to write; it may be FILE.onnx"
    )
    parser.add_argument(
        "--reason", default="", metavar="TEXT", help="reason for the calibration, for the log in the file"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="accept a threshold that moved implausibly far, or parts that are grouped in another way. Needs --reason",
    )
    parser.add_argument(
        "--false-reject",
        type=float,
        metavar="A",
        help="promise that at most this share of good parts is rejected, above 0 and below 1 (default: as in the file)",
    )
    parser.add_argument(
        "--confidence",
        type=float,
        metavar="C",
        help="confidence of the promise, above 0 and below 1 (default: as in the file)",
    )
    parser.add_argument(
        "--rate-only",
        action="store_true",
        help="leave out the shift promise and the review band of the old file (default: keep them)",
    )
    parser.add_argument(
        "--review",
        type=float,
        metavar="A",
        help="give REVIEW to high scores below the threshold, and promise that at most this share of good parts is REVIEW or "
        "REJECT (default: as in the file)",
    )
    parser.add_argument(
        "--review-defects",
        metavar="PATH",
        help="known defects: give REVIEW to scores below the threshold that too many such defects have. Needs about 3 / B "
        "different defects, which no other choice has used",
    )
    parser.add_argument(
        "--missed",
        type=float,
        metavar="B",
        help="with --review-defects: promise that at most this share of such defects passes (default: 0.05)",
    )
    parser.add_argument("--no-promise", action="store_true", help="write an estimate if the parts support no promise")
    parser.add_argument(
        "--group",
        metavar="REGEX|CSV",
        help="rule that states which files show one part or belong to one lot, as in 'andon train'",
    )
    parser.add_argument(
        "--device",
        choices=["cpu", "cuda"],
        help="device that will judge; the promise is valid on this type of device only (default: as in the file)",
    )
    parser.add_argument("--json", action="store_true", help="print the old and the new statement as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Calibrate, write the new file, and show old and new side by side."""
    import json
    import os
    from datetime import UTC, datetime
    from pathlib import Path

    from andon.foundation.atomic import write_atomically
    from andon.foundation.extras import needs
    from andon.foundation.progress import ProgressLine
    from andon.runtime.model_file.format import read
    from andon.sources.collection import Collection
    from andon.sources.grouping import Grouped
    from andon.sources.opening import open_defects, open_good

    with needs("calibrate", "calibrating"):
        from andon.calibration.known_defects import MISSED
        from andon.calibration.recalibrate import recalibrate, recalibrate_from_scores, same_promise
        from andon.calibration.request import CalibrationRequest
        from andon.calibration.stored_scores import read_scores

    model = read(args.file)
    _refuse_contradictions(args, model)
    request = CalibrationRequest(
        promise=_wished(args, same_promise(model)),
        date=datetime.now(UTC).date().isoformat(),
        grouped=args.group is not None,
        drift=True,
        reason=args.reason.strip(),
        forced=args.force,
    )
    if hasattr(os, "nice"):
        os.nice(10)  # a monitor on the same machine has priority
    if args.scores is not None:
        stored = read_scores(Path(args.scores), model, group=args.group)
        result = recalibrate_from_scores(model.data, stored, request)
    else:
        good: Collection = open_good(args.good, model.card.input)
        defects = open_defects(args.review_defects, model.card.input) if args.review_defects is not None else None
        if args.group is not None:
            good = Grouped(good, args.group)
            defects = None if defects is None else Grouped(defects, args.group)
        result = recalibrate(
            model.data,
            good,
            request,
            device=args.device or model.card.provider,
            progress=ProgressLine(),
            defects=defects,
            missed=MISSED if args.missed is None else args.missed,
        )
    write_atomically(args.out, result.data)
    if args.json:
        print(json.dumps(_facts(result) | {"file": str(args.out)}))
    else:
        print(_render(result))
        print(f"{'written':<12} {args.out}")
    return 0


def _refuse_contradictions(args: argparse.Namespace, model: "ModelFile") -> None:
    """Refuse flags that contradict each other or the file."""
    from andon.foundation.errors import ConfigError

    if args.force and not args.reason.strip():
        raise ConfigError("--force: expected a --reason too, got none. The log in the file keeps it.")
    if args.missed is not None and args.review_defects is None:
        raise ConfigError("--missed: expected --review-defects with it, got none.")
    if args.scores is None:
        return
    if args.device not in (None, model.card.provider):
        raise ConfigError(
            f"--device: expected {model.card.provider}, on which the stored scores were computed, got {args.device}. Give "
            "--good with pictures or logs, so that they are scored on this device."
        )
    if args.review_defects is not None:
        raise ConfigError(
            "--review-defects: expected --good with it, because both are scored together, got --from. Leave one out."
        )


def _wished(args: argparse.Namespace, old: "PromiseRequest") -> "PromiseRequest":
    """Return the promise that the flags ask for. What no flag names is as in the old file."""
    from msgspec.structs import replace

    if args.rate_only:
        old = replace(old, shift=None, review=None)
    elif args.review_defects is not None:
        old = replace(old, review=None)
    changes = {
        "false_reject": args.false_reject,
        "confidence": args.confidence,
        "no_promise": args.no_promise or None,
        "review": args.review,
    }
    return replace(old, **{name: value for name, value in changes.items() if value is not None})


def _facts(result: "Recalibrated") -> dict[str, Any]:
    """Return the object that ``--json`` prints."""
    move = result.after.log[-1].move
    return {
        "before": _statement(result.before),
        "after": _statement(result.after),
        "scene_parts": result.scene_parts,
        "move": msgspec.to_builtins(move) if move else None,
        "highest": [{"item": key, "score": json_number(score)} for key, score in result.top_parts],
    }


def _statement(model: "ModelFile") -> dict[str, Any]:
    calibration = model.card.calibration
    assert calibration is not None  # `read` refuses blank files
    return {
        "promise": calibration.sentence,
        "statements": dict(calibration.further_sentences),
        "threshold": model.threshold,
        "n": calibration.n,
        "date": calibration.date,
        "digest": model.digest,
        "graph_sha256": model.graph_sha256,
    }


def _render(result: "Recalibrated") -> str:
    """Return old and new side by side, and what a person should check."""
    before, after = _statement(result.before), _statement(result.after)
    lines = [f"{'':<12} {'old':<24} new"]
    for name, shown in (("threshold", "{:.9g}"), ("n", "{} good"), ("date", "{}"), ("digest", "{:.12}")):
        old, new = (shown.format(one[name]) for one in (before, after))
        lines.append(f"{name if name != 'n' else 'parts':<12} {old:<24} {new}")
    lines.append(f"{'old promise':<12} {before['promise']}")
    lines.append(f"{'new promise':<12} {after['promise']}")
    lines.extend(f"{'new ' + name:<12} {sentence}" for name, sentence in after["statements"].items())
    if result.scene_parts:
        lines.append(f"{'scene':<12} fitted again to {result.scene_parts} other good parts")
    move = result.after.log[-1].move
    if move is not None:
        plausible = "implausible, accepted by --force" if move.implausible else "plausible"
        lines.append(
            f"{'move':<12} {plausible}: {move.above_before} of {after['n']} new parts are above the old threshold, "
            f"{move.above_after} of {move.n_before} old ones above the new"
        )
    highest = ", ".join(f"{printable(key)} ({score:.4g})" for key, score in result.top_parts)
    lines.append(f"{'check':<12} new parts with the highest scores; a bad one would raise the threshold: {highest}")
    return "\n".join(lines)
