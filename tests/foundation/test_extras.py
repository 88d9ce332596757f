"""A missing optional package is one line whose remedy works where andon was installed from."""

import pytest

from andon.foundation.errors import MissingExtra
from andon.foundation.extras import needs, remedy

INDEX = None
FOLDER = '{"url": "file:///checkout/andon", "dir_info": {}}'
EDITABLE = '{"url": "file:///checkout/andon", "dir_info": {"editable": true}}'
WHEEL = '{"url": "file:///checkout/andon-0.1.0-py3-none-any.whl", "archive_info": {}}'


@pytest.mark.parametrize(
    ("direct_url", "wanted"),
    [
        (INDEX, "pip install 'andon[camera]'"),
        (WHEEL, "pip install 'andon[camera]'"),
        (FOLDER, 'pip install ".[camera]" in andon\'s folder'),
        (EDITABLE, 'pip install -e ".[camera]" in andon\'s folder'),
        ("not json", "pip install 'andon[camera]'"),
        ("[]", "pip install 'andon[camera]'"),
    ],
    ids=["index", "wheel", "folder", "editable", "damaged", "of another shape"],
)
def test_the_remedy_fits_the_installation(direct_url: str | None, wanted: str) -> None:
    assert remedy("camera", direct_url) == wanted


def test_the_remedy_names_no_folder_of_this_machine() -> None:
    assert "/checkout" not in remedy("camera", FOLDER) + remedy("camera", EDITABLE)


def test_a_missing_package_is_named_with_what_needs_it_and_the_remedy_of_this_installation() -> None:
    with pytest.raises(MissingExtra) as raised, needs("camera", "reading pictures"):
        raise ModuleNotFoundError("No module named 'cv2'", name="cv2")

    assert str(raised.value) == f"reading pictures needs cv2: {remedy('camera')}"


def test_another_missing_module_is_a_bug_and_raised_as_it_is() -> None:
    with pytest.raises(ModuleNotFoundError), needs("camera", "reading pictures"):
        raise ModuleNotFoundError("No module named 'nowhere'", name="nowhere")
