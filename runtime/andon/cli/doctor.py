"""Examine this installation: versions, ONNX Runtime and its providers, extras, telemetry, folders and the machine.

Each problem is followed by the command that solves it. With a model file, the doctor also loads it and compares its golden
sample. It changes nothing.

example:
  andon doctor
  andon doctor model.onnx
  andon doctor --json | jq -c 'select(.ok | not)'

A WARNING works but has a risk. It does not change the exit code.

exit code 0: no problem. 1: a check failed. 2: a mistake in the command.
"""

import argparse
import json
from pathlib import Path

SUMMARY = "find problems of this installation, with the command that solves each"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "model",
        metavar="MODEL.onnx",
        nargs="?",
        type=Path,
        help="also load this model file and judge its golden sample",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object for each finding")


def run(args: argparse.Namespace) -> int:
    """Examine the installation and print what was found."""
    import msgspec

    from andon.cli import EXIT_CHECK_FAILED, EXIT_DONE
    from andon.doctor.examination import examine
    from andon.foundation.printable import printable
    from andon.sources.clock import SystemClock

    findings = examine(SystemClock(), model=args.model)
    for finding in findings:
        if args.json:
            print(json.dumps(msgspec.to_builtins(finding)), flush=True)
            continue
        result = "FAILED" if not finding.ok else "WARNING" if finding.warning else "ok"
        print(f"{finding.subject}: {result}: {printable(finding.text, limit=2000)}", flush=True)
        if finding.remedy:
            print(f"  {printable(finding.remedy, limit=2000)}", flush=True)
    return EXIT_DONE if all(finding.ok for finding in findings) else EXIT_CHECK_FAILED
