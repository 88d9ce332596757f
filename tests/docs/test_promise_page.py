"""The numbers on the page of the promise are those that the functions of andon compute."""

import re
from pathlib import Path

from andon.calibration.promise import ladder_alpha, parts_needed
from andon.calibration.recalibrate import scene_split
from andon.calibration.shift import every_shift_parts_needed, shift_parts_needed
from andon.calibration.split import LEAST_CALIBRATION_PARTS, calibration_count, total_for
from andon.runtime.calibration_facts import percent
from andon.runtime.items import Ref

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "promise.md"


def _rows(first: str) -> list[list[str]]:
    """Return the cells of the rows of the table whose heading starts with this text."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith(f"| {first}"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def _photos_to_calibrate_again(need: int) -> int:
    """Return the smallest number of photos of which enough are left after the scene check has taken its share."""
    photos = need
    while len(scene_split([Ref(key=str(one)) for one in range(photos)], seed=0)[1]) < need:
        photos += 1
    return photos


def test_the_table_of_shares_gives_the_parts_and_photos_that_are_needed() -> None:
    rows = _rows("at most this share")

    assert len(rows) == 6
    for share, parts, photos, again in rows:
        need = parts_needed(float(share.removesuffix(" %")) / 100)
        assert (parts, photos) == (str(need), str(total_for(need, 0.3)))
        assert again == str(_photos_to_calibrate_again(need))


def test_the_table_of_defaults_gives_the_promise_of_each_number_of_photos() -> None:
    rows = _rows("photos |")

    assert len(rows) == 4
    for photos, kept, left, promise in rows:
        calibration = max(LEAST_CALIBRATION_PARTS, calibration_count(int(photos), 0.3))
        alpha = ladder_alpha(calibration)
        assert alpha is not None
        assert (int(kept), int(left), promise) == (calibration, int(photos) - calibration, percent(alpha))


def test_the_table_of_shifts_gives_the_parts_for_the_next_shift_and_for_most_shifts() -> None:
    rows = _rows("at most |")

    assert len(rows) == 4
    for sentence, next_shift, most_shifts in rows:
        rejects, parts = map(int, re.findall(r"\d+", sentence))
        assert int(next_shift) == shift_parts_needed(parts, rejects)
        assert int(most_shifts) == every_shift_parts_needed(parts, rejects, 0.95)
