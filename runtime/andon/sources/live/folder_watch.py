"""When a file that arrives in a folder may be read: a rule over listings, without clock and without files."""

from collections.abc import Collection, Mapping

from msgspec import Struct

from andon.sources.pictures.folder import Stamp, natural, same_writing

WRITING_S = 10.0
"""Seconds for which a file may grow before it counts as restless: a large picture over a slow network takes its time."""


class FolderWatch:
    """Gives each writing of each file once, as soon as it has settled, and names the files that were never read.

    Settled: the stamp was the same for `settle_s`. A file that changes later, or returns after it was gone, is a new one.
    Remembers only what the latest listing holds, however long it runs.
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._seen: dict[str, _Seen] = {}
        self.gone: list[str] = []
        """Names that the latest listing no longer holds and that were never given, or given and missed."""

    def __len__(self) -> int:
        return len(self._seen)

    def step(self, listing: Mapping[str, Stamp], now_s: float, *, unlisted: Collection[str] = ()) -> list[str]:
        """Return the names that may be read now, in natural order.

        Args:
            listing: all files that are there now.
            now_s: monotonic seconds, never less than the time before.
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
            # A file that was renamed is read under its new name. The inode alone does not show it: the next file gets the number
            # of one that was deleted.
            there = {_writing(stamp) for stamp in listing.values()}
            self.gone = natural(name for name in unread if _writing(missing[name].stamp) not in there)
        ready = [name for name in listing if self._may_be_read(self._seen[name], now_s)]
        for name in ready:
            self._seen[name].given = True
        return natural(ready)

    def again(self, name: str, now_s: float) -> bool:
        """Return whether a file that could not be read whole is given once more; never a third time without a change."""
        seen = self._seen.get(name)
        if seen is None or seen.retried:
            return False
        seen.given, seen.retried, seen.since_s = False, True, now_s
        return True

    def missed(self, name: str) -> None:
        """Note that a given file changed before it was read: it is given again, or named in `gone`."""
        if name in self._seen:
            self._seen[name].given = False

    def restless(self, now_s: float, after_s: float) -> list[str]:
        """Return the files that keep changing and so are never read, each again after a further period.

        Args:
            now_s: monotonic seconds.
            after_s: period for files that are replaced. For files that only grow it is at least `WRITING_S`.
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
        if seen is None or (seen.given and not same_writing(seen.stamp, stamp)):
            return _Seen(stamp=stamp, since_s=now_s, restless_s=now_s)
        if same_writing(seen.stamp, stamp):
            seen.stamp = stamp
            return seen
        shrunk = stamp.size < seen.stamp.size
        return _Seen(
            stamp=stamp,
            since_s=now_s,
            restless_s=seen.restless_s,
            replaced=seen.replaced or shrunk or stamp.inode != seen.stamp.inode,
        )


def _writing(stamp: Stamp) -> tuple[int, int, int]:
    return stamp.inode, stamp.size, stamp.mtime_ns


class _Seen(Struct, kw_only=True):
    """One writing of one file."""

    stamp: Stamp
    since_s: float
    restless_s: float
    """Since when it has changed without being read, or when that was reported last."""
    replaced: bool = False
    """While unread, another file took its name, or it was written again from the beginning."""
    given: bool = False
    retried: bool = False
