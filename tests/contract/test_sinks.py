"""Run the contract checks on all registered sinks. A new sink needs a target here."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from andon.foundation.registry import load, names
from andon.monitor.contract import CHECKS, Specimen
from andon.monitor.sink import SinkKind
from andon.monitor.sinks import csv as csv_module
from andon.monitor.sinks import json_lines as lines_module
from andon.monitor.sinks import pictures as pictures_module


def json_lines(kind: SinkKind, folder: Path) -> Specimen:
    (folder / "lines").mkdir()
    settings = lines_module.Settings(path=str(folder / "lines" / "verdicts.jsonl"))
    return Specimen(kind, settings, fail=lambda: fail_lines(folder / "lines"))


def csv(kind: SinkKind, folder: Path) -> Specimen:
    (folder / "lines").mkdir()
    settings = csv_module.Settings(path=str(folder / "lines" / "verdicts.csv"))
    return Specimen(kind, settings, fail=lambda: fail_lines(folder / "lines"))


def fail_lines(folder: Path) -> None:
    replace_by_a_file(folder)
    time.sleep(1.1)  # the sink looks once a second whether its file still has its name


def pictures(kind: SinkKind, folder: Path) -> Specimen:
    settings = pictures_module.Settings(folder=str(folder / "rejects"))
    return Specimen(kind, settings, fail=lambda: replace_by_a_file(folder / "rejects"))


def replace_by_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no folder", encoding="utf-8")


TARGETS: dict[str, Callable[[SinkKind, Path], Specimen]] = {
    "csv": csv,
    "json_lines": json_lines,
    "pictures": pictures,
}


@pytest.fixture(params=names("andon.sinks"))
def specimen(request: pytest.FixtureRequest, tmp_path: Path) -> Specimen:
    name: str = request.param
    assert name in TARGETS, f"the sink {name}: expected a target for the contract in {__file__}, found none"
    return TARGETS[name](load("andon.sinks", name), tmp_path)


@pytest.mark.parametrize("check", [pytest.param(check, id=check.__name__) for check in CHECKS])
def test_a_sink_keeps_the_contract(check, specimen):  # type: ignore[no-untyped-def]
    check(specimen)
