"""The blocks of the page about PLCs that belong to Modbus TCP are parts of one file that is accepted."""

import re
import tomllib
from pathlib import Path
from typing import Any

from andon.monitor.config import configuration_from_table
from andon.monitor.controllers.modbus import BLOCK, READY_BIT, STATES
from andon.monitor.process_image import ResultCode

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "plant.md"


def chapter() -> str:
    return PAGE.read_text(encoding="utf-8").partition("\n## Modbus TCP\n")[2].partition("\n## ")[0]


def test_the_blocks_are_parts_of_one_file(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", chapter(), re.DOTALL)
    line: dict[str, Any] = {"name": "press-3", "model": "m.onnx", "parts": {"deadline_s": 0.5, "trigger": "external"}}
    tables: dict[str, Any] = {"line": [line], "store": {"path": "state"}}
    for block in blocks:
        for name, content in tomllib.loads(block).items():
            line.update(content) if name == "line" else tables.update({name: content})
    chosen = configuration_from_table(tables, folder=tmp_path, at="line.toml")

    assert len(blocks) == 4
    assert chosen.lines[0].source.kind.name == "modbus"
    assert chosen.lines[0].trigger is not None
    assert chosen.lines[0].reject is not None
    assert [controller.settings.register for controller in chosen.controllers] == [100]


def test_the_map_of_registers_is_that_of_the_code() -> None:
    text = chapter()
    rows = re.findall(r"^\| (\d)(?:, (\d))? \| u?\w+ \|", text, re.MULTILINE)
    names = {ResultCode.REJECT: "NOK (REJECT)", ResultCode.NONE: "none"}
    results = ", ".join(f"{int(result)} {names.get(result, result.name)}" for result in ResultCode)

    assert [int(number) for row in rows for number in row if number] == list(range(BLOCK))
    assert f"result: {results}" in text
    assert f"state ({', '.join(f'{code} {state}' for state, code in STATES.items())})" in text
    assert READY_BIT == 1
