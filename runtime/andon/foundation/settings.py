"""One description of a settings struct serves flags, TOML or JSON keys, documentation and error hints.

A settings struct is a frozen `msgspec.Struct` whose every field is annotated and has a default::

    class Settings(Struct, frozen=True, kw_only=True):
        epochs: Annotated[int, Meta(ge=1, description="passes over the training part", extra={"unit": "epochs"})] = 40
"""

import argparse
import difflib
import math
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec

from andon.foundation.errors import ConfigError

S = TypeVar("S", bound=msgspec.Struct)


class Setting(NamedTuple):
    """One field of a settings struct, as flags, documents and hints need it."""

    name: str
    kind: Any
    """The type without `Annotated`: int, float, str, bool, a Literal, or a union with None."""
    default: Any
    description: str
    unit: str
    bounds: str
    """As people read it, e.g. ``>= 1``; empty where there are none."""

    @property
    def flag(self) -> str:
        """The command-line flag, e.g. ``--learning-rate``."""
        return "--" + self.name.replace("_", "-")

    @property
    def required(self) -> bool:
        """Whether the setting has no default."""
        return self.default is msgspec.NODEFAULT

    @property
    def default_text(self) -> str:
        """The default for a help text, e.g. ``default 40``."""
        return "required" if self.required else f"default {self.default}"


def fields(struct: type[msgspec.Struct]) -> list[Setting]:
    """All settings of a struct, in the order of its source."""
    described = []
    for field in msgspec.structs.fields(struct):
        kind, metas = _strip(field.encode_name, field.type)
        extra = {key: value for meta in metas for key, value in (meta.extra or {}).items()}
        described.append(
            Setting(
                name=field.name,
                kind=kind,
                default=_default(field),
                description="; ".join(meta.description for meta in metas if meta.description),
                unit=str(extra.get("unit", "")),
                bounds=", ".join(_bounds(metas)),
            )
        )
    return described


def from_mapping(struct: type[S], values: Mapping[str, object], *, where: str = "settings") -> S:
    """A checked settings struct.

    Raises:
        ConfigError: an unknown name (the nearest right one is offered) or a value of another type or out of bounds.
    """
    known = [field.name for field in msgspec.structs.fields(struct)]
    for name in values:
        if name not in known:
            raise ConfigError(
                f"{where}: there is no setting {name!r}{nearest(name, known)}. Known: {', '.join(known)}."
            )
    try:
        return _finite(msgspec.convert(dict(values), struct, strict=True))
    except (msgspec.ValidationError, ValueError) as error:
        refusal = _refusal(error, struct, values)
        raise ConfigError(
            f"{where}: {refusal.name}: {refusal.why}" if refusal.name else f"{where}: {refusal.why}"
        ) from error


def add_flags(parser: argparse.ArgumentParser, struct: type[msgspec.Struct], *, title: str = "settings") -> None:
    """Give the parser one flag a setting; absent flags leave no attribute, so that defaults stand in one place."""
    group = parser.add_argument_group(title)
    for setting in fields(struct):
        unit = f" [{setting.unit}]" if setting.unit else ""
        bounds = f", {setting.bounds}" if setting.bounds else ""
        text = f"{setting.description}{unit} ({setting.default_text}{bounds})".replace("%", "%%")
        if setting.kind is bool:
            group.add_argument(
                setting.flag,
                action=argparse.BooleanOptionalAction,
                default=argparse.SUPPRESS,
                help=text,
                dest=setting.name,
            )
        else:
            group.add_argument(
                setting.flag,
                metavar=_metavar(setting.kind),
                default=argparse.SUPPRESS,
                help=text,
                dest=setting.name,
            )


def from_flags(struct: type[S], args: argparse.Namespace) -> S:
    """The settings that `add_flags` parsed, checked.

    Raises:
        ConfigError: a value of another type or out of bounds, with the flag named.
    """
    settings = [setting for setting in fields(struct) if hasattr(args, setting.name)]
    raw = {setting.name: getattr(args, setting.name) for setting in settings}
    given = {
        setting.name: raw[setting.name] if setting.kind is bool else _parse(setting, str(raw[setting.name]))
        for setting in settings
    }
    try:
        return _finite(msgspec.convert(given, struct, strict=False))
    except (msgspec.ValidationError, ValueError) as error:
        refusal = _refusal(error, struct, raw)
        flag = "--" + refusal.name.replace("_", "-") if refusal.name else "settings"
        raise ConfigError(f"{flag}: {refusal.why}") from error


def nearest(name: str, known: Iterable[str], *, likeness: float = 0.5) -> str:
    """Return a hint such as `` (did you mean 'epochs'?)``, or nothing where no name is as much alike, of 0 to 1."""
    # without the dashes of flags: they made --threshold resemble --help
    bare = {one.lstrip("-"): one for one in known}
    close = difflib.get_close_matches(name.lstrip("-"), list(bare), n=1, cutoff=likeness)
    return f" (did you mean {bare[close[0]]!r}?)" if close else ""


def _strip(name: str, annotated: Any) -> tuple[Any, list[msgspec.Meta]]:
    kind, metas = _bare(annotated)
    if get_origin(kind) in (Union, types.UnionType):  # bounds stand within: Annotated[int, Meta(ge=1)] | None
        members = [_bare(member) for member in get_args(kind)]
        kind = Union[tuple(member for member, _ in members)]  # noqa: UP007
        metas += [meta for _, inner in members for meta in inner]
    if not any(meta.description for meta in metas):
        raise TypeError(f"setting {name!r} has no description: annotate it with msgspec.Meta(description=...)")
    return kind, metas


def _bare(annotated: Any) -> tuple[Any, list[msgspec.Meta]]:
    """A type without its annotations, and these."""
    metas: list[msgspec.Meta] = []
    while hasattr(annotated, "__metadata__"):
        metas = [meta for meta in annotated.__metadata__ if isinstance(meta, msgspec.Meta)] + metas
        annotated = annotated.__origin__
    return annotated, metas


def _bounds(metas: list[msgspec.Meta]) -> Iterable[str]:
    for meta in metas:
        for symbol, value in ((">=", meta.ge), (">", meta.gt), ("<=", meta.le), ("<", meta.lt)):
            if value is not None:
                yield f"{symbol} {value:g}"


def _metavar(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "{" + ",".join(str(choice) for choice in get_args(kind)) + "}"
    if get_origin(kind) in (Union, types.UnionType):
        return "|".join(_metavar(choice) for choice in get_args(kind) if choice is not type(None))
    return {int: "N", float: "X", str: "TEXT"}.get(kind, "VALUE")


def _parse(setting: Setting, text: str) -> object:
    """Text as the type that the field declares; msgspec checks bounds and choices afterwards."""
    if text.lower() == "none" and type(None) in get_args(setting.kind):
        return None
    if any(get_origin(kind) is tuple for kind in (setting.kind, *get_args(setting.kind))):
        return [piece.strip() for piece in text.replace("x", ",").split(",")]  # 256x256 or 256,256
    if get_origin(setting.kind) is Literal:
        return {str(choice): choice for choice in get_args(setting.kind)}.get(text, text)
    return text


def _finite(settings: S) -> S:
    """Refuse NaN and infinities: a run folder and a model file keep settings as JSON, which has neither."""
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        values = value if isinstance(value, tuple) else (value,)
        if any(isinstance(number, float) and not math.isfinite(number) for number in values):
            raise ValueError(f"expected a finite number, got {value} - at `$.{name}`")
    return settings


class _Refusal(NamedTuple):
    name: str
    """Of the setting; empty where the whole is refused."""
    why: str


def _refusal(error: Exception, struct: type[msgspec.Struct], given: Mapping[str, object]) -> _Refusal:
    """What msgspec refused, as people read it: what was expected, what came."""
    found = _AT.search(str(error))
    kinds = {field.name: field.type for field in msgspec.structs.fields(struct)}
    name = found[1] if found else ""
    wanted = _wanted(kinds[name]) if name in kinds and name in given else ""
    if not wanted:
        return _Refusal("", _AT_ALL.sub("", str(error)))
    came = given[name]
    if re.fullmatch(r"[+-]?(nan|inf|infinity)", str(came).strip(), re.IGNORECASE):
        wanted = wanted.replace("a number", "a finite number")
    return _Refusal(name, f"expected {wanted}, got {came!r}{nearest(str(came), _choices(kinds[name]))}.")


_AT = re.compile(r" - at `\$\.(\w+)")
_AT_ALL = re.compile(r" - at `\$.*`")


def _wanted(annotated: Any) -> str:
    """A type in words, ``a whole number >= 1``; empty where there are none for it."""
    kind, metas = _bare(annotated)
    bounds = ", ".join(
        [*_bounds(metas), *(f"a multiple of {meta.multiple_of:g}" for meta in metas if meta.multiple_of)]
    )
    if kind is type(None):
        return "none"
    if get_origin(kind) is Literal:
        return f"one of {', '.join(str(choice) for choice in get_args(kind))}"
    if get_origin(kind) in (Union, types.UnionType):
        words = [_wanted(member) for member in get_args(kind)]
        words = [word for word in words if word != "none"] + [word for word in words if word == "none"]
        return " or ".join(words) if all(words) else ""
    if get_origin(kind) is tuple:
        members = get_args(kind)
        each = _wanted(members[0])
        if not each.startswith(("a whole number", "a number")) or len(set(members) - {Ellipsis}) > 1:
            return ""
        many = "" if members[-1] is Ellipsis else f"{len(members)} "
        return f"{many}{each.removeprefix('a ').replace('number', 'numbers', 1)} (with a comma between them)"
    word = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(kind, "")
    return f"{word} {bounds}" if word and bounds else word


def _choices(annotated: Any) -> list[str]:
    kind, _ = _bare(annotated)
    members = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    literals = [member for member, _ in map(_bare, members) if get_origin(member) is Literal]
    return [str(choice) for literal in literals for choice in get_args(literal)]


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def missing(struct: type[msgspec.Struct], given: Iterable[str]) -> list[str]:
    """Return the names of the settings without a default that are not among those given."""
    names = set(given)
    return [setting.name for setting in fields(struct) if setting.required and setting.name not in names]


def from_texts(struct: type[S], texts: Mapping[str, str], *, where: str) -> S:
    """Return settings from texts, as a command line has them in ``key=value``.

    Raises:
        ConfigError: an unknown name (the nearest right one is offered), a value of another type or out of bounds, or a setting
            without a default that is not given.
    """
    known = [setting.name for setting in fields(struct)]
    for name in texts:
        if name not in known:
            raise ConfigError(
                f"{where}: there is no setting {name!r}{nearest(name, known)}. Known: {', '.join(known) or 'none'}."
            )
    if absent := missing(struct, texts):
        raise ConfigError(f"{where}: expected {', '.join(absent)}, got nothing.")
    try:
        return from_flags(struct, argparse.Namespace(**texts))
    except ConfigError as error:
        flag, _, why = str(error).partition(": ")
        raise ConfigError(f"{where}: {flag.removeprefix('--').replace('-', '_')}: {why}") from error
