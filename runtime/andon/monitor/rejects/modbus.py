"""Give the reject signal through a coil of a Modbus TCP device, such as a PLC or a relay.

The coil is switched on once and read back. After ``pulse_s`` it is switched off, or the device ends the pulse itself. The first
signal opens the connection, and later signals use it. A connection that the device has closed meanwhile is opened again before
the coil is written. A write is never repeated: after a time-out the connection is closed, and the signal counts as failed.
"""

from typing import Annotated

from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.monitor.reject import RejectRule
from andon.monitor.reject_kind import RejectFailed, RejectKind
from andon.sources.clock import SystemClock
from andon.sources.modbus.connection import (
    ModbusConnection,
    ModbusFailed,
    ServerAddress,
    UnitId,
    parse_server,
    require_package,
)
from andon.sources.modbus.registers import Address


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of the coil."""

    address: ServerAddress
    coil: Annotated[Address, Meta(description="number of the coil, counted from 0")]
    unit_id: UnitId = 1
    timeout_s: Annotated[
        float,
        Meta(
            ge=0.01,
            le=5,
            description="longest time for a signal: connecting, writing and reading back together",
            extra={"unit": "s"},
        ),
    ] = 0.2
    read_back: Annotated[
        bool,
        Meta(
            description="read the coil after each write and compare. Switch it off if the device ends the pulse itself"
        ),
    ] = True

    def __post_init__(self) -> None:
        try:
            parse_server(self.address)
        except ConfigError as error:
            raise ValueError(f"address: {error}") from None


class ModbusCoil:
    """An opened coil."""

    def __init__(self, settings: Settings) -> None:
        require_package("the reject signal modbus")
        self._settings = settings
        self._connection = ModbusConnection(
            parse_server(settings.address), unit_id=settings.unit_id, timeout_s=settings.timeout_s, clock=SystemClock()
        )

    def on(self) -> None:
        """Switch the coil on, and read it back."""
        self._switch(on=True)

    def off(self) -> None:
        """Switch the coil off, and read it back."""
        self._switch(on=False)

    def close(self) -> None:
        """Close the connection. The coil stays as it is."""
        self._connection.close()

    def _switch(self, *, on: bool) -> None:
        connection, coil = self._connection, self._settings.coil
        connection.begin()
        try:
            if not connection.usable:
                connection.connect()
            connection.write_coil(coil, on=on)
            shows = connection.read_bit("coil", coil) if self._settings.read_back else on
        except ModbusFailed as error:
            raise RejectFailed(str(error)) from None
        if shows != on:
            raise RejectFailed(
                f"coil {coil}: expected {_state(on)} after it was switched {_state(on)}, but it reads {_state(shows)}"
            )


def _state(on: bool) -> str:
    return "on" if on else "off"


def _fits(settings: Settings, rule: RejectRule) -> None:
    if rule.pulse_s == 0 and settings.read_back:
        raise ConfigError(
            "expected read_back = false with pulse_s = 0, because the device then ends the pulse itself, and a coil that is "
            "already off again would count as a failure. Set read_back = false, or a pulse_s."
        )
    if settings.timeout_s > rule.budget_s:
        raise ConfigError(
            f"expected timeout_s of at most travel_s - actuator_s = {rule.budget_s:g} s, got {settings.timeout_s:g}. Lower it."
        )


REJECT = RejectKind(
    name="modbus",
    summary="switch a coil of a Modbus TCP device",
    settings=Settings,
    open=ModbusCoil,
    check=_fits,
)
