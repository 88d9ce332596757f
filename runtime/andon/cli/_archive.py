"""The flags of `andon score` for archives, and what it prints about them."""

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING

from andon.cli._numbers import whole
from andon.foundation.errors import ConfigError

if TYPE_CHECKING:
    from andon.archive.score import Outcome, Plan

MOST_PRINTED = 10
"""Number of failed blocks that are printed. The manifest lists more."""
_ONLY_WITH_OUT = (
    "engine", "address", "workers", "gpus_per_worker", "block_rows", "maps", "limit_blocks", "dry_run", "new_plan",
)  # fmt: skip
_NOT_WITH_OUT = ("overlay", "explain", "run_folder", "data", "evidence")
_NAMES = {"run_folder": "--run"}


def configure_archive(parser: argparse.ArgumentParser) -> None:
    """Add the flags for archives."""
    add = parser.add_argument_group("archives").add_argument
    count = whole(1, 10_000_000)
    add(
        "--out",
        metavar="RESULTS",
        help="judge PATH as an archive and write the results into this folder or s3://bucket/prefix",
    )
    add(
        "--engine",
        choices=["local", "ray"],
        help="local: processes of this machine. ray: a Ray cluster (default: local)",
    )
    add("--address", metavar="ADDRESS",
        help="with --engine ray: address of the cluster, such as auto or head:6379 (default: start Ray here)")  # fmt: skip
    add("--workers", type=whole(1, 100_000), metavar="N",
        help="number of blocks that are judged at the same time (default: the CPUs divided by --threads)")  # fmt: skip
    add("--gpus-per-worker", type=float, metavar="F",
        help="with --engine ray: GPUs of each worker, such as 0.25 (default: 0)")  # fmt: skip
    add("--block-rows", type=count, metavar="N",
        help="largest number of items of a block; a block should take 5 to 60 s (default: 2000)")  # fmt: skip
    add("--maps", choices=["none", "rejects", "all"], help="rows that get a heat map as PNG (default: none)")
    add("--limit-blocks", type=count, metavar="K", help="judge at most K blocks now (default: all)")
    add("--dry-run", action="store_true", default=None, help="print the plan, and judge nothing")
    add("--new-plan", action="store_true", default=None,
        help="accept a folder with results of another model, input or options, and replace them")  # fmt: skip


def refuse_unfit_flags(args: argparse.Namespace) -> None:
    """Refuse flags that have no effect with --out, or without it."""
    refused = _ONLY_WITH_OUT if args.out is None else _NOT_WITH_OUT
    for name in refused:
        if getattr(args, name) not in (None, False):
            flag = _NAMES.get(name, f"--{name.replace('_', '-')}")
            wanted = "together with --out RESULTS" if args.out is None else "without --out, which judges an archive"
            raise ConfigError(
                f"{flag}: expected it {wanted}. Leave it out, or {'add' if args.out is None else 'leave'} --out."
            )
    if args.out is not None and len(args.paths) != 1:
        raise ConfigError(
            f"--out: expected one INPUT, got {len(args.paths)}. Give a common folder, or a list of paths in a file .txt."
        )
    if args.gpus_per_worker is not None and args.engine != "ray":
        raise ConfigError(
            "--gpus-per-worker: expected it together with --engine ray. Leave it out, or add --engine ray."
        )
    if args.gpus_per_worker is not None and not 0 < args.gpus_per_worker <= 64:
        raise ConfigError(
            f"--gpus-per-worker: expected a number above 0 and up to 64, got {args.gpus_per_worker:g}. Example: 0.25."
        )


def run_archive(args: argparse.Namespace) -> int:
    """Judge an archive, and print what the results are. Return exit code 3 if blocks are missing."""
    import msgspec

    from andon.archive.plan import DEFAULT_BLOCK_ROWS
    from andon.archive.score import blocks_done, open_archive, score_archive
    from andon.cli._long_runs import ends_cleanly_on_sigterm
    from andon.engines.engine import open_engine
    from andon.foundation.progress import ProgressLine

    archive = open_archive(
        args.file,
        args.paths[0],
        args.out,
        device=args.device,
        provider=args.provider or "calibrated",
        frame_size=args.frame_size or "calibrated",
        threads=args.threads,
        maps=args.maps or "none",
        block_rows=args.block_rows or DEFAULT_BLOCK_ROWS,
    )
    if args.dry_run:
        plan, done = archive.plan(), blocks_done(archive)
        if args.json:
            print(msgspec.json.encode({"plan": plan, "done": done}).decode())
        else:
            print(_plan_text(plan, done))
        return 0
    with (
        ends_cleanly_on_sigterm(),
        contextlib.redirect_stdout(
            sys.stderr
        ),  # Ray prints deaths of its workers on stdout, which belongs to the results
        open_engine(args.engine or "local", workers=args.workers, cpus=args.threads, address=args.address) as engine,
    ):
        outcome = score_archive(
            archive,
            engine,
            gpus=args.gpus_per_worker or 0,
            limit_blocks=args.limit_blocks,
            new_plan=bool(args.new_plan),
            progress=ProgressLine(),
        )
    if args.json:
        print(msgspec.json.encode(msgspec.to_builtins(outcome) | {"complete": outcome.complete}).decode())
    else:
        print(_outcome_text(outcome, args.out))
    _report_problems(outcome)
    return 0 if outcome.complete else 3


def _plan_text(plan: "Plan", done: int) -> str:
    rows = "windows that are counted when the logs are read" if plan.rows is None else f"{plan.rows} items"
    return (
        f"plan {plan.digest}: {plan.blocks} blocks, {rows}; {done} blocks have results, {plan.blocks - done} are to do"
    )


def _outcome_text(outcome: "Outcome", out: str) -> str:
    from andon.sources.addresses import shown_address

    counts, total = outcome.counts, outcome.plan.blocks
    done = outcome.judged + outcome.before
    rows = (
        f"{counts.rows} items: {counts.rows - counts.rejects - counts.reviews - counts.invalid} OK, {counts.reviews} REVIEW, "
        f"{counts.rejects} REJECT, {counts.invalid} INVALID"
    )
    return f"{shown_address(out)}: {done} of {total} blocks have results ({outcome.judged} judged now)\n{rows}"


def _report_problems(outcome: "Outcome") -> None:
    from andon.foundation.printable import printable

    for block in outcome.failed[:MOST_PRINTED]:
        print(f"andon: {printable(block.items)}: not judged: {printable(block.error, limit=500)}", file=sys.stderr)
    if len(outcome.failed) > MOST_PRINTED:
        print(f"andon: and {len(outcome.failed) - MOST_PRINTED} more blocks", file=sys.stderr)
    remedy = {
        "disk full": "The disk is full. Free space, and run the same command again: finished blocks are kept.",
        "no worker": "No block could be judged. Correct the cause above, and run the same command again.",
        "": "Run the same command again to try the missing blocks.",
    }[outcome.stopped]
    if not outcome.complete:
        print(
            f"andon: {outcome.plan.blocks - outcome.judged - outcome.before} blocks are missing. {remedy}",
            file=sys.stderr,
        )
