"""Registry of plug-ins: detectors, sources, outputs and other parts of a monitor, listed by name without importing them.

andon's own plug-ins are found by their files: ``andon/training/detectors/patchcore.py`` is the detector ``patchcore``. Other
packages register theirs as entry points in the groups ``andon.detectors``, ``andon.sources``, ``andon.sinks``,
``andon.outputs``, ``andon.rejects``, ``andon.controllers`` and ``andon.triggers``. Each module ends with one record: ``RECIPE``,
``SOURCE``, ``SINK``, ``OUTPUT``, ``REJECT``, ``CONTROLLER`` or ``TRIGGER``.
"""

import contextlib
import functools
import importlib
import importlib.util
import logging
import pkgutil
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, NamedTuple

from andon.foundation.errors import AndonError, ConfigError
from andon.foundation.printable import printable
from andon.foundation.settings import nearest

Group = Literal[
    "andon.detectors",
    "andon.sources",
    "andon.sinks",
    "andon.outputs",
    "andon.rejects",
    "andon.controllers",
    "andon.triggers",
]

logger = logging.getLogger(__name__)


class _Home(NamedTuple):
    package: str
    """Package with andon's own members as modules."""
    record: str
    """Name of the record in each module."""
    type: tuple[str, str]
    """Module and name of the record's class. The class is imported only when a member is loaded."""


_HOMES: dict[str, _Home] = {
    "andon.detectors": _Home("andon.training.detectors", "RECIPE", ("andon.training.recipe.recipe", "Recipe")),
    "andon.sources": _Home("andon.sources.kinds", "SOURCE", ("andon.sources.source", "Source")),
    "andon.sinks": _Home("andon.monitor.sinks", "SINK", ("andon.monitor.sink", "SinkKind")),
    "andon.outputs": _Home("andon.monitor.outputs", "OUTPUT", ("andon.monitor.output", "OutputKind")),
    "andon.rejects": _Home("andon.monitor.rejects", "REJECT", ("andon.monitor.reject_kind", "RejectKind")),
    "andon.controllers": _Home(
        "andon.monitor.controllers", "CONTROLLER", ("andon.monitor.controller_kind", "ControllerKind")
    ),
    "andon.triggers": _Home("andon.monitor.triggers", "TRIGGER", ("andon.monitor.trigger_kind", "TriggerKind")),
}


def names(group: Group) -> list[str]:
    """Return the names in a group, sorted, without importing a member."""
    return sorted({*_own(group), *(entry.name for entry in entry_points(group=group))})


def load(group: Group, name: str) -> Any:
    """Import one member and return its record.

    Raises:
        ConfigError: no member has this name. Or the member belongs to another package, and it cannot be imported or is not
            a record of this group.
    """
    home = _HOMES[group]
    if name in _own(group):
        return getattr(importlib.import_module(f"{home.package}.{name}"), home.record)
    kind = group.removeprefix("andon.").removesuffix("s")
    for entry in entry_points(group=group):
        if entry.name == name:
            try:
                return _record(entry, home)
            except Exception as error:
                raise ConfigError(f"the {kind} {name!r} {_broken(entry, error)}") from error
    known = names(group)
    raise ConfigError(f"there is no {kind} {name!r}{nearest(name, known)}. Known: {', '.join(known) or 'none'}.")


def members(group: Group) -> Iterator[tuple[str, Any]]:
    """Import all members one by one, sorted by name, and yield name and record.

    Skip a broken member of another package with one warning per process. A broken member must not stop the work with the
    others.
    """
    for name in names(group):
        try:
            yield name, load(group, name)
        except ConfigError as error:
            warn_once(str(error))


def is_own(group: Group, name: str) -> bool:
    """Return whether a member is one of andon's own files and not an entry point of another package."""
    return name in _own(group)


@contextlib.contextmanager
def opening(group: Group, name: str, *, called: str, prefix: str = "") -> Iterator[None]:
    """Make errors readable that a member raises while it is opened in this block.

    An `AndonError` begins with the prefix afterwards. Any other exception of a member of another package becomes a `ConfigError`.
    That of andon's own member is a bug, and stays as it is.

    Args:
        group: group of the member.
        name: name of the member.
        called: name for people, for example ``the output plant``.
        prefix: begin of the message of an `AndonError`. Empty: its message already states what cannot be opened.

    Raises:
        AndonError: see above.
    """
    try:
        yield
    except AndonError as error:
        if not prefix:
            raise
        raise type(error)(f"{prefix}: {error}") from error
    except Exception as error:
        if is_own(group, name):
            raise
        raise ConfigError(
            f"{called}: cannot be opened: {printable(f'{type(error).__name__}: {error}')}. Check its settings, or repair the "
            "package that provides it."
        ) from error


@functools.cache
def warn_once(message: str) -> None:
    """Log a warning about a plug-in, once per process."""
    logger.warning("%s", message)


def _record(entry: EntryPoint, home: _Home) -> Any:
    member = entry.load()
    module, name = home.type
    if not isinstance(member, getattr(importlib.import_module(module), name)):
        raise TypeError(f"expected an instance of {module}.{name}, got {type(member).__name__}")
    return member


def _broken(entry: EntryPoint, error: Exception) -> str:
    package = f"of the package {entry.dist.name!r} " if entry.dist is not None else ""
    return (
        f"{package}cannot be loaded from {entry.value!r}: {printable(f'{type(error).__name__}: {error}')}. "
        "Repair that package or uninstall it."
    )


def _own(group: Group) -> list[str]:
    try:
        spec = importlib.util.find_spec(_HOMES[group].package)
    except ModuleNotFoundError:
        return []
    if spec is None or spec.submodule_search_locations is None:
        return []
    found = (module.name for module in pkgutil.iter_modules(spec.submodule_search_locations))
    return [name for name in found if not name.startswith("_")]
