"""What is compared: detectors with their settings, on data sets, over seeds. Flags and TOML files both end here.

A cell is one detector with its settings, on one set, with one seed. It lies in ``SET/DETECTOR/seed-N``, a name that
depends on nothing but the cell, so that a comparison can grow, and the same command finds what it has done before.
"""

import hashlib
import os
import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Struct

from andon.calibration.request import PromiseRequest
from andon.calibration.split import CALIBRATION_SHARE
from andon.foundation.errors import ConfigError
from andon.foundation.flag_parser import FlagParser
from andon.foundation.settings import add_flags, fields, from_flags, from_mapping, nearest
from andon.sources.addresses import redact, shown_address
from andon.sources.source import named
from andon.training.recipe.recipe import Recipe, recipe

LONGEST_NAME = 80
"""Characters of a folder's name; beyond that it is cut, and a digest tells it from others."""
MAX_SEED = 2**31 - 1
"""As on the command line."""


class Choice(Struct, frozen=True, kw_only=True):
    """A detector with its settings."""

    recipe: Recipe
    settings: msgspec.Struct
    name: str
    """As the table has it: the detector and the flags that differ from its defaults, unless a plan names it."""


class DataSet(Struct, frozen=True, kw_only=True):
    """Good parts to learn from, and parts of known truth to evaluate on."""

    train: str
    """A path or name that a source opens: a tree with train/good, a folder, a log, a simulation."""
    test: str | None = None
    """Where the labelled parts are; None: the test part of the same tree."""
    truth: str | None = None
    """A CSV file key,label[,kind], where folders do not tell."""
    group: str | None = None
    """As for training: which items belong together."""
    calibration_share: float = CALIBRATION_SHARE
    """As for training: of the good parts, held back for calibration."""
    name: str
    """As the table has it: the last piece of the path, of `test` where that is given."""

    @property
    def tested(self) -> str:
        """Where the labelled parts are."""
        return self.test or self.train


class Key(Struct, frozen=True, kw_only=True):
    """What makes a cell this cell and no other; ``cell.json``. Threads and device are not of it, but are recorded."""

    name: str
    """Of the detector with its settings."""
    detector: str
    version: int
    """Of the recipe."""
    settings: dict[str, Any]
    """All of them, as a run folder has them."""
    set: str
    data: dict[str, str]
    """`DataSet`'s fields; of a path the last two pieces, so that data may be moved to another machine. A share for
    calibration only where it is not the usual one."""
    seed: int
    wish: PromiseRequest
    more: tuple[str, ...] = ()
    """Names of further figures that were asked for."""


class Cell(Struct, frozen=True, kw_only=True):
    """One training to be done and measured."""

    choice: Choice
    data: DataSet
    seed: int
    wish: PromiseRequest
    more: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        """What its folder must hold."""
        return Key(
            name=self.choice.name,
            detector=self.choice.recipe.name,
            version=self.choice.recipe.version,
            settings=msgspec.json.decode(msgspec.json.encode(self.choice.settings)),
            set=self.data.name,
            data={
                field: _lasting(value)
                for field in ("train", "test", "truth", "group")
                if (value := getattr(self.data, field)) is not None
            }
            | _unusual_share(self.data),
            seed=self.seed,
            wish=self.wish,
            more=self.more,
        )

    @property
    def folder(self) -> str:
        """Its place below the comparison's folder, with ``/``."""
        return f"{folder_name(self.data.name)}/{folder_name(self.choice.name)}/seed-{self.seed}"

    def __str__(self) -> str:
        return f"{self.data.name}, {self.choice.name}, seed {self.seed}"


class Plan(Struct, frozen=True, kw_only=True):
    """All of a comparison."""

    choices: tuple[Choice, ...]
    sets: tuple[DataSet, ...]
    seeds: tuple[int, ...] = (0,)
    wish: PromiseRequest = PromiseRequest()


def cells(plan: Plan, *, more: Sequence[str] = ()) -> list[Cell]:
    """Every detector on every set with every seed; seed by seed, so that a whole table of one seed comes first.

    Raises:
        ConfigError: nothing to compare, or two cells that would share a folder.
    """
    for what, given in (("a detector", plan.choices), ("a data set", plan.sets), ("a seed", plan.seeds)):
        if not given:
            raise ConfigError(f"expected at least {what} to compare, got none.")
    listed = [
        Cell(choice=choice, data=data, seed=seed, wish=plan.wish, more=tuple(sorted(more)))
        for seed in plan.seeds
        for data in plan.sets
        for choice in plan.choices
    ]
    seen: dict[str, Cell] = {}
    for cell in listed:
        other = seen.setdefault(cell.folder.casefold(), cell)
        if other is not cell:
            raise ConfigError(_twice(other, cell))
    return listed


def share(listed: Sequence[Cell], which: int, of: int) -> list[Cell]:
    """The `which`-th of `of` shares, counted from 1, in the order of `listed`. All shares together are all cells, each once.

    Cells are dealt like cards, detector by detector and within a detector set by set: what a cell costs hangs on its
    detector first, then on its set, and of each of these every share gets as many as any other, to within one.
    """
    places: dict[tuple[str, str], list[int]] = {}
    for place, cell in enumerate(listed):
        places.setdefault((cell.choice.name, cell.data.name), []).append(place)
    # sorted by the detector alone, which keeps the sets of one detector side by side
    first = {name: at for at, name in enumerate(dict.fromkeys(cell.choice.name for cell in listed))}
    dealt = [place for key in sorted(places, key=lambda key: first[key[0]]) for place in places[key]]
    return [listed[place] for place in sorted(dealt[which - 1 :: of])]


def parse_share(text: str) -> tuple[int, int]:
    """``3/8``: the third of eight shares.

    Raises:
        ConfigError: anything else, or a share outside 1 to N.

    >>> parse_share("3/8")
    (3, 8)
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
    which, of = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= which <= of:
        raise ConfigError(f"--cell: expected I/N with I from 1 to N, such as 3/8, got {text!r}.")
    return which, of


def parse_detector(text: str) -> Choice:
    """A detector with flags, as ``andon train`` takes them: ``"patchcore --preset fast"``.

    Raises:
        ConfigError: no such detector or flag, or a value out of bounds; with the text as it came.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"detector {text!r}: {error}.") from error
    if not words:
        raise ConfigError("expected a detector such as 'patchcore --preset fast', got an empty text.")
    known = recipe(words[0])
    try:
        settings = _settings_of(known, words[1:])
    except ConfigError as error:
        told = str(error).rstrip(".")
        raise ConfigError(f"detector {text!r}: {told}. See 'andon train {known.name} --help'.") from error
    return Choice(recipe=known, settings=settings, name=_called(known, settings))


def parse_data(text: str) -> DataSet:
    """A data set: ``PATH [--test PATH] [--truth CSV] [--group REGEX|CSV] [--calibration-share X] [--name NAME]``.

    Paths may hold spaces.

    Raises:
        ConfigError: an unknown or empty flag, or no path.
    """
    train, *rest = re.split(r"(?:^|\s+)--(?=[a-z][a-z-]*(?:[\s=]|$))", text.strip())
    given: dict[str, object] = {"train": train.strip()}
    for piece in rest:
        name, _, value = piece.partition("=") if re.match(r"[a-z-]+=", piece) else piece.partition(" ")
        given[name.replace("-", "_")] = _number(value) if name == "calibration-share" else value.strip()
    return _data_set(given, where=f"data {shown_address(text)!r}")


def read_plan(path: Path) -> Plan:
    """A plan from a TOML file; paths in it are taken from where andon runs, as those of flags are.

    ::

        detectors = ["patchcore", { name = "small", detector = "unet_autoencoder", settings = { narrow = 8 } }]
        data = ["sets/bottle", { name = "valve", train = "skab/anomaly-free", test = "skab/valve1" }]
        seeds = [0, 1, 2]
        promise = { false_reject = 0.05 }

    Raises:
        ConfigError: not readable, or a key or value that does not exist; with the place in the file.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: expected TOML: {error}.") from error
    plain = from_mapping(_PlanFile, given, where=str(path))
    return Plan(
        choices=tuple(
            parse_detector(entry) if isinstance(entry, str) else _choice(entry, f"{path}: detectors[{place}]")
            for place, entry in enumerate(plain.detectors)
        ),
        sets=tuple(
            parse_data(entry) if isinstance(entry, str) else _data_set(entry, f"{path}: data[{place}]")
            for place, entry in enumerate(plain.data)
        ),
        seeds=plain.seeds,
        wish=from_mapping(PromiseRequest, plain.promise, where=f"{path}: promise"),
    )


def folder_name(text: str) -> str:
    """A name that every file system takes and people can read; a digest tells apart what it had to leave out.

    >>> folder_name("patchcore --preset fast"), folder_name("unet_autoencoder --no-mixed-precision")
    ('patchcore--preset-fast', 'unet_autoencoder--no-mixed-precision')
    """
    plain = re.sub(r" (--[a-z-]+)", r"\1", text)
    plain = re.sub(r"(?<=[a-z]) (?=[A-Za-z0-9])", "-", plain)
    safe = re.sub(r"[^A-Za-z0-9._,=-]+", "-", plain)[:LONGEST_NAME].strip("-. ")
    if safe == plain:
        return safe
    return f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("-")


def _settings_of(known: Recipe, words: Sequence[str]) -> msgspec.Struct:
    parser = FlagParser(prog=known.name, add_help=False, allow_abbrev=False)
    add_flags(parser, known.settings)
    given, unknown = parser.parse_known_args(words)
    if unknown:
        near = nearest(unknown[0].partition("=")[0], parser.flags)
        raise ConfigError(f"unknown argument {unknown[0]!r}{near}.")
    return from_flags(known.settings, given)


class _PlanFile(Struct, frozen=True, kw_only=True):
    detectors: tuple[str | dict[str, Any], ...]
    data: tuple[str | dict[str, Any], ...]
    seeds: tuple[Annotated[int, msgspec.Meta(ge=0, le=MAX_SEED)], ...] = (0,)
    promise: dict[str, Any] = {}


def _twice(one: Cell, other: Cell) -> str:
    if one.data is not other.data:
        return (
            f"two data sets are called {one.data.name!r} ({one.data.tested} and {other.data.tested}): give one of them "
            f"another name, such as '{other.data.train} --name {other.data.name}-2'."
        )
    if one.choice is not other.choice:
        return f"the detector {one.choice.name!r} is listed twice: the same settings give the same results."
    return f"the seed {one.seed} is listed twice."


def _choice(entry: Mapping[str, Any], where: str) -> Choice:
    known = ("detector", "settings", "name")
    for key in entry:
        if key not in known:
            raise ConfigError(f"{where}: there is no {key!r}{nearest(key, known)}. Known: {', '.join(known)}.")
    detector, settings = entry.get("detector"), entry.get("settings", {})
    if not isinstance(detector, str) or not isinstance(settings, Mapping):
        raise ConfigError(f'{where}: expected detector = "NAME" and settings = {{ ... }}, got {dict(entry)}.')
    found = recipe(detector)
    # lists are what TOML has where settings have tuples
    chosen = from_mapping(found.settings, settings, where=f"{where}.settings")
    return Choice(recipe=found, settings=chosen, name=str(entry.get("name") or _called(found, chosen)))


def _data_set(given: Mapping[str, object], where: str) -> DataSet:
    known = [field.name for field in msgspec.structs.fields(DataSet)]
    for key, value in given.items():
        if key not in known:
            raise ConfigError(f"{where}: there is no {key!r}{nearest(key, known)}. Known: {', '.join(known)}.")
        if key == "calibration_share":
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(f"{where}: expected a number for {key!r}, got {value!r}.")
            continue
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{where}: expected a text for {key!r}, got {value!r}.")
    if "train" not in given:
        raise ConfigError(f'{where}: expected the good parts to learn from as train = "PATH".')
    named = str(given.get("name") or _last_piece(redact(str(given.get("test") or given["train"]))))
    return from_mapping(DataSet, {**given, "name": named}, where=where)


def _number(text: str) -> object:
    """A number where it is one; else the text, which is then refused."""
    try:
        return float(text)
    except ValueError:
        return text


def _unusual_share(data: DataSet) -> dict[str, str]:
    """Left out where it is the usual one: cells of before are still themselves."""
    if data.calibration_share == CALIBRATION_SHARE:
        return {}
    return {"calibration_share": str(data.calibration_share)}


def _called(known: Recipe, settings: msgspec.Struct) -> str:
    """The detector and those flags that do not stand at their defaults: what, parsed again, gives the same settings."""
    words = [known.name]
    for setting in fields(known.settings):
        value = getattr(settings, setting.name)
        if value == setting.default:
            continue
        if setting.is_switch:
            words.append(setting.flag if value else f"--no-{setting.flag.removeprefix('--')}")
        else:
            words += [setting.flag, shlex.quote(_as_flag(value))]
    return " ".join(words)


def _as_flag(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(str(member) for member in value)
    return "none" if value is None else str(value)


def _last_piece(text: str) -> str:
    source = named(text)
    if source is not None and source.shown is not None:
        return source.shown(text)
    return Path(os.path.abspath(text)).name if os.path.exists(text) else text.rstrip("/").rpartition("/")[2]  # noqa: PTH100, PTH110


def _lasting(text: str) -> str:
    """A path by its last two pieces, so that a set moved with its folder stays the same set; any other text as it is."""
    if not Path(text).exists():
        return text
    return "/".join(Path(os.path.abspath(text)).parts[-2:])  # noqa: PTH100 - not resolve(): a link is a name that was chosen
