"""Compare detectors and settings on several data sets and seeds, and write one table of quality and cost.

A cell is one detector on one data set with one seed. For each cell the command trains, exports a model file, evaluates it on
the labelled test set, and measures its speed. The files of a cell are in OUT/SET/DETECTOR/seed-N.

To continue after an interruption, run the same command again. It also resumes the training that was interrupted. A failed cell
leaves error.json, and the other cells continue. The next run tries failed cells again. Flags, plan and data are checked before
the first training. After each cell the command updates OUT/table.md, table.json and table.png (bars of AUROC and AUPRO).

example:
  andon compare --detectors patchcore "patchcore --preset fast" --data sets/bottle sets/pill --seeds 0 1 2 --out cmp/
  andon compare --detectors whitening pca --data "good.csv --test labelled/ --name pump" --out cmp/ --no-promise
  andon compare --detectors patchcore --data "parts/ --ignore 110,110,210,210" --out cmp/
  andon compare --plan plan.toml --out cmp/                  # the lists from a file, see below
  andon compare --plan plan.toml --out cmp/ --cell 3/8       # the third of eight shares, for array jobs
  andon compare --plan plan.toml --out cmp/ --engine local   # several cells at the same time
  andon compare --plan plan.toml --out cmp/ --engine ray --address auto                       # on the nodes of a Ray cluster
  andon compare --out cmp/ --table                           # only write the table of finished cells

Write a detector with its flags as for 'andon train', in quotes: "patchcore --preset fast".
Write a data set as a path or name. To add flags, put the path and its flags in one pair of quotes:
  * --test PATH: labelled parts, if they are not in the same tree
  * --truth CSV: labels, as for 'andon evaluate'
  * --group REGEX|CSV: files that belong to one part, as for 'andon train'
  * --calibration-share X: share of the good parts for calibration, as for 'andon train'
  * --ignore MASK, --region MASK: pixels that do not count, and the only pixels that count, as for 'andon train'; may be repeated
  * --name NAME: name in the table

plan.toml:
  detectors = ["patchcore", { name = "small", detector = "unet_autoencoder", settings = { narrow = 8, epochs = 20 } }]
  data = ["sets/bottle", { name = "pump", train = "good.csv", test = "labelled" }]
  seeds = [0, 1, 2]
  promise = { false_reject = 0.05 }

With SLURM: sbatch --array=1-8 --wrap 'andon compare --plan plan.toml --out cmp/ --cell $SLURM_ARRAY_TASK_ID/8'.
Several processes may run the same comparison if they share the folder. A lock file ensures that only one process works on a
cell. The lock of a killed process is released at once on the same machine, and after ten minutes on another machine.

With --engine, each cell runs in a process of its own with --threads threads. A cell that is interrupted starts from the
beginning. With Ray, all nodes must see OUT and the data under the same paths, and a node with other data is refused.

exit code 0: all cells are done. 3: a cell failed or belongs to another process.
"""

import argparse
import contextlib
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

SUMMARY = "compare detectors and settings on several data sets and seeds"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--detectors",
        nargs="+",
        metavar="DETECTOR",
        help='detectors to compare, for example patchcore "patchcore --preset fast"',
    )
    parser.add_argument(
        "--data",
        nargs="+",
        metavar="SET",
        help="data sets: trees with train/good and test/TYPE, sensor logs, or simulations",
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=whole(0, MAX_SEED),
        metavar="N",
        help="seeds of split, weights and order of the parts (default: 0)",
    )
    parser.add_argument(
        "--plan", type=Path, metavar="FILE.toml", help="read detectors, data, seeds and promise from a file"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="OUT", help="folder of the comparison")
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
        default=None,
        metavar="C",
        help="confidence of the promise, above 0 and below 1 (default: 0.95)",
    )
    parser.add_argument("--no-promise", action="store_true", help="write an estimate if the parts support no promise")
    parser.add_argument(
        "--cell",
        metavar="I/N",
        help="process only the I-th of N shares of the cells, I from 1 to N; each share has the same number of cells of each "
        "detector (default: 1/1)",
    )
    parser.add_argument(
        "--engine",
        choices=["local", "ray"],
        default=None,
        help="run several cells at the same time: local uses processes of this machine, ray the nodes of a cluster (default: one "
        "cell after the other)",
    )
    parser.add_argument(
        "--address",
        metavar="ADDRESS",
        default=None,
        help="with --engine ray: address of the cluster, for example auto or head:6379 (default: Ray on this machine)",
    )
    parser.add_argument(
        "--workers",
        type=whole(1, 10_000),
        metavar="N",
        default=None,
        help="with --engine: number of cells at the same time (default: the number of CPUs, divided by --threads)",
    )
    parser.add_argument("--table", action="store_true", help="only write the table of finished cells, without training")
    parser.add_argument(
        "--threads",
        type=whole(1, 64),
        default=None,
        metavar="N",
        help="threads of torch, 1 to 64 (default: 1 for sensor windows and with --engine, else the default of torch)",
    )
    parser.add_argument(
        "--device",
        choices=["cpu", "cuda", "mps", "auto"],
        default="auto",
        help="device for training; auto uses CUDA if there is one (default: auto)",
    )
    parser.add_argument(
        "--bench-seconds",
        type=float,
        default=0.5,
        metavar="S",
        help="duration of each of the four speed measurements in seconds; 0 disables them (default: 0.5). Measure times "
        "with one process only, because parallel processes slow each other down",
    )
    parser.add_argument("--synthetic", action="store_true",
                        help="also compute the AUROC on synthetic defects, drawn onto the calibration parts")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the table as one JSON object")


def quotes_hint(before: Sequence[str], unknown: Sequence[str]) -> str:
    """Return a hint to quote a detector or set together with its settings. Return an empty text in other cases.

    A mask belongs to a data set, so its hint names the quotes of the set.

    >>> quotes_hint(["--detectors", "patchcore"], ["--preset", "fast"])
    ' Put settings of a detector into its quotes: --detectors "patchcore --preset fast".'
    """
    last = next((at for at in reversed(range(len(before))) if before[at].startswith("--")), None)
    masks = unknown[0].partition("=")[0] in ("--ignore", "--region")
    of_set = ' Masks belong to a data set. Put them into its quotes: --data "parts/ --ignore 100,200,900,700".'
    if last is None:
        return of_set if masks else ""
    flag, _, joined = before[last].partition("=")
    listed = [*([joined] if joined else []), *before[last + 1 :]]
    if masks and (flag != "--data" or not listed):
        return of_set
    if flag not in ("--detectors", "--data") or not listed:
        return ""
    value = [word for word in unknown[1:2] if not word.startswith("-") and "=" not in unknown[0]]
    what = "detector" if flag == "--detectors" else "set"
    return f' Put settings of a {what} into its quotes: {flag} "{" ".join([listed[-1], unknown[0], *value])}".'


def run(args: argparse.Namespace) -> int:
    """Compare. Return exit code 3 if a cell failed or belongs to another process."""
    from datetime import UTC, datetime

    from andon.foundation.extras import needs

    _refuse_unfit_flags(args)
    with needs("train", "comparing"):
        import safetensors  # noqa: F401 - needed after hours of training, so a missing package is reported now
        import scipy  # noqa: F401
        import sklearn  # noqa: F401

        from andon.evaluation.synthetic import synthetic_auroc
        from andon.training.comparison.cell import Surroundings
        from andon.training.comparison.compare import EngineRequest, compare, write_table
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
    engine = None
    if args.engine is not None:
        engine = EngineRequest(name=args.engine, address=args.address, workers=args.workers)
    # Ray prints deaths of its workers on stdout, which belongs to the table
    with ends_cleanly_on_sigterm(), sources_warn_once(), contextlib.redirect_stdout(sys.stderr):
        compared = compare(plan, args.out, where, part=part, events=_Reporter().events(), engine=engine)
    _print(compared.table, as_object=args.json)
    if compared.elsewhere:
        print(
            f"andon: not finished here, because other processes work on these cells: {', '.join(compared.elsewhere)}. Run the "
            "same command again when they have ended.",
            file=sys.stderr,
        )
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
        raise ConfigError(
            f"--plan: expected no other flags for the plan, got {', '.join(given)}. Leave them out, or write the values into "
            f"{args.plan}."
        )
    if not args.plan and not args.table and not (args.detectors and args.data):
        raise ConfigError("expected --detectors and --data, or --plan FILE.toml. See 'andon compare --help'.")
    without = [flag for flag, value in (("--address", args.address), ("--workers", args.workers)) if value is not None]
    if without and args.engine is None:
        raise ConfigError(
            f"{without[0]}: expected it together with --engine, got it alone. Add --engine ray or --engine local."
        )
    if args.engine is not None and args.table:
        raise ConfigError("--table: expected no --engine, because no cell runs. Leave one of them out.")
    if not 0 <= args.bench_seconds <= 3600:
        raise ConfigError(
            f"--bench-seconds: expected 0 to 3600 seconds, got {args.bench_seconds:g}. Example: --bench-seconds 0.5."
        )


def _print(table: Any, *, as_object: bool) -> None:
    import msgspec

    from andon.training.comparison.table import markdown

    print(msgspec.json.encode(table).decode() if as_object else markdown(table).rstrip("\n"))


class _Reporter:
    """Reports each cell at its start and end on a terminal.

    Without a terminal, it reports failures, and with -v finished cells.
    """

    def __init__(self) -> None:
        self._line = StatusLine(sys.stderr)
        self._start_s = self._cell_start_s = time.monotonic()

    def events(self) -> Any:
        """Return the callbacks for `compare`."""
        from andon.foundation.progress import ProgressLine
        from andon.training.comparison.compare import Events

        return Events(
            started=self._started, done=self._done, failed=self._failed, progress=ProgressLine(line=self._line)
        )

    def _started(self, cell: Any, number: int, of: int) -> None:
        self._cell_start_s = time.monotonic()
        if self._line.terminal:
            self._line.print(f"{number}/{of}  {cell}   ({_clock(time.monotonic() - self._start_s)} so far)")

    def _done(self, cell: Any, number: int, of: int, result: Any) -> None:
        area = result.figures.get("mean_auroc", result.figures.get("auroc"))
        facts = [f"done in {_clock(time.monotonic() - self._cell_start_s)}"]
        facts += [f"AUROC {area:.3f}"] if area is not None else []
        facts += [f"{result.latency_ms:.1f} ms"] if result.latency_ms is not None else []
        text = ", ".join(facts)
        if self._line.terminal:
            self._line.print(f"{number}/{of}  {text}")
        else:
            logging.getLogger(__name__).info("%d/%d  %s: %s", number, of, cell, text)

    def _failed(self, cell: Any, number: int, of: int, why: str) -> None:
        self._line.print(f"andon: {number}/{of}  {cell}: failed: {printable(why)}")


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
