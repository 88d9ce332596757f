"""Derive flags, TOML or JSON keys, documentation and error messages from one settings struct.

A settings struct is a frozen `msgspec.Struct` in which each field is annotated::

    class Settings(Struct, frozen=True, kw_only=True):
        epochs: Annotated[int, Meta(ge=1, description="passes over the training set", extra={"unit": "epochs"})] = 40
"""

import argparse
import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import inspect

from andon.foundation import secret
from andon.foundation.errors import ConfigError
from andon.foundation.printable import printable
from andon.foundation.secret import Secret

S = TypeVar("S", bound=msgspec.Struct)


class Setting(NamedTuple):
    """One field of a settings struct, with the facts for flags, documentation and error messages."""

    name: str
    kind: inspect.Type
    """Type without annotations, as `msgspec.inspect` describes it."""
    default: Any
    """`msgspec.NODEFAULT` if the setting is required."""
    description: str
    unit: str
    bounds: str
    """Bounds as text, for example ``from 1 to 1000`` or ``>= 1``. Empty without bounds."""
    path: str = ""
    """``file`` or ``folder`` if the text is a path of one, from ``extra={"path": "file"}``. Empty for other settings."""

    @property
    def flag(self) -> str:
        """The command-line flag, for example ``--learning-rate``."""
        return flag_of(self.name)

    @property
    def is_switch(self) -> bool:
        """True for a boolean. Its flag takes no value and has a ``--no-`` form."""
        return isinstance(self.kind, inspect.BoolType)

    @property
    def is_secret(self) -> bool:
        """True for a secret. It has no flag, because a flag shows its value in the list of processes."""
        return _is_secret(self.kind)

    @property
    def choices(self) -> tuple[object, ...]:
        """The allowed values of a choice. Empty for other settings."""
        return tuple(_choices(self.kind))

    @property
    def required(self) -> bool:
        """True if the setting has no default."""
        return self.default is msgspec.NODEFAULT

    @property
    def default_text(self) -> str:
        """The default for a help text, for example ``default: 40``."""
        return "required" if self.required else f"default: {_shown(self.default)}"


def flag_of(name: str) -> str:
    """Return the command-line flag of a setting, for example ``--learning-rate``."""
    return "--" + name.replace("_", "-")


def fields(struct: type[msgspec.Struct]) -> list[Setting]:
    """Return all settings of a struct, in the order of its definition.

    Raises:
        TypeError: a field has no description.
    """
    return [_setting(field) for field in _inspected(struct).values()]


def missing(struct: type[msgspec.Struct], given: Iterable[str]) -> list[str]:
    """Return the names of all required settings that are not given."""
    names = set(given)
    return [name for name, field in _inspected(struct).items() if field.required and name not in names]


def from_mapping(struct: type[S], values: Mapping[str, object], *, where: str = "settings") -> S:
    """Check values of the right types and return them as a settings struct.

    Args:
        struct: type of the settings.
        values: values by name of the setting.
        where: origin of the values, for error messages.

    Raises:
        ConfigError: a name is unknown, a value has another type or is out of bounds, or a required setting is missing.
    """
    _refuse_unknown(struct, values, where)
    try:
        return _checked(struct, values, values, strict=True)
    except _Refusal as refusal:
        raise ConfigError(f"{where}: {refusal.named(refusal.name)}") from refusal.__cause__


def from_table(struct: type[S], table: Mapping[str, object], *, at: str) -> S:
    """Check a table of a TOML file as `from_mapping` does. Each error begins with the full path of the key.

    Args:
        struct: type of the settings.
        table: the keys and values.
        at: path of the table, for example ``line.toml: line[0].source``.

    Raises:
        ConfigError: see `from_mapping`. The error of a secret never contains the given value.
    """
    refuse_unknown_keys(table, [setting.name for setting in fields(struct)], at=at)
    try:
        return _checked(struct, table, table, strict=True)
    except _Refusal as refusal:
        place = f"{at}.{refusal.name}" if refusal.name else at
        raise ConfigError(f"{place}: {refusal.why}") from refusal.__cause__


def refuse_unknown_keys(table: Iterable[str], known: Iterable[str], *, at: str) -> None:
    """Refuse a key that a table of a TOML file does not have.

    Raises:
        ConfigError: the message has the full path of the key, the most similar known key, and all known keys.

    >>> refuse_unknown_keys(["fps_"], ["fps"], at="line[0].source")
    Traceback (most recent call last):
        ...
    andon.foundation.errors.ConfigError: line[0].source.fps_: unknown key (did you mean 'fps'?). Known: fps.
    """
    known = list(known)
    for name in table:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise ConfigError(f"{joined(at, name)}: unknown key{nearest(name, known)}. Known: {listed}.")


def joined(at: str, key: str) -> str:
    """Return the path of a key in a table, on one line. A key that TOML needs in quotes is shown in quotes.

    >>> joined("line[0]", "model"), joined("line[0]", "my model")
    ('line[0].model', 'line[0]."my model"')
    """
    return f"{at}.{key}" if _BARE_KEY.fullmatch(key) else f'{at}."{printable(key)}"'


_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def from_texts(struct: type[S], texts: Mapping[str, str], *, where: str) -> S:
    """Convert texts, as in ``key=value`` on a command line, to a checked settings struct.

    Raises:
        ConfigError: see `from_mapping`.
    """
    _refuse_unknown(struct, texts, where)
    try:
        return _from_texts(struct, texts)
    except _Refusal as refusal:
        raise ConfigError(f"{where}: {refusal.named(refusal.name)}") from refusal.__cause__


def add_flags(parser: argparse.ArgumentParser, struct: type[msgspec.Struct], *, title: str = "settings") -> None:
    """Add one flag to the parser for each setting. Flags that are not given leave no attribute: defaults stay in the struct."""
    group = parser.add_argument_group(title)
    for setting in fields(struct):
        unit = f" [{setting.unit}]" if setting.unit else ""
        bounds = f", {setting.bounds}" if setting.bounds else ""
        text = f"{setting.description}{unit} ({setting.default_text}{bounds})".replace("%", "%%")
        given: dict[str, Any] = {"default": argparse.SUPPRESS, "help": text, "dest": setting.name}
        if setting.is_switch:
            group.add_argument(setting.flag, action=argparse.BooleanOptionalAction, **given)
        else:
            group.add_argument(setting.flag, metavar=_metavar(setting.kind), **given)


def from_flags(struct: type[S], args: argparse.Namespace) -> S:
    """Return the checked settings from the flags of `add_flags`.

    Raises:
        ConfigError: a value has another type or is out of bounds, or a required setting is missing. The message names the
            flag.
    """
    raw = {name: getattr(args, name) for name in _inspected(struct) if hasattr(args, name)}
    try:
        return _from_texts(struct, raw)
    except _Refusal as refusal:
        flag = flag_of(refusal.name) if refusal.name else "settings"
        raise ConfigError(refusal.named(flag)) from refusal.__cause__


def nearest(name: str, known: Iterable[str], *, likeness: float = 0.5) -> str:
    """Return a hint such as `` (did you mean 'epochs'?)``, or an empty text if no known name is similar.

    Args:
        name: the unknown name.
        known: the valid names.
        likeness: smallest similarity of the suggestion, from 0 to 1.
    """
    # compare without dashes: with them --threshold was similar to --help
    bare = {one.lstrip("-"): one for one in known}
    close = difflib.get_close_matches(name.lstrip("-"), list(bare), n=1, cutoff=likeness)
    return f" (did you mean {bare[close[0]]!r}?)" if close else ""


def _inspected(struct: type[msgspec.Struct]) -> dict[str, inspect.Field]:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return {field.name: field for field in info.fields}


def _setting(field: inspect.Field) -> Setting:
    kind, notes = _bare(field.type)
    members = [_bare(member) for member in _members(kind)]
    if isinstance(kind, inspect.UnionType):  # bounds are in the members: Annotated[int, Meta(ge=1)] | None
        notes = [*notes, *(note for _, inner in members for note in inner)]
    descriptions = [str(note.extra_json_schema["description"]) for note in notes
                    if note.extra_json_schema and "description" in note.extra_json_schema]  # fmt: skip
    if not descriptions:
        raise TypeError(f"setting {field.name!r} has no description: annotate it with msgspec.Meta(description=...)")
    paths = [str(note.extra["path"]) for note in notes if note.extra and "path" in note.extra]
    units = [str(note.extra["unit"]) for note in notes if note.extra and "unit" in note.extra]
    return Setting(
        name=field.name,
        kind=kind,
        default=field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory(),
        description="; ".join(descriptions),
        unit=units[-1] if units else "",
        bounds=", ".join(filter(None, (_bounds(member) for member, _ in members))),
        path=paths[-1] if paths else "",
    )


def _bare(kind: inspect.Type) -> tuple[inspect.Type, list[inspect.Metadata]]:
    """Return a type without its annotations, and the annotations."""
    notes = []
    while isinstance(kind, inspect.Metadata):
        notes.append(kind)
        kind = kind.type
    return kind, notes


def _members(kind: inspect.Type) -> list[inspect.Type]:
    """Return the member types of a union, or a list of the type itself if it is not a union. Annotations are removed."""
    bare, _ = _bare(kind)
    return [_bare(member)[0] for member in bare.types] if isinstance(bare, inspect.UnionType) else [bare]


def _bounds(kind: inspect.Type) -> str:
    """Return the bounds of a number as text. The text is empty without bounds."""
    if not isinstance(kind, inspect.IntType | inspect.FloatType):
        return ""
    bounds = [f"{symbol} {_shown(value)}" for symbol, value in
              ((">=", kind.ge), (">", kind.gt), ("<=", kind.le), ("<", kind.lt)) if value is not None]  # fmt: skip
    if kind.ge is not None and kind.le is not None and len(bounds) == 2:
        bounds = [f"from {_shown(kind.ge)} to {_shown(kind.le)}"]
    if kind.multiple_of is not None:
        bounds.append(f"a multiple of {_shown(kind.multiple_of)}")
    return " and ".join(bounds)


def _shown(value: object) -> str:
    """Return a value in the form in which a user writes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(map(_shown, value)) if isinstance(value, tuple) else str(value)


def _metavar(kind: inspect.Type) -> str:
    names = []
    for member in _members(kind):
        if isinstance(member, inspect.LiteralType):
            names.append("{" + ",".join(map(str, member.values)) + "}")
        elif not isinstance(member, inspect.NoneType):
            names.append(_METAVARS.get(type(member), "VALUE"))
    return "|".join(names)


_METAVARS: dict[type, str] = {inspect.IntType: "N", inspect.FloatType: "X", inspect.StrType: "TEXT"}


class _Refusal(Exception):
    """An invalid value of a setting, or an invalid combination of values. For a combination, the name is empty."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, why)
        self.name, self.why = name, why

    def named(self, name: str) -> str:
        """Return the message with this name for the setting."""
        return f"{name}: {self.why}" if name else self.why


def _refuse_unknown(struct: type[msgspec.Struct], given: Iterable[str], where: str) -> None:
    known = list(_inspected(struct))
    for name in given:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise ConfigError(f"{where}: unknown setting {name!r}{nearest(name, known)}. Known: {listed}.")


def _from_texts(struct: type[S], raw: Mapping[str, Any]) -> S:
    types = _inspected(struct)
    given = {name: _parsed(types[name].type, value) for name, value in raw.items()}
    return _checked(struct, given, raw, strict=False)


def _parsed(kind: inspect.Type, value: object) -> object:
    """Convert a text to the declared type of a field. Msgspec checks bounds and choices afterwards."""
    if not isinstance(value, str):  # a boolean flag
        return value
    members = _members(kind)
    if value.lower() == "none" and any(isinstance(member, inspect.NoneType) for member in members):
        return None
    if any(isinstance(member, inspect.TupleType | inspect.VarTupleType) for member in members):
        return [piece.strip() for piece in value.replace("x", ",").split(",")]  # 256x256 or 256,256
    choices = {str(choice): choice for choice in _choices(kind)}
    return choices.get(value, value)


def _checked(struct: type[S], given: Mapping[str, object], raw: Mapping[str, object], *, strict: bool) -> S:
    """Convert and check field by field, so that the name of an invalid value is known without msgspec's message.

    Raises:
        _Refusal: a value has another type or is out of bounds, or a required setting is missing.
    """
    types = _inspected(struct)
    if absent := missing(struct, given):
        raise _Refusal("", f"expected {', '.join(absent)}, got nothing.")
    annotated = {field.name: field.type for field in msgspec.structs.fields(struct)}
    for name, value in given.items():
        try:
            fits = _is_finite(msgspec.convert(value, annotated[name], strict=strict))
        except msgspec.ValidationError as error:
            if _is_secret(types[name].type):  # without the value, and without msgspec's error as a cause
                got = (
                    "text"
                    if isinstance(value, str)
                    else type(value).__name__
                    if not isinstance(value, dict)
                    else "a table with other keys or values"
                )
                raise _Refusal(
                    name, f"expected {secret.EXPECTED}, got {got}. Do not write the secret itself here."
                ) from None
            wanted = _wanted(types[name].type)
            why = _expected(wanted, raw[name], types[name].type) if wanted else str(error)
            raise _Refusal(name, why) from error
        if not fits:
            raise _Refusal(name, _expected(_wanted(types[name].type), raw[name], types[name].type))
    try:
        return msgspec.convert(dict(given), struct, strict=strict)
    except msgspec.ValidationError as error:  # the struct's own __post_init__
        raise _Refusal("", str(error)) from error


def _is_secret(kind: inspect.Type) -> bool:
    return any(isinstance(member, inspect.StructType) and member.cls is Secret for member in _members(kind))


def _is_finite(value: object) -> bool:
    """Return whether a value can be stored as JSON in run folders and model files. JSON has no NaN and no infinity."""
    values = value if isinstance(value, tuple) else (value,)
    return all(math.isfinite(number) for number in values if isinstance(number, float))


def _expected(wanted: str, got: object, kind: inspect.Type) -> str:
    if _names_no_finite_number(got):
        wanted = wanted.replace("a number", "a finite number").replace("numbers", "finite numbers")
    return f"expected {wanted}, got {got!r}{nearest(str(got), map(str, _choices(kind)))}."


def _names_no_finite_number(got: object) -> bool:
    pieces = got if isinstance(got, list | tuple) else str(got).split(",")
    for piece in pieces:
        try:
            if not math.isfinite(float(str(piece))):
                return True
        except ValueError:
            continue
    return False


def _wanted(kind: inspect.Type) -> str:
    """Return a type as text, for example ``an integer >= 1``. The text is empty for other types."""
    kind, _ = _bare(kind)
    if isinstance(kind, inspect.UnionType):
        words = sorted(map(_wanted, kind.types), key="none".__eq__)  # puts none last
        if not all(words):
            return ""
        return f"{' or '.join(words[:-1])}, or none" if words[-1] == "none" else " or ".join(words)
    if isinstance(kind, inspect.LiteralType):
        return f"one of {', '.join(map(str, kind.values))}"
    if isinstance(kind, inspect.TupleType) and len(set(map(_wanted, kind.item_types))) == 1:
        return f"{len(kind.item_types)} {_several(kind.item_types[0])}" if _several(kind.item_types[0]) else ""
    if isinstance(kind, inspect.VarTupleType):
        item, _ = _bare(kind.item_type)
        choices = ", ".join(map(str, _choices(item)))
        return f"a list with any of {choices}" if choices else _several(item)
    word = _WORDS.get(type(kind), "")
    if isinstance(kind, inspect.DictType) and isinstance(_bare(kind.value_type)[0], inspect.StrType):
        word = "a table of texts"
    return f"{word} {_bounds(kind)}".rstrip()


def _several(kind: inspect.Type) -> str:
    """Return text such as ``integers >= 1 separated by commas``. The text is empty for types other than numbers."""
    kind, _ = _bare(kind)
    word = {inspect.IntType: "integers", inspect.FloatType: "numbers"}.get(type(kind), "")
    return " ".join(filter(None, [word, _bounds(kind), "separated by commas"])) if word else ""


_WORDS: dict[type, str] = {
    inspect.IntType: "an integer",
    inspect.FloatType: "a number",
    inspect.StrType: "text",
    inspect.BoolType: "true or false",
    inspect.NoneType: "none",
}


def _choices(kind: inspect.Type) -> Iterator[object]:
    """Yield the values of a Literal. They come in alphabetical order, because `msgspec.inspect` sorts them."""
    for member in _members(kind):
        if isinstance(member, inspect.LiteralType):
            yield from member.values
