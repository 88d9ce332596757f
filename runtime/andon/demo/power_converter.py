"""A simulated power converter: voltage, current and temperature under cyclic load, and three faults to find.

The load current is a cycle whose phase wanders, plus a slow random load; the voltage sags with the current; losses heat a body
of one thermal time constant. A run begins at a random phase with its random load in equilibrium and the body warmed up for six
time constants, so that windows of many short runs and windows of one long run follow one law.

===================  ================================================================  ===================
fault                what it does at severity 1                                        stated recovery
===================  ================================================================  ===================
voltage_spike        pulses of +3 V, three rows long, every 24 rows                    one second
current_oscillation  5 rows a turn, 2 A; the voltage sags along, the losses grow       two time constants
temperature_drift    cooling fails: the body heads for 15 K more than it would have    five time constants
===================  ================================================================  ===================

``power_converter`` or ``power_converter:seed=3,rows=20000,faults=6``; without `rows` and `runs`: 1 000 independent runs of 64
rows if there are no faults to show and nothing is streamed, else one run of 20 000 rows. Every number of the converter and of
its faults can follow: ``power_converter:runs=40,rows=2000,faults=40,kind=voltage_spike,spike_v=1.5,voltage_v=24,swing_a=2``.
"""

import math
import threading
from collections.abc import Sequence
from typing import Annotated, Literal, get_args

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from andon.foundation.errors import ConfigError
from andon.foundation.settings import from_mapping
from andon.runtime.schema import Channel, InputSpec, WindowSpec
from andon.sources.clock import Clock
from andon.sources.collection import FoundLogs, Stream
from andon.sources.series.log import Log, Run
from andon.sources.series.replay import replay_log
from andon.sources.source import Source
from andon.sources.stream_settings import ReplaySettings

Floats = NDArray[np.float64]
FaultKind = Literal["voltage_spike", "current_oscillation", "temperature_drift"]
KINDS: tuple[FaultKind, ...] = get_args(FaultKind)

_WARM_UP_CONSTANTS = 6


def _setting(description: str, unit: str) -> Meta:
    return Meta(ge=0, description=description, extra={"unit": unit})


def _count(description: str) -> Meta:
    return Meta(ge=1, description=description, extra={"unit": "rows"})


class ConverterSettings(Struct, frozen=True, kw_only=True):
    """The converter, its load, and what its faults are at severity 1."""

    period_s: Annotated[float, _setting("distance of rows", "s")] = 0.1
    voltage_v: Annotated[float, _setting("output voltage without load", "V")] = 48.0
    resistance_ohm: Annotated[float, _setting("source resistance: the voltage sags with the current", "ohm")] = 0.08
    current_a: Annotated[float, _setting("mean load", "A")] = 10.0
    swing_a: Annotated[float, _setting("amplitude of the load cycle", "A")] = 4.0
    cycle_s: Annotated[float, _setting("load cycle", "s")] = 20.0
    wander_a: Annotated[float, _setting("standard deviation of the slow random load", "A")] = 0.5
    wander_s: Annotated[float, _setting("its correlation time", "s")] = 2.0
    ambient_c: Annotated[float, _setting("temperature around", "deg C")] = 25.0
    heating_k: Annotated[float, _setting("temperature above ambient under constant mean load", "K")] = 30.0
    thermal_s: Annotated[float, _setting("thermal time constant", "s")] = 20.0
    voltage_noise_v: Annotated[float, _setting("standard deviation of the voltage sensor", "V")] = 0.1
    current_noise_a: Annotated[float, _setting("standard deviation of the current sensor", "A")] = 0.1
    temperature_noise_k: Annotated[float, _setting("standard deviation of the temperature sensor", "K")] = 0.15
    spike_v: Annotated[float, _setting("height of a voltage spike", "V")] = 3.0
    spike_rows: Annotated[int, _count("length of a spike")] = 3
    spike_every_rows: Annotated[int, _count("distance of spikes")] = 24
    oscillation_a: Annotated[float, _setting("amplitude of the current oscillation", "A")] = 2.0
    turn_rows: Annotated[int, _count("period of the oscillation")] = 5
    drift_k: Annotated[float, _setting("what a temperature drift adds in the end", "K")] = 15.0

    def recovery_s(self, kind: FaultKind) -> float:
        """How long after a fault's end the rows count as neither good nor faulty."""
        constants = {"voltage_spike": 0.0, "current_oscillation": 2.0, "temperature_drift": 5.0}[kind]
        return constants * self.thermal_s if constants else 1.0


class Fault(Struct, frozen=True, kw_only=True):
    """One fault in one run."""

    kind: FaultKind
    start: int
    """First faulty row."""
    rows: int
    """How many rows are faulty."""
    severity: float = 1.0
    """Multiplies its amplitude: 0 leaves no trace."""
    run: int = 0


class Request(ConverterSettings, frozen=True, kw_only=True):
    """What may follow ``power_converter:``."""

    seed: Annotated[int, Meta(ge=0, description="of everything random")] = 0
    rows: Annotated[int, Meta(ge=2, le=20_000_000, description="rows a run")] | None = None
    runs: Annotated[int, Meta(ge=1, le=1_000_000, description="independent runs")] | None = None
    faults: Annotated[int, Meta(ge=0, le=100_000, description="faults in all, of all kinds in turn")] = 0
    kind: Annotated[FaultKind, Meta(description="of every fault")] | None = None
    severity: Annotated[float, Meta(ge=0, description="of each fault")] = 1.0
    fault_rows: Annotated[int, Meta(ge=1, description="length of each fault", extra={"unit": "rows"})] = 200
    fault_start: (
        Annotated[
            int,
            Meta(
                ge=0,
                description="row of its share of the run at which each fault begins; not given: drawn",
                extra={"unit": "rows"},
            ),
        ]
        | None
    ) = None

    @property
    def converter(self) -> ConverterSettings:
        """The converter's own settings."""
        return ConverterSettings(**{name: getattr(self, name) for name in ConverterSettings.__struct_fields__})


def simulate(settings: ConverterSettings, *, seed: int, runs: int, rows: int, faults: Sequence[Fault] = ()) -> Log:
    """Independent runs of the converter, with the truth of every row.

    The same seed, runs and rows give the same sensors with and without faults, but for what the faults change.

    Raises:
        ConfigError: more than 200 million values, or a fault outside the rows and runs.
    """
    positive = ("period_s", "voltage_v", "current_a", "cycle_s", "wander_s", "heating_k", "thermal_s")
    for name in positive:
        if not getattr(settings, name) > 0:
            raise ConfigError(f"expected {name} > 0, got {getattr(settings, name)}.")
    warm_up = math.ceil(_WARM_UP_CONSTANTS * settings.thermal_s / settings.period_s)
    if runs < 1 or rows < 2 or runs * (rows + warm_up) > 200_000_000:
        raise ConfigError(f"expected runs >= 1, rows >= 2 and at most 2e8 rows with warm-up; got {runs} x {rows}.")
    for fault in faults:
        if not (0 <= fault.run < runs and fault.start >= 0 and fault.rows >= 1 and fault.start + fault.rows <= rows):
            raise ConfigError(f"{fault} does not lie within {runs} runs of {rows} rows.")
    random = np.random.default_rng(seed)
    # by slices of runs, so that memory stays bounded: 1e6 values are 8 MB a signal
    share = max(1, 2_000_000 // (rows + warm_up))
    blocks = [
        _block(settings, random, range(first, min(first + share, runs)), rows, faults)
        for first in range(0, runs, share)
    ]
    simulated = tuple(run for block in blocks for run in block)
    found = FoundLogs(
        channels=(
            Channel(name="voltage", unit="V"),
            Channel(name="current", unit="A"),
            Channel(name="temperature", unit="deg C"),
        ),
        period_s=settings.period_s,
        runs=runs,
        rows=runs * rows,
    )
    return Log(found=found, runs=simulated)


def schedule_faults(
    seed: int,
    count: int,
    *,
    rows: int,
    runs: int = 1,
    settings: ConverterSettings | None = None,
    duration_rows: int = 200,
    severity: float = 1.0,
    kinds: Sequence[FaultKind] = KINDS,
    start: int | None = None,
) -> tuple[Fault, ...]:
    """Faults of all kinds in turn, spread over the runs, each ended and recovered from before the next begins.

    Each run is shared out evenly among its faults; each begins in its share at row `start`, or where it is drawn.

    Raises:
        ConfigError: too many to fit, or a start too late to recover; the message says what would do.
    """
    settings = settings or ConverterSettings()
    random = np.random.default_rng([seed, 1])
    recovery = math.ceil(max(settings.recovery_s(kind) for kind in kinds) / settings.period_s)
    each = math.ceil(count / runs)
    slot = rows // each if each else rows
    free = slot - duration_rows - recovery
    if count and free < 0:
        raise ConfigError(
            f"{each} faults of {duration_rows} rows with {recovery} rows of recovery need {each * (duration_rows + recovery)} "
            f"rows a run, got {rows}. Ask for fewer faults, or more rows or runs."
        )
    if count and start is not None and start > free:
        raise ConfigError(
            f"fault_start={start}: of {slot} rows a fault, {duration_rows} of it and {recovery} of recovery leave starts up to "
            f"{free}. Ask for an earlier one, fewer faults or more rows."
        )
    faults = []
    for number in range(count):
        run, place = number % runs, number // runs
        begun = place * slot + (int(random.integers(0, free + 1)) if start is None else start)
        faults.append(
            Fault(kind=kinds[number % len(kinds)], start=begun, rows=duration_rows, severity=severity, run=run)
        )
    return tuple(faults)


def collect(text: str) -> Log:
    """Simulate what the text asks for.

    Raises:
        ConfigError: an unknown name, or a value out of bounds.
    """
    return _log_of(text, streamed=False)


def stream(text: str, spec: InputSpec, settings: ReplaySettings, clock: Clock, stop: threading.Event) -> Stream:
    """Simulate, and replay through the grid.

    Raises:
        ConfigError: an unknown name, a value out of bounds, or a model file that judges frames.
    """
    if not isinstance(spec, WindowSpec):
        raise ConfigError(
            f"{text}: this model file judges frames, and the power converter gives windows of sensor values."
        )
    return replay_log(_log_of(text, streamed=True), spec, clock, settings.speed, stop)


def _log_of(text: str, *, streamed: bool) -> Log:
    request = _parse(text)
    rows, runs = request.rows, request.runs
    if rows is None and runs is None:
        rows, runs = (20_000, 1) if streamed or request.faults else (64, 1_000)
    rows, runs = rows or 20_000, runs or 1
    faults = schedule_faults(
        request.seed, request.faults, rows=rows, runs=runs, settings=request.converter, duration_rows=request.fault_rows,
        severity=request.severity, kinds=KINDS if request.kind is None else (request.kind,), start=request.fault_start,
    )  # fmt: skip
    return simulate(request.converter, seed=request.seed, runs=runs, rows=rows, faults=faults)


def _parse(text: str) -> Request:
    _, _, given = text.partition(":")
    values: dict[str, object] = {}
    for pair in filter(None, given.split(",")):
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"{text}: expected name=value after the colon, got {pair!r}.")
        if name.strip() == "kind":
            values["kind"] = value.strip()
            continue
        try:
            values[name.strip()] = msgspec.json.decode(value.strip(), type=int | float)
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{text}: expected a number for {name.strip()!r}, got {value!r}.") from error
    return from_mapping(Request, values, where=text)


def _block(
    settings: ConverterSettings, random: np.random.Generator, numbers: range, rows: int, faults: Sequence[Fault]
) -> list[Run]:
    runs, period_s = len(numbers), settings.period_s
    warm_up = math.ceil(_WARM_UP_CONSTANTS * settings.thermal_s / period_s)
    size = warm_up + rows

    turn = 2 * np.pi * period_s / settings.cycle_s
    phase = random.uniform(0, 2 * np.pi, (runs, 1)) + np.cumsum(
        turn + math.sqrt(turn) * 0.1 * random.standard_normal((runs, size)), axis=1
    )
    keep = math.exp(-period_s / settings.wander_s)
    innovation = settings.wander_a * math.sqrt(1 - keep**2) * random.standard_normal((runs, size))
    wander = _first_order(innovation, keep, settings.wander_a * random.standard_normal(runs))
    # the second harmonic makes loading and unloading differ
    cycle = np.sin(phase) + 0.3 * np.sin(2 * phase + 1.0)
    current = settings.current_a + settings.swing_a * cycle + wander

    added_v, added_a, added_k = (np.zeros((runs, size)) for _ in range(3))
    mine = [fault for fault in faults if fault.run in numbers]
    for fault in mine:
        rows_of = (fault.run - numbers.start, slice(warm_up + fault.start, warm_up + fault.start + fault.rows))
        at = np.arange(fault.rows)
        if fault.kind == "voltage_spike":
            added_v[rows_of] += (
                settings.spike_v * fault.severity * (at % settings.spike_every_rows < settings.spike_rows)
            )
        elif fault.kind == "current_oscillation":
            added_a[rows_of] += (
                settings.oscillation_a * fault.severity * np.sin(2 * np.pi * (at + 1) / settings.turn_rows)
            )
        else:
            added_k[rows_of] += settings.drift_k * fault.severity
    current += added_a

    heat_k = settings.heating_k * (current / settings.current_a) ** 2 + added_k
    keep = math.exp(-period_s / settings.thermal_s)
    rise = _first_order((1 - keep) * heat_k, keep, np.full(runs, settings.heating_k))

    seen = slice(warm_up, None)
    shape = (runs, rows)
    voltage = settings.voltage_v - settings.resistance_ohm * current[:, seen] + added_v[:, seen]
    values = np.empty((runs, rows, 3), dtype=np.float32)
    values[..., 0] = voltage + settings.voltage_noise_v * random.standard_normal(shape)
    values[..., 1] = current[:, seen] + settings.current_noise_a * random.standard_normal(shape)
    values[..., 2] = settings.ambient_c + rise[:, seen] + settings.temperature_noise_k * random.standard_normal(shape)

    times_s = np.arange(rows, dtype=np.float64) * period_s
    truths = [_Truth(rows) for _ in numbers] if mine else []
    for fault in mine:
        truths[fault.run - numbers.start].mark(fault, math.ceil(settings.recovery_s(fault.kind) / period_s))
    good = _Truth(rows)  # shared by all runs without faults: 1 000 runs need not hold 1 000 arrays of nothing
    width = len(str(max(numbers.stop - 1, 999)))
    return [
        Run(
            name=f"run{number:0{width}d}",
            times_s=times_s,
            values=values[at],
            faulty=truth.faulty,
            recovering=truth.recovering & ~truth.faulty,
            fault=truth.fault,
        )
        for at, number in enumerate(numbers)
        for truth in [truths[at] if truths else good]
    ]


class _Truth:
    def __init__(self, rows: int) -> None:
        self.faulty = np.zeros(rows, dtype=bool)
        self.recovering = np.zeros(rows, dtype=bool)
        self.fault = np.full(rows, "", dtype=f"U{max(map(len, KINDS))}")

    def mark(self, fault: Fault, recovery_rows: int) -> None:
        if fault.severity == 0:
            return
        end = fault.start + fault.rows
        self.faulty[fault.start : end] = True
        self.fault[fault.start : end] = fault.kind
        self.recovering[end : end + recovery_rows] = True


def _first_order(inputs: Floats, keep: float, start: Floats) -> Floats:
    """``y[t] = keep * y[t - 1] + x[t]`` along the rows of ``[runs, n]``, in blocks as one matrix product each."""
    size = 64
    lag = np.arange(size)[:, None] - np.arange(size)[None]
    response = np.where(lag >= 0, keep ** np.maximum(lag, 0), 0.0)
    decay = keep ** np.arange(1, size + 1)
    outputs = np.empty_like(inputs)
    state = start
    for first in range(0, inputs.shape[1], size):
        part = inputs[:, first : first + size]
        count = part.shape[1]
        outputs[:, first : first + count] = part @ response[:count, :count].T + state[:, None] * decay[:count]
        state = outputs[:, first + count - 1]
    return outputs


SOURCE = Source(
    name="power_converter",
    summary="a simulated power converter with faults: power_converter:seed=3,rows=20000,faults=6",
    accepts=lambda text: text == "power_converter" or text.startswith("power_converter:"),
    collect=collect,
    settings=ReplaySettings,
    stream=stream,
)
