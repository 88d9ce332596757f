"""Compare detectors, each with its settings, on many data sets over seeds; one table of what they are worth and cost.

A cell is one detector on one set with one seed: trained, exported with its promise, evaluated on the set's labelled
test part, timed. It lies in OUT/SET/DETECTOR/seed-N and its result.json is written last: whatever interrupts a
comparison, the same command goes on where it was, within a training too. A cell that fails leaves error.json, the
others go on, and the same command tries it again. All mistakes that can be seen beforehand are told before anything
is trained. OUT/table.md, table.json and table.png (bars of AUROC and AUPRO) are written anew after each cell.

example:
  andon compare --detectors patchcore "patchcore --preset fast" --data sets/bottle sets/pill --seeds 0 1 2 --out cmp/
  andon compare --detectors window_vae --data "good.csv --test labelled/ --name pump" --out cmp/ --no-promise
  andon compare --plan plan.toml --out cmp/                  # the same lists, with names: see below
  andon compare --plan plan.toml --out cmp/ --cell 3/8       # the third of eight shares, for array jobs
  andon compare --out cmp/ --table                           # only the table of what is there

A detector is written as for 'andon train', in quotes where it has flags. A set is a path or name, in quotes where it
has flags: --test PATH (where the labelled parts lie, if not in the same tree), --truth CSV, --group REGEX|CSV,
--calibration-share X (of the good parts), --name.

plan.toml:
  detectors = ["patchcore", { name = "small", detector = "unet_autoencoder", settings = { narrow = 8, epochs = 20 } }]
  data = ["sets/bottle", { name = "pump", train = "good.csv", test = "labelled" }]
  seeds = [0, 1, 2]
  promise = { false_reject = 0.05 }

Under SLURM: sbatch --array=1-8 --wrap 'andon compare --plan plan.toml --out cmp/ --cell $SLURM_ARRAY_TASK_ID/8'. Any
number of processes that share the folder may run the same comparison: a lock file sees that each cell is done by one.
One that was killed on the same machine is known at once; on another, its lock counts for ten minutes more.
"""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from andon.cli._long_runs import ends_cleanly_on_sigterm, sources_warn_once
from andon.cli._numbers import MAX_SEED, whole
from andon.foundation.console import StatusLine
from andon.foundation.errors import ConfigError
from andon.foundation.printable import printable

SUMMARY = "detectors side by side: settings, data sets and seeds, one resumable table"


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags."""
    parser.add_argument(
        "--detectors", nargs="+", metavar="DETECTOR", help='such as patchcore "patchcore --preset fast"'
    )
    parser.add_argument(
        "--data", nargs="+", metavar="SET", help="trees with train/good and test/TYPE, logs, simulations"
    )
    parser.add_argument(
        "--seeds", nargs="+", type=whole(0, MAX_SEED), metavar="N", help="of split, weights and order (default 0)"
    )
    parser.add_argument("--plan", type=Path, metavar="FILE.toml", help="the same lists from a file, instead of flags")
    parser.add_argument("--out", required=True, type=Path, metavar="OUT", help="the folder of the comparison")
    parser.add_argument(
        "--false-reject",
        type=float,
        default=None,
        metavar="A",
        help="the promise of every file (default: the strongest)",
    )
    parser.add_argument("--confidence", type=float, default=None, metavar="C", help="of the promise (default 0.95)")
    parser.add_argument("--no-promise", action="store_true", help="write estimates where parts carry no promise")
    parser.add_argument(
        "--cell",
        metavar="I/N",
        help="do only the I-th of N shares of the cells, I from 1 to N; each has as many of each detector",
    )
    parser.add_argument("--table", action="store_true", help="do nothing, make the table of what is there")
    parser.add_argument(
        "--threads",
        type=whole(1, 64),
        default=None,
        metavar="N",
        help="of torch, as for train",
    )
    parser.add_argument(
        "--device", choices=["cpu", "cuda", "mps", "auto"], default="auto", help="to learn on (default auto)"
    )
    parser.add_argument(
        "--bench-seconds",
        type=float,
        default=0.5,
        metavar="S",
        help="for each of four measurements of speed; 0: none (default 0.5). Cells side by side slow each other down",
    )
    parser.add_argument("--synthetic", action="store_true",
                        help="besides, AUROC on synthetic defects, drawn onto good parts that calibration kept back")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the table as one object")


def quotes_hint(before: Sequence[str], unknown: Sequence[str]) -> str:
    """Return how to quote a detector or set with its settings, where that is what was forgotten; else nothing.

    >>> quotes_hint(["--detectors", "patchcore"], ["--preset", "fast"])
    ' Settings of a detector go into its quotes: --detectors "patchcore --preset fast".'
    """
    last = next((at for at in reversed(range(len(before))) if before[at].startswith("--")), None)
    if last is None:
        return ""
    flag, _, joined = before[last].partition("=")
    listed = [*([joined] if joined else []), *before[last + 1 :]]
    if flag not in ("--detectors", "--data") or not listed:
        return ""
    value = [word for word in unknown[1:2] if not word.startswith("-") and "=" not in unknown[0]]
    what = "detector" if flag == "--detectors" else "set"
    return f' Settings of a {what} go into its quotes: {flag} "{" ".join([listed[-1], unknown[0], *value])}".'


def run(args: argparse.Namespace) -> int:
    """Compare; exit code 3 if a cell failed or is done by another process."""
    from datetime import UTC, datetime

    from andon.foundation.extras import needs

    _refuse_unfit_flags(args)
    with needs("train", "comparing"):
        import safetensors  # noqa: F401 - needed after hours, said now
        import scipy  # noqa: F401
        import sklearn  # noqa: F401

        from andon.evaluation.synthetic import synthetic_auroc
        from andon.training.comparison.cell import Surroundings
        from andon.training.comparison.compare import compare, write_table
        from andon.training.comparison.plan import parse_share, read_plan
    if args.table:
        _print(write_table(args.out), as_object=args.json)
        return 0
    plan = read_plan(args.plan) if args.plan else _plan(args)
    where = Surroundings(
        date=datetime.now(UTC).date().isoformat(),
        threads=args.threads,
        device=args.device,
        bench_s=args.bench_seconds,
        more={"synthetic_auroc": synthetic_auroc} if args.synthetic else {},
    )
    part = parse_share(args.cell) if args.cell else (1, 1)
    with ends_cleanly_on_sigterm(), sources_warn_once():
        compared = compare(plan, args.out, where, part=part, events=_Teller().events())
    _print(compared.table, as_object=args.json)
    if compared.elsewhere:
        print(f"andon: left to other processes: {', '.join(compared.elsewhere)}", file=sys.stderr)
    return 0 if compared.complete else 3


def _plan(args: argparse.Namespace) -> Any:
    from andon.calibration.request import PromiseRequest
    from andon.training.comparison.plan import Plan, parse_data, parse_detector

    return Plan(
        choices=tuple(parse_detector(text) for text in args.detectors),
        sets=tuple(parse_data(text) for text in args.data),
        seeds=tuple(args.seeds or (0,)),
        promise=PromiseRequest(
            false_reject=args.false_reject,
            confidence=0.95 if args.confidence is None else args.confidence,
            no_promise=args.no_promise,
        ),
    )


def _refuse_unfit_flags(args: argparse.Namespace) -> None:
    listing = {
        "--detectors": args.detectors,
        "--data": args.data,
        "--seeds": args.seeds,
        "--false-reject": args.false_reject,
        "--confidence": args.confidence,
        "--no-promise": args.no_promise or None,
    }
    given = [flag for flag, value in listing.items() if value is not None]
    if args.plan and given:
        raise ConfigError(f"--plan says what is compared: leave out {', '.join(given)}, or write it into {args.plan}.")
    if not args.plan and not args.table and not (args.detectors and args.data):
        raise ConfigError("expected --detectors and --data, or --plan FILE.toml. See 'andon compare --help'.")
    if not 0 <= args.bench_seconds <= 3600:
        raise ConfigError(f"--bench-seconds: expected 0 to 3600, got {args.bench_seconds:g}.")


def _print(table: Any, *, as_object: bool) -> None:
    import msgspec

    from andon.training.comparison.table import markdown

    print(msgspec.json.encode(table).decode() if as_object else markdown(table).rstrip("\n"))


class _Teller:
    """A line as each cell begins and ends, on a terminal; else only what failed, and with -v what is done."""

    def __init__(self) -> None:
        self._line = StatusLine(sys.stderr)
        self._begun_s = self._cell_begun_s = time.monotonic()

    def events(self) -> Any:
        """For `compare`."""
        from andon.foundation.progress import ProgressLine
        from andon.training.comparison.compare import Events

        return Events(started=self._begun, done=self._done, failed=self._failed, progress=ProgressLine(line=self._line))

    def _begun(self, cell: Any, number: int, of: int) -> None:
        self._cell_begun_s = time.monotonic()
        if self._line.terminal:
            self._line.print(f"{number}/{of}  {cell}   ({_clock(time.monotonic() - self._begun_s)} so far)")

    def _done(self, cell: Any, number: int, of: int, result: Any) -> None:
        area = result.figures.get("mean_auroc", result.figures.get("auroc"))
        told = [f"done in {_clock(time.monotonic() - self._cell_begun_s)}"]
        told += [f"AUROC {area:.3f}"] if area is not None else []
        told += [f"{result.latency_ms:.1f} ms"] if result.latency_ms is not None else []
        text = ", ".join(told)
        if self._line.terminal:
            self._line.print(f"{number}/{of}  {text}")
        else:
            logging.getLogger(__name__).info("%d/%d  %s: %s", number, of, cell, text)

    def _failed(self, cell: Any, number: int, of: int, why: str) -> None:
        self._line.print(f"andon: {number}/{of}  {cell}: failed: {printable(why)}")


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
