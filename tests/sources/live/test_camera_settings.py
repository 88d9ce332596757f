"""Settings and choice of a camera that is read with the software of its vendor."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.foundation.errors import DataError
from andon.sources.live.camera_settings import (
    CameraSettings,
    Feature,
    Seen,
    camera_of,
    choose,
    features,
    first_line,
    set_features,
)

TWO = [Seen("40012345", "acA1920"), Seen("1", "acA640")]


def written(**settings: Any) -> list[tuple[str, str]]:
    return [(feature.names[0], feature.text) for feature in features(CameraSettings(**settings))]


def test_without_settings_nothing_in_the_camera_is_changed() -> None:
    assert written() == []
    assert written(triggered=True) == []


def test_the_settings_become_standard_features_in_an_order_that_cameras_accept() -> None:
    assert written(pixel_format="Mono8", trigger_source="Line1", triggered=True, exposure_us=250.0, gain_db=1.5) == [
        ("PixelFormat", "Mono8"),
        ("TriggerSelector", "FrameStart"),
        ("TriggerMode", "On"),
        ("TriggerSource", "Line1"),
        ("ExposureAuto", "Off"),
        ("ExposureTime", "250.0"),
        ("GainAuto", "Off"),
        ("Gain", "1.5"),
    ]
    assert written(frame_rate_hz=20.0) == [("AcquisitionFrameRateEnable", "1"), ("AcquisitionFrameRate", "20.0")]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"trigger_source": "Line1"}, "trigger_source: expected triggered = true with it, got false"),
        ({"triggered": True, "frame_rate_hz": 5.0}, "frame_rate_hz: expected none with triggered = true"),
        ({"exposure_us": 0.0}, "Expected `float` > 0.0"),
        ({"frame_rate_hz": -1.0}, "Expected `float` > 0.0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=why):
        msgspec.convert(settings, CameraSettings)


def test_an_older_camera_gets_its_older_name_and_an_optional_feature_may_be_missing() -> None:
    given: dict[str, str] = {}
    set_features(features(CameraSettings(exposure_us=9.0)), {"ExposureTimeAbs"}.__contains__, given.__setitem__)
    assert given == {"ExposureTimeAbs": "9.0"}


def test_a_camera_without_a_feature_is_refused_with_the_setting_to_leave_out() -> None:
    with pytest.raises(
        DataError, match=r"^gain_db: the camera has no feature Gain that can be set\. Leave out gain_db\.$"
    ):
        set_features(features(CameraSettings(gain_db=1.0)), lambda _name: False, lambda _name, _text: None)


def test_a_value_that_the_camera_refuses_is_an_error_with_the_reason_of_the_camera() -> None:
    def refuse(_name: str, _text: str) -> None:
        raise RuntimeError("must be smaller than 5. : thrown in node 'Gain' (file 'FloatT.h', line 91)")

    with pytest.raises(DataError, match=r"^gain_db: the camera refuses Gain = 9: must be smaller than 5.$"):
        set_features([Feature("gain_db", ("Gain",), "9")], lambda _name: True, refuse)


def test_an_error_without_a_text_is_named_by_its_class() -> None:
    assert first_line(RuntimeError()) == "RuntimeError"


@pytest.mark.parametrize(("wanted", "position"), [("40012345", 0), ("1", 1), ("0", 0)])
def test_a_serial_number_goes_before_a_position(wanted: str, position: int) -> None:
    assert choose(TWO, wanted) == position


def test_the_only_camera_needs_no_number() -> None:
    assert choose(TWO[:1], "") == 0


@pytest.mark.parametrize("wanted", ["40099999", "2", "-1", ""])
def test_a_camera_that_is_not_there_is_an_error_that_lists_the_cameras(wanted: str) -> None:
    with pytest.raises(
        DataError, match=r"^expected .*, found 40012345 \(acA1920\), 1 \(acA640\)\. Give a serial number"
    ):
        choose(TWO, wanted)


def test_without_cameras_the_error_says_so() -> None:
    with pytest.raises(DataError, match=r"^expected the camera 7, found none"):
        choose([], "7")


@given(st.lists(st.text(st.characters(categories=("Lu", "Nd")), min_size=4, max_size=9), unique=True, min_size=1))
def test_each_camera_is_found_by_its_serial_number(serials: list[str]) -> None:
    seen = [Seen(serial, "model") for serial in serials]
    assert [choose(seen, serial) for serial in serials] == list(range(len(serials)))


@pytest.mark.parametrize(
    ("text", "camera"),
    [
        ("basler", ""),
        ("basler:0", "0"),
        ("basler:0815-0000", "0815-0000"),
        ("basler:", None),
        ("basler:a b", None),
        ("basler://host", None),
        ("basler:../x", None),
        ("genicam:0", None),
        ("baslerx", None),
        ("basler:0\n", None),
    ],
)
def test_an_address_names_the_kind_and_the_camera(text: str, camera: str | None) -> None:
    assert camera_of(text, "basler") == camera
