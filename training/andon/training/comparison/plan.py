"""The plan of a comparison: detectors with their settings, data sets and seeds, from flags or from a TOML file.

A cell is one detector with its settings, on one set, with one seed. Its folder is ``SET/DETECTOR/seed-N``. This name depends
only on the cell. So a comparison can grow, and the same command finds the cells that are already done.
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
from andon.runtime.schema import Mask
from andon.sources.addresses import redact, shown_address
from andon.sources.source import named
from andon.training.recipe.recipe import Recipe, recipe
from andon.training.runs.window_choice import WindowRequest, as_texts
from andon.training.runs.window_flags import extend, take

LONGEST_NAME = 80
"""Largest number of characters in a folder name. Longer names are cut, and a digest keeps them distinct."""
MAX_SEED = 2**31 - 1
"""Largest seed, the same as on the command line."""
MASKS = ("ignore", "region")
"""Fields of `DataSet` for masks. Their flags have the same names."""


class Choice(Struct, frozen=True, kw_only=True):
    """A detector with its settings."""

    recipe: Recipe
    settings: msgspec.Struct
    window: WindowRequest = WindowRequest()
    """Length, hop and period of windows in seconds, or chosen from each log. Default lengths are shortened for a short log."""
    name: str
    """Name in the table: the detector and the flags that differ from its defaults, unless a plan gives another name."""


class DataSet(Struct, frozen=True, kw_only=True):
    """Good parts for training, and labelled parts for evaluation."""

    train: str
    """A path or name that a source opens: a tree with train/good, a folder, a log, a simulation."""
    test: str | None = None
    """Location of the labelled parts. None: the test set of the same tree."""
    truth: str | None = None
    """A CSV file with the labels, if the data do not have them.

    The columns are key,label[,kind] for pictures, and start,end[,kind][,file] for logs.
    """
    group: str | None = None
    """Rule that defines which items belong to one part or lot, as in `TrainOptions`."""
    calibration_share: float = CALIBRATION_SHARE
    """Share of the good parts to hold back for calibration, as in `TrainOptions`."""
    ignore: tuple[str, ...] | Mask = ()
    """Pixels that do not count, as in `TrainOptions`. `set_masks.with_pixels_read` replaces texts by the mask with its pixels."""
    region: tuple[str, ...] | Mask = ()
    """The only pixels that count, as `ignore`."""
    name: str
    """Name in the table: the last piece of the path of `test`, or of `train` if `test` is not given."""

    @property
    def tested(self) -> str:
        """Location of the labelled parts."""
        return self.test or self.train


class Key(Struct, frozen=True, kw_only=True):
    """Everything that identifies a cell: ``cell.json``.

    Threads and device are recorded elsewhere; they do not identify a cell.
    """

    name: str
    """Name of the detector with its settings."""
    detector: str
    version: int
    """Version of the recipe."""
    settings: dict[str, Any]
    """All settings, as in a run folder."""
    set: str
    data: dict[str, str]
    """Fields of `DataSet`.

    Paths keep only their last two pieces, so that data may move to another machine. The calibration share is present only if it
    differs from the default. Masks are their digests, and are present only if the set has them.
    """
    seed: int
    wish: PromiseRequest
    """The promise to calibrate for. The name is fixed, because it is a key in ``cell.json``."""
    more: tuple[str, ...] = ()
    """Names of additional results that were requested."""
    window: dict[str, str] = {}
    """Length, hop and period of windows that are not in the settings, as text; empty if all are."""

    @property
    def masks(self) -> dict[str, str]:
        """Digests of the masks of the set, by the name of the flag."""
        return {name: self.data[name] for name in MASKS if name in self.data}


class Cell(Struct, frozen=True, kw_only=True):
    """One training to run and measure."""

    choice: Choice
    data: DataSet
    seed: int
    promise: PromiseRequest
    more: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        """Key that the folder of the cell must contain."""
        return Key(
            name=self.choice.name,
            detector=self.choice.recipe.name,
            version=self.choice.recipe.version,
            settings=msgspec.json.decode(msgspec.json.encode(self.choice.settings)),
            set=self.data.name,
            data={
                field: _portable(value)
                for field in ("train", "test", "truth", "group")
                if (value := getattr(self.data, field)) is not None
            }
            | _unusual_share(self.data)
            | mask_digests(self.data),
            seed=self.seed,
            wish=self.promise,
            more=self.more,
            window=as_texts(self.choice.window),
        )

    @property
    def folder(self) -> str:
        """Path of the cell's folder within the folder of the comparison, with ``/``."""
        return f"{folder_name(self.data.name)}/{folder_name(self.choice.name)}/seed-{self.seed}"

    def __str__(self) -> str:
        return f"{self.data.name}, {self.choice.name}, seed {self.seed}"


class Plan(Struct, frozen=True, kw_only=True):
    """The plan of a comparison: each detector on each set with each seed."""

    choices: tuple[Choice, ...]
    sets: tuple[DataSet, ...]
    seeds: tuple[int, ...] = (0,)
    promise: PromiseRequest = PromiseRequest()


def cells(plan: Plan, *, more: Sequence[str] = ()) -> list[Cell]:
    """Return all cells of a plan, seed by seed, so that the table is complete for one seed first.

    Raises:
        ConfigError: there is nothing to compare, or two cells would share a folder.
    """
    for what, given in (("a detector", plan.choices), ("a data set", plan.sets), ("a seed", plan.seeds)):
        if not given:
            raise ConfigError(f"expected at least {what} to compare, got none.")
    listed = [
        Cell(choice=choice, data=data, seed=seed, promise=plan.promise, more=tuple(sorted(more)))
        for seed in plan.seeds
        for data in plan.sets
        for choice in plan.choices
    ]
    seen: dict[str, Cell] = {}
    for cell in listed:
        other = seen.setdefault(cell.folder.casefold(), cell)
        if other is not cell:
            raise ConfigError(_duplicate(other, cell))
    return listed


def share(listed: Sequence[Cell], which: int, of: int) -> list[Cell]:
    """Return the `which`-th of `of` shares, counted from 1, in the order of `listed`. Each cell is in exactly one share.

    The cells are sorted by detector, and within a detector by set. They are then assigned to the shares in turn. The cost of a
    cell depends on its detector first, then on its set. So the numbers of cells per detector in two shares differ by at most
    one. The same holds for the numbers per detector and set.
    """
    places: dict[tuple[str, str], list[int]] = {}
    for place, cell in enumerate(listed):
        places.setdefault((cell.choice.name, cell.data.name), []).append(place)
    # sorted only by the detector, so that the sets of one detector stay together
    first = {name: at for at, name in enumerate(dict.fromkeys(cell.choice.name for cell in listed))}
    dealt = [place for key in sorted(places, key=lambda key: first[key[0]]) for place in places[key]]
    return [listed[place] for place in sorted(dealt[which - 1 :: of])]


def parse_share(text: str) -> tuple[int, int]:
    """Read a share from text: ``3/8`` is the third of eight shares.

    Raises:
        ConfigError: the text has another form, or the share is outside 1 to N.

    >>> parse_share("3/8")
    (3, 8)
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
    which, of = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= which <= of:
        raise ConfigError(f"--cell: expected I/N with I from 1 to N, such as 3/8, got {text!r}.")
    return which, of


def parse_detector(text: str) -> Choice:
    """Read a detector with flags of ``andon train`` from text: ``"patchcore --preset fast"``.

    Raises:
        ConfigError: unknown detector or flag, or a value out of bounds. The message contains the text.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"detector {text!r}: {error}.") from error
    if not words:
        raise ConfigError("detector: expected a name such as 'patchcore --preset fast', got an empty text.")
    known = recipe(words[0])
    try:
        settings, window = _settings_of(known, words[1:])
    except ConfigError as error:
        reason = str(error).rstrip(".")
        raise ConfigError(f"detector {text!r}: {reason}. See 'andon train {known.name} --help'.") from error
    return Choice(recipe=known, settings=settings, window=window, name=_default_name(known, settings, window))


def parse_data(text: str) -> DataSet:
    """Read a data set from text.

    The form is ``PATH [--test PATH] [--truth CSV] [--group REGEX|CSV] [--calibration-share X] [--ignore MASK] [--region MASK]
    [--name NAME]``. Paths may contain spaces. The flags of masks may be repeated.

    Raises:
        ConfigError: a flag is unknown or empty, or the path is missing.
    """
    train, *rest = re.split(r"(?:^|\s+)--(?=[a-z][a-z-]*(?:[\s=]|$))", text.strip())
    given: dict[str, object] = {"train": train.strip()}
    masks: dict[str, list[str]] = {}
    for piece in rest:
        name, _, value = piece.partition("=") if re.match(r"[a-z-]+=", piece) else piece.partition(" ")
        if name in MASKS:
            masks.setdefault(name, []).append(value.strip())
        else:
            given[name.replace("-", "_")] = _number(value) if name == "calibration-share" else value.strip()
    given |= masks
    return _data_set(given, where=f"data {shown_address(text)!r}")


def read_plan(path: Path) -> Plan:
    """Read a plan from a TOML file. Paths in it are relative to the current folder, as in flags.

    ::

        detectors = ["patchcore", { name = "small", detector = "unet_autoencoder", settings = { narrow = 8 } }]
        data = ["sets/bottle", { name = "valve", train = "skab/anomaly-free", test = "skab/valve1" }]
        seeds = [0, 1, 2]
        promise = { false_reject = 0.05 }

    Raises:
        ConfigError: the file is not readable, or a key or value is not valid. The message names the position in the file.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the file: {getattr(error, 'strerror', None) or error}.") from error
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
        promise=from_mapping(PromiseRequest, plain.promise, where=f"{path}: promise"),
    )


def folder_name(text: str) -> str:
    """Return a readable name that is valid on all file systems. If characters were removed, it ends in a digest.

    >>> folder_name("patchcore --preset fast"), folder_name("unet_autoencoder --no-mixed-precision")
    ('patchcore--preset-fast', 'unet_autoencoder--no-mixed-precision')
    """
    plain = re.sub(r" (--[a-z-]+)", r"\1", text)
    plain = re.sub(r"(?<=[a-z]) (?=[A-Za-z0-9])", "-", plain)
    safe = re.sub(r"[^A-Za-z0-9._,=-]+", "-", plain)[:LONGEST_NAME].strip("-. ")
    if safe == plain:
        return safe
    return f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("-")


def _settings_of(known: Recipe, words: Sequence[str]) -> tuple[msgspec.Struct, WindowRequest]:
    parser = FlagParser(prog=known.name, add_help=False, allow_abbrev=False)
    add_flags(parser, known.settings)
    if known.gives == "window":
        extend(parser)
    given, unknown = parser.parse_known_args(words)
    if unknown:
        flag = unknown[0].partition("=")[0]
        masks = flag.removeprefix("--") in MASKS
        near = f", because masks belong to a data set: 'PATH {flag} MASK'" if masks else nearest(flag, parser.flags)
        raise ConfigError(f"unknown argument {unknown[0]!r}{near}.")
    window = take(given)
    settings = from_flags(known.settings, given)
    return settings, window if window.given else _unchosen(known, settings)


def _unchosen(known: Recipe, settings: msgspec.Struct) -> WindowRequest:
    """Return the request that shortens windows for a short log if the settings have the default lengths."""
    defaults = known.settings()
    own = [name for name in ("steps", "hop") if name in settings.__struct_fields__]
    same = known.gives == "window" and all(getattr(settings, name) == getattr(defaults, name) for name in own)
    return WindowRequest(shorten=same)


class _PlanFile(Struct, frozen=True, kw_only=True):
    detectors: tuple[str | dict[str, Any], ...]
    data: tuple[str | dict[str, Any], ...]
    seeds: tuple[Annotated[int, msgspec.Meta(ge=0, le=MAX_SEED)], ...] = (0,)
    promise: dict[str, Any] = {}


def _duplicate(one: Cell, other: Cell) -> str:
    if one.data is not other.data:
        return (
            f"two data sets have the name {one.data.name!r} ({one.data.tested} and {other.data.tested}). Give one of them "
            f"another name, such as '{other.data.train} --name {other.data.name}-2'."
        )
    if one.choice is not other.choice:
        return f"the detector {one.choice.name!r} is listed twice. Remove one, because the same settings give the same results."
    return f"the seed {one.seed} is listed twice. Remove one."


def _choice(entry: Mapping[str, Any], where: str) -> Choice:
    known = ("detector", "settings", "name")
    for key in entry:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}{nearest(key, known)}. Known keys: {', '.join(known)}.")
    detector, settings = entry.get("detector"), entry.get("settings", {})
    if not isinstance(detector, str) or not isinstance(settings, Mapping):
        raise ConfigError(f'{where}: expected detector = "NAME" and settings = {{ ... }}, got {dict(entry)}.')
    found = recipe(detector)
    # from_mapping converts lists to tuples, because TOML has no tuples
    given = from_mapping(found.settings, settings, where=f"{where}.settings")
    return Choice(
        recipe=found,
        settings=given,
        window=_unchosen(found, given),
        name=str(entry.get("name") or _default_name(found, given, WindowRequest())),
    )


def _data_set(given: Mapping[str, object], where: str) -> DataSet:
    known = [field.name for field in msgspec.structs.fields(DataSet)]
    masks: dict[str, tuple[str, ...]] = {}
    for key, value in given.items():
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}{nearest(key, known)}. Known keys: {', '.join(known)}.")
        if key == "calibration_share":
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(f"{where}: expected a number for {key!r}, got {value!r}.")
            continue
        if key in MASKS:
            masks[key] = _mask_texts(value, key, where)
            continue
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{where}: expected a text for {key!r}, got {value!r}.")
    if "train" not in given:
        raise ConfigError(f'{where}: expected the good parts for training as train = "PATH", found no train.')
    named = str(given.get("name") or _last_piece(redact(str(given.get("test") or given["train"]))))
    return from_mapping(DataSet, {**given, **masks, "name": named}, where=where)


def _mask_texts(value: object, key: str, where: str) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not listed or not all(isinstance(text, str) and text for text in listed):
        raise ConfigError(f"{where}: expected a text or a list of texts for {key!r}, got {value!r}.")
    return tuple(listed)


def _number(text: str) -> object:
    """Return the text as a number if possible. Otherwise return the text, which `_data_set` refuses."""
    try:
        return float(text)
    except ValueError:
        return text


def _unusual_share(data: DataSet) -> dict[str, str]:
    """Return the calibration share for a `Key`. Leave out the default, so that keys of older cells stay equal."""
    if data.calibration_share == CALIBRATION_SHARE:
        return {}
    return {"calibration_share": str(data.calibration_share)}


def mask_digests(data: DataSet) -> dict[str, str]:
    """Return the digests of the masks of a set for a `Key`. It is empty without masks.

    Raises:
        TypeError: the pixels of the masks were not read (`set_masks.with_pixels_read`), so that there is no digest.
    """
    digests = {}
    for name in MASKS:
        mask = getattr(data, name)
        if isinstance(mask, Mask):
            digests[name] = mask.sha256
        elif mask:
            raise TypeError(f"{data.name}: expected the pixels of {name} to be read, got {mask}")
    return digests


def _default_name(known: Recipe, settings: msgspec.Struct, window: WindowRequest) -> str:
    """Return the detector and its flags that differ from the defaults.

    `parse_detector` turns this name into the same settings.
    """
    words = [known.name]
    for setting in fields(known.settings):
        value = getattr(settings, setting.name)
        if value == setting.default:
            continue
        if setting.is_switch:
            words.append(setting.flag if value else f"--no-{setting.flag.removeprefix('--')}")
        else:
            words += [setting.flag, shlex.quote(_as_flag(value))]
    for name, text in as_texts(window).items():
        if f"--{name}" not in words:
            words += [f"--{name}", text]
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


def _portable(text: str) -> str:
    """Return the last two pieces of a path, so that a set may be moved with its folder. Return other text unchanged."""
    if not Path(text).exists():
        return text
    return "/".join(Path(os.path.abspath(text)).parts[-2:])  # noqa: PTH100 - not resolve(): keep the name of a link
