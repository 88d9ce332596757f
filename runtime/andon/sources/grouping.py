"""Group frames that show the same part, and parts of the same lot: `--group REGEX|CSV`."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from andon.foundation.errors import ConfigError, DataError
from andon.runtime.items import Item, Lost, Ref
from andon.sources.collection import Collection, Found
from andon.sources.series.tables import read_table

Rule = Callable[[str], tuple[str, str] | None]
"""A function from a key to the pair (part, group), or to None if the rule does not match the key.

An empty text in the pair leaves the part or the group unchanged.
"""


def parse_rule(text: str) -> Rule:
    """Parse a rule from the command line: the path of a CSV file, or a regular expression that is searched in the key.

    The expression has the named groups ``(?P<part>...)`` and ``(?P<lot>...)``, one or both, or a single group without a
    name, which is the part. The CSV file has the columns ``key,part`` and optionally ``lot``.

    Raises:
        ConfigError: the text is not a regular expression, or it has other groups.
        DataError: the CSV file cannot be read, or contains a key twice.

    >>> parse_rule(r"(?P<lot>lot\\d+)/(?P<part>\\d+)_")("lot7/0012_top.png")
    ('0012', 'lot7')
    """
    if text.lower().endswith(".csv"):
        return _table_rule(Path(text))
    return _pattern_rule(text)


def regroup(refs: Sequence[Ref], rule: str | Rule) -> tuple[Ref, ...]:
    """Return the refs with the parts and groups that a rule assigns, in the same order.

    If the rule gives only a lot, the part stays the same. If it gives only a part, the part is its own group.

    Raises:
        ConfigError: as `parse_rule`.
        DataError: the rule does not match a key, or puts one part into two groups.
    """
    assign = parse_rule(rule) if isinstance(rule, str) else rule
    regrouped, unmatched = [], []
    for ref in refs:
        answer = assign(ref.key)
        if answer is None:
            unmatched.append(ref.key)
            continue
        part = answer[0] or ref.part
        regrouped.append(msgspec.structs.replace(ref, part=part, group=answer[1] or part))
    if unmatched:
        raise DataError(
            f"--group: expected a rule that matches every key, but it does not match {len(unmatched)} of {len(refs)} keys, for "
            f"example {unmatched[0]!r}. Extend the rule."
        )
    groups: dict[str, str] = {}
    for ref in regrouped:
        if groups.setdefault(ref.part, ref.group) != ref.group:
            raise DataError(
                f"--group: expected one lot for each part, got {groups[ref.part]!r} and {ref.group!r} for part {ref.part!r} "
                f"(at {ref.key!r}). Include the lot in the name of the part."
            )
    return tuple(regrouped)


class Grouped:
    """The same data as an inner collection, with other parts and groups.

    Args:
        inner: the collection to regroup.
        rule: as `regroup`.

    Raises:
        ConfigError, DataError: as `regroup`.
    """

    def __init__(self, inner: Collection, rule: str | Rule) -> None:
        self._inner = inner
        self._refs = regroup(inner.refs, rule)
        self._inner_refs = {ref.key: ref for ref in inner.refs}

    @property
    def found(self) -> Found:
        """A description of the data."""
        return self._inner.found

    @property
    def refs(self) -> Sequence[Ref]:
        """All items, in the order of the inner collection."""
        return self._refs

    def read(self, ref: Ref) -> Item | Lost:
        """Return one item with its regrouped ref."""
        return msgspec.structs.replace(self._inner.read(self._inner_refs[ref.key]), ref=ref)


def _table_rule(path: Path) -> Rule:
    table: dict[str, tuple[str, str]] = {}
    for line, row in read_table(path, ("key", "part")):
        if row["key"] in table:
            raise DataError(f"{path}, line {line}: expected each key once, got {row['key']!r} again.")
        table[row["key"]] = (row["part"], row.get("lot", ""))
    return table.get


def _pattern_rule(text: str) -> Rule:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ConfigError(f"--group {text!r}: expected a .csv file or a regular expression: {error}") from error
    names = set(pattern.groupindex)
    one_unnamed = not names and pattern.groups == 1
    if not one_unnamed and not (names and names <= {"part", "lot"}):
        raise ConfigError(
            f"--group {text!r}: expected (?P<part>...) or (?P<lot>...) or both, or a single (...) for the part; got other groups."
        )

    def rule(key: str) -> tuple[str, str] | None:
        found = pattern.search(key)
        if found is None:
            return None
        answers = (found[1],) if one_unnamed else tuple(found[name] for name in names)
        if not all(answers):  # an optional group that did not match, or matched an empty text, names nothing
            return None
        if one_unnamed:
            return found[1], ""
        return found["part"] if "part" in names else "", found["lot"] if "lot" in names else ""

    return rule
