"""Set the threshold of a model file by hand. The new file states that it promises nothing.

example:
  andon threshold bottle.onnx --set 2.4 -o stricter.onnx --reason "scratches of customer A"

A threshold that a person chose has no promise. To get a promise, calibrate with good parts (andon calibrate).
"""

import argparse

SUMMARY = "set the threshold of a model file by hand, without a promise"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("file", metavar="FILE.onnx", help="calibrated model file")
    parser.add_argument(
        "--set", dest="value", type=float, required=True, metavar="V", help="new threshold; a higher score is REJECT"
    )
    parser.add_argument(
        "-o", "--out", required=True, metavar="NEW.onnx", help="model file to write; it may be FILE.onnx"
    )
    parser.add_argument("--reason", required=True, metavar="TEXT", help="reason for the log in the file")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Write the file with the new threshold, and show old and new."""
    import json
    from datetime import UTC, datetime

    from andon.foundation.atomic import write_atomically
    from andon.foundation.extras import needs
    from andon.runtime.model_file.format import parse, read

    with needs("calibrate", "setting a threshold"):
        from andon.calibration.manual_threshold import set_threshold

    before = read(args.file)
    data = set_threshold(before.data, args.value, date=datetime.now(UTC).date().isoformat(), reason=args.reason)
    after = parse(data)
    calibration = after.card.calibration
    assert calibration is not None  # `set_threshold` keeps the calibration
    write_atomically(args.out, data)
    if args.json:
        facts = {
            "file": str(args.out),
            "threshold_before": before.threshold,
            "threshold": after.threshold,
            "promise": calibration.sentence,
            "above": calibration.above,
            "n": calibration.n,
            "digest": after.digest,
        }
        print(json.dumps(facts))
        return 0
    print(f"threshold    {before.threshold:.9g} -> {after.threshold:.9g}")
    print(f"statement    {calibration.sentence}")
    print(f"parts        {calibration.above} of the {calibration.n} calibration parts are above it")
    print(f"written      {args.out}")
    return 0
