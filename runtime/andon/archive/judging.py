"""Judge one block in a worker: read its items, judge them as on the line, and write one file of results."""

import errno
import hashlib
import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from andon.archive.block import Job, Task
from andon.archive.columns import Facts, Row
from andon.archive.reading import Given, read_block
from andon.archive.results import BlockEntry, Identity, existing_block, identity_of, write_block
from andon.engines.engine import UnfitWorkerError
from andon.foundation.errors import AndonError, ConfigError, DeviceError, JudgeError, ModelFileError
from andon.runtime.detector import Detector
from andon.runtime.heat_map import colours, map_limit
from andon.runtime.items import Item, Lost
from andon.runtime.judge import JudgedItem, judge_items
from andon.runtime.schema import Status
from andon.sources.pictures.encode import png

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_log = logging.getLogger(__name__)


class Receipt(Struct, frozen=True, kw_only=True):
    """Outcome of one block, as a worker reports it."""

    key: str
    entry: BlockEntry | None = None
    """Entry for the manifest. None if the block failed."""
    error: str = ""
    disk_full: bool = False
    """True if the results could not be written for lack of space. All other blocks would fail, too."""
    cpu_s: float = 0.0
    """CPU time of the block in the worker."""
    found: bool = False
    """True if the results were there already and nothing was judged."""


def score_block(job: Job, task: Task) -> Receipt:
    """Judge a block and write its results. If they are there already, only return their entry.

    Engines call this function in their workers. The first call in a process opens the model file and judges its golden sample.

    Raises:
        UnfitWorkerError: this machine does not compute the scores of the calibration, or has another model file at this path.
    """
    begun_s = time.process_time()
    out = job.out
    entry = existing_block(out, task.key)
    if entry is not None:
        return Receipt(key=task.key, entry=entry, found=True)
    detector, identity = _WORKER.opened(job)
    try:
        rows = list(rows_of(detector, read_block(job, task.block, detector.card.input), maps=job.maps))
        entry, found = write_or_find(out, task.key, rows, identity)
    except (AndonError, OSError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        full = isinstance(cause, OSError) and cause.errno in _FULL
        return Receipt(key=task.key, error=str(error), disk_full=full, cpu_s=time.process_time() - begun_s)
    return Receipt(key=task.key, entry=entry, cpu_s=time.process_time() - begun_s, found=found)


def write_or_find(out: Path | str, key: str, rows: Sequence[Row], identity: Identity) -> tuple[BlockEntry, bool]:
    """Write a block. If that fails because another run wrote it meanwhile, return the entry of that run, and True.

    A run that ends removes all temporary files, also those of other runs.

    Raises:
        ConfigError: as for `write_block`.
    """
    try:
        return write_block(out, key, rows, identity), False
    except ConfigError:
        entry = existing_block(out, key)
        if entry is None:
            raise
        return entry, True


def rows_of(detector: Detector, given: Iterable[Given], *, maps: str = "none") -> Iterator[Row]:
    """Judge items with the judge loop of the line, and yield one row for each.

    Args:
        detector: a loaded model file.
        given: items with their facts.
        maps: the rows that get a heat map: ``none``, ``rejects`` or ``all``.
    """
    facts: deque[Facts] = deque()

    def items() -> Iterator[Item | Lost]:
        for one, item in given:
            facts.append(one)
            yield item

    for judged in judge_items(detector, items(), on_failure="invalid"):
        yield _row(facts.popleft(), judged, detector, maps)


def _row(facts: Facts, judged: JudgedItem, detector: Detector, maps: str) -> Row:
    verdict = judged.verdict
    drawn = None
    anomaly_map = verdict.evidence.get("anomaly_map")
    if anomaly_map is not None and (maps == "all" or (maps == "rejects" and verdict.status is Status.REJECT)):
        drawn = png(colours(anomaly_map, map_limit(detector.card, detector.threshold)))
    return Row(
        facts=facts,
        status=verdict.status.name,
        reason=verdict.reason.code,
        detail=judged.detail,
        score=verdict.score,
        level=verdict.level,
        p_value=verdict.p_value,
        threshold=verdict.threshold,
        map=drawn,
    )


class _Worker:
    """The model file that this process has open."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] | None = None
        self._opened: tuple[Detector, Identity] | None = None

    def opened(self, job: Job) -> tuple[Detector, Identity]:
        """Return the open model file. Open it and judge its golden sample if it is another one than before.

        Raises:
            UnfitWorkerError: see `score_block`.
        """
        key = (job.model, job.model_sha256, job.device, job.provider, job.frame_size, job.threads)
        if self._opened is None or self._key != key:
            self._opened, self._key = _open(job), key
        return self._opened


_WORKER = _Worker()


def _open(job: Job) -> tuple[Detector, Identity]:
    try:
        data = Path(job.model).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if digest != job.model_sha256:
            raise UnfitWorkerError(
                f"{job.model}: expected the model file with the sha256 {job.model_sha256[:12]}..., got {digest[:12]}... on this "
                "worker. Put the same file on all machines."
            )
        detector = Detector.from_bytes(
            data, device=job.device, threads=job.threads, frame_size=job.frame_size, provider=job.provider
        )
        if detector.model.golden is not None:
            detector.verify()
    except OSError as error:
        raise UnfitWorkerError(f"{job.model}: cannot be read on this worker: {error.strerror or error}.") from error
    except (DeviceError, ModelFileError, JudgeError) as error:
        raise UnfitWorkerError(str(error)) from error
    return detector, identity_of(detector)
