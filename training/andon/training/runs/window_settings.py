"""Put the chosen windows into the settings of a detector, and name a length that works where windows are refused."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import msgspec

from andon.foundation.errors import AndonError, ConfigError, DataError
from andon.runtime.schema import InputSpec, WindowSpec
from andon.sources.collection import Collection
from andon.sources.series.good_rows import good_rows
from andon.sources.series.log import Log
from andon.training.recipe.recipe import Recipe
from andon.training.runs.plan import Plan
from andon.training.runs.window_choice import (
    HOPS,
    Accepts,
    WindowChoice,
    WindowRequest,
    choose,
    longest_usable,
    require_split,
    shown_time,
)

logger = logging.getLogger(__name__)


def windows_of(plan: Plan, opened: Collection | Log) -> tuple[Plan, Collection | Log, WindowChoice | None]:
    """Return the plan with the chosen length and hop in its settings, the log with the chosen period, and the choice.

    A resumed run has its recorded choice. Without a request, everything stays as it is, except that windows of default length
    are shortened for a short log.

    Raises:
        ConfigError: the data are frames, or the detector has no length of a window.
        DataError: no length of a window fits the log.
    """
    if plan.previous is not None:
        choice = plan.previous.window
        if choice is None or not isinstance(opened, Log):
            return plan, opened, choice
        return plan, _with_period(opened, choice.period_s), choice
    settings, opened, choice = chosen_settings(
        plan.recipe, plan.settings, plan.options.window, opened, share=plan.share
    )
    for sentence in choice.why if choice is not None else ():
        logger.info("%s", sentence)
    return plan._replace(settings=settings), opened, choice


def chosen_settings(
    recipe: Recipe, settings: msgspec.Struct, request: WindowRequest, opened: Collection | Log, *, share: float
) -> tuple[Any, Collection | Log, WindowChoice | None]:
    """Return the settings with the chosen length and hop, the log with the chosen period, and the choice.

    Without a request, everything stays as it is, and the choice is None. But windows of default length are shortened
    for a short log.

    Raises:
        ConfigError: the data are frames, or the detector has no length of a window.
        DataError: no length of a window fits the log.
    """
    if not request.given:
        works = _shorter_length(recipe, settings, opened, share) if request.shorten else None
        return (settings, opened, None) if works is None else _shortened(settings, opened, works)
    if not isinstance(opened, Log):
        raise ConfigError(
            "--steps, --hop and --period: expected sensor logs for a time or auto, got frames. Leave them out."
        )
    if not {"steps", "hop"} <= set(settings.__struct_fields__):
        raise ConfigError(
            f"{recipe.name}: expected a detector with the settings steps and hop for a time or auto, got none."
        )
    found, choice = choose(
        good_rows(opened),
        request,
        own=(getattr(settings, "steps"), getattr(settings, "hop")),  # noqa: B009 - the fields are known by name only
        accepts=lambda log: _accepts(recipe, settings, log),
        validation=recipe.uses_validation,
        share=share,
    )
    chosen = msgspec.structs.replace(settings, steps=choice.steps, hop=choice.hop)
    return chosen, _with_period(opened, choice.period_s) if found.found.grid_period_s else opened, choice


@contextlib.contextmanager
def naming_a_length(plan: Plan, opened: Collection | Log) -> Iterator[None]:
    """Add a length of windows that works to the refusal of a log that is too short for the length in the settings."""
    try:
        yield
    except DataError as error:
        hint = _hint(plan, opened)
        if not hint:
            raise
        raise DataError(f"{error} {hint}") from error


def _hint(plan: Plan, opened: Collection | Log) -> str:
    """Return a sentence with a length that works; empty if the length is not the cause, or if none works."""
    works = _shorter_length(plan.recipe, plan.settings, opened, plan.share)
    if works is None:
        return ""
    return f"Windows of {works} rows work: --steps {works} --hop {max(1, works // HOPS)}, or --steps auto."


def _shortened(settings: Any, opened: Collection | Log, works: int) -> tuple[Any, Collection | Log, WindowChoice]:
    """Return the settings with windows of `works` rows, the log, and the choice."""
    assert isinstance(opened, Log)
    period_s = opened.found.grid_period_s or opened.found.period_s
    why = f"steps {works} ({shown_time(works * period_s)}): the log is too short for windows of {settings.steps} rows"
    choice = WindowChoice(steps=works, hop=max(1, works // HOPS), period_s=period_s, why=(why,))
    return msgspec.structs.replace(settings, steps=choice.steps, hop=choice.hop), opened, choice


def _shorter_length(recipe: Recipe, settings: Any, opened: Collection | Log, share: float) -> int | None:
    """Return the longest windows that work, in rows; None if those of the settings work, or if none work."""
    if not isinstance(opened, Log) or not {"steps", "hop"} <= set(settings.__struct_fields__) or settings.steps < 2:
        return None
    good = good_rows(opened)
    accepts, validation = _accepts(recipe, settings, good), recipe.uses_validation
    with contextlib.suppress(AndonError):
        spec = accepts(settings.steps, settings.hop)
        if isinstance(spec, WindowSpec):
            require_split(good, spec, validation=validation, share=share)
            return None
    with contextlib.suppress(AndonError):
        return longest_usable(
            good,
            settings.steps - 1,
            lambda rows: accepts(rows, max(1, rows // HOPS)),
            validation=validation,
            share=share,
        )
    return None


def _accepts(recipe: Recipe, settings: msgspec.Struct, log: Log) -> Accepts:
    def accepts(steps: int, hop: int) -> InputSpec:
        return recipe.wanted_input(msgspec.structs.replace(settings, steps=steps, hop=hop), log.found)

    return accepts


def _with_period(opened: Log, period_s: float) -> Log:
    return msgspec.structs.replace(opened, found=msgspec.structs.replace(opened.found, grid_period_s=period_s))
