"""The settings `pool` and `share` of detectors whose map becomes a score: a share of the highest values is of ``top`` alone."""

from typing import Protocol

from andon.foundation.errors import ConfigError


class Pooled(Protocol):
    """Settings that pool a map."""

    @property
    def pool(self) -> str:
        """mean, top or max."""
        ...

    @property
    def share(self) -> float | None:
        """Of the highest values, where `pool` is top."""
        ...


def check_share(settings: Pooled) -> None:
    """Refuse a share that would change nothing. One that was not given is its default; settings can be made without any.

    Raises:
        ConfigError: another share than the default, with another pooling than ``top``.
    """
    if settings.pool != "top" and settings.share != type(settings)().share:
        raise ConfigError(
            f"--share is of --pool top, and these settings pool by {settings.pool}: leave one of them out."
        )
