"""What a source is: a record that says what text it accepts, and opens it as a collection, as a stream, or both."""

import os
import threading
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from andon.foundation.errors import ConfigError, DataError
from andon.foundation.printable import printable
from andon.foundation.registry import is_own, load, members, names, warn_once
from andon.foundation.settings import fields, nearest
from andon.runtime.schema import InputSpec
from andon.sources.addresses import scheme_of, shown_address
from andon.sources.clock import Clock
from andon.sources.collection import Collection, Stream
from andon.sources.pictures.decode import Channels
from andon.sources.series.log import Log
from andon.sources.stream_settings import NoSettings
from andon.sources.truth import Truth


def _ends(_text: str, _settings: Any) -> bool:
    return False


class Source(Struct, frozen=True, kw_only=True):
    """One kind of source."""

    name: str
    summary: str
    """One line for ``--help``."""
    accepts: Callable[[str], bool]
    """Whether a path, URL or name is one for this source. It must be cheap and open nothing large."""
    collect: Callable[[str], Collection | Log] | None = None
    """Open as a finite collection; logs are cut into windows later (`windows.cut`)."""
    settings: type[Struct] = NoSettings
    """Of `stream`: only what it honours. They become flags of ``andon monitor``."""
    stream: Callable[[str, InputSpec, Any, Clock, threading.Event], Stream] | None = None
    """Follow until the end or until the event is set; the third argument is of the type `settings`. Never raises for a lost
    camera or a damaged item."""
    live: bool = False
    """A live source cannot wait: the newest item wins, and displaced ones are counted as dropped. Its settings have
    `stale_after_s`."""
    endless: Callable[[str, Any], bool] = _ends
    """Whether a stream of this text with these settings goes on until it is stopped. A live one always does."""
    labelled: Callable[[str, Channels | None], tuple[Collection, Truth]] | None = None
    """For a source that knows what is true of its frames: those to evaluate on, grey or RGB as asked (None: as they are),
    and the truth of these and of what `collect` gives."""
    shown: Callable[[str], str] | None = None
    """The text without folders, for tables and pages that others read."""

    def __post_init__(self) -> None:
        known = [setting.name for setting in fields(self.settings)]
        if self.live and "stale_after_s" not in known:
            raise ConfigError(
                f"the source {self.name!r}: expected a setting stale_after_s, because the source is live; got "
                f"{', '.join(known) or 'none'}. Add `stale_after_s: StaleAfter = 2.0` to its settings."
            )


def find(text: str) -> Source:
    """Return the source that accepts a path, URL or name.

    What exists as a path is taken as a path, even if a source has the same name: with a folder ``camera`` in the working
    folder, ``camera`` is that folder and ``camera:0`` the device.

    Raises:
        DataError: no source accepts it.
        ConfigError: it names a source of another package that cannot be loaded.
    """
    if not text.strip():
        raise DataError("expected a path, URL or name, got an empty text. Is a shell variable unset?")
    known = names("andon.sources")
    path = os.path.exists(text)  # noqa: PTH110 - unlike pathlib's, it takes any text, however long
    if text in known and not path:
        named: Source = load("andon.sources", text)
        return named
    name, colon, _ = text.partition(":")
    if colon and name in known and not path:
        load("andon.sources", name)  # a package that the user names and that is broken is an error, not skipped
    for kind, source in members("andon.sources"):
        if path and name == kind and kind not in _OF_PATHS:
            continue
        if _accepts(source, text, named=name == kind and not path):
            found: Source = source
            return found
    shown = shown_address(text)
    if path:
        raise DataError(
            f"{shown}: expected a folder of pictures, a picture, a video, or a CSV or Parquet log; found nothing of the kind "
            "there."
        )
    problem = "is not a source that andon can open" if scheme_of(text) else "does not exist"
    raise DataError(
        f"{shown}: {problem}{nearest(text, known)}. Expected a path (a folder of pictures, a video, a CSV or Parquet log), a "
        f"camera index or stream URL, '-', or one of {', '.join(known)}."
    )


_OF_PATHS = frozenset({"images", "logs", "video"})
"""Their names are not names of data: they take paths alone."""


def _accepts(source: Source, text: str, *, named: bool) -> bool:
    try:
        return source.accepts(text)
    except (OSError, ValueError):  # a text that the system takes for no path at all, for its length, say
        return False
    except Exception as error:
        if is_own("andon.sources", source.name):
            raise
        message = (
            f"the source {source.name!r} is broken: asked whether it accepts a text, it raised "
            f"{printable(f'{type(error).__name__}: {error}')}. Repair the package that brings it or uninstall it."
        )
        if named:
            raise ConfigError(message) from error
        warn_once(message)
        return False


def named(text: str) -> Source | None:
    """Return the source whose name stands before the text's first colon, if any: ``mnist:normal=0``; opens nothing."""
    name, colon, _ = text.partition(":")
    if not colon or name not in names("andon.sources") or os.path.exists(text):  # noqa: PTH110 - as in `find`
        return None
    source: Source = load("andon.sources", name)
    return source


def collect(text: str) -> Collection | Log:
    """Open a path or name as a finite collection.

    Raises:
        DataError: nothing readable there.
        ConfigError: a source that only streams.
    """
    source = find(text)
    if source.collect is None:
        raise ConfigError(
            f"{shown_address(text)}: a {source.name} source only streams; give a folder, a video or a log."
        )
    return source.collect(text)
