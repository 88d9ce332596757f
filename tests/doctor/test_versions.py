"""The versions that a report needs are listed, and an incomplete base install is a problem."""

from andon.doctor.versions import check_versions

BASE = {"andon": "0.1.0", "numpy": "2.4", "msgspec": "0.23"}


def test_versions_are_listed_in_a_fixed_order() -> None:
    python, packages = check_versions((3, 12, 1), "Linux", {"torch": "2.13", "unrelated": "1", **BASE})

    assert (python.ok, python.text) == (True, "3.12.1 on Linux")
    assert (packages.ok, packages.text) == (True, "andon 0.1.0, numpy 2.4, msgspec 0.23, torch 2.13")


def test_an_old_python_and_a_missing_package_are_problems() -> None:
    python, packages = check_versions((3, 10, 0), "Linux", {"andon": "0.1.0", "numpy": "2.4"})

    assert not python.ok
    assert (packages.ok, packages.remedy) == (False, "pip install msgspec")
