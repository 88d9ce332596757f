"""Print the audit of a results folder as text: one sentence first, then the groups, then the comparison of two models."""

from collections.abc import Sequence

from andon.archive.results import Manifest
from andon.calibration.audit import advice
from andon.calibration.many_groups import GroupAudit, sentence_about
from andon.evaluation.results.back_test import BackTest, DiscordantItem
from andon.evaluation.results.promise_audit import RejectShare, ResultsAudit
from andon.foundation.printable import printable
from andon.runtime.calibration_facts import percent_down, percent_up

MOST_GROUPS = 12
"""Upper limit of printed groups of one kind. Of more, those with the smallest p-values are printed."""
MOST_ITEMS = 10
"""Upper limit of printed items about which two models disagree."""

_MARGIN = " " * 13


def promise_lines(audit: ResultsAudit, manifest: Manifest) -> list[str]:
    """Return the lines about the promise of one folder."""
    if audit.total is not None:
        record = audit.total.audit
        lines = [f"{record.sentence}. {advice(record, audit.total.parts_in_total)}".rstrip()]
        kind, parts, lost = "good parts", record.parts, audit.total.lost
    else:
        assert audit.reject_share is not None  # an audit has one of both
        lines = [f"{audit.reject_share.sentence}."]
        kind, parts, lost = "parts", audit.reject_share.parts, audit.reject_share.lost
    model = manifest.identity.model
    lines.append(f"model        {printable(model.name)} ({model.short})")
    drawn = ", one drawn from each lot" if audit.one_per_lot else ""
    left_out = f"; not counted: {lost} with lost input" if lost else ""
    lines.append(f"counted      {parts} {kind}{drawn}, from {audit.rows} rows{left_out}")
    if audit.repeated:
        several = "1 row is" if audit.repeated == 1 else f"{audit.repeated} rows are"
        lines.append(f"repeated     {several} equal to another row of the same item. Each item is counted once.")
    if not manifest.complete:
        missing = f", {len(manifest.missing)} of them after errors" if manifest.missing else ""
        lines.append(
            f"incomplete   blocks of the input have no results yet{missing}. Missing parts may differ from the others."
        )
    for what, groups in audit.groups.items():
        lines += _group_lines(what, groups)
    for what, shares in audit.reject_shares.items():
        lines += _share_lines(what, shares)
    return lines


def back_test_lines(test: BackTest, new: Manifest, old: Manifest) -> list[str]:
    """Return the lines about two models."""
    names = [f"{printable(one.identity.model.name)} ({one.identity.model.short})" for one in (old, new)]
    decisions = test.decisions
    lines = [
        f"back-test    old model {names[0]}, new model {names[1]}",
        f"{_MARGIN}{_capital(decisions.sentence())}.",
        f"{_MARGIN}{'':<14}{'new passes':>12}{'new rejects':>12}",
        f"{_MARGIN}{'old passes':<14}{decisions.both_pass:>12}{decisions.only_new_rejects:>12}",
        f"{_MARGIN}{'old rejects':<14}{decisions.only_old_rejects:>12}{decisions.both_reject:>12}",
    ]
    if test.good is not None and test.good != decisions:
        lines.append(f"{_MARGIN}Good parts only: {test.good.sentence()}.")
    if not test.independent:
        lines.append(
            f"{_MARGIN}The test and the bound treat the parts as independent. Here they depend on each other, so both are too "
            "optimistic."
        )
    if test.lost:
        lines.append(f"{_MARGIN}Not compared: {test.lost} parts with lost input.")
    if test.only_new or test.only_old:
        lines.append(
            f"{_MARGIN}Not compared: {test.only_new} items that only the new results contain, {test.only_old} items that only "
            "the old ones contain."
        )
    if test.items:
        shown = test.items[:MOST_ITEMS]
        rest = "" if test.discordant_items == len(shown) else f", the first {len(shown)}"
        several = "1 item" if test.discordant_items == 1 else f"{test.discordant_items} items"
        lines.append(f"disagreement {several}, worst first{rest}. A level of 1 is the threshold.")
        lines += [f"{_MARGIN}{_item(item)}" for item in shown]
    return lines


def _group_lines(what: str, groups: Sequence[GroupAudit]) -> list[str]:
    if not groups:
        return []
    lines = [f"{f'by {what}':<13}{sentence_about(groups, what)}"]
    shown: Sequence[GroupAudit] = groups
    if len(groups) > MOST_GROUPS:
        shown = sorted(groups, key=lambda group: group.p)[:MOST_GROUPS]
    width = max(len(_name(group.name)) for group in shown)
    for group in shown:
        record = group.audit
        bounds = f"{percent_down(record.lower)} to {percent_up(record.upper)}"
        lines.append(
            f"{_MARGIN}{_name(group.name):<{width}}  {record.rejects} of {record.parts} rejected, {bounds}: {_finding(group)}"
        )
    if len(groups) > len(shown):
        lines.append(f"{_MARGIN}and {len(groups) - len(shown)} more with larger p-values (--json lists all)")
    return lines


def _finding(group: GroupAudit) -> str:
    match group.audit.finding:
        case "violated":
            return "violated" if group.violated else "violated alone, not after the correction"
        case "confirmed":
            return "confirmed"
        case "undecided":
            if group.parts_in_total is None:
                return "not decided, and no number of parts would decide it at this rate"
            if group.audit.looks == "anytime":
                return f"not decided, about {group.parts_in_total - group.audit.parts} more parts would decide it"
            return f"not decided, a new count of about {group.parts_in_total} parts would decide it"


def _share_lines(what: str, shares: Sequence[RejectShare]) -> list[str]:
    if not shares:
        return []
    lines = [f"{f'by {what}':<13}rejected parts, and the upper bound of their share for each {what} alone"]
    shown: Sequence[RejectShare] = shares
    if len(shares) > MOST_GROUPS:
        shown = sorted(shares, key=lambda share: -share.rejects / share.parts)[:MOST_GROUPS]
    width = max(len(_name(share.name)) for share in shown)
    for share in shown:
        observed = f"{100 * share.rejects / share.parts:.3g} %"
        lines.append(
            f"{_MARGIN}{_name(share.name):<{width}}  {share.rejects} of {share.parts} rejected ({observed}), at most "
            f"{percent_up(share.upper)}"
        )
    if len(shares) > len(shown):
        lines.append(f"{_MARGIN}and {len(shares) - len(shown)} more with smaller shares (--json lists all)")
    return lines


def _item(item: DiscordantItem) -> str:
    label = f" (label {printable(item.label)})" if item.label is not None else ""
    old = _verdict(item.old_status, item.old_score, item.old_level)
    new = _verdict(item.new_status, item.new_score, item.new_level)
    return f"{printable(item.item_id)}{label}: old {old}, new {new}"


def _verdict(status: str, score: float | None, level: float | None) -> str:
    if score is None:
        return status
    return f"{status} {score:.4g}" + (f" (level {level:.4g})" if level is not None else "")


def _name(name: str) -> str:
    return printable(name, limit=40)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
