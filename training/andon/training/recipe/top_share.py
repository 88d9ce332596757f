"""Check the settings `pool` and `share` of detectors that pool a map. Only ``top`` uses the share of highest values."""

from typing import Protocol

from andon.foundation.errors import ConfigError


class Pooled(Protocol):
    """Settings that pool a map."""

    @property
    def pool(self) -> str:
        """Kind of pooling: mean, top or max."""
        ...

    @property
    def share(self) -> float | None:
        """Share of the highest values, if `pool` is ``top``."""
        ...


def check_share(settings: Pooled) -> None:
    """Refuse a share that would have no effect. A share that equals the default counts as not set.

    Raises:
        ConfigError: a share other than the default, with a pooling other than ``top``.
    """
    if settings.pool != "top" and settings.share != type(settings)().share:
        raise ConfigError(
            f"--share has an effect with --pool top only, got --pool {settings.pool}. Remove one of them."
        )
