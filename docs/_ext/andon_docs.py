"""Fill pages of the documentation from the code when the site is built.

A line ``<!-- generated: commands -->`` in a page is replaced by Markdown that one of the functions in `GENERATED` returns. A
line ``<!-- included: CONTRIBUTING.md -->`` is replaced by that file of the repository. Nothing that is generated is committed. A
paragraph after a line ``<!-- repository only -->`` is for readers of the repository, and left out here.

Links between files of the repository work on a code host as they are. Here, those that leave `docs/` are rewritten: to the
page of the site that shows the file, or to plain text if there is none.
"""

import argparse
import importlib
import inspect
import os
import posixpath
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from msgspec import Struct
from sphinx.application import Sphinx

from andon.cli import commands as command_names
from andon.foundation.flag_parser import FlagParser
from andon.foundation.registry import Group, members
from andon.foundation.settings import Setting, fields
from andon.monitor.controller_kind import ControllerTiming
from andon.monitor.reject import RejectRule

ROOT = Path(__file__).parents[2]
SHOWN_AT = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing/guide.md",
    "README.md": "index.md",
}
"""Files of the repository that a page of the site shows."""

_GENERATED = re.compile(r"^<!-- generated: ([\w-]+) -->$", re.MULTILINE)
_INCLUDED = re.compile(r"^<!-- included: (\S+) -->$", re.MULTILINE)
_REPOSITORY_ONLY = re.compile(r"^<!-- repository only -->\n.*?\n(?:\n|\Z)", re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_ROLE_QUOTES = re.compile(r"``([^`]+)``")


def commands() -> str:
    """Return one section for each command, from its module and its argument parser."""
    return "\n\n".join(_command(name) for name in command_names())


def detectors() -> str:
    """Return one section for each detector, with its settings."""
    sections = []
    for name, recipe in members("andon.detectors"):
        module = inspect.getmodule(recipe.settings)
        assert module is not None
        lines = [f"## {name}", "", f"*{_escaped(recipe.summary)}*", "", _docstring(module.__doc__ or ""), ""]
        sections.append("\n".join([*lines, *_settings(recipe.settings, lambda setting: setting.flag)]))
    return "\n\n".join(sections)


def sources() -> str:
    """Return one section for each source, from its record and its module."""
    sections = []
    for name, source in members("andon.sources"):
        uses = [use for use, has in (("train", source.collect), ("monitor", source.stream)) if has]
        lines = [f"## {name}", "", f"*{_escaped(source.summary)}* Used by: {', '.join(uses)}.", ""]
        lines += [_docstring(_module_of_source(name, source).__doc__ or ""), ""]
        settings = _settings(source.settings, lambda setting: setting.flag) if source.stream else []
        sections.append("\n".join([*lines, *settings]))
    return "\n\n".join(sections)


def sinks() -> str:
    """Return one section for each sink, with its settings."""
    sections = []
    for name, sink in members("andon.sinks"):
        lines = [f"## {name}", "", f"*{_escaped(sink.summary)}*", ""]
        sections.append("\n".join([*lines, *_settings(sink.settings, lambda setting: setting.name)]))
    return "\n\n".join(sections)


def outputs() -> str:
    """Return one section for each output, from its record and its module, with its settings."""
    return _described_by_modules("andon.outputs")


def rejects() -> str:
    """Return the settings that every reject device has, and one section for each device as in `outputs`."""
    rule = ["## Keys of every device", "", *_settings(RejectRule, lambda setting: setting.name)]
    return "\n".join([*rule, "", _described_by_modules("andon.rejects")])


def controllers() -> str:
    """Return the settings that every controller has, and one section for each controller as in `outputs`."""
    timing = ["## Keys of every controller", "", *_settings(ControllerTiming, lambda setting: setting.name)]
    return "\n".join([*timing, "", _described_by_modules("andon.controllers")])


def triggers() -> str:
    """Return one section for each kind of trigger as in `outputs`."""
    return _described_by_modules("andon.triggers")


GENERATED: dict[str, Callable[[], str]] = {
    "commands": commands,
    "controllers": controllers,
    "detectors": detectors,
    "outputs": outputs,
    "rejects": rejects,
    "sinks": sinks,
    "sources": sources,
    "triggers": triggers,
}


def fill(text: str, docname: str) -> str:
    """Return the source of a page with generated text, included files and links that work on the site."""
    text = _REPOSITORY_ONLY.sub("", text)
    text = _GENERATED.sub(lambda found: GENERATED[found[1]](), text)
    here = posixpath.dirname(f"docs/{docname}")
    text = _outside_code(text, lambda prose: _links(prose, here))
    return _INCLUDED.sub(
        lambda found: _outside_code(
            (ROOT / found[1]).read_text(encoding="utf-8"), lambda prose: _links(prose, posixpath.dirname(found[1]))
        ),
        text,
    )


def _described_by_modules(group: Group) -> str:
    sections = []
    for name, kind in members(group):
        module = inspect.getmodule(kind.settings)
        assert module is not None
        lines = [f"## {name}", "", f"*{_escaped(kind.summary)}*", "", _docstring(module.__doc__ or ""), ""]
        sections.append("\n".join([*lines, *_settings(kind.settings, lambda setting: setting.name)]))
    return "\n\n".join(sections)


def _module_of_source(name: str, source: Any) -> ModuleType:
    try:
        return importlib.import_module(f"andon.sources.kinds.{name}")
    except ModuleNotFoundError:  # a source from an entry point
        module = inspect.getmodule(source.stream or source.collect)
        assert module is not None
        return module


def _command(name: str) -> str:
    module = importlib.import_module(f"andon.cli.{name}")
    parser = FlagParser(prog=f"andon {name}", allow_abbrev=False)
    module.configure(parser)
    lines = [f"## andon {name}", "", "```text", _usage(parser), "```", "", _docstring(module.__doc__ or ""), ""]
    for action in parser.actions:
        if "-h" in action.option_strings:
            continue
        lines += [f"{_term(action)}", f": {_prose(_help(action))}", ""]
    return "\n".join(lines)


def _usage(parser: argparse.ArgumentParser) -> str:
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "90"
    try:
        return parser.format_usage().removeprefix("usage: ").strip()
    finally:
        if columns is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = columns


def _term(action: argparse.Action) -> str:
    value = action.metavar or (
        "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    )
    value = value if isinstance(value, str) else " ".join(value)
    if not action.option_strings:
        return f"`{value}`"
    flags = ", ".join(f"`{flag}`" for flag in action.option_strings)
    return flags if action.nargs == 0 else f"{flags} `{value}`"


def _help(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%") if action.help is not argparse.SUPPRESS else ""


def _settings(struct: type[Struct], shown: Callable[[Setting], str]) -> list[str]:
    """Return the lines of a list of settings, each named as `shown` gives it; none for a struct without fields."""
    lines = ["**Settings**", ""] if fields(struct) else []
    for setting in fields(struct):
        unit = f" {setting.unit}" if setting.unit else ""
        bounds = f", {setting.bounds}" if setting.bounds else ""
        default = "Required" if setting.required else f"Default `{_default(setting.default)}`{unit}"
        choices = f" `{{{','.join(map(str, setting.choices))}}}`" if setting.choices else ""
        lines += [f"`{shown(setting)}`{choices}", f": {_prose(setting.description)}. {default}{bounds}.", ""]
    return lines


def _default(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    if value == "":
        return '""'
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _docstring(text: str) -> str:
    """Return a docstring as Markdown: paragraphs, with indented lines and tables as blocks of code."""
    return "\n\n".join(_pieces(inspect.cleandoc(text)))


def _pieces(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text):
        lines = paragraph.splitlines()
        indented = next((at for at, line in enumerate(lines) if line.startswith("  ")), len(lines))
        head, block = lines[:indented], lines[indented:]
        if head and set(head[0]) <= set("= "):
            yield f"```text\n{paragraph}\n```"
        elif re.match(r"\d+\. ", lines[0]):
            yield _prose(paragraph)
        else:
            if head:
                title = "\n".join(head)
                yield "Example:" if title == "example:" else _prose(re.sub(r"::$", ":", title))
            if block:
                language = {"example:": "sh", "plan.toml:": "toml"}.get("\n".join(head), "text")
                code = textwrap.dedent("\n".join(block))
                yield f"```{language}\n{code}\n```"


def _prose(text: str) -> str:
    text = _ROLE_QUOTES.sub(r"`\1`", text)
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(piece if at % 2 else _escaped(piece) for at, piece in enumerate(pieces))


def _escaped(text: str) -> str:
    return re.sub(r"([\\*_<>\[\]|~#{}$])", r"\\\1", text)


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    pieces, at = [], 0
    for block in _FENCED.finditer(text):
        pieces += [change(text[at : block.start()]), block[0]]
        at = block.end()
    return "".join([*pieces, change(text[at:])])


def _links(prose: str, folder: str) -> str:
    """Rewrite the links of a file of the repository in `folder`."""

    def rewritten(found: re.Match[str]) -> str:
        picture, label, target = found.groups()
        place, hash_sign, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target) or not place:
            return found[0]
        path = posixpath.normpath(posixpath.join(folder, place))
        if path in SHOWN_AT:
            return f"[{label}](/{SHOWN_AT[path]}{hash_sign}{anchor})"
        if path.startswith("docs/"):
            return f"{picture}[{label}](/{path.removeprefix('docs/')}{hash_sign}{anchor})"
        return label if label.startswith("`") else f"`{label}`"

    return _LINK.sub(rewritten, prose)


def _on_outdated(app: Sphinx, *_: object) -> list[str]:
    """Read pages with generated text again in each build: Sphinx cannot see that the code behind them changed."""
    return [
        name
        for name in app.env.found_docs
        if _GENERATED.search(Path(app.env.doc2path(name)).read_text(encoding="utf-8"))
        or _INCLUDED.search(Path(app.env.doc2path(name)).read_text(encoding="utf-8"))
    ]


def _on_source_read(_app: Sphinx, docname: str, source: list[str]) -> None:
    source[0] = fill(source[0], docname)


def _on_doctree_read(_app: Sphinx, doctree: nodes.document) -> None:
    # Sphinx writes two dashes between a parameter and its description, and smart quotes, which would join them, are off
    for text in list(doctree.findall(nodes.Text)):
        if text.astext() == " -- ":
            text.parent.replace(text, nodes.Text(": "))


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("env-get-outdated", _on_outdated)
    app.connect("source-read", _on_source_read)
    app.connect("doctree-read", _on_doctree_read)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
