"""Read the configuration of lines: one TOML file with one ``[[line]]`` table for each line.

Reading a file checks keys, types and bounds. It opens no model, no source and no sink, and it reads no secret. Paths in the file
are relative to the folder of the file.
"""

import os
import re
import threading
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from andon.foundation import secret
from andon.foundation.errors import ConfigError, DataError
from andon.foundation.printable import printable
from andon.foundation.registry import load
from andon.foundation.secret import Secret
from andon.foundation.settings import fields, from_table, joined, nearest, refuse_unknown_keys
from andon.monitor.alarms import AlarmRule, rule_from_text
from andon.monitor.controller_kind import ChosenController, controllers_from_tables
from andon.monitor.evidence import EvidenceSettings
from andon.monitor.frame_queue import LIVE_CAPACITY
from andon.monitor.output import ChosenOutput, outputs_from_tables
from andon.monitor.part_settings import PartSettings, parts_from_table
from andon.monitor.reject_kind import ChosenReject, reject_from_table
from andon.monitor.sink import ChosenSink, sink_from_table
from andon.monitor.store import Settings as StoreSettings
from andon.monitor.trigger_kind import ChosenTrigger, trigger_from_table
from andon.monitor.web.settings import WebSettings
from andon.runtime.items import Ref
from andon.runtime.schema import InputSpec
from andon.sources.addresses import redact, shown_address
from andon.sources.clock import Clock
from andon.sources.collection import Stream
from andon.sources.region import Region
from andon.sources.source import PATH_SOURCES, Source, accepts

MAX_BYTES = 1 << 20
"""Largest configuration file, in bytes. A larger file is a wrong path."""

S = TypeVar("S", bound=Struct)

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_STDOUT = "-"
_SECRET_QUERY = re.compile(
    r"[?&](?:[^=&#]*[-_])?(?:auth|key|pass|passwd|password|pwd|secret|sig|signature|token)=", re.IGNORECASE
)


Pixel = Annotated[int, Meta(ge=0)]


class Policy(Struct, frozen=True, kw_only=True):
    """State how a line judges. The fields are flags of ``andon monitor`` and keys of a ``[[line]]`` table."""

    limit: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="end after this number of items")] = None
    device: Annotated[
        Literal["cpu", "cuda", "auto"], Meta(description="device to run on; auto uses the device of the calibration")
    ] = "cpu"
    threads: Annotated[int, Meta(ge=1, le=64, description="threads for judging one item")] = 1
    frame_size: Annotated[
        Literal["calibrated", "any"] | None,
        Meta(
            description="any: also judge frames of other sizes, which the promise does not cover; none is the same as "
            "calibrated"
        ),
    ] = None
    health: Annotated[
        bool,
        Meta(
            description="make frames that are black, over-exposed, smeared or (from a camera) frozen INVALID before judging, and "
            "windows with a missing, stuck, implausible or wrongly timed channel"
        ),
    ] = False
    alarm: Annotated[
        str | None,
        Meta(
            description="K/N: raise an alarm if K of the last N items are REJECT, and clear it after N others in a row"
        ),
    ] = None
    health_alarm: Annotated[
        str | None,
        Meta(
            description="K/N: raise an alarm if K of the last N items are INVALID, and clear it after N others in a row"
        ),
    ] = "3/5"
    region: Annotated[
        tuple[Pixel, Pixel, Pixel, Pixel] | None,
        Meta(description="part of each frame to judge: x, y, width, height", extra={"unit": "pixels"}),
    ] = None
    every_nth: Annotated[int, Meta(ge=1, description="judge the first of every n items only")] = 1
    keep: Annotated[
        Literal["newest", "every"],
        Meta(
            description="items of a live source to judge if judging is slower than the source. Every: up to "
            f"{LIVE_CAPACITY} items wait, and an item that finds no place is INVALID"
        ),
    ] = "newest"
    restart: Annotated[bool, Meta(description="open an endless source again after a failure")] = True
    reload: Annotated[
        bool,
        Meta(
            description="load the model file again when it was replaced; a wrong file is refused, and the old one stays"
        ),
    ] = True

    def __post_init__(self) -> None:
        for rule in (self.alarm, self.health_alarm):
            if rule is not None:
                rule_from_text(rule)  # a wrong rule is refused when the settings are read
        if self.region is not None and 0 in self.region[2:]:
            raise ConfigError(
                f"region: expected a width and a height above 0, got {self.region}. Example: 100,50,640,480."
            )


def checked_name(name: object, at: str) -> str:
    """Return a name of a line, source or output. It becomes a part of file names, topics, events and metrics.

    Raises:
        ConfigError: it has other characters than letters, digits, - and _.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"{at}: expected 1 to 64 letters, digits, - or _, got {name!r}.")
    return name


def region_of(policy: Policy) -> Region | None:
    """Return the region of a policy."""
    if policy.region is None:
        return None
    x, y, width, height = policy.region
    return Region(x=x, y=y, width=width, height=height)


class ChosenSource(Struct, frozen=True):
    """A source with its checked settings, not yet opened."""

    kind: Source
    address: str | Secret
    """Path, URL, camera index or name. It is a secret if it contains a password."""
    settings: Any

    def __repr__(self) -> str:
        """Return the kind and the address without secrets."""
        return f"ChosenSource({self.kind.name}, {self.shown!r}, {self.settings!r})"

    @property
    def shown(self) -> str:
        """The address for messages: without secrets, or the place of a secret address."""
        return self.address.place if isinstance(self.address, Secret) else shown_address(self.address)

    @property
    def title(self) -> str:
        """The kind and the address without secrets, for events and status."""
        return self.kind.name if self.shown == self.kind.name else f"{self.kind.name} {self.shown}"

    def text(self) -> str:
        """Return the address. It may contain a password.

        Raises:
            ConfigError: the address is a secret that cannot be read, or that is not a URL.
        """
        if isinstance(self.address, str):
            return self.address
        text = self.address.reveal()
        if _URL.match(text) is None:  # messages hide the password of a URL only
            raise ConfigError(
                f"{self.shown}: expected a URL such as rtsp://user:password@camera/stream, found other content, which is not "
                "shown. Write other addresses into the file."
            )
        return text

    @property
    def endless(self) -> bool:
        """True if the source runs until it is stopped. A sink must then not delay it."""
        return self.kind.live or self.kind.endless(self.text(), self.settings)

    def open(
        self, spec: InputSpec, clock: Clock, stop: threading.Event, *, skip: Callable[[Ref], bool] | None = None
    ) -> Stream:
        """Open the stream.

        Args:
            spec: the items that the model file needs.
            clock: for ages and waits.
            stop: ends the stream.
            skip: returns whether an item is left out because an earlier run has judged it. Only for sources that resume.

        Raises:
            AndonError: the source cannot be opened.
        """
        assert self.kind.stream is not None
        if skip is not None:
            assert self.kind.resumed is not None
            return self.kind.resumed(self.text(), spec, self.settings, clock, stop, skip)
        return self.kind.stream(self.text(), spec, self.settings, clock, stop)

    def require_accepted(self) -> None:
        """Refuse an address that this kind of source cannot open.

        Raises:
            ConfigError: the address is a secret that cannot be read.
            DataError: there is no such data at the address.
        """
        if not accepts(self.kind, self.text()):
            raise DataError(
                f"{self.shown}: expected {self.kind.summary}, found none of these. Create it, or correct the source."
            )


class Line(Struct, frozen=True, kw_only=True):
    """One line: a model file that judges the items of a source and passes verdicts to sinks. Nothing is open yet."""

    name: str = ""
    """Name of the line. Empty if the user gave none."""
    model: str
    """Path of the model file."""
    source: ChosenSource
    shared: str = ""
    """Name of the source in the file, if other lines may use the same one."""
    sinks: tuple[ChosenSink, ...]
    """Sinks of the outcomes. Each gets every outcome, in this order."""
    policy: Policy = Policy()
    alarm: AlarmRule | None = None
    """The full rule of the alarm about rejects, in place of `Policy.alarm`."""
    parts: PartSettings | None = None
    """None: each item is a part of its own, without a deadline."""
    reject: ChosenReject | None = None
    """The reject signal. None: the line gives none."""
    trigger: ChosenTrigger | None = None
    """The triggers of a controller. None: parts begin with their first frame, or a program triggers them."""

    @property
    def needs_a_program(self) -> bool:
        """True if only a program can begin its parts, with `andon.monitor.Monitor.trigger`."""
        return self.parts is not None and self.parts.trigger == "external" and self.trigger is None

    @property
    def alarms(self) -> dict[str, AlarmRule]:
        """The rules of the line's alarms by name: ``rejects`` and ``health``."""
        rules = {}
        if self.alarm is not None:
            rules["rejects"] = self.alarm
        elif self.policy.alarm is not None:
            rules["rejects"] = rule_from_text(self.policy.alarm)
        if self.policy.health_alarm is not None:
            rules["health"] = msgspec.structs.replace(rule_from_text(self.policy.health_alarm), signal="invalid")
        return rules


class Configuration(Struct, frozen=True, kw_only=True):
    """The content of one configuration file."""

    lines: tuple[Line, ...]
    store: StoreSettings | None = None
    """The event store. None: events are not kept."""
    evidence: EvidenceSettings = EvidenceSettings()
    """Pictures of events, in the folder of the store."""
    outputs: tuple[ChosenOutput, ...] = ()
    """Outputs that deliver the events of the store."""
    controllers: tuple[ChosenController, ...] = ()
    """Controllers of the plant that show the state and the results of lines."""
    web: WebSettings | None = None
    """The web server. None: no port is opened."""


def read_configuration(file: Path | str) -> Configuration:
    """Read a TOML file.

    Raises:
        ConfigError: the file cannot be read, is not TOML, has no line, or a key is unknown, missing, of another type or out of
            bounds. The message begins with the file and the full path of the key. It never contains a secret.
    """
    file = Path(file)
    place = printable(str(file))
    return configuration_from_table(_toml(file, place), folder=file.parent, at=place)


def configuration_from_table(table: Mapping[str, object], *, folder: Path, at: str) -> Configuration:
    """Check the content of a TOML file.

    Args:
        table: the content.
        folder: paths in the file are relative to this folder.
        at: name of the file, for error messages.

    Raises:
        ConfigError: see `read_configuration`.
    """
    refuse_unknown_keys(
        table, ["line", "source", "store", "evidence", "output", "controller", "web"], at=f"{at}: top level"
    )
    for key in table:
        _refuse_nul(table[key], f"{at}: {key}")
    shared = _shared_sources(table, folder, at)
    lines = [
        _line(line, folder, f"{at}: line[{number}]", shared)
        for number, line in enumerate(_tables(table, "line", at, "[[line]]"))
    ]
    _refuse_twice([line.name for line in lines], at, "line")
    _refuse_common_targets(lines, at)
    store = _optional(table, "store", StoreSettings, at)
    web = _optional(table, "web", WebSettings, at)
    for number, line in enumerate(lines):
        if line.reject is not None and line.reject.rule.intent == "durable" and store is None:
            raise ConfigError(
                f"{at}: line[{number}].reject: expected a table [store] too, because the intent is stored before the signal, got "
                'none. Add [store] with path = "state", or set intent = "memory".'
            )
    for key in ("output", "evidence"):
        if key in table and store is None:
            raise ConfigError(
                f'{at}: {key}: expected a table [store] too, because it needs the event store. Add [store] with path = "state".'
            )
    if web is not None and web.confirm_one_in is not None and store is None:
        raise ConfigError(
            f"{at}: web.confirm_one_in: expected a table [store] too, because it keeps the questions, got none. Add [store] "
            'with path = "state".'
        )
    outputs = _tables(table, "output", at, "[[output]]") if "output" in table else []
    controllers = _tables(table, "controller", at, "[[controller]]") if "controller" in table else []
    return Configuration(
        lines=tuple(lines),
        store=_in_folder(store, folder) if store is not None else None,
        evidence=_optional(table, "evidence", EvidenceSettings, at) or EvidenceSettings(),
        outputs=tuple(
            msgspec.structs.replace(output, settings=_in_folder(output.settings, folder))
            for output in outputs_from_tables(outputs, at=at, lines=[line.name for line in lines])
        ),
        controllers=tuple(
            msgspec.structs.replace(controller, settings=_in_folder(controller.settings, folder))
            for controller in controllers_from_tables(controllers, at=at, lines=[line.name for line in lines])
        ),
        web=_in_folder(web, folder) if web is not None else None,
    )


def _optional(table: Mapping[str, object], key: str, struct: type[S], at: str) -> S | None:
    """Return the settings of an optional table at the top level."""
    if key not in table:
        return None
    value = table[key]
    if not isinstance(value, dict):
        raise ConfigError(f"{at}: {key}: expected a table [{key}], got {_kind(value)}.")
    return from_table(struct, value, at=f"{at}: {key}")


def _shared_sources(table: Mapping[str, object], folder: Path, at: str) -> dict[str, ChosenSource]:
    """Return the sources that several lines may use, by name."""
    if "source" not in table:
        return {}
    sources, names = [], []
    for number, source in enumerate(_tables(table, "source", at, "[[source]]")):
        place = f"{at}: source[{number}]"
        names.append(_name(source, place, 'a short name of the source, for example name = "camera-1"'))
        sources.append(_source({key: source[key] for key in source if key != "name"}, folder, place))
    _refuse_twice(names, at, "source")
    return dict(zip(names, sources, strict=True))


def _refuse_twice(names: list[str], at: str, key: str) -> None:
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ConfigError(
                f"{at}: {key}[{number}].name: expected a name of its own, got {name!r} again. Rename one {key}."
            )


def _refuse_common_targets(lines: list[Line], at: str) -> None:
    """Refuse two sinks that write to one file or folder. Standard output may be shared: each line is one write."""
    seen: dict[str, str] = {}
    for number, line in enumerate(lines):
        for place, sink in enumerate(line.sinks):
            for setting in fields(type(sink.settings)):
                target = getattr(sink.settings, setting.name)
                if not setting.path or not isinstance(target, str) or target == _STDOUT:
                    continue
                where = f"line[{number}].sinks[{place}].{setting.name}"
                first = seen.setdefault(os.path.normpath(target), where)
                if first != where:
                    raise ConfigError(
                        f"{at}: {where}: expected a {setting.path} of its own, got that of {first}. Rename one."
                    )


def _refuse_nul(value: object, at: str) -> None:
    """Refuse the character that no path, URL or name can contain. The system would refuse it later, as a ValueError."""
    if isinstance(value, str) and "\0" in value:
        raise ConfigError(f"{at}: expected text without the character U+0000, got a text that contains it. Remove it.")
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_nul(inner, joined(at, key))
    if isinstance(value, list):
        for number, inner in enumerate(value):
            _refuse_nul(inner, f"{at}[{number}]")


def _toml(file: Path, place: str) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the path is invalid"
        raise ConfigError(f"{place}: cannot be read: {reason}. 'andon init' writes an example.") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{place}: expected a configuration of at most {MAX_BYTES} bytes, got a larger file.")
    try:
        return tomllib.loads(data.decode("utf-8-sig"))  # some editors write a byte order mark
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        # the error of the decoder holds the file, and so a secret that was written into it by mistake
        why = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "the text is not UTF-8 or nested too deeply"
    raise ConfigError(f"{place}: expected TOML: {_position_only(why)}.")


def _position_only(message: str) -> str:
    """Return a message of tomllib without keys, values or characters of the file."""
    place = re.search(r"\(at (?:line \d+, column \d+|end of document)\)$", message)
    return f"the file cannot be parsed {place[0]}" if place else message


def _line(table: Mapping[str, object], folder: Path, at: str, shared: Mapping[str, ChosenSource]) -> Line:
    own = ["name", "model", "source", "sinks", "parts", "reject", "trigger"]
    policy = [setting.name for setting in fields(Policy)]
    refuse_unknown_keys(table, [*own, *policy], at=at)
    name = _name(table, at, 'a short name of the line, for example name = "press-3"')
    model = _required_text(table, "model", at, 'the path of a model file, for example model = "washers.onnx"')
    given = table.get("source")
    shared_name = ""
    if isinstance(given, str):
        if given not in shared:
            raise ConfigError(
                f"{at}.source: expected the name of a [[source]] table or a table [line.source], got {given!r}"
                f"{nearest(given, shared)}. Names in this file: {', '.join(shared) or 'none'}."
            )
        source, shared_name = shared[given], given
    elif isinstance(given, dict):
        source = _source(given, folder, f"{at}.source")
    else:
        raise ConfigError(f"{at}.source: expected a table [line.source], got {_kind(given)}.")
    sinks: tuple[ChosenSink, ...] = (sink_from_table({"kind": "json_lines"}),)
    if "sinks" in table:
        sinks = tuple(
            _sink(sink, folder, f"{at}.sinks[{number}]")
            for number, sink in enumerate(_tables(table, "sinks", at, "[[line.sinks]]"))
        )
    alarm = table.get("alarm")
    parts = _table(table, "parts", at)
    part_settings = None if parts is None else parts_from_table(parts, at=f"{at}.parts")
    if part_settings is not None and table.get("keep") == "newest":
        raise ConfigError(
            f'{at}.keep: expected "every" with [line.parts], because each part needs a decision, got "newest". Leave out keep.'
        )
    reject = _table(table, "reject", at)
    chosen_reject = None if reject is None else reject_from_table(reject, at=f"{at}.reject", parts=part_settings)
    trigger = _table(table, "trigger", at)
    chosen_trigger = None if trigger is None else trigger_from_table(trigger, at=f"{at}.trigger", parts=part_settings)
    return Line(
        name=name,
        model=_path(folder, model),
        source=source,
        shared=shared_name,
        sinks=sinks,
        policy=_policy(
            {key: table[key] for key in policy if key in table and not (key == "alarm" and isinstance(alarm, dict))}, at
        ),
        alarm=_alarm(alarm, f"{at}.alarm") if isinstance(alarm, dict) else None,
        parts=part_settings,
        reject=None
        if chosen_reject is None
        else msgspec.structs.replace(chosen_reject, settings=_in_folder(chosen_reject.settings, folder)),
        trigger=None
        if chosen_trigger is None
        else msgspec.structs.replace(chosen_trigger, settings=_in_folder(chosen_trigger.settings, folder)),
    )


def _table(table: Mapping[str, object], key: str, at: str) -> dict[str, object] | None:
    """Return an optional table of a line."""
    value = table.get(key)
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"{at}.{key}: expected a table [line.{key}], got {_kind(value)}.")
    return value


def _name(table: Mapping[str, object], at: str, wanted: str) -> str:
    return checked_name(_required_text(table, "name", at, wanted), f"{at}.name")


def _alarm(table: Mapping[str, object], at: str) -> AlarmRule:
    """Return the rule of a table ``[line.alarm]``."""
    known = [name for name in AlarmRule.__struct_fields__ if name != "signal"]
    refuse_unknown_keys(table, known, at=at)
    signal = "score" if "on" in table else "reject"
    try:
        return msgspec.convert({**table, "signal": signal}, AlarmRule)
    except msgspec.ValidationError as error:
        text = str(error)
    # an error of the rule itself begins with its subject, which the path already names
    raise ConfigError(f"{at}: {text.removeprefix('alarm: ')}")


def _policy(table: Mapping[str, object], at: str) -> Policy:
    for key in ("alarm", "health_alarm"):
        text = table.get(key)
        if isinstance(text, str):
            try:
                rule_from_text(text)
            except ConfigError as error:
                raise ConfigError(f"{at}.{key}: {str(error).removeprefix('alarm: ')}") from error
    return from_table(Policy, table, at=at)


def _source(table: Mapping[str, object], folder: Path, at: str) -> ChosenSource:
    name = _required_text(table, "kind", at, 'a kind of source, for example kind = "images"')
    try:
        kind: Source = load("andon.sources", name)
    except ConfigError as error:
        raise ConfigError(f"{at}.kind: {error}") from error
    if kind.stream is None:
        raise ConfigError(f"{at}.kind: a {name} source cannot be monitored. Use 'andon score'.")
    place = "path" if name in PATH_SOURCES else "address"
    refuse_unknown_keys(table, ["kind", place, *(setting.name for setting in fields(kind.settings))], at=at)
    settings = from_table(
        kind.settings, {key: value for key, value in table.items() if key not in ("kind", place)}, at=at
    )
    address: str | Secret
    if place == "path":
        address = _path(
            folder, _required_text(table, "path", at, f'the path of {kind.summary}, for example path = "data"')
        )
    elif "address" in table:
        address = _address(table["address"], folder, f"{at}.address")
    else:
        address = _STDOUT if name == "stdin" else name
    return ChosenSource(kind, address, _in_folder(settings, folder))


def _address(value: object, folder: Path, at: str) -> str | Secret:
    """Return an address or the place of a secret one. The errors contain no part of the value."""
    if isinstance(value, str) and value.strip():
        if "***@" in redact(value) or redact(value).endswith("://***") or _SECRET_QUERY.search(value):
            raise ConfigError(
                f"{at}: expected an address without a password or token, got one with it. Store the whole address elsewhere, and "
                f"write {secret.EXPECTED}."
            )
        return value
    if isinstance(value, dict):
        try:
            return _placed(msgspec.convert(value, Secret), folder)
        except msgspec.ValidationError:
            pass  # not inside `except`: the error may hold the value
    raise ConfigError(f"{at}: expected text, or {secret.EXPECTED}, got {_kind(value)}.")


def _sink(table: Mapping[str, object], folder: Path, at: str) -> ChosenSink:
    chosen = sink_from_table(table, at=at)
    return ChosenSink(chosen.kind, _in_folder(chosen.settings, folder))


def _in_folder(settings: Any, folder: Path) -> Any:
    """Return settings in which relative paths begin in this folder: those of files and folders, and those of secrets."""
    changed: dict[str, object] = {}
    for setting in fields(type(settings)):
        value = getattr(settings, setting.name)
        if isinstance(value, Secret):
            changed[setting.name] = _placed(value, folder)
        elif setting.path and isinstance(value, str) and value != _STDOUT:
            changed[setting.name] = _path(folder, value)
    return msgspec.structs.replace(settings, **changed) if changed else settings


def _placed(value: Secret, folder: Path) -> Secret:
    return value if value.file is None else Secret(file=_path(folder, value.file))


def _path(folder: Path, text: str) -> str:
    return str(folder / text)


def _required_text(table: Mapping[str, object], key: str, at: str, wanted: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{at}.{key}: expected {wanted}, got {_kind(value)}.")
    return value


def _tables(table: Mapping[str, object], key: str, at: str, wanted: str) -> list[dict[str, object]]:
    """Return a list of at least one table."""
    value = table.get(key)
    place = joined(at, key) if ": line[" in at else f"{at}: {key}"
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
        raise ConfigError(f"{place}: expected at least one table {wanted}, got {_kind(value)}.")
    return value


def _kind(value: object) -> str:
    """Return the type of a TOML value as text. The value itself may be a secret in the wrong place."""
    if value is None:
        return "nothing"
    if isinstance(value, str) and not value.strip():
        return "an empty text"
    if isinstance(value, list) and not value:
        return "an empty list"
    return _KINDS.get(type(value), "another value")


_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a table"}
