"""The texts of the page, from one file for each language."""

import functools
import tomllib
from importlib import resources

from andon.foundation.errors import ConfigError

LANGUAGE = "en"


@functools.cache
def texts(language: str = LANGUAGE) -> dict[str, str]:
    """Return the texts of a language by their full keys, for example ``signal.alarm``.

    Raises:
        ConfigError: there is no file for the language, or a value in it is not text.
    """
    file = resources.files("andon.monitor.web").joinpath(f"texts.{language}.toml")
    if not language.isalpha() or not file.is_file():
        raise ConfigError(f"language: expected one with a file of texts, such as {LANGUAGE}, got {language!r}.")
    found: dict[str, str] = {}
    for section, content in tomllib.loads(file.read_text(encoding="utf-8")).items():
        for key, text in content.items():
            if not isinstance(text, str):
                raise ConfigError(f"{file}: {section}.{key}: expected text, got another value.")
            found[f"{section}.{key}"] = text
    return found
