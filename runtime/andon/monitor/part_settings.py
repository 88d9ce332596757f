"""The table ``[line.parts]``: a line that decides about each part, and not about each item."""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.foundation.settings import from_table
from andon.monitor.parts import Action, PartRule, parts_in_flight

MAX_OPEN = 4
"""Largest number of open parts if the user states neither a number nor a rate."""

Trigger = Literal["first_frame", "external"]


class PartSettings(Struct, frozen=True, kw_only=True):
    """Settings of the parts of a line.

    Raises:
        ConfigError: two settings do not fit together.
    """

    deadline_s: Annotated[
        float, Meta(gt=0, le=3600, description="longest time from the trigger to the decision", extra={"unit": "s"})
    ]
    frames: Annotated[int, Meta(ge=1, le=1000, description="frames of a part")] = 1
    guard_s: Annotated[
        float,
        Meta(
            ge=0,
            description="time before the deadline at which a part with missing frames is decided",
            extra={"unit": "s"},
        ),
    ] = 0.005
    trigger: Annotated[
        Trigger,
        Meta(
            description="begin of a part: the arrival of its first frame, or a trigger that a program or controller gives"
        ),
    ] = "first_frame"
    frame_within_s: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(
            description="longest time from the trigger to the arrival of a frame without the name of a part; none: the "
            "deadline. Choose it shorter than the time between two parts, so that a lost frame does not shift the others",
            extra={"unit": "s"},
        ),
    ] = None
    max_open: Annotated[
        Annotated[int, Meta(ge=1, le=1000)] | None,
        Meta(description=f"largest number of parts without a decision; none: from max_rate_hz, or {MAX_OPEN}"),
    ] = None
    max_rate_hz: Annotated[
        Annotated[float, Meta(gt=0, le=1000)] | None,
        Meta(description="highest rate of parts, in place of max_open", extra={"unit": "Hz"}),
    ] = None
    on_invalid: Annotated[Action, Meta(description="action for an INVALID part")] = "reject"
    on_review: Annotated[Action, Meta(description="action for a REVIEW part")] = "pass"
    max_invalid: Annotated[
        int, Meta(ge=1, le=10_000, description="INVALID parts in a row that raise the alarm parts")
    ] = 5

    def __post_init__(self) -> None:
        if self.max_open is not None and self.max_rate_hz is not None:
            raise ConfigError("expected max_open or max_rate_hz, got both. Leave out one of them.")
        if not self.guard_s < self.deadline_s:
            raise ConfigError(
                f"expected guard_s below deadline_s, got guard_s = {self.guard_s:g}, deadline_s = {self.deadline_s:g}. Lower "
                "guard_s."
            )

    @property
    def rule(self) -> PartRule:
        """The settings as the rule of `andon.monitor.parts`."""
        most = self.max_open
        if most is None:
            most = MAX_OPEN if self.max_rate_hz is None else parts_in_flight(self.max_rate_hz, self.deadline_s)
        return PartRule(
            frames=self.frames,
            deadline_s=self.deadline_s,
            guard_s=self.guard_s,
            max_open=most,
            on_invalid=self.on_invalid,
            on_review=self.on_review,
            max_invalid=self.max_invalid,
        )


def parts_from_table(table: Mapping[str, object], *, at: str) -> PartSettings:
    """Check a table ``[line.parts]``.

    Args:
        table: the keys and values.
        at: path of the table, for example ``line.toml: line[0].parts``.

    Raises:
        ConfigError: a key is unknown, missing, of another type or out of bounds, or two keys do not fit together.
    """
    try:
        return from_table(PartSettings, table, at=at)
    except ConfigError as error:  # that of the struct itself has no path yet
        if str(error).startswith(at):
            raise
        raise ConfigError(f"{at}: {error}") from error
