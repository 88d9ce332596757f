"""Names in pictures."""

from andon.drawing.labels import shortened


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    assert shortened("patchcore --preset fast --size 224", 20) == "patchcor… --size 224"
    assert shortened("patchcore", 9) == "patchcore"
