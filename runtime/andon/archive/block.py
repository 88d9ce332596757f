"""Describe the unit of work: a block of items, small enough to lose and long enough to hide what an engine costs.

A block holds names and positions, never pixels. Its key is a digest of everything that its rows depend on.
"""

import hashlib
from typing import Literal

import msgspec
from msgspec import Struct

from andon.archive.columns import SCHEMA
from andon.runtime.detector import FrameSize, ProviderRule

Maps = Literal["none", "rejects", "all"]


class Job(Struct, frozen=True, kw_only=True):
    """Facts that all blocks of an archive have in common. Workers get it with each block, so it is small."""

    model: str
    """Path of the model file, readable for every worker."""
    model_sha256: str
    precision: str
    device: Literal["cpu", "cuda"]
    out: str
    """Folder of the results, writable for every worker."""
    root: str = ""
    """Address of the input, with the options of its file system."""
    provider: ProviderRule = "calibrated"
    frame_size: FrameSize = "calibrated"
    threads: int = 1
    maps: Maps = "none"


class Version(Struct, frozen=True, array_like=True):
    """Version of a file. A file with another content has another version, unless a program sets its time of change back."""

    size: int
    mtime_ns: int
    """Time of change. 0: unknown."""

    def may_be(self, other: "Version") -> bool:
        """Return whether both can be the same version, as far as the times are known."""
        known = self.mtime_ns and other.mtime_ns
        return self.size == other.size and (not known or self.mtime_ns == other.mtime_ns)


class VersionDigest:
    """Digest of the versions of several files in their order. A file that does not exist counts, too."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, version: Version | None) -> None:
        """Add the next file."""
        self._digest.update(f"{version.size} {version.mtime_ns}\n".encode() if version else b"absent\n")

    @property
    def text(self) -> str:
        """The digest of all files so far."""
        return self._digest.hexdigest()[:32]


class PictureFile(Struct, frozen=True, array_like=True):
    """One picture of a folder or list."""

    item_id: str
    path: str
    """Path in the file system of the input."""
    version: Version
    fault: str = ""
    """Reason why it must not be read. Empty for a regular file."""
    label: str | None = None


class PictureBlock(Struct, frozen=True, tag="pictures"):
    """Some pictures, each a file of its own."""

    files: tuple[PictureFile, ...]

    @property
    def rows(self) -> int | None:
        """Number of items."""
        return len(self.files)

    @property
    def shown(self) -> str:
        """Description for readers."""
        if len(self.files) == 1:
            return self.files[0].item_id
        return f"{self.files[0].item_id} to {self.files[-1].item_id}"


class TableBlock(Struct, frozen=True, tag="table"):
    """Consecutive rows of a Parquet file with pictures."""

    path: str
    version: Version
    groups: tuple[int, int]
    """First row group, and the one after the last."""
    start: int
    """First row, counted from the beginning of the first row group."""
    count: int
    pictures: str = ""
    """`VersionDigest` of the pictures behind the column uri. Empty if they are in the table, or in an object store."""

    @property
    def rows(self) -> int | None:
        """Number of items."""
        return self.count

    @property
    def shown(self) -> str:
        """Description for readers."""
        first, end = self.groups
        groups = f"row group {first}" if end == first + 1 else f"row groups {first} to {end - 1}"
        return f"{self.path}, {groups}, {self.count} rows from row {self.start}"


class LogBlock(Struct, frozen=True, tag="log"):
    """A stretch of a sensor log: the windows that end in it. Each window includes the rows before it that it needs."""

    path: str
    name: str
    """Name of the file within the input. Keys of windows begin with it."""
    version: Version
    part: int
    """Number of the stretch, from 0."""
    parts: int

    @property
    def rows(self) -> int | None:
        """Number of windows: known only when the log was read."""
        return None

    @property
    def shown(self) -> str:
        """Description for readers."""
        return f"{self.path}, part {self.part + 1} of {self.parts}"


Block = PictureBlock | TableBlock | LogBlock


class Task(Struct, frozen=True, kw_only=True):
    """A block with its place in the plan and its key."""

    number: int
    """Place in the plan, from 0."""
    key: str
    block: Block


def key_of(job: Job, block: Block) -> str:
    """Return the name of a block's results: a digest of everything that its rows depend on."""
    options = (SCHEMA, job.model_sha256, job.precision, job.device, job.provider, job.frame_size, job.threads, job.maps)
    # names of files may contain bytes that are not UTF-8, which msgpack refuses
    text = msgspec.json.encode((options, ascii(msgspec.to_builtins(block))))
    return hashlib.sha256(text).hexdigest()[:32]
