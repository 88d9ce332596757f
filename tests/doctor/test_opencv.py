"""Two wheels of OpenCV are a warning, and one that cannot be imported is a problem."""

from andon.doctor.opencv import check_opencv
from andon.doctor.probe import Imported
from andon.foundation.rival_wheels import Wheels


def wheels(*names: str) -> Wheels:
    return Wheels(module="cv2", installed=dict.fromkeys(names, "5.0"), state="code")


def test_opencv_is_optional() -> None:
    assert check_opencv(Wheels(module="cv2", installed={}, state="absent"), None) == []


def test_one_wheel_that_works_has_its_version() -> None:
    (found,) = check_opencv(wheels("opencv-python-headless"), Imported(module="cv2", version="5.0.0"))

    assert (found.ok, found.text, found.remedy) == (True, "5.0.0", "")


def test_two_wheels_are_a_warning() -> None:
    (found,) = check_opencv(wheels("opencv-python-headless", "opencv-python"), Imported(module="cv2", version="5"))

    assert (found.ok, found.warning) == (True, True)
    assert found.remedy.startswith("pip uninstall -y opencv-python && ")


def test_a_wheel_that_needs_a_desktop_is_replaced_by_the_headless_one() -> None:
    error = "ImportError: libGL.so.1: cannot open shared object file"

    (found,) = check_opencv(wheels("opencv-python"), Imported(module="cv2", error=error))

    assert not found.ok
    assert found.remedy == "pip uninstall -y opencv-python && pip install opencv-python-headless"
