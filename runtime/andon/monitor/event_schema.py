"""The JSON Schema of events, for programs that receive them.

msgspec makes the schema from the structs. The descriptions of keys are the attribute docstrings in `andon.monitor.event`.
"""

import ast
import inspect
import json
from typing import Any

import msgspec

from andon.monitor import event, records
from andon.monitor.event import SCHEMA, Event


def event_schema() -> str:
    """Return the JSON Schema of an event as text."""
    (reference,), definitions = msgspec.json.schema_components([Event], ref_template="#/$defs/{name}")
    descriptions = _descriptions()
    for name, definition in definitions.items():
        for key, value in definition.get("properties", {}).items():
            if text := descriptions.get((name, key)):
                _describe(value, text)
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Event of an andon monitor, schema {SCHEMA}",
        **reference,
        "$defs": dict(sorted(definitions.items())),
    }
    return json.dumps(schema, indent=2) + "\n"


def _describe(value: dict[str, Any], text: str) -> None:
    value["description"] = " ".join(text.split())


def _descriptions() -> dict[tuple[str, str], str]:
    """Return the docstrings of attributes by class and attribute."""
    found = {}
    for module in (event, records):
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef):
                for attribute, text in zip(node.body, node.body[1:], strict=False):
                    if (
                        isinstance(attribute, ast.AnnAssign)
                        and isinstance(attribute.target, ast.Name)
                        and isinstance(text, ast.Expr)
                        and isinstance(text.value, ast.Constant)
                        and isinstance(text.value.value, str)
                    ):
                        found[node.name, attribute.target.id] = text.value.value
    return found
