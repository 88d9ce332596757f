"""Flags of sources, derived from the settings of all installed sources: ``--settle-s`` of folders, ``--speed`` of logs."""

import argparse
import difflib
import logging
from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from andon.foundation.errors import ConfigError
from andon.foundation.flag_parser import FlagParser
from andon.foundation.registry import members
from andon.foundation.settings import Setting, add_flags, fields, flag_of, from_flags, missing
from andon.sources.addresses import shown_address
from andon.sources.source import Source

logger = logging.getLogger(__name__)


def add_source_flags(parser: FlagParser) -> None:
    """Add the flags of all installed sources. A flag that several sources share is added once, under all their names."""
    taken = {action.dest for action in parser.actions}
    groups: dict[tuple[str, ...], list[str]] = {}
    offered = _offered()
    for name, owners in offered.items():
        if name in taken:
            logger.warning(
                "the setting %s of %s cannot be given on the command line: the command has a flag with this name",
                name,
                _listed(owners),
            )
        else:
            groups.setdefault(tuple(sorted(owners)), []).append(name)
    for sources in sorted(groups, key=lambda group: (len(group), group)):
        described = [_field(name, offered[name]) for name in groups[sources]]
        struct = msgspec.defstruct("Flags", described, kw_only=True)
        add_flags(parser, struct, title=f"settings of {_listed(sources)}")
    parser.set_defaults(source_flags=[name for group in groups.values() for name in group])


def source_settings(source: Source, text: str, args: argparse.Namespace) -> Any:
    """Return the settings of a source from the given flags.

    Args:
        source: the source.
        text: the SOURCE argument that selected the source.
        args: result of a parser with the flags of `add_source_flags`.

    Raises:
        ConfigError: the source does not have a given flag, a value has another type or is out of bounds, or a required setting
            is missing.
    """
    own = {setting.name: setting for setting in fields(source.settings)}
    given = [name for name in args.source_flags if hasattr(args, name)]
    for name in given:
        if name not in own:
            owners = _offered()[name]
            has = f"has {', '.join(one.flag for one in own.values() if not one.is_secret)}" if own else "has no flags"
            raise ConfigError(
                f"{flag_of(name)}: expected a flag of the source {source.name}, which {has}; got a flag of {_listed(owners)}. "
                f"Leave it out, or give another SOURCE than {shown_address(text)}."
            )
    if absent := missing(source.settings, given):
        raise ConfigError(
            f"{shown_address(text)}: expected {', '.join(map(flag_of, absent))} for the source {source.name}, got nothing. "
            "Give the flag."
        )
    # only the flags of sources: others, for example --limit, are not settings
    return from_flags(source.settings, argparse.Namespace(**{name: getattr(args, name) for name in given}))


def flags_of_source(source: Source, near: str) -> str:
    """Return a sentence that lists the flags of a source, with those nearest to a misspelt flag first.

    >>> from andon.sources.kinds.video import SOURCE
    >>> flags_of_source(SOURCE, "--fps")
    ' The source video has --speed.'
    """
    known = fields(source.settings) if source.stream is not None else []
    own = [setting.flag for setting in known if not setting.is_secret]
    own.sort(key=lambda flag: -difflib.SequenceMatcher(None, near.lstrip("-"), flag.lstrip("-")).ratio())
    return f" The source {source.name} has {', '.join(own) or 'no flags'}."


def foreign_flags(source: Source) -> frozenset[str]:
    """Return the flags of all other sources that this one does not have."""
    own = {setting.flag for setting in fields(source.settings)}
    return frozenset(flag_of(name) for name in _offered()) - own


class _Flag(NamedTuple):
    setting: Setting
    annotated: Any
    """Type with its bounds."""


def _offered() -> dict[str, dict[str, _Flag]]:
    """Return for each setting the sources that have it, with their descriptions."""
    offered: dict[str, dict[str, _Flag]] = {}
    for name, source in members("andon.sources"):
        if source.stream is None:
            continue
        types = {field.name: field.type for field in msgspec.structs.fields(source.settings)}
        for setting in fields(source.settings):
            if setting.is_secret:
                continue
            offered.setdefault(setting.name, {})[name] = _Flag(setting, types[setting.name])
    return offered


def _field(name: str, owners: dict[str, _Flag]) -> tuple[Any, ...]:
    """Return the struct field for one flag that several sources share."""
    first, *others = owners.values()
    if all(other.setting == first.setting for other in others):
        return (name, first.annotated) if first.setting.required else (name, first.annotated, first.setting.default)
    # sources of other packages may use one name for different settings: each source checks the text itself
    texts = [f"{owner}: {flag.setting.description} ({flag.setting.default_text})" for owner, flag in owners.items()]
    kind = bool if all(owner.setting.is_switch for owner in owners.values()) else str
    return name, Annotated[kind, Meta(description="; ".join(texts))], "as in the source"


def _listed(names: Iterable[str]) -> str:
    *others, last = sorted(names)
    return f"{', '.join(others)} and {last}" if others else last
