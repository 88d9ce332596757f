"""Pictures of one part are found by a pattern in their path."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.foundation.errors import ConfigError, DataError
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import Reason
from andon.sources.collection import FoundFrames
from andon.sources.grouping import Grouped, regroup

KEYS = ["lotA/p1_top.png", "lotA/p1_side.png", "lotA/p2_top.png", "lotB/p3_top.png"]
REFS = [Ref(key=key, time_s=float(number)) for number, key in enumerate(KEYS)]


def parts_and_lots(rule: str) -> list[tuple[str, str]]:
    return [(ref.part, ref.group) for ref in regroup(REFS, rule)]


def test_an_expression_names_part_and_lot() -> None:
    assert parts_and_lots(r"(?P<lot>lot.)/(?P<part>p\d)") == [
        ("p1", "lotA"),
        ("p1", "lotA"),
        ("p2", "lotA"),
        ("p3", "lotB"),
    ]


def test_a_single_group_without_a_name_is_the_part() -> None:
    assert parts_and_lots(r"(p\d)_") == [("p1", "p1"), ("p1", "p1"), ("p2", "p2"), ("p3", "p3")]


def test_a_lot_alone_leaves_the_parts_as_they_are() -> None:
    assert parts_and_lots(r"^(?P<lot>[^/]+)") == [(key, key.split("/")[0]) for key in KEYS]


def test_a_table_names_part_and_lot(tmp_path: Path) -> None:
    table = tmp_path / "groups.CSV"
    table.write_text("key,part,lot\n" + "".join(f"{key},part{n // 2},monday\n" for n, key in enumerate(KEYS)))

    assert parts_and_lots(str(table)) == [
        ("part0", "monday"),
        ("part0", "monday"),
        ("part1", "monday"),
        ("part1", "monday"),
    ]


@given(st.lists(st.from_regex(r"lot[0-9]/part[0-9]", fullmatch=True), unique=True))
def test_regrouping_changes_neither_order_nor_keys_nor_times(keys: list[str]) -> None:
    refs = [Ref(key=key, time_s=1.5 * number) for number, key in enumerate(keys)]

    regrouped = regroup(refs, r"(?P<lot>lot\d)")
    assert [(ref.key, ref.time_s) for ref in regrouped] == [(ref.key, ref.time_s) for ref in refs]


def test_a_key_that_does_not_fit_is_named() -> None:
    with pytest.raises(DataError, match=r"does not match 1 of 4 keys, for example 'lotB/p3_top.png'"):
        regroup(REFS, r"lotA/(p\d)")


def test_an_optional_group_that_stays_empty_does_not_fit() -> None:
    with pytest.raises(DataError, match="does not match 3 of 4"):
        regroup(REFS, r"lot.(?P<part>/p3)?")


def test_a_key_missing_from_the_table_is_named(tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text(f"key,part\n{KEYS[0]},a\n")

    with pytest.raises(DataError, match=r"does not match 3 of 4 keys, for example 'lotA/p1_side.png'"):
        regroup(REFS, str(table))


def test_a_part_cannot_be_in_two_lots() -> None:
    refs = [Ref(key="lotA/p1.png"), Ref(key="lotB/p1.png")]

    with pytest.raises(DataError, match="got 'lotA' and 'lotB' for part 'p1'"):
        regroup(refs, r"(?P<lot>lot.)/(?P<part>p\d)")


@pytest.mark.parametrize("rule", ["(", "no groups", "(two)(groups)", "(?P<batch>x)", "(?P<part>x)(?P<day>y)"])
def test_what_is_no_rule_is_refused(rule: str) -> None:
    with pytest.raises(ConfigError, match="--group"):
        regroup(REFS, rule)


@pytest.mark.parametrize("text", ["key,part\na,1\na,2\n", "key,lot\na,1\n", "key,part\na,\n"])
def test_a_table_that_is_not_clear_is_refused(tmp_path: Path, text: str) -> None:
    table = tmp_path / "groups.csv"
    table.write_text(text)

    with pytest.raises(DataError, match=r"groups\.csv"):
        regroup([], str(table))


class TwoItems:
    """A collection of one good and one damaged item."""

    found = FoundFrames(channels=1, frame_size=(2, 2), largest=(2, 2))
    refs: Sequence[Ref] = (Ref(key="a1"), Ref(key="a2"))

    def read(self, ref: Ref) -> Item | Lost:
        assert ref in self.refs, "the inner collection must see its own refs"
        return Item(ref, np.zeros((2, 2, 1), np.uint8)) if ref.key == "a1" else Lost(ref, Reason.UNREADABLE)


def test_a_grouped_collection_gives_the_same_items_under_the_new_refs() -> None:
    grouped = Grouped(TwoItems(), "^(a)")

    assert [ref.part for ref in grouped.refs] == ["a", "a"]
    assert [type(grouped.read(ref)) for ref in grouped.refs] == [Item, Lost]
    assert [grouped.read(ref).ref for ref in grouped.refs] == list(grouped.refs)
    assert grouped.found == TwoItems.found
