"""Simulate a power converter: voltage, current and temperature under a cyclic load, with three types of faults.

The load current is a cycle with a random phase, plus a slow random load. The voltage drops with the current. Losses heat a body
with one thermal time constant. A run begins at a random phase, with its random load in equilibrium and the body warmed up for
six time constants. Therefore windows of many short runs and windows of one long run have the same distribution.

Faults at severity 1, and the recovery time after each:
  voltage_spike: pulses of +3 V, three rows long, every 24 rows; one second
  current_oscillation: 2 A with a period of 5 rows, with effects on voltage and losses; two time constants
  temperature_drift: the cooling fails, and the temperature rises by 15 K in the end; five time constants

As a source its name is ``power_converter`` or, with settings, ``power_converter:seed=3,rows=20000,faults=6``. Without `rows` and
`runs` there are 1 000 independent runs of 64 rows. With faults, or as a stream, there is one run of 20 000 rows. All numbers of
the converter and its faults are settings:
``power_converter:runs=40,rows=2000,faults=40,kind=voltage_spike,spike_v=1.5,voltage_v=24,swing_a=2``.
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
_MOST_ROWS = 200_000_000


def _setting(description: str, unit: str) -> Meta:
    return Meta(ge=0, description=description, extra={"unit": unit})


def _count(description: str) -> Meta:
    return Meta(ge=1, description=description, extra={"unit": "rows"})


class ConverterSettings(Struct, frozen=True, kw_only=True):
    """Settings of the converter, its load, and its faults at severity 1."""

    period_s: Annotated[float, _setting("time between rows", "s")] = 0.1
    voltage_v: Annotated[float, _setting("output voltage without load", "V")] = 48.0
    resistance_ohm: Annotated[
        float, _setting("source resistance; because of it, the voltage drops with the current", "ohm")
    ] = 0.08
    current_a: Annotated[float, _setting("mean load", "A")] = 10.0
    swing_a: Annotated[float, _setting("amplitude of the load cycle", "A")] = 4.0
    cycle_s: Annotated[float, _setting("period of the load cycle", "s")] = 20.0
    wander_a: Annotated[float, _setting("standard deviation of the slow random load", "A")] = 0.5
    wander_s: Annotated[float, _setting("correlation time of the slow random load", "s")] = 2.0
    ambient_c: Annotated[float, _setting("ambient temperature", "deg C")] = 25.0
    heating_k: Annotated[float, _setting("temperature above ambient under constant mean load", "K")] = 30.0
    thermal_s: Annotated[float, _setting("thermal time constant", "s")] = 20.0
    voltage_noise_v: Annotated[float, _setting("standard deviation of the voltage sensor's noise", "V")] = 0.1
    current_noise_a: Annotated[float, _setting("standard deviation of the current sensor's noise", "A")] = 0.1
    temperature_noise_k: Annotated[float, _setting("standard deviation of the temperature sensor's noise", "K")] = 0.15
    spike_v: Annotated[float, _setting("height of a voltage spike", "V")] = 3.0
    spike_rows: Annotated[int, _count("length of a spike")] = 3
    spike_every_rows: Annotated[int, _count("distance between spikes")] = 24
    oscillation_a: Annotated[float, _setting("amplitude of the current oscillation", "A")] = 2.0
    turn_rows: Annotated[int, _count("period of the oscillation")] = 5
    drift_k: Annotated[float, _setting("final temperature increase of a temperature drift", "K")] = 15.0

    def recovery_s(self, kind: FaultKind) -> float:
        """Return the time after a fault in which rows count neither as good nor as faulty, in seconds."""
        constants = {"voltage_spike": 0.0, "current_oscillation": 2.0, "temperature_drift": 5.0}[kind]
        return constants * self.thermal_s if constants else 1.0


class Fault(Struct, frozen=True, kw_only=True):
    """One fault in one run."""

    kind: FaultKind
    start: int
    """First faulty row."""
    rows: int
    """Number of faulty rows."""
    severity: float = 1.0
    """Factor for the amplitude. At 0 the fault has no effect."""
    run: int = 0


class Request(ConverterSettings, frozen=True, kw_only=True):
    """Settings that may follow ``power_converter:``."""

    seed: Annotated[int, Meta(ge=0, description="random seed")] = 0
    rows: Annotated[int, Meta(ge=2, le=20_000_000, description="rows per run")] | None = None
    runs: Annotated[int, Meta(ge=1, le=1_000_000, description="number of independent runs")] | None = None
    faults: Annotated[int, Meta(ge=0, le=100_000, description="total number of faults, of all types in turn")] = 0
    kind: Annotated[FaultKind, Meta(description="type of all faults")] | None = None
    severity: Annotated[float, Meta(ge=0, description="severity of all faults")] = 1.0
    fault_rows: Annotated[int, Meta(ge=1, description="length of each fault", extra={"unit": "rows"})] = 200
    fault_start: (
        Annotated[
            int,
            Meta(
                ge=0,
                description="row at which each fault begins, within its share of the run; random by default",
                extra={"unit": "rows"},
            ),
        ]
        | None
    ) = None

    @property
    def converter(self) -> ConverterSettings:
        """The settings of the converter itself."""
        return ConverterSettings(**{name: getattr(self, name) for name in ConverterSettings.__struct_fields__})


def simulate(settings: ConverterSettings, *, seed: int, runs: int, rows: int, faults: Sequence[Fault] = ()) -> Log:
    """Simulate independent runs of the converter, with the truth of every row.

    With the same seed, runs and rows, simulations with and without faults differ only by the effect of the faults.

    Raises:
        ConfigError: a setting is out of range, there are too many rows, or a fault is outside the rows and runs.
    """
    positive = ("period_s", "voltage_v", "current_a", "cycle_s", "wander_s", "heating_k", "thermal_s")
    for name in positive:
        if not getattr(settings, name) > 0:
            raise ConfigError(f"{name}: expected a number > 0, got {getattr(settings, name)}.")
    warm_up = math.ceil(_WARM_UP_CONSTANTS * settings.thermal_s / settings.period_s)
    if runs < 1 or rows < 2:
        raise ConfigError(
            f"power_converter: expected at least 1 run and at least 2 rows per run, got {runs} runs of {rows} rows. For example: "
            "power_converter:runs=1,rows=2000."
        )
    if runs * (rows + warm_up) > _MOST_ROWS:
        raise ConfigError(
            f"power_converter: expected at most {_MOST_ROWS} rows in all runs with warm-up, got {runs} runs of {rows} rows, "
            f"each after {warm_up} rows of warm-up. Simulate fewer runs, fewer rows, or a smaller thermal_s."
        )
    for fault in faults:
        if not (0 <= fault.run < runs and fault.start >= 0 and fault.rows >= 1 and fault.start + fault.rows <= rows):
            raise ConfigError(f"expected faults within {runs} runs of {rows} rows, got {fault}.")
    random = np.random.default_rng(seed)
    # in slices of runs to limit memory: 1e6 values are 8 MB per signal
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
    """Schedule faults of all types in turn over the runs, so that the converter has recovered before the next fault begins.

    Each run is divided evenly among its faults. A fault begins at row `start` of its share, or at a random row.

    Raises:
        ConfigError: the faults do not fit, or `start` leaves no time to recover. The message gives the possible values.
    """
    settings = settings or ConverterSettings()
    random = np.random.default_rng([seed, 1])
    recovery = math.ceil(max(settings.recovery_s(kind) for kind in kinds) / settings.period_s)
    each = math.ceil(count / runs)
    slot = rows // each if each else rows
    free = slot - duration_rows - recovery
    if count and free < 0:
        raise ConfigError(
            f"rows: expected at least {each * (duration_rows + recovery)} rows per run, got {rows}. A run must hold {each} "
            f"faults of {duration_rows} rows each, and {recovery} rows of recovery after each fault. Use fewer faults, more "
            "rows or more runs."
        )
    if count and start is not None and start > free:
        raise ConfigError(
            f"fault_start: expected at most {free}, got {start}. Each fault has {slot} rows and needs {duration_rows}, plus "
            f"{recovery} for recovery. Ask for an earlier start, fewer faults or more rows."
        )
    faults = []
    for number in range(count):
        run, place = number % runs, number // runs
        first = place * slot + (int(random.integers(0, free + 1)) if start is None else start)
        faults.append(
            Fault(kind=kinds[number % len(kinds)], start=first, rows=duration_rows, severity=severity, run=run)
        )
    return tuple(faults)


def collect(text: str) -> Log:
    """Simulate the runs that a text such as ``power_converter:seed=3`` describes.

    Raises:
        ConfigError: a name is unknown, or a value is out of range.
    """
    return _log_of(text, streamed=False)


def stream(text: str, spec: InputSpec, settings: ReplaySettings, clock: Clock, stop: threading.Event) -> Stream:
    """Simulate the runs that a text describes, and replay them as windows.

    Raises:
        ConfigError: an unknown name, a value out of bounds, or a model file that judges frames.
    """
    if not isinstance(spec, WindowSpec):
        raise ConfigError(
            f"{text}: this model file judges frames: expected pictures or a video, got sensor values of the power converter."
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
    # the second harmonic makes loading and unloading different
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
    good = _Truth(rows)  # shared by all runs without faults, to save memory
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
    """Compute ``y[t] = keep * y[t - 1] + x[t]`` along the rows of ``[runs, n]``, with one matrix product per block."""
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
    summary="simulate a power converter with faults, for example power_converter:seed=3,rows=20000,faults=6",
    accepts=lambda text: text == "power_converter" or text.startswith("power_converter:"),
    collect=collect,
    settings=ReplaySettings,
    stream=stream,
)
