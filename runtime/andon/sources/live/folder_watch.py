"""Decide when a new file in a folder may be read, from listings alone. The code needs no clock and no files."""

from collections.abc import Collection, Mapping
from typing import Annotated

from msgspec import Meta, Struct

from andon.sources.pictures.folder import Stamp, natural, same_version
from andon.sources.stream_settings import StaleAfter

WRITING_S = 10.0
"""Time in seconds for which a file may grow before it counts as restless. A large picture on a slow network needs time."""


class FollowSettings(Struct, frozen=True, kw_only=True):
    """Settings for following a folder of pictures."""

    follow: Annotated[bool, Meta(description="after the existing pictures, wait for new ones in the folder")] = True
    settle_s: Annotated[
        float,
        Meta(
            ge=0.0,
            description="read a file when its size and time have not changed for this long",
            extra={"unit": "s"},
        ),
    ] = 0.5
    poll_s: Annotated[
        float, Meta(gt=0.0, description="time between two listings of the folder", extra={"unit": "s"})
    ] = 0.25
    stale_after_s: StaleAfter = 2.0


class FolderWatch:
    """Names each version of each file once, as soon as it has settled, and names the files that were never read.

    A file has settled when its stamp was the same for `settle_s`. A file that changes later, or that returns after it was
    removed, counts as new. Only the files of the latest listing are remembered, so memory does not grow with time.
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._seen: dict[str, _Seen] = {}
        self.gone: list[str] = []
        """Files that left the listing before they were read: `step` never returned them, or `missed` was called afterwards."""

    def __len__(self) -> int:
        return len(self._seen)

    def step(self, listing: Mapping[str, Stamp], now_s: float, *, unlisted: Collection[str] = ()) -> list[str]:
        """Return the names that may be read now, in natural order.

        Args:
            listing: all files that exist now.
            now_s: monotonic seconds, not less than in the previous call.
            unlisted: folders that could not be listed. Files below them are remembered as they were.
        """
        before = self._seen
        self._seen = {name: self._look(name, stamp, now_s) for name, stamp in listing.items()}
        missing = {name: seen for name, seen in before.items() if name not in listing}
        if unlisted:
            kept = {name: seen for name, seen in missing.items() if any(name.startswith(f"{at}/") for at in unlisted)}
            self._seen |= kept
            missing = {name: seen for name, seen in missing.items() if name not in kept}
        self.gone = []
        if unread := [name for name, seen in missing.items() if not seen.given]:
            # A renamed file is read under its new name. The inode alone is not enough to recognise it, because a new file gets
            # the inode number of a deleted one.
            existing = {_version(stamp) for stamp in listing.values()}
            self.gone = natural(name for name in unread if _version(missing[name].stamp) not in existing)
        ready = [name for name in listing if self._may_be_read(self._seen[name], now_s)]
        for name in ready:
            self._seen[name].given = True
        return natural(ready)

    def again(self, name: str, now_s: float) -> bool:
        """Return whether to read a damaged file once more. A file is not read a third time unless it changes."""
        seen = self._seen.get(name)
        if seen is None or seen.retried:
            return False
        seen.given, seen.retried, seen.since_s = False, True, now_s
        return True

    def missed(self, name: str) -> None:
        """Record that a file changed before it was read. It will be returned again, or named in `gone`."""
        if name in self._seen:
            self._seen[name].given = False

    def restless(self, now_s: float, after_s: float) -> list[str]:
        """Return the files that keep changing and so are never read. Each is returned again after a further period.

        Args:
            now_s: monotonic seconds.
            after_s: period for files that are replaced. For files that only grow, the period is at least `WRITING_S`.
        """
        restless = []
        for name, seen in self._seen.items():
            period_s = after_s if seen.replaced else max(after_s, WRITING_S)
            if not seen.given and not seen.retried and now_s - seen.restless_s >= period_s:
                seen.restless_s = now_s
                restless.append(name)
        return natural(restless)

    def _may_be_read(self, seen: "_Seen", now_s: float) -> bool:
        return not seen.given and now_s - seen.since_s >= self._settle_s

    def _look(self, name: str, stamp: Stamp, now_s: float) -> "_Seen":
        seen = self._seen.get(name)
        if seen is None or (seen.given and not same_version(seen.stamp, stamp)):
            return _Seen(stamp=stamp, since_s=now_s, restless_s=now_s)
        if same_version(seen.stamp, stamp):
            seen.stamp = stamp
            return seen
        shrunk = stamp.size < seen.stamp.size
        return _Seen(
            stamp=stamp,
            since_s=now_s,
            restless_s=seen.restless_s,
            replaced=seen.replaced or shrunk or stamp.inode != seen.stamp.inode,
        )


def _version(stamp: Stamp) -> tuple[int, int, int]:
    return stamp.inode, stamp.size, stamp.mtime_ns


class _Seen(Struct, kw_only=True):
    """One version of one file."""

    stamp: Stamp
    since_s: float
    restless_s: float
    """Time at which the file began to change without being read, or time of the last report about it."""
    replaced: bool = False
    """True if, before it was read, the file was replaced by another one or written again from the beginning."""
    given: bool = False
    retried: bool = False
