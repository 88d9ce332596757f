"""Follow a folder: first the existing pictures in natural order, then new ones. Every skipped entry is reported."""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from andon.foundation.printable import printable
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import Reason
from andon.sources.clock import Clock, pause
from andon.sources.live.folder_watch import FolderWatch, FollowSettings
from andon.sources.live.watchdog import Watchdog
from andon.sources.pictures.folder import Listing, PictureFile, same_version, stamp_of, survey

logger = logging.getLogger(__name__)


Read = Callable[[str, PictureFile], Item | Lost]
"""A function that reads one file, given its key. It returns `Lost` if the file cannot be read, and never raises."""


def follow(
    root: Path,
    read: Read,
    settings: FollowSettings,
    clock: Clock,
    stop: threading.Event,
    *,
    skip: Callable[[str, PictureFile], bool] = lambda _key, _file: False,
) -> Iterator[Item | Lost]:
    """Yield each picture once, as soon as it has settled, until the stop event is set. Leave out files that `skip` names.

    `Lost` items stand for files that could not be read. The reason is LOST for a file that was removed before it settled. It is
    UNREADABLE for a pipe, a device, a broken link, or a sub-folder that cannot be listed. STALE is repeated while a file is
    replaced faster than it settles, and while the folder itself cannot be listed.
    """
    watch = FolderWatch(settings.settle_s)
    reachable = Watchdog(settings.stale_after_s, clock.mono_s())
    unlisted = frozenset[str]()
    warned = False
    while not stop.is_set():
        began_s = clock.mono_s()
        try:
            listing = survey(root)
        except OSError as error:
            # perhaps a network share that is not available for a while: remember the files that were already seen
            if not warned:
                logger.warning("%s: cannot be listed (%s); trying again", root, error.strerror)
            warned = True
            if reachable.due(began_s):
                yield Lost(Ref(key=_name(root)), Reason.STALE, f"the folder cannot be listed: {error.strerror}")
        else:
            warned = False
            reachable.alive(began_s)
            yield from (unlisted_folder(key, why) for key, why in listing.unlisted.items() if key not in unlisted)
            unlisted = frozenset(listing.unlisted)
            yield from _settled(listing, watch, read, settings, clock=clock, stop=stop, skip=skip)
        # listing a folder of a million files takes seconds: spend at most a fifth of the time on it
        pause(clock, max(settings.poll_s, 4 * (clock.mono_s() - began_s)), stop.is_set)


def _settled(
    listing: Listing,
    watch: FolderWatch,
    read: Read,
    settings: FollowSettings,
    *,
    clock: Clock,
    stop: threading.Event,
    skip: Callable[[str, PictureFile], bool],
) -> Iterator[Item | Lost]:
    """Yield the items that result from one listing of the folder."""
    now_s = clock.mono_s()
    stamps = {key: file.stamp for key, file in listing.files.items()}
    ready = watch.step(stamps, now_s, unlisted=listing.unlisted)
    for key in watch.gone:
        yield Lost(Ref(key=key), Reason.LOST, _gone(key, settings.settle_s))
    for key in ready:
        if stop.is_set():
            return
        if skip(key, listing.files[key]):
            continue
        item = _read_settled(key, listing.files[key], read)
        if item is None:
            watch.missed(key)
        elif not (_is_damaged(item, listing.files[key]) and watch.again(key, clock.mono_s())):
            yield item
    if restless := watch.restless(now_s, settings.stale_after_s):
        yield Lost(Ref(key=restless[0]), Reason.STALE, _restless(restless, settings.settle_s))


def unlisted_folder(key: str, error: OSError) -> Lost:
    """Return the item for a sub-folder that cannot be listed, and log a warning."""
    detail = f"{printable(key)}: this folder cannot be listed, and its files are not judged: {error.strerror}"
    logger.warning("%s", detail)
    return Lost(Ref(key=key), Reason.UNREADABLE, detail)


def _read_settled(key: str, file: PictureFile, read: Read) -> Item | Lost | None:
    """Return the picture, or None if it was written to after it was listed. The next listing then shows it as new."""
    item = read(key, file)
    if file.fault:
        return item
    try:
        unchanged = same_version(stamp_of(file.path.stat()), file.stamp)
    except OSError:
        # the file was moved away: a picture that was read completely counts, otherwise the item is already Lost
        return item
    return item if unchanged else None


def _is_damaged(item: Item | Lost, file: PictureFile) -> bool:
    return isinstance(item, Lost) and item.reason is Reason.UNREADABLE and not file.fault


def _gone(key: str, settle_s: float) -> str:
    return (
        f"{printable(key)}: removed before it was read. A file is read when it has not changed for {settle_s:g} s. Leave files "
        "for longer, or lower --settle-s"
    )


def _restless(names: list[str], settle_s: float) -> str:
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return (
        f"{printable(names[0])}{others}: not read, because it keeps changing within {settle_s:g} s. Write each picture under a "
        "new name, or lower --settle-s"
    )


def _name(root: Path) -> str:
    return root.name or root.resolve().name or str(root)  # the name of the folder "." is empty
