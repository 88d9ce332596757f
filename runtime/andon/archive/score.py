"""Judge an archive: plan its blocks, let an engine judge those without results, and write the manifest last.

>>> with open_engine("local", workers=2) as engine:                                  # doctest: +SKIP
...     outcome = score_archive("bottle.onnx", "archive/", Path("results/"), engine)
"""

import functools
import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from andon.archive.block import Job, Maps, Task, key_of
from andon.archive.file_system import stored_text
from andon.archive.judging import Receipt, score_block
from andon.archive.plan import DEFAULT_BLOCK_ROWS, ArchiveInput, open_input
from andon.archive.result_store import ResultStore, store_at
from andon.archive.results import (
    BLOCKS,
    PLAN,
    BlockEntry,
    Counts,
    Identity,
    Manifest,
    MissingBlock,
    block_name,
    existing_block,
    identity_in,
    write_manifest,
)
from andon.engines.engine import Engine
from andon.foundation.errors import ConfigError, DataError
from andon.foundation.extras import needs
from andon.foundation.progress import Progress, silent
from andon.runtime.detector import Detector, FrameSize, ProviderRule
from andon.runtime.model_file.format import read
from andon.runtime.schema import WindowSpec, canonical_json
from andon.runtime.session import MAX_THREADS, Device
from andon.sources.addresses import scheme_of, shown_address

PLAN_SCHEMA = "andon.plan/1"
MOST_LISTED = 1000
"""Largest number of missing blocks in a manifest. More of them have one cause."""


class Plan(Struct, frozen=True, kw_only=True):
    """Content of ``_plan.json``: what is judged, and a digest of all blocks."""

    schema: str = PLAN_SCHEMA
    digest: str
    """Digest of the keys of all blocks, in their order."""
    blocks: int
    rows: int | None
    """Number of items. None for logs, whose windows are counted when they are read."""
    input: str
    model_sha256: str
    device: str
    maps: Maps


class Outcome(Struct, frozen=True, kw_only=True):
    """Outcome of one run."""

    plan: Plan
    counts: Counts = Counts()
    """Numbers of rows in the results."""
    judged: int = 0
    """Number of blocks that this run judged."""
    before: int = 0
    """Number of blocks that had results already."""
    open: int = 0
    """Number of blocks that were not tried in this run."""
    failed: tuple[MissingBlock, ...] = ()
    """Blocks that were tried and have no results."""
    stopped: Literal["", "disk full", "no worker"] = ""
    """Reason why the run stopped early. ``no worker``: no block could be judged on any worker."""
    cpu_s: float = 0.0
    """CPU time of the blocks that this run judged."""

    @property
    def complete(self) -> bool:
        """True if every block has results."""
        return not self.failed and not self.open


class Archive:
    """A model file, an input, and the options that decide about scores: all that is fixed before an engine starts.

    Args:
        job: what all blocks have in common.
        archive_input: the listed input.
    """

    def __init__(self, job: Job, archive_input: ArchiveInput) -> None:
        self.job = job
        self.input = archive_input

    def tasks(self) -> Iterator[Task]:
        """Yield all blocks with their keys, in the order of the input. Each call yields the same."""
        for number, block in enumerate(self.input.blocks()):
            yield Task(number=number, key=key_of(self.job, block), block=block)

    def plan(self) -> Plan:
        """Return the plan."""
        digest, blocks, rows = hashlib.sha256(), 0, 0
        counted = True
        for task in self.tasks():
            digest.update(task.key.encode())
            blocks += 1
            counted = counted and task.block.rows is not None
            rows += task.block.rows or 0
        return Plan(
            digest=digest.hexdigest()[:32],
            blocks=blocks,
            rows=rows if counted else None,
            input=stored_text(shown_address(self.input.address)),
            model_sha256=self.job.model_sha256,
            device=self.job.device,
            maps=self.job.maps,
        )


def open_archive(
    model: Path | str,
    address: str,
    out: Path | str,
    *,
    device: Device = "cpu",
    provider: ProviderRule = "calibrated",
    frame_size: FrameSize = "calibrated",
    threads: int = 1,
    maps: Maps = "none",
    block_rows: int = DEFAULT_BLOCK_ROWS,
    stretches: int | None = None,
) -> Archive:
    """Check a model file and list an input. Nothing is written, and no picture is decoded.

    Args:
        model: the model file.
        address: the input, see `andon.archive.plan`.
        out: folder of the results, or ``s3://bucket/prefix``.
        device: as for `Detector.load`. ``auto`` is the device type of the calibration.
        provider: as for `Detector.load`.
        frame_size: as for `Detector.load`.
        threads: number of CPU threads of each worker.
        maps: the rows that get a heat map: ``none``, ``rejects`` or ``all``.
        block_rows: largest number of items of a block. A block should take 5 to 60 seconds.
        stretches: number of blocks of each log. None: from its size.

    Raises:
        AndonError: the model file, the input or an option is wrong.
    """
    with needs("archive", "judging an archive"):
        import pyarrow as pa  # noqa: F401 - reported now, not by each worker
    store_at(out)  # refuses an address that cannot be used
    if block_rows < 1:
        raise ConfigError(
            f"block_rows: expected an integer of at least 1, got {block_rows}. Example: --block-rows 2000."
        )
    if not 1 <= threads <= MAX_THREADS:
        raise ConfigError(f"threads: expected an integer from 1 to {MAX_THREADS}, got {threads}. Example: --threads 1.")
    file = read(model)
    card = file.card
    bound = card.calibration.provider if card.calibration else None
    chosen: Literal["cpu", "cuda"] = (bound or "cpu") if device == "auto" else device
    if chosen == "cpu":  # another device may exist on the workers only; they check it themselves
        detector = Detector.from_bytes(
            file.data, device="cpu", threads=threads, frame_size=frame_size, provider=provider
        )
        if file.golden is not None:
            detector.verify()
    if maps != "none" and "anomaly_map" not in card.outputs:
        raise ConfigError(f"--maps: expected a model file with a heat map, got {model}. Leave the flag out.")
    if frame_size == "any" and isinstance(card.input, WindowSpec):
        raise ConfigError(f"--frame-size: expected a model file for frames, got {model}. Leave the flag out.")
    job = Job(
        model=str(Path(model).resolve()),
        model_sha256=file.file_sha256,
        precision=card.precision,
        device=chosen,
        out=str(out) if scheme_of(str(out)) else str(Path(out).resolve()),
        root=address,
        provider=provider,
        frame_size=frame_size,
        threads=threads,
        maps=maps,
    )
    archive_input = open_input(address, card.input, block_rows=block_rows, stretches=stretches)
    if archive_input.would_list(job.out):
        raise ConfigError(
            f"--out: expected a folder outside of the input, got {shown_address(str(out))} inside of {shown_address(address)}. "
            "The next run would take the results for input. Give another folder."
        )
    return Archive(job, archive_input)


def blocks_done(archive: Archive) -> int:
    """Return the number of blocks of the plan that have a file of results already."""
    store = store_at(archive.job.out)
    return sum(store.exists(block_name(task.key)) for task in archive.tasks())


def score_archive(
    archive: Archive,
    engine: Engine,
    *,
    gpus: float = 0,
    limit_blocks: int | None = None,
    new_plan: bool = False,
    progress: Progress = silent,
    judge: Callable[[Job, Task], Receipt] = score_block,
) -> Outcome:
    """Judge the blocks of an archive that have no results, and write the manifest.

    The same call continues after any interruption. Only one run at a time should write into a folder; a second one does no harm,
    but judges some blocks again.

    Args:
        archive: see `open_archive`.
        engine: see `andon.engines.engine.open_engine`.
        gpus: GPUs of each worker, for Ray.
        limit_blocks: judge at most this number of blocks in this run.
        new_plan: accept a folder with the results of another plan. Blocks of both plans are kept.
        progress: is called after each block.
        judge: the function that judges a block in a worker.

    Raises:
        ConfigError: the folder has the results of another plan, or it cannot be written.
    """
    plan = archive.plan()
    _reserve(store_at(archive.job.out), plan, new_plan=new_plan)
    ledger = _Ledger(archive.job.out, plan, progress)
    todo = ledger.without_results(archive.tasks(), limit_blocks)
    fn = functools.partial(judge, archive.job)
    with closing(engine.map_unordered(fn, todo, cpus=archive.job.threads, gpus=gpus)) as results:  # type: ignore[type-var]
        for result in results:
            ledger.book(result.item, result.value or Receipt(key=result.item.key, error=result.error))
            if ledger.hopeless(engine.workers):
                break
    return ledger.close()


def _reserve(store: ResultStore, plan: Plan, *, new_plan: bool) -> None:
    """Write the plan into the folder, or refuse a folder with another plan."""
    try:
        before = _plan_in(store)
        names = [] if before is not None else store.names()
        if PLAN in names:  # another run has written its plan meanwhile
            before = _plan_in(store)
    except (OSError, msgspec.MsgspecError, RecursionError) as error:
        raise DataError(
            f"{store.path(PLAN)}: expected the plan of earlier results or a new folder, but it cannot be read: {error}."
        ) from error
    if before is None and PLAN in names:
        raise DataError(
            f"{store.path(PLAN)}: expected the plan of earlier results, got a link to a file that does not exist, or a folder. "
            "Remove it, or give another folder."
        )
    if names and before is None and not new_plan:
        raise ConfigError(
            f"--out: expected a new folder or one with results, got {store.address} with other files. Give another folder."
        )
    if before is not None and before.digest != plan.digest and not new_plan:
        changed = [
            name for name in ("input", "model_sha256", "device", "maps") if getattr(before, name) != getattr(plan, name)
        ]
        what = ", ".join(changed) if changed else "files of the input or --block-rows or other options"
        raise ConfigError(
            f"--out: expected a folder of the same plan, got {store.address} with another one (different: {what}). Give another "
            "folder, or --new-plan to replace the results. Blocks that both plans have are not judged again."
        )
    if before is None or before.digest != plan.digest:
        store.write(PLAN, canonical_json(plan) + b"\n")


def _plan_in(store: ResultStore) -> Plan | None:
    try:
        return msgspec.json.decode(store.read(PLAN), type=Plan)
    except FileNotFoundError:
        return None


class _Ledger:
    """The books of one run: which block has results, which failed, and why."""

    def __init__(self, out: str, plan: Plan, progress: Progress) -> None:
        self._out, self._plan, self._progress = out, plan, progress
        # entries are kept packed, because a large archive has 100 000 of them
        self._entries: list[bytes | None] = [None] * plan.blocks
        self._failed: list[MissingBlock] = []
        self._counts = Counts()
        self._judged = self._before = self._failures = 0
        self._cpu_s = 0.0
        self._full = False
        self._unfit = False

    def without_results(self, tasks: Iterator[Task], limit: int | None) -> Iterator[Task]:
        """Yield the blocks that have no results, at most `limit`."""
        given = 0
        for task in tasks:
            entry = existing_block(self._out, task.key)
            if entry is not None:
                self._before += 1
                self._keep(task, entry)
            elif limit is None or given < limit:
                given += 1
                yield task

    def book(self, task: Task, receipt: Receipt) -> None:
        """Note the outcome of a block."""
        self._cpu_s += receipt.cpu_s
        if receipt.entry is None:
            self._failures += 1
            self._full = self._full or receipt.disk_full
            if len(self._failed) < MOST_LISTED:
                self._failed.append(
                    MissingBlock(key=task.key, items=stored_text(task.block.shown), error=stored_text(receipt.error))
                )
            return
        self._judged += not receipt.found
        self._before += receipt.found
        self._keep(task, receipt.entry)

    def hopeless(self, workers: int) -> bool:
        """Return whether to stop: the disk is full, or each worker failed twice and no block could be judged."""
        self._unfit = not self._judged and not self._before and self._failures >= 2 * workers
        return self._full or self._unfit

    def close(self) -> Outcome:
        """Write the manifest, remove what killed workers left, and return the outcome."""
        done = self._judged + self._before
        outcome = Outcome(
            plan=self._plan,
            counts=self._counts,
            judged=self._judged,
            before=self._before,
            open=self._plan.blocks - done - self._failures,
            failed=tuple(self._failed),
            stopped="disk full" if self._full else "no worker" if self._unfit else "",
            cpu_s=self._cpu_s,
        )
        if done and not self._full:
            first = next(entry for entry in self._entries if entry is not None)
            head = Manifest(
                plan=self._plan.digest,
                input=self._plan.input,
                complete=outcome.complete,
                identity=self._identity(_unpacked(first).key),
                counts=self._counts,
                missing=outcome.failed,
            )
            write_manifest(self._out, head, (_unpacked(entry) for entry in self._entries if entry is not None))
            if outcome.complete:
                store_at(self._out).remove_temporary(BLOCKS)
        return outcome

    def _identity(self, key: str) -> Identity:
        return identity_in(self._out, key)

    def _keep(self, task: Task, entry: BlockEntry) -> None:
        self._entries[task.number] = _packed(entry)
        self._counts += entry.counts
        done = self._judged + self._before
        self._progress("judging blocks", done, self._plan.blocks)


def _packed(entry: BlockEntry) -> bytes:
    """Return an entry in a third of the memory of its objects."""
    counts = entry.counts
    numbers = (counts.rows, counts.rejects, counts.reviews, counts.invalid)
    return msgspec.msgpack.encode((bytes.fromhex(entry.key), bytes.fromhex(entry.sha256), *numbers))


def _unpacked(entry: bytes) -> BlockEntry:
    key, sha256, rows, rejects, reviews, invalid = msgspec.msgpack.decode(entry)
    counts = Counts(rows=rows, rejects=rejects, reviews=reviews, invalid=invalid)
    return BlockEntry(key=key.hex(), counts=counts, sha256=sha256.hex())
