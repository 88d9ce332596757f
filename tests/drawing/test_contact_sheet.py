"""Pictures side by side on one sheet."""

import numpy as np
import pytest

from andon.drawing.contact_sheet import contact_sheet
from andon.drawing.style import png_of


@pytest.mark.parametrize("name", ["$\\frac{1$", "a\x1b[2J\u202e.png", "\udcff" * 60])
def test_any_name_can_stand_on_a_sheet(name: str) -> None:
    sheet = contact_sheet(np.zeros((3, 8, 8, 1), np.uint8), [name] * 3, title=name)

    assert png_of(sheet, dpi="figure").startswith(b"\x89PNG")
