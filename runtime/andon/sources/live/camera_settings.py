"""Settings, features and choice of a camera that is read with the software of its vendor. Shared by `genicam` and `basler`.

The features have the names of the Standard Features Naming Convention (SFNC) of GenICam. The process of a camera imports this
module, so it must stay small.
"""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from andon.foundation.errors import DataError
from andon.foundation.printable import printable
from andon.sources.stream_settings import StaleAfter

WARM_FRAMES = 5
"""Number of frames to drop after (re)connecting to a camera that runs freely."""


class CameraSettings(Struct, frozen=True, kw_only=True):
    """Settings of a camera that is read with the software of its vendor."""

    pixel_format: Annotated[
        str | None,
        Meta(description="pixel format, for example Mono8, RGB8, BGR8 or BayerRG8. None: as the camera is set"),
    ] = None
    exposure_us: Annotated[
        Annotated[float, Meta(gt=0.0)] | None,
        Meta(description="exposure time. None: as the camera is set", extra={"unit": "µs"}),
    ] = None
    gain_db: Annotated[float | None, Meta(description="gain. None: as the camera is set", extra={"unit": "dB"})] = None
    frame_rate_hz: Annotated[
        Annotated[float, Meta(gt=0.0)] | None,
        Meta(
            description="frames per second of a camera that runs freely. None: as the camera is set",
            extra={"unit": "Hz"},
        ),
    ] = None
    triggered: Annotated[
        bool,
        Meta(
            description="the camera takes a picture after each trigger only. Silence is then normal, and the camera is asked "
            "whether it works. No frame is dropped after connecting"
        ),
    ] = False
    trigger_source: Annotated[
        str | None,
        Meta(description="input of the trigger, for example Line1. None: as the camera is set. Needs triggered = true"),
    ] = None
    stale_after_s: StaleAfter = 2.0
    open_timeout_s: Annotated[
        float, Meta(gt=0.0, description="timeout for finding and opening the camera", extra={"unit": "s"})
    ] = 20.0
    read_timeout_s: Annotated[
        float,
        Meta(
            gt=0.0,
            description="longest time without a frame, or without an answer of the vendor's software. Its process is then "
            "killed and started again",
            extra={"unit": "s"},
        ),
    ] = 2.0
    warm_frames: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(
            description=f"number of frames to drop after (re)connecting. None: {WARM_FRAMES}, or 0 if the camera is triggered",
            extra={"unit": "frames"},
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.trigger_source is not None and not self.triggered:
            raise ValueError("trigger_source: expected triggered = true with it, got false. Add triggered = true.")
        if self.frame_rate_hz is not None and self.triggered:
            raise ValueError("frame_rate_hz: expected none with triggered = true, got a rate. Leave it out.")


class Feature(NamedTuple):
    """One feature to set in a camera."""

    setting: str
    """The user's setting, for messages."""
    names: tuple[str, ...]
    """The name of the feature. Older names follow."""
    text: str
    optional: bool = False
    """True if a camera without this feature needs no other value."""


def features(settings: CameraSettings) -> list[Feature]:
    """Return the features to set, in the order in which cameras accept them."""
    wanted: list[Feature] = []
    if settings.pixel_format is not None:
        wanted.append(Feature("pixel_format", ("PixelFormat",), settings.pixel_format))
    if settings.trigger_source is not None:
        wanted += [
            Feature("trigger_source", ("TriggerSelector",), "FrameStart"),
            Feature("trigger_source", ("TriggerMode",), "On"),
            Feature("trigger_source", ("TriggerSource",), settings.trigger_source),
        ]
    if settings.exposure_us is not None:
        wanted += [
            Feature("exposure_us", ("ExposureAuto",), "Off", optional=True),
            Feature("exposure_us", ("ExposureTime", "ExposureTimeAbs"), repr(settings.exposure_us)),
        ]
    if settings.gain_db is not None:
        wanted += [
            Feature("gain_db", ("GainAuto",), "Off", optional=True),
            Feature("gain_db", ("Gain",), repr(settings.gain_db)),
        ]
    if settings.frame_rate_hz is not None:
        wanted += [
            Feature("frame_rate_hz", ("AcquisitionFrameRateEnable",), "1", optional=True),
            Feature("frame_rate_hz", ("AcquisitionFrameRate", "AcquisitionFrameRateAbs"), repr(settings.frame_rate_hz)),
        ]
    return wanted


def set_features(wanted: Sequence[Feature], known: Callable[[str], bool], write: Callable[[str, str], None]) -> None:
    """Set features in a camera.

    Args:
        wanted: the features, in order.
        known: tests whether the camera has a feature that can be written now.
        write: writes a feature as text. It raises an error of the vendor's software if the camera refuses the value.

    Raises:
        DataError: the camera does not have a feature or refuses its value.
    """
    for feature in wanted:
        name = next(filter(known, feature.names), None)
        if name is None:
            if feature.optional:
                continue
            raise DataError(
                f"{feature.setting}: the camera has no feature {feature.names[0]} that can be set. Leave out {feature.setting}."
            )
        try:
            write(name, feature.text)
        except Exception as error:
            raise DataError(
                f"{feature.setting}: the camera refuses {name} = {feature.text}: {first_line(error)}"
            ) from error


def first_line(error: Exception) -> str:
    """Return the text of an error of a vendor's software without the place in its source code."""
    text = str(error).split(" : ", 1)[0].split("\n", 1)[0]
    return printable(text.strip() or type(error).__name__, limit=300)


class Seen(NamedTuple):
    """A camera that the vendor's software found."""

    serial: str
    model: str


def choose(seen: Sequence[Seen], wanted: str) -> int:
    """Return the position of the camera with a serial number. If no camera has it, a small number is a position.

    Args:
        seen: the cameras that were found.
        wanted: a serial number, a position, or an empty text for the only camera.

    Raises:
        DataError: there is no such camera. The message lists the cameras.

    >>> choose([Seen("40012345", "acA1920"), Seen("40054321", "acA1920")], "40054321")
    1
    """
    for position, camera in enumerate(seen):
        if wanted and camera.serial == wanted:
            return position
    if wanted.isdecimal() and len(wanted) < 4 and int(wanted) < len(seen):
        return int(wanted)
    if not wanted and len(seen) == 1:
        return 0
    found = ", ".join(f"{printable(camera.serial)} ({printable(camera.model)})" for camera in seen) or "none"
    asked = f"the camera {printable(wanted)}" if wanted else "one camera"
    raise DataError(
        f"expected {asked}, found {found}. Give a serial number from this list, or check the power and the cable of the camera."
    )


def camera_of(text: str, kind: str) -> str | None:
    """Return the serial number or position in an address such as ``basler:40012345``. None if it is another address."""
    found = re.fullmatch(rf"{kind}(?::([^\s/\\:][^\s/\\]{{0,99}}))?", text)
    return None if found is None else found[1] or ""
