"""The prose of the project follows the rules for plain English, as far as a list of words and openings can show it."""

from pathlib import Path

import pytest
from tests.plain_english import ROOT, Text, check, everything, findings


def test_no_sentence_breaks_a_rule() -> None:
    assert [str(found) for found in check(everything())] == []


def _rules(text: str, kind: str = "docstring", opens: str = "function") -> list[str]:
    return [found.rule for found in findings(Text(ROOT / "x.py", 1, kind, text, opens))]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Return what the user was told.", "tell, told"),
        ("Draw it beside the others.", "beside"),
        ("Compute it anew.", "anew"),
        ("Raise an error, as it is no path.", "is no"),
        ("Of the last epoch.", "opening: fragment"),
        ("The names in a group.", "opening: not a verb"),
        ("`collect`, with a refusal.", "opening: not a verb"),
        ("Do it; then wait; then stop.", "chain of clauses"),
        ("Return " + "one more word " * 12 + ".", "long sentence"),
    ],
)
def test_a_sentence_that_breaks_a_rule_is_found(text: str, rule: str) -> None:
    assert rule in _rules(text)


@pytest.mark.parametrize(
    "text",
    [
        "Return the names of a group, sorted.",
        "Raise an error if there is no such detector.",
        "Print `told beside anew` as it stands.",
        'Match the message "nobody came".',
    ],
)
def test_plain_sentences_and_code_are_not_found(text: str) -> None:
    assert _rules(text) == []


def test_an_attribute_may_have_a_noun_phrase_but_not_a_fragment() -> None:
    assert _rules("The number of rows.", opens="attribute") == []
    assert _rules("Of a row.", opens="attribute") == ["opening: fragment"]


def test_texts_of_python_and_markdown_are_found_with_their_lines(tmp_path: Path) -> None:
    code = tmp_path / "code.py"
    code.write_text(
        '"""A module."""\nX = 1\n"""Of nothing."""\n\n\ndef f(log):\n    """Do it."""\n    log.warning("it came to %s", X)'
        '\n    raise ValueError(f"{X} told us")  # beside\n',
        encoding="utf-8",
    )
    page = tmp_path / "page.md"
    page.write_text("# Title\n\nSo it came.\n\n```sh\nit came\n```\n\n| a | it came |\n", encoding="utf-8")

    found = [(one.line, one.kind, one.rule) for path in (code, page) for one in check([path])]

    assert found == [
        (3, "docstring", "opening: fragment"),
        (8, "message", "came"),
        (9, "comment", "beside"),
        (9, "message", "tell, told"),
        (3, "document", "came"),
        (9, "document", "came"),
    ]
