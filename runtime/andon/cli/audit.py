r"""Check by counting whether a model keeps its promise on the line: from a count of parts, or from stored results.

example:
  andon audit bottle.onnx --good 600 --rejected 1              # one planned look, after 600 confirmed good parts
  andon audit bottle.onnx --good 412 --rejected 0 --any-time   # look as often as you like while you count
  andon audit bottle.onnx --good 600 --rejected 1 --json | jq .finding
  andon audit bottle.onnx --good 600 --rejected 1 -o bottle.onnx   # keep the finding in the file
  andon audit results/ --by line,day -o drift.png              # what andon score --out stored, with a picture of the scores
  andon audit results/ --against old-results/                  # the same items, judged by two models

Count parts that a person has confirmed as good: all parts of some shifts, or a random sample. Do not count only the parts that
the model rejected, and count no part that the calibration used. Without --any-time, choose the number of parts before you
count, and run the command once. With a model file and -o, the file keeps the finding: andon inspect and the report then show
it. The verdicts stay the same, and the digest of the file is new.

A folder of results is counted by its labels. A part is rejected if one of its frames is. Without labels, the share of rejects
bounds the share of false rejects from above, and nothing is decided.

Exit code 0: the promise is confirmed. 1: it is violated, in total, or for a line, day or lot after the correction for their
number. 3: not decided.
"""

import argparse
from pathlib import Path

from andon.cli._numbers import whole
from andon.sources.addresses import scheme_of

SUMMARY = "check by counting whether a model keeps its promise"
_MOST = 10_000_000
_CODES = {"confirmed": 0, "violated": 1, "undecided": 3}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "file", metavar="FILE.onnx|RESULTS", help="model file, or folder that 'andon score --out' wrote"
    )
    parser.add_argument(
        "--good",
        type=whole(1, _MOST),
        metavar="N",
        help="with a model file: number of confirmed good parts that the model judged since its calibration",
    )
    parser.add_argument(
        "--rejected",
        type=whole(0, _MOST),
        metavar="X",
        help="with a model file: number of these parts that it rejected. A part that is INVALID because of its content counts as "
        "rejected",
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
        "--good-label",
        metavar="LABEL",
        help="with results: label of the parts that a person has confirmed as good (default: good)",
    )
    parser.add_argument(
        "--by",
        metavar="GROUPS",
        help="with results: check each line, day or lot too, for example line,day (default: those with several values). "
        "Days are in UTC",
    )
    parser.add_argument(
        "--one-per-lot",
        action=argparse.BooleanOptionalAction,
        help="with results: draw one part from each lot, because parts of a lot depend on each other (default: as in the "
        "calibration)",
    )
    parser.add_argument(
        "--separate-repeats",
        action="store_true",
        default=None,
        help="with results: count rows with the same item_id and other values as different items (default: refuse them)",
    )
    parser.add_argument(
        "--against",
        metavar="OLD_RESULTS",
        help="with results: compare with the verdicts of an older model about the same items",
    )
    parser.add_argument(
        "-o",
        "--out",
        metavar="NEW",
        help="with a model file: write the file with this audit in it; NEW may be FILE.onnx. With results: draw the scores by "
        "day, as NEW.png or NEW.svg",
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Compare the count with the promise, print one sentence, and return the code of the finding."""
    if Path(args.file).is_dir() or scheme_of(args.file):
        from andon.cli._results_audit import run_results

        _refuse(args, ("good", "rejected"), "a folder of results, whose rows are counted", "Leave it out")
        if args.against is not None:
            _refuse(args, ("separate_repeats",), "--against, which matches rows by item_id", "Leave it out")
        return run_results(args)
    _refuse(
        args,
        ("good_label", "by", "one_per_lot", "separate_repeats", "against"),
        "a model file",
        "Give a folder of results",
    )
    return _run_file(args)


def _refuse(args: argparse.Namespace, flags: tuple[str, ...], what: str, remedy: str) -> None:
    from andon.foundation.errors import ConfigError

    for name in flags:
        if getattr(args, name) is not None:
            flag = "--" + name.replace("_", "-")
            raise ConfigError(f"{flag}: it has no meaning with {what}: {args.file}. {remedy}.")


def _run_file(args: argparse.Namespace) -> int:
    import json
    from datetime import UTC, datetime

    import msgspec

    from andon.foundation.atomic import write_atomically
    from andon.foundation.errors import ConfigError
    from andon.foundation.extras import needs
    from andon.runtime.model_file.format import read

    with needs("calibrate", "auditing"):
        from andon.calibration.audit import advice, audit_file, with_audit

    if not Path(args.file).exists():
        raise ConfigError(
            f"{args.file}: expected a model file or a folder of results, got no such file or folder. Correct the path."
        )
    for flag in ("good", "rejected"):
        if getattr(args, flag) is None:
            raise ConfigError(
                f"expected --{flag} with a number of parts, for example --good 600 --rejected 1, got none. Only a folder of "
                "results is counted by this command."
            )
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
        print(f"{audit.sentence}. {advice(audit, total)}".rstrip())
        if args.out is not None:
            print(f"written      {args.out}")
    return _CODES[audit.finding]
