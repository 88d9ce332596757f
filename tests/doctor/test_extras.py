"""Extras are complete, partly installed or too old, and packages that only happen to be there count for none."""

import importlib.metadata

from andon.doctor.extras import check_extras, packages_of_extras
from andon.doctor.facts import fits

EXTRAS = {
    "calibrate": {"scipy": ">=1.13"},
    "evaluate": {"scipy": ">=1.13", "jinja2": ">=3.1", "matplotlib": ">=3.9"},
    "monitor": {"av": "", "jinja2": ">=3.1", "starlette": "", "uvicorn": ""},
}


def found(installed: dict[str, str]) -> dict[str, tuple[bool, str, str]]:
    findings = check_extras(EXTRAS, installed, install="install {}".format, fits=fits)
    assert all(finding.ok for finding in findings)
    return {finding.subject: (finding.warning, finding.text, finding.remedy) for finding in findings}


def test_an_extra_inside_another_is_resolved() -> None:
    lines = [
        "numpy>=2",
        "scipy>=1.13; extra == 'calibrate'",
        'jinja2>=3.1 ; extra == "evaluate"',
        "andon[calibrate,evaluate]; extra == 'all'",
        "andon[calibrate]; extra == 'evaluate'",
        'tomli (>=2,<3) ; python_version < "3.11" and extra == "calibrate"',
        "pytest>=8; extra == 'dev'",
    ]

    assert packages_of_extras(lines) == {
        "calibrate": {"scipy": ">=1.13", "tomli": ">=2,<3"},
        "evaluate": {"jinja2": ">=3.1", "scipy": ">=1.13", "tomli": ">=2,<3"},
    }


def test_the_metadata_of_andon_has_its_extras() -> None:
    extras = packages_of_extras(importlib.metadata.requires("andon") or [])

    assert extras["calibrate"] == {"scipy": ">=1.13"}
    assert {"opencv-python-headless", "starlette"} <= set(extras["monitor"])
    assert "dev" not in extras


def test_complete_extras_are_listed() -> None:
    assert found({"scipy": "1.17"}) == {"extras": (False, "complete: calibrate", "")}


def test_an_extra_with_half_of_its_own_packages_is_partly_installed() -> None:
    assert found({"scipy": "1.17", "jinja2": "3.1"}) == {
        "extras": (False, "complete: calibrate", ""),
        "extra evaluate": (True, "partly installed: matplotlib missing", "install evaluate"),
    }


def test_a_package_that_another_program_needs_does_not_make_an_extra_wanted() -> None:
    # jinja2 comes with PyTorch
    assert "extra monitor" not in found({"jinja2": "3.1"})


def test_a_version_that_is_too_old_is_named() -> None:
    assert found({"scipy": "1.9.1"})["extra calibrate"] == (
        True,
        "other versions than andon needs: scipy 1.9.1 (expected >=1.13)",
        "install calibrate",
    )


def test_a_version_that_cannot_be_compared_is_accepted() -> None:
    assert fits("unknown", ">=1")
    assert fits("1.2.0rc1", ">=1")
    assert not fits("0.9", ">=1")
