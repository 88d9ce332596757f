"""What andon can be extended by: detectors, sources and sinks, listed by name without importing any of them.

andon's own are files: ``andon/training/detectors/patchcore.py`` is the detector ``patchcore``. Other people's packages
name theirs as entry points in the groups ``andon.detectors``, ``andon.sources`` and ``andon.sinks``.
Each module ends in one record: ``RECIPE``, ``SOURCE`` or ``SINK``.
"""

import importlib
import importlib.util
import pkgutil
from importlib.metadata import entry_points
from typing import Any, Literal

from andon.runtime.errors import ConfigError
from andon.runtime.settings import nearest

Group = Literal["andon.detectors", "andon.sources", "andon.sinks"]

_HOMES: dict[str, tuple[str, str]] = {
    "andon.detectors": ("andon.training.detectors", "RECIPE"),
    "andon.sources": ("andon.sources.kinds", "SOURCE"),
    "andon.sinks": ("andon.monitor.sinks", "SINK"),
}


def names(group: Group) -> list[str]:
    """The names in a group, sorted: own files first imported by nobody, then entry points."""
    return sorted({*_own(group), *(entry.name for entry in entry_points(group=group))})


def load(group: Group, name: str) -> Any:
    """Import one member and give its record.

    Raises:
        ConfigError: nobody of that name; the nearest one is offered.
    """
    package, record = _HOMES[group]
    if name in _own(group):
        return getattr(importlib.import_module(f"{package}.{name}"), record)
    for entry in entry_points(group=group):
        if entry.name == name:
            return entry.load()
    known = names(group)
    kind = group.removeprefix("andon.").removesuffix("s")
    raise ConfigError(f"there is no {kind} {name!r}{nearest(name, known)}. Known: {', '.join(known) or 'none'}.")


def _own(group: Group) -> list[str]:
    try:
        spec = importlib.util.find_spec(_HOMES[group][0])
    except ModuleNotFoundError:
        return []
    if spec is None or spec.submodule_search_locations is None:
        return []
    found = (module.name for module in pkgutil.iter_modules(spec.submodule_search_locations))
    return [name for name in found if not name.startswith("_")]
