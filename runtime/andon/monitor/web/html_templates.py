"""The HTML templates of the page. Values are escaped, and a name that a template does not get is an error."""

import functools
from typing import TYPE_CHECKING, Any

from andon.foundation.extras import needs
from andon.monitor.web.texts import LANGUAGE, texts

if TYPE_CHECKING:
    from jinja2 import Environment


@functools.cache
def environment() -> "Environment":
    """Return the environment with all templates of this package. The first call reads them.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    with needs("monitor", "the page of the monitor"):
        from jinja2 import Environment, PackageLoader, StrictUndefined
    made = Environment(
        loader=PackageLoader("andon.monitor.web"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in made.list_templates():
        made.get_template(name)  # requests then read no files
    return made


def rendered(template: str, shown: dict[str, str] | None = None, **values: Any) -> str:
    """Return a template with its values as HTML.

    Args:
        template: name of the file.
        shown: texts by key. Default: those of `LANGUAGE`.
        values: what the template shows. Names of people and lines are escaped.
    """
    known = shown or texts()

    def text(key: str, **replaced: object) -> str:
        found = known[key]
        for name, value in replaced.items():
            found = found.replace(f"{{{name}}}", str(value))
        return found

    return environment().get_template(template).render(texts=known, text=text, language=LANGUAGE, **values)
