"""What andon can be extended by: detectors and sources, listed by name without importing any of them.

andon's own are files: ``andon/training/detectors/patchcore.py`` is the detector ``patchcore``. Other people's packages
name theirs as entry points in the groups ``andon.detectors`` and ``andon.sources``. Each module ends in one record:
``RECIPE`` or ``SOURCE``.
"""

import functools
import importlib
import importlib.util
import logging
import pkgutil
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from andon.foundation.errors import ConfigError
from andon.foundation.printable import printable
from andon.foundation.settings import nearest

Group = Literal["andon.detectors", "andon.sources"]

logger = logging.getLogger(__name__)

_HOMES: dict[str, tuple[str, str]] = {
    "andon.detectors": ("andon.training.detectors", "RECIPE"),
    "andon.sources": ("andon.sources.kinds", "SOURCE"),
}


def names(group: Group) -> list[str]:
    """The names in a group, sorted: own files first imported by nobody, then entry points."""
    return sorted({*_own(group), *(entry.name for entry in entry_points(group=group))})


def load(group: Group, name: str) -> Any:
    """Import one member and return its record.

    Raises:
        ConfigError: there is no member of that name (the nearest one is offered), or another package brings it and it
            cannot be imported.
    """
    package, record = _HOMES[group]
    if name in _own(group):
        return getattr(importlib.import_module(f"{package}.{name}"), record)
    kind = group.removeprefix("andon.").removesuffix("s")
    for entry in entry_points(group=group):
        if entry.name == name:
            try:
                return entry.load()
            except Exception as error:
                raise ConfigError(f"the {kind} {name!r} {_broken(entry, error)}") from error
    known = names(group)
    raise ConfigError(f"there is no {kind} {name!r}{nearest(name, known)}. Known: {', '.join(known) or 'none'}.")


def members(group: Group) -> Iterator[tuple[str, Any]]:
    """Import all members one by one, sorted by name. One that another package brings and that is broken is skipped.

    It is reported once in a process: a broken package must not stop the work with all others.
    """
    for name in names(group):
        try:
            yield name, load(group, name)
        except ConfigError as error:
            _warn_once(str(error))


@functools.cache
def _warn_once(message: str) -> None:
    logger.warning("%s", message)


def _broken(entry: EntryPoint, error: Exception) -> str:
    package = f"of the package {entry.dist.name!r} " if entry.dist is not None else ""
    return (
        f"{package}cannot be loaded from {entry.value!r}: {printable(f'{type(error).__name__}: {error}')}. "
        "Repair that package or uninstall it."
    )


def _own(group: Group) -> list[str]:
    try:
        spec = importlib.util.find_spec(_HOMES[group][0])
    except ModuleNotFoundError:
        return []
    if spec is None or spec.submodule_search_locations is None:
        return []
    found = (module.name for module in pkgutil.iter_modules(spec.submodule_search_locations))
    return [name for name in found if not name.startswith("_")]
