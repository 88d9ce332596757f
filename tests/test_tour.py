"""The notebook: the stored outputs are complete and small, and it runs from beginning to end.

``pytest tests/test_tour.py --renew-golden`` runs it and stores it with its new outputs.
"""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
TOUR = ROOT / "examples" / "tour.ipynb"


@pytest.fixture(scope="module")
def tour() -> Any:
    return nbformat.read(TOUR, as_version=4)  # type: ignore[no-untyped-call]


def code(tour: Any) -> list[Any]:
    return [cell for cell in tour.cells if cell.cell_type == "code"]


def text_of(outputs: list[Any]) -> str:
    """Join the text of outputs."""
    return "\n".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in outputs)


def test_it_is_a_valid_notebook(tour: Any) -> None:
    nbformat.validate(tour)

    assert tour.metadata.kernelspec.name == "python3"


def test_it_is_stored_as_it_ran_once_from_beginning_to_end(tour: Any) -> None:
    assert [cell.execution_count for cell in code(tour)] == list(range(1, len(code(tour)) + 1))
    assert [output for cell in code(tour) for output in cell.outputs if output.output_type == "error"] == []
    assert all(cell.outputs for cell in code(tour)[1:]), "each step shows something"


def test_cells_are_short_and_each_step_is_explained(tour: Any) -> None:
    lengths = [len(cell.source.splitlines()) for cell in code(tour)]

    assert max(lengths[1:]) <= 20
    for cell, after in zip(tour.cells, tour.cells[1:], strict=False):
        assert cell.cell_type == "markdown" or after.cell_type == "markdown" or len(after.source) < 900


def test_stored_outputs_are_small_and_hold_nothing_of_the_maker(tour: Any) -> None:
    assert TOUR.stat().st_size < 1_200_000
    # prefixes of temporary and home folders, joined here so that this file does not contain them
    places = re.compile("|".join(("/" + "tmp/", "/" + r"(?:home|Users|root|work)/", r"[A-Z]:\\")))
    texts = [text_of(cell.outputs) + cell.source for cell in code(tour)]
    assert [text for text in texts if places.search(text)] == []
    assert not any("widget" in key for cell in code(tour) for output in cell.outputs for key in output.get("data", {}))


def test_what_it_shows_is_drawn_or_simulated_here(tour: Any) -> None:
    sources = "\n".join(cell.source for cell in code(tour))

    assert re.findall(r"mvtec|mnist|cifar|skab|cookie|ANDON_DATA|https?:", sources, re.IGNORECASE) == []


def test_its_links_lead_somewhere(tour: Any) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", "\n".join(cell.source for cell in tour.cells if cell.cell_type == "markdown"))

    assert links
    assert [link for link in links if not (TOUR.parent / link).exists()] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_runs_from_beginning_to_end(
    tour: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    from nbclient import NotebookClient

    monkeypatch.setenv("TMPDIR", str(tmp_path))  # the kernel creates its folder there
    executed = nbformat.from_dict({**tour, "cells": [dict(cell) for cell in tour.cells]})  # type: ignore[no-untyped-call]
    client = NotebookClient(
        executed,
        timeout=600,
        startup_timeout=120,
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(TOUR.parent)}},
    )
    client.execute()
    if request.config.getoption("--renew-golden"):
        nbformat.write(executed, TOUR)  # type: ignore[no-untyped-call]
        tour = executed

    (folder,) = tmp_path.glob("andon-tour-*")
    assert sorted(path.name for path in folder.glob("*.onnx")) == ["converter.onnx", "washers.onnx"]
    shown = [text_of(cell.outputs) for cell in code(executed)]
    printed = "\n".join(shown)
    assert (
        "with 95 % confidence at most 5 % of good parts are rejected or INVALID by their content; from 72 parts"
        in printed
    )
    assert re.search(r"^REJECT level [1-9]", printed, re.MULTILINE)
    assert re.search(r"^INVALID - no contrast", printed, re.MULTILINE)
    (auroc,) = re.findall(r"^AUROC +([\d.]+)", printed, re.MULTILINE)
    assert float(auroc) > 0.98
    kinds = [{kind for output in cell.outputs for kind in output.get("data", {})} for cell in code(executed)]
    assert sum("image/png" in kind for kind in kinds) == sum(
        any("image/png" in output.get("data", {}) for output in cell.outputs) for cell in code(tour)
    )
    assert any("image/gif" in kind for kind in kinds)
