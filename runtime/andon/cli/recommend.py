"""Recommend a detector for your good parts and a limit of time for each frame, and write its model file.

The command trains a short menu of detectors on your good parts: patchcore in several presets, and pixel_knn as the baseline.
It measures the time of all of them with calls in turn, and judges them on synthetic defects that it draws onto good parts that
training did not see. It recommends the fastest one whose AUROC is at most --gain below the best one that keeps the budget.
Then it trains this one on all good parts and exports it to OUT/model.onnx.

The sentence states how sure the choice is: "not decided" means that the 95 % interval of the difference to the next best
candidate includes 0. If the data have test/good and test/TYPE, the table also shows the AUROC on these labelled parts. The
choice does not depend on them.

To continue after an interruption, run the same command again. It keeps trained candidates, and only measures the times again.
Another --budget-ms or --gain trains nothing again except the final file.

example:
  andon recommend --data parts/ --budget-ms 30 --out choice/
  andon recommend --data parts/ --budget-ms 30 --out choice/ --gain 0    # the best within the budget, even if slower

files: recommendation.md, recommendation.json, recommendation.png (AUROC against time), model.onnx

exit code 0: a file was recommended. 1: no candidate keeps the budget. 3: a candidate failed, the others were compared.
"""

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from andon.cli import _masks
from andon.cli._long_runs import ends_cleanly_on_sigterm, sources_warn_once
from andon.cli._numbers import MAX_SEED, whole
from andon.foundation.console import StatusLine
from andon.foundation.errors import ConfigError
from andon.foundation.printable import printable

SUMMARY = "recommend a detector for your good parts and a limit of time"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--data", required=True, metavar="PATH", help="good parts: a folder of pictures, or a tree with train/good"
    )
    parser.add_argument(
        "--budget-ms",
        required=True,
        type=float,
        metavar="MS",
        help="longest time for one frame on one thread of this machine, in milliseconds",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="OUT", help="folder to write")
    parser.add_argument(
        "--gain",
        type=float,
        default=0.03,
        metavar="X",
        help="prefer a slower candidate only if its AUROC is higher by more than this (default: 0.03)",
    )
    parser.add_argument(
        "--group",
        metavar="REGEX|CSV",
        help="files that belong to one part or lot, as for 'andon train'",
    )
    _masks.add_flags(parser)
    parser.add_argument(
        "--seed", type=whole(0, MAX_SEED), default=0, metavar="N", help="seed of split and training (default: 0)"
    )
    parser.add_argument(
        "--threads",
        type=whole(1, 64),
        default=None,
        metavar="N",
        help="threads of torch for training, 1 to 64 (default: the default of torch)",
    )
    parser.add_argument(
        "--device",
        choices=["cpu", "cuda", "mps", "auto"],
        default="auto",
        help="device for training; auto uses CUDA if there is one. Times are always measured on the CPU (default: auto)",
    )
    parser.add_argument(
        "--bench-seconds",
        type=float,
        default=2.0,
        metavar="S",
        help="duration of the timing in seconds for each candidate (default: 2)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Recommend. Return exit code 1 if nothing keeps the budget, and 3 if a candidate failed."""
    from datetime import UTC, datetime

    import msgspec

    from andon.foundation.extras import needs

    if not 0 < args.bench_seconds <= 600:
        raise ConfigError(
            f"--bench-seconds: expected more than 0 and at most 600 seconds, got {args.bench_seconds:g}. Example: "
            "--bench-seconds 2."
        )
    with needs("train", "recommending"):
        import matplotlib.figure  # noqa: F401 - needed after the trainings, so a missing package is reported now
        import safetensors  # noqa: F401
        import scipy  # noqa: F401
        import sklearn  # noqa: F401

        from andon.training.recommendation.recommend import Options, recommend
        from andon.training.recommendation.result import markdown
    stage = _Stage()
    with ends_cleanly_on_sigterm(), sources_warn_once(), stage.quiet():
        found = recommend(
            args.data,
            args.out,
            budget_ms=args.budget_ms,
            date=datetime.now(UTC).date().isoformat(),
            options=Options(
                gain=args.gain,
                seed=args.seed,
                group=args.group,
                ignore=tuple(args.ignore),
                region=tuple(args.region),
                threads=args.threads,
                device=args.device,
                bench_s=args.bench_seconds,
            ),
            events=stage.events(),
        )
    if args.json:
        print(msgspec.json.encode(found).decode())
    else:
        print(markdown(found).rstrip("\n"))
        if found.model is not None:
            print(f"\nmodel            {found.model}\npromise          {found.promise}")
            print(f"another promise  {found.command} --false-reject A")
    if found.chosen is None:
        return 1
    return 0 if found.complete else 3


class _Stage:
    """Prints the steps on a terminal. Hides warnings about the training of candidates: the final training repeats them."""

    def __init__(self) -> None:
        self._line = StatusLine(sys.stderr)
        self._final = False

    def events(self) -> Any:
        """Return the callbacks for `recommend`."""
        from andon.foundation.progress import ProgressLine
        from andon.training.recommendation.recommend import Events

        return Events(started=self._started, failed=self._failed, progress=ProgressLine(line=self._line))

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Hide the warnings of candidates, unless more details were requested."""
        handlers = [] if logging.getLogger("andon").isEnabledFor(logging.INFO) else list(logging.getLogger().handlers)
        for handler in handlers:
            handler.addFilter(self._shown)
        try:
            yield
        finally:
            for handler in handlers:
                handler.removeFilter(self._shown)

    def _shown(self, record: logging.LogRecord) -> bool:
        return self._final or not record.name.startswith("andon.training.runs")

    def _started(self, name: str, number: int, of: int) -> None:
        self._final = number == of
        if self._line.terminal:
            self._line.print(f"{number}/{of}  {name}")

    def _failed(self, name: str, why: str) -> None:
        self._line.print(f"andon: {name}: failed: {printable(why)}")
