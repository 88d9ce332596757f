"""Wheels that overwrite each other are found by their metadata, and one command leaves the wanted one complete."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.foundation.rival_wheels import (
    ONNXRUNTIME,
    OPENCV,
    State,
    Wheels,
    onnxruntime_wheels,
    opencv_wheels,
    problem,
    repair,
    wanted_wheel,
)

BOTH = {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"}
GPU_ONLY = "pip uninstall -y onnxruntime && pip install --force-reinstall --no-deps onnxruntime-gpu==1.31.1"


def ort(installed: dict[str, str], state: State = "code", in_place: str = "") -> Wheels:
    return Wheels(module="onnxruntime", installed=installed, state=state, in_place=in_place)


def cv2(installed: dict[str, str], state: State = "code") -> Wheels:
    return Wheels(module="cv2", installed=installed, state=state)


@pytest.mark.parametrize("name", ["onnxruntime", "onnxruntime-gpu"])
def test_one_complete_wheel_is_no_problem(name: str) -> None:
    assert problem(ort({name: "1.31.1"}, in_place=name)) is None


def test_the_cpu_wheel_in_place_of_an_installed_gpu_wheel_is_broken() -> None:
    found = problem(ort(BOTH, in_place="onnxruntime"))

    assert found is not None
    assert found.broken
    assert "onnxruntime 1.32.0 and onnxruntime-gpu 1.31.1 are installed and overwrite each other" in found.text
    assert "in place are those of onnxruntime" in found.text
    assert found.remedy == GPU_ONLY


def test_the_gpu_wheel_in_place_works_until_the_next_update() -> None:
    found = problem(ort(BOTH, in_place="onnxruntime-gpu"))

    assert found is not None
    assert not found.broken
    assert found.remedy == GPU_ONLY


def test_the_empty_folder_after_a_removal_is_broken_and_the_remaining_wheel_is_installed_again() -> None:
    found = problem(ort({"onnxruntime-gpu": "1.31.1"}, state="empty"))

    assert found is not None
    assert found.broken
    assert "is an empty folder" in found.text
    assert found.remedy == "pip install --force-reinstall --no-deps onnxruntime-gpu==1.31.1"


def test_a_missing_module_is_installed_with_its_dependencies() -> None:
    found = problem(ort({}, state="absent"))

    assert found is not None
    assert (found.broken, found.remedy) == (True, "pip install onnxruntime")


def test_of_two_wheels_of_opencv_the_headless_one_is_kept_and_of_those_with_contrib_that_one() -> None:
    two = cv2({"opencv-python-headless": "5.0", "opencv-python": "4.12"})
    found = problem(two)

    assert found is not None
    assert not found.broken
    assert (
        found.remedy
        == "pip uninstall -y opencv-python && pip install --force-reinstall --no-deps opencv-python-headless==5.0"
    )
    assert (
        wanted_wheel(cv2({"opencv-python-headless": "5.0", "opencv-contrib-python": "5.0"})) == "opencv-contrib-python"
    )


@given(
    installed=st.sets(st.sampled_from(ONNXRUNTIME)) | st.sets(st.sampled_from(OPENCV)),
    state=st.sampled_from(["absent", "empty", "code"]),
)
def test_a_repair_removes_all_wheels_except_the_one_that_it_installs(installed: set[str], state: State) -> None:
    module = "cv2" if installed & set(OPENCV) else "onnxruntime"
    wheels = Wheels(module=module, installed=dict.fromkeys(sorted(installed), "1.2"), state=state)

    command = repair(wheels)

    removed = re.search(r"uninstall -y (.*) &&", command)
    kept = command.rsplit(" ", 1)[1].partition("==")[0]
    assert (set(removed[1].split()) if removed else set()) == installed - {kept}
    assert (problem(wheels) is None) == (state == "code" and len(installed) < 2)


def test_the_wheels_of_this_environment_are_read_without_a_problem() -> None:
    here = onnxruntime_wheels()

    assert here.state == "code"
    assert here.in_place in ("", *ONNXRUNTIME)  # version 1.20 does not state it
    assert problem(here) is None
    assert opencv_wheels().module == "cv2"
