"""When a file that arrives in a folder may be read: a rule over listings, without clock and without files."""

from collections.abc import Mapping

from msgspec import Struct

from andon.sources.picture_folder import Stamp, natural


class FolderWatch:
    """Gives each writing of each file once, as soon as it has settled.

    Settled: size and time of change were the same for `settle_s`. A file that changes later, or comes back after it was
    gone, is a new one. Remembers only what the latest listing holds, however long it runs.
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._seen: dict[str, _Seen] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def step(self, listing: Mapping[str, Stamp], now_s: float) -> list[str]:
        """The names that may be read now, in natural order.

        Args:
            listing: all files that are there now.
            now_s: monotonic seconds, never less than the time before.
        """
        self._seen = {name: self._look(name, stamp, now_s) for name, stamp in listing.items()}
        ready = [name for name, seen in self._seen.items() if not seen.given and now_s - seen.since_s >= self._settle_s]
        for name in ready:
            self._seen[name].given = True
        return natural(ready)

    def again(self, name: str, now_s: float) -> bool:
        """Whether a file that could not be read whole is given once more; never a third time without a change."""
        seen = self._seen.get(name)
        if seen is None or seen.retried:
            return False
        seen.given, seen.retried, seen.since_s = False, True, now_s
        return True

    def _look(self, name: str, stamp: Stamp, now_s: float) -> "_Seen":
        seen = self._seen.get(name)
        if seen is None or seen.stamp != stamp:
            return _Seen(stamp=stamp, since_s=now_s)
        return seen


class _Seen(Struct, kw_only=True):
    """One writing of one file."""

    stamp: Stamp
    since_s: float
    given: bool = False
    retried: bool = False
