"""Check a monitor before it runs: its file, and the model, source and sinks of each line. Print one line for each of them.

The check loads the model file and runs its golden sample, reads and judges one item of the source, and tries whether the target
of each sink can be written. It changes nothing. Standard input is not read.

example:
  andon check line.toml
  andon check line.toml --json | jq -c 'select(.ok | not)'

A WARNING is a setting that works but has a risk. It does not change the exit code.

exit code 0: the line can run. 1: it could not run. 2: the file is wrong, and the first mistake is printed.
"""

import argparse
import json
import logging
import math
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from andon.foundation.errors import ConfigError

if TYPE_CHECKING:
    from andon.monitor.line_check import Finding

SUMMARY = "check a line's file, model, source and sinks before it runs"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("file", metavar="LINE.toml", help="configuration of the line; 'andon init' writes an example")
    parser.add_argument(
        "--timeout-s",
        type=float,
        default=10.0,
        metavar="X",
        help="longest wait for the first item of the source, in seconds, up to 3600 (default: 10)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object for each finding")


def run(args: argparse.Namespace) -> int:
    """Check the line and print what was found."""
    from andon.cli import EXIT_CHECK_FAILED, EXIT_DONE
    from andon.monitor.config import read_configuration
    from andon.monitor.line_check import check_line
    from andon.monitor.process_check import check_process
    from andon.sources.clock import SystemClock

    if not 0 < args.timeout_s <= 3600 or not math.isfinite(args.timeout_s):
        raise ConfigError(f"--timeout-s: expected a number of seconds > 0 and <= 3600, got {args.timeout_s:g}.")
    configuration = read_configuration(args.file)
    clock = SystemClock()
    checks = []
    ok = True
    for line in configuration.lines:
        checks.append(check_line(line, clock, limit_s=args.timeout_s))
        ok = _print(checks[-1].findings, as_json=args.json) and ok
    ok = _print(check_process(configuration, clock), as_json=args.json) and ok
    code = EXIT_DONE if ok else EXIT_CHECK_FAILED
    if any(checked.hung for checked in checks):
        # a thread that returns from a driver while the interpreter ends may abort the process
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _print(findings: Sequence["Finding"], *, as_json: bool) -> bool:
    """Print the findings, and return whether all of them are good."""
    import msgspec

    for finding in findings:
        if as_json:
            print(json.dumps(msgspec.to_builtins(finding)), flush=True)
        else:
            place = f"{finding.line}: " if finding.line else ""
            result = "FAILED" if not finding.ok else "WARNING" if finding.warning else "ok"
            print(f"{place}{finding.subject}: {result}: {finding.text}", flush=True)
    return all(finding.ok for finding in findings)
