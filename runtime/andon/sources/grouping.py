"""Which frames show one part, and which parts come from one lot: `--group REGEX|CSV`."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from andon.foundation.errors import ConfigError, DataError
from andon.runtime.items import Item, Lost, Ref
from andon.sources.collection import Collection, Found
from andon.sources.series.tables import read_table

Rule = Callable[[str], tuple[str, str] | None]
"""Key to part and group (an empty one: unchanged); None where the key does not fit."""


def parse_rule(text: str) -> Rule:
    """A rule from the command line: the path of a CSV file, or a regular expression that is searched in the key.

    The expression names its groups ``(?P<part>...)`` and ``(?P<lot>...)``, one or both, or has one group without a name,
    which is the part. The CSV file has the columns ``key,part`` and, if wanted, ``lot``.

    Raises:
        ConfigError: not a regular expression, or one without such groups.
        DataError: the CSV file cannot be read, or names a key twice.

    >>> parse_rule(r"(?P<lot>lot\\d+)/(?P<part>\\d+)_")("lot7/0012_top.png")
    ('0012', 'lot7')
    """
    if text.lower().endswith(".csv"):
        return _table_rule(Path(text))
    return _pattern_rule(text)


def regroup(refs: Sequence[Ref], rule: str | Rule) -> tuple[Ref, ...]:
    """The refs with the parts and groups that a rule gives, in the same order.

    Where only a lot is given, the part stays; where only a part is given, it is its own group.

    Raises:
        ConfigError: as `parse_rule`.
        DataError: a key that the rule does not fit, or a part that would be in two groups at once.
    """
    ask = parse_rule(rule) if isinstance(rule, str) else rule
    regrouped, strangers = [], []
    for ref in refs:
        answer = ask(ref.key)
        if answer is None:
            strangers.append(ref.key)
            continue
        part = answer[0] or ref.part
        regrouped.append(msgspec.structs.replace(ref, part=part, group=answer[1] or part))
    if strangers:
        raise DataError(
            f"--group must fit every key; it does not fit {len(strangers)} of {len(refs)}, for example {strangers[0]!r}."
        )
    homes: dict[str, str] = {}
    for ref in regrouped:
        if homes.setdefault(ref.part, ref.group) != ref.group:
            raise DataError(
                f"--group puts part {ref.part!r} into both {homes[ref.part]!r} and {ref.group!r} (at {ref.key!r}); "
                "a part belongs to one lot. Make the lot part of the part's name."
            )
    return tuple(regrouped)


class Grouped:
    """A collection with other parts and groups; the data are the same.

    Args:
        inner: what is regrouped.
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
        """What the data are."""
        return self._inner.found

    @property
    def refs(self) -> Sequence[Ref]:
        """All items, in the order of the inner collection."""
        return self._refs

    def read(self, ref: Ref) -> Item | Lost:
        """One item, with the ref as it is here."""
        return msgspec.structs.replace(self._inner.read(self._inner_refs[ref.key]), ref=ref)


def _table_rule(path: Path) -> Rule:
    table: dict[str, tuple[str, str]] = {}
    for line, row in read_table(path, ("key", "part")):
        if row["key"] in table:
            raise DataError(f"{path}, line {line}: {row['key']!r} is there twice.")
        table[row["key"]] = (row["part"], row.get("lot", ""))
    return table.get


def _pattern_rule(text: str) -> Rule:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ConfigError(f"--group {text!r}: neither a .csv file nor a regular expression: {error}") from error
    names = set(pattern.groupindex)
    one_unnamed = not names and pattern.groups == 1
    if not one_unnamed and not (names and names <= {"part", "lot"}):
        raise ConfigError(
            f"--group {text!r}: expected groups (?P<part>...) and (?P<lot>...), one or both, or a single (...) for the part."
        )

    def rule(key: str) -> tuple[str, str] | None:
        found = pattern.search(key)
        if found is None:
            return None
        answers = (found[1],) if one_unnamed else tuple(found[name] for name in names)
        if not all(answers):  # an optional group that took no part, or an empty one: names nothing
            return None
        if one_unnamed:
            return found[1], ""
        return found["part"] if "part" in names else "", found["lot"] if "lot" in names else ""

    return rule
