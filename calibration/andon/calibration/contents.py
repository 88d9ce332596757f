"""Digests of what items hold, and which items are copies of others: one photograph under twenty names is one part."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from andon.runtime.items import Data, Item, Lost, Ref


def content_of(item: Item | Lost) -> str:
    """Return the digest of an item's decoded content, 40 hexadecimal digits; empty for a lost item."""
    return digest_of(item.data) if isinstance(item, Item) else ""


def digest_of(data: Data) -> str:
    """Return the digest over type, shape and values, 40 hexadecimal digits."""
    digest = hashlib.blake2b(f"{data.dtype.name} {data.shape}\n".encode(), digest_size=20)
    digest.update(np.ascontiguousarray(data).data)
    return digest.hexdigest()


def copied_items(refs: Iterable[Ref], contents: Mapping[str, str]) -> dict[str, str]:
    """Return the items that repeat another one, with the key of the one they repeat: the first by key, which stays.

    Args:
        refs: frames.
        contents: by key, from `content_of`; an item without content repeats nothing.
    """
    first: dict[str, str] = {}
    copies: dict[str, str] = {}
    for key in sorted(ref.key for ref in refs):
        content = contents.get(key, "")
        if content and first.setdefault(content, key) != key:
            copies[key] = first[content]
    return copies


def copied_runs(refs: Sequence[Ref], contents: Mapping[str, str]) -> dict[str, str]:
    """Return the runs that repeat another run window by window, with the name of the one they repeat.

    Single windows may be equal for good reasons (a machine that stands still); whole recordings are not.

    Args:
        refs: windows; `Ref.group` is their run.
        contents: by key; a run with a lost window repeats nothing.
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
