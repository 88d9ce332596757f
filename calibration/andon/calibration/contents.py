"""Compute digests of the content of items, and find copies: one photograph under twenty names is one part."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from andon.runtime.items import Data, Item, Lost, Ref


def content_of(item: Item | Lost) -> str:
    """Return the digest of an item's decoded content, 40 hexadecimal digits; empty for a lost item."""
    return digest_of(item.data) if isinstance(item, Item) else ""


def digest_of(data: Data) -> str:
    """Return the digest of an array over its type, shape and values, 40 hexadecimal digits."""
    digest = hashlib.blake2b(f"{data.dtype.name} {data.shape}\n".encode(), digest_size=20)
    digest.update(np.ascontiguousarray(data).data)
    return digest.hexdigest()


def copied_items(refs: Iterable[Ref], contents: Mapping[str, str]) -> dict[str, str]:
    """Return the copies by key, each with the key of its original. The original is the first item by key with that content.

    Args:
        refs: frames.
        contents: digests by key, from `content_of`. An item without content is never a copy.
    """
    first: dict[str, str] = {}
    copies: dict[str, str] = {}
    for key in sorted(ref.key for ref in refs):
        content = contents.get(key, "")
        if content and first.setdefault(content, key) != key:
            copies[key] = first[content]
    return copies


def copied_runs(refs: Sequence[Ref], contents: Mapping[str, str]) -> dict[str, str]:
    """Return the runs that repeat another run window by window, each with the name of the original run.

    Single windows may be equal for good reasons, for example while a machine stands still. Whole recordings are not.

    Args:
        refs: windows; `Ref.group` is the run of a window.
        contents: digests by key. A run with a lost window is never a copy.
    """
    runs: dict[str, list[Ref]] = {}
    for ref in refs:
        runs.setdefault(ref.group, []).append(ref)
    first: dict[tuple[str, ...], str] = {}
    copies: dict[str, str] = {}
    for run, members in sorted(runs.items()):
        ordered = sorted(members, key=lambda ref: (ref.time_s or 0.0, ref.key))
        content = tuple(contents.get(ref.key, "") for ref in ordered)
        if all(content) and first.setdefault(content, run) != run:
            copies[run] = first[content]
    return copies
