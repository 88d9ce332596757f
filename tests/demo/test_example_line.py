"""The example of a line states the real settings with their real defaults, also in its commented parts."""

import re
import tomllib
from pathlib import Path

from andon.demo.example_line import CONFIGURATION, MODEL, example
from andon.foundation.settings import fields
from andon.monitor.config import Policy, configuration_from_table
from andon.runtime.model_file.format import parse

TEXT = example(CONFIGURATION).decode()


def _parts() -> list[str]:
    """Return the commented tables, without the comment signs."""
    return [
        re.sub(r"^#", "", part, flags=re.MULTILINE)
        for part in re.findall(r"(?:^#\[.*\n)(?:^#\w.*\n)+", TEXT, flags=re.MULTILINE)
    ]


def test_each_commented_source_and_sink_is_a_valid_table() -> None:
    head = '[[line]]\nname = "a"\nmodel = "m.onnx"\n'
    stdin = '[line.source]\nkind = "stdin"\n'
    parts = _parts()

    assert len(parts) == 5
    for part in parts:
        if "[line.source]" in part:
            text = head + part
        elif "[[line.sinks]]" in part:
            text = head + stdin + part
        else:
            text = '[store]\npath = "state"\n' + part + head + stdin
        assert configuration_from_table(tomllib.loads(text), folder=Path(), at="example").lines


def test_each_setting_of_a_line_is_in_the_example_and_is_valid() -> None:
    for setting in fields(Policy):
        (value,) = re.findall(rf"^#{setting.name} = (\S+)", TEXT, flags=re.MULTILINE)
        line = f'[[line]]\nname = "a"\nmodel = "m"\n{setting.name} = {value}\nsource = {{ kind = "stdin" }}'
        (read,) = configuration_from_table(tomllib.loads(line), folder=Path(), at="example").lines
        if setting.name not in (
            "limit",
            "frame_size",
            "alarm",
            "region",
        ):  # none is their default, and TOML has no such value
            assert read.policy == Policy()


def test_the_model_file_judges_the_simulated_converter_and_is_small() -> None:
    model = parse(example(MODEL))

    assert model.card.detector == "pca"
    assert [channel.name for channel in model.card.input.channels] == ["voltage", "current", "temperature"]  # type: ignore[union-attr]
    assert len(example(MODEL)) < 50_000
