"""Convert the image of a line to values of OPC UA nodes: names, types and quality. Pure functions without the client library."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, NamedTuple, get_args

from andon.monitor.process_image import ProcessImage, ResultCode
from andon.monitor.status import LineState

ValueName = Literal[
    "State", "Ready", "Heartbeat", "LastResult", "PartId", "Score", "Threshold", "Reason", "ResultTime", "ModelDigest",
    "Total", "OK", "Review", "NOK", "Invalid", "Alarms", "ResultNumber",
]  # fmt: skip
"""Names of the values. They are written in this order: the number of the result is the last."""
NUMBER: ValueName = "ResultNumber"
DEFAULT: tuple[ValueName, ...] = tuple(
    name for name in get_args(ValueName) if name not in ("Threshold", "ResultTime", "Alarms")
)

Quality = Literal["", "Bad", "BadNoData", "BadWaitingForInitialData", "UncertainLastUsableValue"]
"""Name of a status code. Empty: the value is good."""
Value = bool | int | float | str | datetime

_BITS = {"SByte": 7, "Byte": 8, "Int16": 15, "UInt16": 16, "Int32": 31, "UInt32": 32, "Int64": 63, "UInt64": 64}
"""Bits of the integer types, without the sign."""
_LARGEST = 3.4028234663852886e38
"""Largest number of the type Float."""
_TYPES = {
    "switch": ("Boolean", *_BITS),
    "count": (*_BITS, "Double"),
    "code": (*_BITS, "String"),
    "text": ("String",),
    "number": ("Float", "Double"),
    "time": ("DateTime",),
}


class _Rule(NamedTuple):
    kind: str
    take: Callable[[ProcessImage], bool | int | float | str | None]
    text: Callable[[ProcessImage], str] = lambda _image: ""
    """The value of a code as text."""


_STATES = get_args(LineState)
_RULES: dict[ValueName, _Rule] = {
    "State": _Rule("code", lambda image: _STATES.index(image.state), lambda image: image.state),
    "Ready": _Rule("switch", lambda image: image.ready),
    "Heartbeat": _Rule("count", lambda image: image.heartbeat),
    "LastResult": _Rule(
        "code", lambda image: int(image.result), lambda image: image.result.name if image.result else ""
    ),
    "PartId": _Rule("text", lambda image: image.part),
    "Score": _Rule("number", lambda image: image.score),
    "Threshold": _Rule("number", lambda image: image.threshold),
    "Reason": _Rule("text", lambda image: image.reason),
    "ResultTime": _Rule("time", lambda image: image.judged_wall_s),
    "ModelDigest": _Rule("text", lambda image: image.model),
    "Total": _Rule("count", lambda image: image.total),
    "OK": _Rule("count", lambda image: image.ok),
    "Review": _Rule("count", lambda image: image.review),
    "NOK": _Rule("count", lambda image: image.reject),
    "Invalid": _Rule("count", lambda image: image.invalid),
    "Alarms": _Rule("count", lambda image: image.alarms),
    NUMBER: _Rule("count", lambda image: image.number),
}


def types_of(name: ValueName) -> tuple[str, ...]:
    """Return the names of the data types that a node of this name may have."""
    return _TYPES[_RULES[name].kind]


def value_of(name: ValueName, image: ProcessImage, data_type: str) -> Value:
    """Return the value for a node of a data type of `types_of`.

    An integer that is too large for the type begins again at 0, as the counters of controllers do. A score that is too large is
    the largest number of the type. A number that does not exist is NaN. A time that does not exist is the year 1601, which OPC UA
    defines as no time.

    >>> value_of("ResultNumber", ProcessImage(line="a", number=65_537), "UInt16")
    1
    """
    rule = _RULES[name]
    value = rule.take(image)
    if data_type == "String":
        return rule.text(image) if rule.kind == "code" else str(value)
    if rule.kind == "time":
        assert not isinstance(value, str)
        return datetime(1601, 1, 1, tzinfo=UTC) if value is None else datetime.fromtimestamp(value, UTC)
    if data_type in ("Float", "Double"):
        assert not isinstance(value, str)
        number = math.nan if value is None else float(value)
        return max(-_LARGEST, min(_LARGEST, number)) if data_type == "Float" and math.isfinite(number) else number
    if data_type == "Boolean":
        return bool(value)
    assert isinstance(value, int)
    bits: int = _BITS[data_type]
    return int(value) % (1 << bits)


def quality_of(name: ValueName, image: ProcessImage) -> Quality:
    """Return the quality of a value. Only the result and its score can be other than good.

    Without a valid result they are bad. The last result of a line that is not ready is uncertain, so that no one takes it for the
    present state.
    """
    if name not in ("LastResult", "Score"):
        return ""
    if image.result is ResultCode.NONE:
        return "BadWaitingForInitialData"
    if image.result is ResultCode.INVALID:
        return "Bad" if name == "LastResult" else "BadNoData"
    if name == "Score" and image.score is None:
        return "BadNoData"
    return "" if image.ready else "UncertainLastUsableValue"
