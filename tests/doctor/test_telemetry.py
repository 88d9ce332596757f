"""Telemetry that other programs of the environment would send is named with its switch."""

import json
from pathlib import Path

import pytest

from andon.doctor.facts import ray_setting
from andon.doctor.telemetry import check_telemetry


def test_a_switch_that_is_set_needs_nothing() -> None:
    switches = {"ORT_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}

    findings = check_telemetry(switches, ray=True, ray_setting=None)

    assert [(one.text, one.remedy) for one in findings] == [("off", ""), ("off", "")]


def test_without_switches_both_are_named() -> None:
    findings = check_telemetry({}, ray=True, ray_setting=None)

    assert [one.remedy for one in findings] == ["export ORT_DISABLE_TELEMETRY=1", "export RAY_USAGE_STATS_ENABLED=0"]
    assert all(one.ok for one in findings)


@pytest.mark.parametrize(
    ("variable", "setting", "off"), [("1", False, False), (None, False, True), (None, True, False), ("0", True, True)]
)
def test_the_variable_of_ray_has_priority_over_its_file(variable: str | None, setting: bool, off: bool) -> None:
    environment = {} if variable is None else {"RAY_USAGE_STATS_ENABLED": variable}

    assert (check_telemetry(environment, ray=True, ray_setting=setting)[1].text == "off") == off


def test_ray_is_not_mentioned_if_it_is_not_installed() -> None:
    assert len(check_telemetry({}, ray=False, ray_setting=None)) == 1


@pytest.mark.parametrize(
    ("content", "setting"), [(json.dumps({"usage_stats": False}), False), ("[]", None), ("no JSON", None), (None, None)]
)
def test_the_file_of_ray_is_read(tmp_path: Path, content: str | None, setting: bool | None) -> None:
    (tmp_path / ".ray").mkdir()
    if content is not None:
        (tmp_path / ".ray" / "config.json").write_text(content, encoding="utf-8")

    assert ray_setting(tmp_path) is setting
