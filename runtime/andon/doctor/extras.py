"""Find extras of which only some packages are installed, and packages that are older than an extra needs."""

import re
from collections.abc import Callable, Mapping, Sequence

from andon.doctor.finding import Finding

NOT_FOR_USERS = frozenset({"all", "dev", "docs"})
"""Extras that are lists of other extras, or for developers."""

_REQUIREMENT = re.compile(
    r"^\s*(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[(?P<extras>[^\]]*)\])?\s*(?P<range>[^;]*?)\s*"
    r"(?:;.*\bextra\s*==\s*['\"](?P<of>[\w.-]+)['\"].*|;.*)?$"
)


def packages_of_extras(requirements: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the packages of each extra with their range of versions, from the metadata of andon.

    Args:
        requirements: the lines ``Requires-Dist`` of the metadata. An extra may name andon with another extra.

    Example:
        >>> packages_of_extras(["numpy>=2", "scipy>=1.13; extra == 'calibrate'"])
        {'calibrate': {'scipy': '>=1.13'}}
    """
    direct: dict[str, dict[str, str]] = {}
    includes: dict[str, list[str]] = {}
    for line in requirements:
        found = _REQUIREMENT.match(line)
        if found is None or found["of"] is None:
            continue
        extra = found["of"]
        direct.setdefault(extra, {})
        if found["name"].lower() == "andon":
            includes.setdefault(extra, []).extend(name.strip() for name in (found["extras"] or "").split(","))
        else:
            direct[extra][found["name"].lower()] = found["range"].strip(" ()")

    def closed(extra: str, seen: frozenset[str]) -> dict[str, str]:
        packages = dict(direct.get(extra, {}))
        for other in includes.get(extra, ()):
            if other not in seen:
                packages |= closed(other, seen | {other})
        return packages

    return {extra: closed(extra, frozenset({extra})) for extra in direct if extra not in NOT_FOR_USERS}


def check_extras(
    extras: Mapping[str, Mapping[str, str]],
    installed: Mapping[str, str],
    *,
    install: Callable[[str], str],
    fits: Callable[[str, str], bool],
) -> list[Finding]:
    """Return one finding for all complete extras, and one for each that is incomplete or too old.

    An extra counts as wanted if at least half of the packages are there that only it has. Packages of complete extras do not
    count, because every larger extra contains them.

    Args:
        extras: packages of each extra, with their range of versions.
        installed: version by name of the installed packages.
        install: function from the name of an extra to the command that installs it.
        fits: function that returns whether a version is in a range.
    """
    complete = [name for name, packages in extras.items() if set(packages) <= set(installed)]
    shared = {package for name in complete for package in extras[name]}
    findings = [
        Finding(
            subject="extras", ok=True, text=f"complete: {', '.join(sorted(complete))}" if complete else "none installed"
        )
    ]
    partly = {}
    for name, packages in extras.items():
        own = set(packages) - shared
        there = own & set(installed)
        if there and 2 * len(there) >= len(own) and name not in complete:
            partly[name] = sorted(own - there)
    for name, missing in sorted(partly.items()):
        findings.append(
            Finding(
                subject=f"extra {name}",
                ok=True,
                warning=True,
                text=f"partly installed: {', '.join(missing)} missing",
                remedy=install(name),
            )
        )
    for name in sorted([*complete, *partly]):
        old = [
            f"{package} {installed[package]} (expected {wanted})"
            for package, wanted in sorted(extras[name].items())
            if package in installed and wanted and not fits(installed[package], wanted)
        ]
        if old:
            findings.append(
                Finding(
                    subject=f"extra {name}",
                    ok=True,
                    warning=True,
                    text=f"other versions than andon needs: {', '.join(old)}",
                    remedy=install(name),
                )
            )
    return findings
