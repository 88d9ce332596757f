"""Run the whole workflow on simulated data: train, calibrate, export, monitor. It takes about a minute, without a download.

The demo simulates a power converter (voltage, current, temperature) and trains a detector on good runs only. It exports one
ONNX file that contains its promise about false rejects. Then the demo uses this file to monitor hours of simulated time with
faults, and a report shows what it found.

example:
  andon demo
  andon demo --seed 3 --out demo-3/

exit code 0: all faults were detected and the promise was kept. 1: otherwise.
"""

import argparse
import sys
import webbrowser
from pathlib import Path

from andon.cli._numbers import MAX_SEED, whole
from andon.foundation.console import StatusLine

SUMMARY = "run the whole workflow on simulated data, in about a minute"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--seed", type=whole(0, MAX_SEED), default=0, metavar="N", help="seed of simulation and training (default: 0)"
    )
    parser.add_argument(
        "--out", type=Path, default=None, metavar="DIR", help="output folder (default: andon-demo/seed-N)"
    )
    parser.add_argument("--open", action="store_true", help="open the report in a browser at the end")
    parser.add_argument("--json", action="store_true", help="print only the summary, as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run the demo. Return exit code 1 if a fault was missed or the promise was not kept."""
    from datetime import UTC, datetime

    import msgspec

    from andon.foundation.extras import needs
    from andon.foundation.progress import PIPED_EVERY_S, ProgressLine

    with needs("train", "the demo"):
        from andon.demo.demo import REPORT, Events, demo
    out = args.out or Path("andon-demo") / f"seed-{args.seed}"
    page = out / REPORT / "index.html"
    quiet = args.json
    line = StatusLine(sys.stderr, piped_every_s=PIPED_EVERY_S)
    table, progress = _Table(line), ProgressLine(line=line)
    events = (
        Events(progress=progress)
        if quiet
        else Events(stage=table.stage, fault=table.fault, false_reject=table.false_reject, progress=progress)
    )
    summary = demo(out, seed=args.seed, date=datetime.now(UTC).date().isoformat(), events=events)
    if quiet:
        print(msgspec.json.encode(summary).decode())
    else:
        kept = "within" if summary.within_promise else "MORE THAN"
        rows = {
            "caught": f"{summary.faults_caught} of {summary.faults_injected} faults (random rejects: {summary.dummy_caught:.1f})",
            "false rejects": f"{summary.false_rejects} of {summary.good_windows} good windows, {kept} the promise of "
            f"{summary.promise.alpha:.0%} (at most {summary.false_rejects_allowed} by chance)",
            "time": f"{summary.seconds:.0f} s, for {summary.simulated_hours:.1f} simulated hours",
            "model": f"{out / 'model.onnx'}   (andon inspect {out / 'model.onnx'})",
            "verdicts": f"{out / 'verdicts.jsonl'}",
            "report": f"{page}",
        }
        print()
        for name, text in rows.items():
            print(f"{name:<14} {text}")
        print("\nWith your own photos of good parts in a folder:  andon train patchcore --data FOLDER --out run/")
    if args.open:
        webbrowser.open(page.resolve().as_uri())
    return 0 if summary.within_promise and summary.faults_caught == summary.faults_injected else 1


class _Table:
    """Prints a table with one line for each fault and each false reject, as soon as it has ended."""

    def __init__(self, line: StatusLine) -> None:
        self._line = line
        self._headed = False

    def stage(self, text: str) -> None:
        print(f"- {text}", flush=True)

    def fault(self, row) -> None:  # type: ignore[no-untyped-def]
        self._head()
        caught = f"caught after {row.delay_s:5.1f} s" if row.caught else "MISSED"
        print(
            f"{_clock(row.begun_s)}  {row.kind.replace('_', ' '):<22} {caught:<22} level {row.highest_level:7.1f}  {row.channel}",
            flush=True,
        )

    def false_reject(self, time_s: float, level: float) -> None:
        self._head()
        print(f"{_clock(time_s)}  {'(nothing)':<22} {'false reject':<22} level {level:7.1f}", flush=True)

    def _head(self) -> None:
        self._line.clear()
        if not self._headed:
            print(f"\n{'time':<8}  {'simulated fault':<22} {'verdict':<22} {'(1 = threshold)':<14} channel")
            self._headed = True


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 3600:02}:{int(seconds) // 60 % 60:02}:{int(seconds) % 60:02}"
