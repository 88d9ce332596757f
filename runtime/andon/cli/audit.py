"""Check by counting whether a model file keeps its promise on the line.

example:
  andon audit bottle.onnx --good 600 --rejected 1              # one planned look, after 600 confirmed good parts
  andon audit bottle.onnx --good 412 --rejected 0 --any-time   # look as often as you like while you count
  andon audit bottle.onnx --good 600 --rejected 1 --json | jq .finding
  andon audit bottle.onnx --good 600 --rejected 1 -o bottle.onnx   # keep the finding in the file

Count parts that a person has confirmed as good: all parts of some shifts, or a random sample. Do not count only the parts that
the model rejected, and count no part that the calibration used. Without --any-time, choose the number of parts before you
count, and run the command once. With -o, the file keeps the finding: andon inspect and the report then show it. The verdicts stay
the same, and the digest of the file is new. Exit code 0: the promise is confirmed. 1: it is violated. 3: not decided yet.
"""

import argparse

from andon.cli._numbers import whole

SUMMARY = "check by counting whether a model file keeps its promise"
_MOST = 10_000_000
_CODES = {"confirmed": 0, "violated": 1, "undecided": 3}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("file", metavar="FILE.onnx", help="model file")
    parser.add_argument(
        "--good",
        type=whole(1, _MOST),
        required=True,
        metavar="N",
        help="number of confirmed good parts that the model judged since its calibration",
    )
    parser.add_argument(
        "--rejected",
        type=whole(0, _MOST),
        required=True,
        metavar="X",
        help="number of these parts that it rejected. A part that is INVALID because of its content counts as rejected",
    )
    parser.add_argument(
        "--any-time",
        action="store_true",
        help="use bounds that stay valid if you look again and again. They need about a third more parts",
    )
    parser.add_argument(
        "--false-reject",
        type=float,
        metavar="A",
        help="share of good parts to check against, above 0 and below 1 (default: the share that the file promises)",
    )
    parser.add_argument(
        "--confidence",
        type=float,
        metavar="C",
        help="confidence of each bound, above 0 and below 1 (default: the confidence of the file)",
    )
    parser.add_argument(
        "-o", "--out", metavar="NEW.onnx", help="write the file with this audit in it; NEW.onnx may be FILE.onnx"
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Compare the count with the promise, print one sentence, and return the code of the finding."""
    import json
    from datetime import UTC, datetime

    import msgspec

    from andon.foundation.atomic import write_atomically
    from andon.foundation.extras import needs
    from andon.runtime.model_file.format import read

    with needs("calibrate", "auditing"):
        from andon.calibration.audit import audit_file, with_audit

    model = read(args.file)
    calibration = model.card.calibration
    assert calibration is not None  # `read` refuses blank files
    audit, total = audit_file(
        calibration,
        rejects=args.rejected,
        parts=args.good,
        date=datetime.now(UTC).date().isoformat(),
        alpha=args.false_reject,
        confidence=args.confidence,
        looks="anytime" if args.any_time else "once",
    )
    if args.out is not None:
        write_atomically(args.out, with_audit(model.data, audit))
    if args.json:
        facts = msgspec.to_builtins(audit) | {
            "sentence": audit.sentence,
            "parts_in_total": total,
            "digest": model.digest,
        }
        if args.out is not None:
            facts |= {"file": str(args.out), "digest_after": read(args.out).digest}
        print(json.dumps(facts))
    else:
        advice = _advice(args.good, total, any_time=args.any_time) if audit.finding == "undecided" else ""
        print(f"{audit.sentence}.{advice}")
        if args.out is not None:
            print(f"written      {args.out}")
    return _CODES[audit.finding]


def _advice(good: int, total: int | None, *, any_time: bool) -> str:
    if total is None:
        return " The rejected share is so near the limit that no number of parts would decide it at this rate."
    if any_time:
        return f" About {total - good} more good parts would decide it at this rate."
    return f" At this rate a new count of about {total} good parts would decide it. To continue this count, use --any-time."
