"""Render a report page as one HTML file with embedded pictures, no script and no external resources.

The file can be opened from a mail attachment. The templates escape every value, because names of parts are file names, and file
names may contain any character.
"""

import functools
from importlib import resources
from typing import TYPE_CHECKING

from andon.evaluation.report.page import Page
from andon.foundation.errors import MissingExtra
from andon.foundation.extras import remedy
from andon.foundation.printable import without_controls

if TYPE_CHECKING:
    from jinja2 import Environment

_STYLES = (("andon.drawing", "page.css"), ("andon.evaluation.report", "templates/report.css"))


def render(page: Page) -> str:
    """Return the page as HTML. The same page gives the same text.

    Raises:
        MissingExtra: Jinja2 is not installed.
    """
    environment = _environment()
    return environment.get_template("page.html.j2").render(page=page)


@functools.cache
def _environment() -> "Environment":
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise MissingExtra(f"a report needs Jinja2: {remedy('evaluate')}") from error
    environment = Environment(
        loader=FunctionLoader(lambda name: _text("andon.evaluation.report", f"templates/{name}")),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_safe_text,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # style sheets of this package, the only text that is not escaped
    environment.globals["css"] = Markup("\n".join(_text(*style) for style in _STYLES))  # noqa: S704
    return environment


def _text(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def _safe_text(value: object) -> object:
    """Replace control characters, which file names may contain but HTML must not. Markup stays unchanged."""
    return without_controls(value) if type(value) is str else value
