"""The definition of a source: a record that states which texts it accepts, and opens them as a collection or a stream."""

import os
import threading
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from andon.foundation.errors import ConfigError, DataError
from andon.foundation.printable import printable
from andon.foundation.registry import is_own, load, members, names, warn_once
from andon.foundation.settings import fields, nearest
from andon.runtime.items import Ref
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


Skip = Callable[[Ref], bool]
"""A function that tests whether an item is left out."""


def _no_advice(_spec: InputSpec) -> str:
    return ""


class Source(Struct, frozen=True, kw_only=True):
    """One kind of source."""

    name: str
    summary: str
    """One line of text for ``--help``."""
    accepts: Callable[[str], bool]
    """A function that tests whether this source can open a path, URL or name. It must be fast and not open large files."""
    collect: Callable[[str], Collection | Log] | None = None
    """A function that opens the text as a finite collection. Logs are cut into windows later (`windows.cut`)."""
    settings: type[Struct] = NoSettings
    """The settings of `stream`, and only those that it uses. They become flags of ``andon monitor``."""
    stream: Callable[[str, InputSpec, Any, Clock, threading.Event], Stream] | None = None
    """A function that follows the text until its end or until the event is set.

    The third argument has the type `settings`. The function never raises for a lost camera or a damaged item.
    """
    resumed: Callable[[str, InputSpec, Any, Clock, threading.Event, Skip], Stream] | None = None
    """A function as `stream` that also leaves out items which an earlier run has judged.

    Give it only if the key and time of an item are the same at each start. The function need not read the items that it leaves
    out.
    """
    live: bool = False
    """True for a source that cannot wait.

    The newest item replaces a waiting item, which counts as dropped. The settings of a live source have `stale_after_s`.
    """
    endless: Callable[[str, Any], bool] = _ends
    """A function that tests whether a stream of this text with these settings runs until it is stopped, as live sources do."""
    labelled: Callable[[str, Channels | None], tuple[Collection, Truth]] | None = None
    """A function for a source that knows the truth about its frames.

    It returns the frames to evaluate on, and the truth. The frames have the given channels (None: as stored). The truth covers
    them and the items of `collect`.
    """
    shown: Callable[[str], str] | None = None
    """A function that returns the text without folders, for tables and pages that other people read."""
    advice: Callable[[InputSpec], str] = _no_advice
    """A function that returns advice on what to send for a model file, or an empty text. ``andon check`` prints it as a warning.

    `andon.sources.live.message_rate.advice` warns about high rates, at which samples must come in blocks.
    """

    @property
    def resumes(self) -> bool:
        """True if a monitor can continue after a restart without judging items again."""
        return self.resumed is not None

    def __post_init__(self) -> None:
        known = [setting.name for setting in fields(self.settings)]
        if self.live and "stale_after_s" not in known:
            raise ConfigError(
                f"the source {self.name!r}: expected a setting stale_after_s, because the source is live; got "
                f"{', '.join(known) or 'none'}. Add `stale_after_s: StaleAfter = 2.0` to its settings."
            )


def find(text: str) -> Source:
    """Return the source that accepts a path, URL or name.

    An existing path is always used as a path, even if a source has the same name. If the working folder contains a folder
    ``camera``, then ``camera`` is that folder and ``camera:0`` is the device.

    Raises:
        DataError: no source accepts the text.
        ConfigError: the text names a source of another package, and that source cannot be loaded.
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
        load("andon.sources", name)  # a broken package that the user names is an error; other broken ones are skipped
    for kind, source in members("andon.sources"):
        if path and name == kind and kind not in PATH_SOURCES:
            continue
        if _accepts(source, text, named=name == kind and not path):
            found: Source = source
            return found
    shown = shown_address(text)
    if path:
        raise DataError(
            f"{shown}: expected a folder of pictures, a picture, a video, or a CSV or Parquet log; found none of these."
        )
    problem = "is not a source that andon can open" if scheme_of(text) else "does not exist"
    raise DataError(
        f"{shown}: {problem}{nearest(text, known)}. Expected a path (a folder of pictures, a video, a CSV or Parquet log), a "
        f"camera index or stream URL, '-', or one of {', '.join(known)}."
    )


PATH_SOURCES = frozenset({"images", "logs", "video"})
"""The sources that accept only paths. Their names alone do not name any data."""


def _accepts(source: Source, text: str, *, named: bool) -> bool:
    try:
        return source.accepts(text)
    except (OSError, ValueError):  # a text that the system rejects as a path, for example because it is too long
        return False
    except Exception as error:
        if is_own("andon.sources", source.name):
            raise
        message = (
            f"the source {source.name!r} is broken: its function `accepts` raised "
            f"{printable(f'{type(error).__name__}: {error}')}. Repair or uninstall the package that provides it."
        )
        if named:
            raise ConfigError(message) from error
        warn_once(message)
        return False


def accepts(source: Source, text: str) -> bool:
    """Return whether this source can open a path, URL or name. Its own name alone is always accepted.

    Raises:
        ConfigError: the source belongs to another package and is broken.
    """
    return text == source.name or _accepts(source, text, named=True)


def named(text: str) -> Source | None:
    """Return the source named before the first colon of the text (``mnist:normal=0``), if any, without opening data."""
    name, colon, _ = text.partition(":")
    if not colon or name not in names("andon.sources") or os.path.exists(text):  # noqa: PTH110 - as in `find`
        return None
    source: Source = load("andon.sources", name)
    return source


def collect(text: str) -> Collection | Log:
    """Open a path or name as a finite collection.

    Raises:
        DataError: there is no readable data.
        ConfigError: the source supports streams only.
    """
    source = find(text)
    if source.collect is None:
        raise ConfigError(
            f"{shown_address(text)}: expected data with an end, got the source {source.name}, which only streams. Give a folder, "
            "a video or a log."
        )
    return source.collect(text)
