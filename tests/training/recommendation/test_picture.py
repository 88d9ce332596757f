"""The picture of AUROC against time."""

import msgspec
from tests.training.recommendation.made_up import row, some

from andon.drawing.style import png_of
from andon.training.recommendation.picture import picture


def test_it_shows_candidates_budget_and_labelled_defects() -> None:
    figure = picture(some())

    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "2"]
    (legend,) = figure.legends
    told = [text.get_text() for text in legend.get_texts()]
    assert told[:3] == ["1: fast, 7 ms (recommended)", "2: slow, 60 ms", "budget, 30 ms"]
    assert "labelled defects (not used for the choice)" in told
    assert png_of(figure).startswith(b"\x89PNG")


def test_without_any_area_there_is_no_picture() -> None:
    assert picture(msgspec.structs.replace(some(), rows=(row("fast", 7.0, None),))) is None
