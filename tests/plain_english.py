"""Find sentences that break the rules for plain English, in Markdown and in Python.

    python -m tests.plain_english                 # counts by rule and by package, over the whole repository
    python -m tests.plain_english PATH ...        # findings in these files

Texts are: docstrings, messages (arguments of exceptions, of the logger and of print), help (argparse, settings), comments, and
the prose of Markdown files without code. The rules are a short list. A rule that needs judgement is not here.
"""

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

ROOT = Path(__file__).parents[1]
LONGEST_SENTENCE = 30
"""Upper limit of words. The aim is 25, with room for a name of several words or a path."""

Kind = Literal["docstring", "message", "help", "comment", "document"]


class Text(NamedTuple):
    """One piece of prose."""

    path: Path
    line: int
    kind: Kind
    text: str
    opens: str = ""
    """The owner of a docstring: function, class, module or attribute; empty for other texts."""


class Finding(NamedTuple):
    """One place that breaks a rule."""

    path: Path
    line: int
    kind: Kind
    rule: str
    excerpt: str

    def __str__(self) -> str:
        """Return one line, as compilers print it."""
        return f"{self.path.relative_to(ROOT).as_posix()}:{self.line}: {self.kind}: {self.rule}: {self.excerpt}"


WORDS = {
    "tell, told": r"tell|tells|telling|told",
    "say, said": r"say|says|said|saying",
    "beside": r"beside|besides",
    "anew": r"anew",
    "learnt": r"learnt|spoilt|spelt|burnt",
    "came": r"came",
    "is no": r"(?<!there )(?:is|are) no(?= [a-z])(?! longer| more than)",
    "but for": r"but for|but (?:the|a|an|one|one's) (?=\w+ of)",
    "hangs on": r"hang on|hangs on",
    "carry": r"carry|carries|carried",
    "so many": r"so many|as many as (?=\w+ (?:wants|needs))",
    "whom, whoever": r"whom|whoever|whatever|whichever|whomever",
    "nobody, somebody": r"nobody|somebody|nobody's|somebody's|anybody",
    "metaphor": r"album|albums|reel|reels|hand-?over|hand-over|hostage|house|at home|company|journey|lives in",
    "bear, lie": r"bear|bears|borne|lies|lay",
    "old word": r"whereby|thereof|hence|thus|lest|hitherto|wherein|upon|unasked|mend|mends|mended|sees to it",
}
"""Banned words by rule."""

OPENINGS = {
    "fragment": (
        r"(?:Of|Whom|Whose|What|How|Which|Where|Who|When|Whether|Why|Until|Beyond|So|Else)\b",
        ("function", "class", "module", "attribute"),
    ),
    "not a verb": (
        (
            r"(?:A|An|The|All|Each|Every|For|From|In|On|With|As|At|Those|This|These|Its|It|One|Two|No|Not|Some|Several|Any|By|Same)\b"
            r"|[`\d\[]"
        ),
        ("function",),
    ),
}
"""Forbidden openings of docstrings, and the owners that each rule applies to."""

_WORDS = {rule: re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for rule, words in WORDS.items()}
_OPENINGS = {rule: (re.compile(words), opens) for rule, (words, opens) in OPENINGS.items()}
_CODE = re.compile(r"``[^`]*``|`[^`\n]*`|\"[^\"\n]*\"|https?://\S+")
_NAMED = re.compile(r"\b(?:property|cached_property|fixture)\b")
"""Decorators of functions that are used like attributes: a noun phrase describes them."""
_LOG = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
_HELP = frozenset({"help", "description", "epilog", "metavar", "summary"})


def texts(path: Path) -> list[Text]:
    """Return the prose of a Markdown or Python file."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return [*_python(path, source), *_comments(path, source)]
    return list(_markdown(path, source))


def findings(text: Text) -> Iterator[Finding]:
    """Yield the places of one text that break a rule."""
    prose = _CODE.sub("CODE", text.text)
    for rule, pattern in _WORDS.items():
        for found in pattern.finditer(prose):
            yield _finding(text, rule, prose, found.start())
    for rule, (pattern, opens) in _OPENINGS.items():
        if text.opens in opens and pattern.match(text.text):
            yield _finding(text, f"opening: {rule}", prose, 0)
    if text.kind == "comment":
        return
    at = 0
    for sentence in re.split(r"(?<=[.?!])\s+|\n\s*\n|\n(?=\s*[-*|>:] )|\n(?=\s*\w+: )", prose):
        at = max(prose.find(sentence, at), at)
        if len(re.findall(r"[\w'’.-]*\w", sentence)) > LONGEST_SENTENCE:
            yield _finding(text, "long sentence", prose, at)
        if sentence.count(";") > 1 or len(re.findall(r"(?<!\w):(?= )|\w:(?= )", sentence)) + sentence.count(";") > 2:
            yield _finding(text, "chain of clauses", prose, at)


def check(paths: list[Path]) -> list[Finding]:
    """Return all findings in these files."""
    return [found for path in paths for found in sorted(found for text in texts(path) for found in findings(text))]


def everything() -> list[Path]:
    """Return all files of the repository that hold prose, sorted."""
    skipped = {".venv", "node_modules", ".git", "site", "build", "dist"}
    return sorted(
        path
        for path in ROOT.rglob("*")
        if path.suffix in {".py", ".md"} and path.is_file() and not skipped & set(path.relative_to(ROOT).parts)
    )


def package(path: Path) -> str:
    """Return where a file belongs, for counts: ``andon.runtime``, ``tests``, ``docs``, ``README.md``."""
    parts = path.relative_to(ROOT).parts
    return f"andon.{parts[2]}" if len(parts) > 3 and parts[1] == "andon" else parts[0]


def _finding(text: Text, rule: str, prose: str, at: int) -> Finding:
    begin = max(prose.rfind(" ", 0, max(at - 25, 0)) + 1, 0)
    line = text.line + prose.count("\n", 0, at)
    return Finding(text.path, line, text.kind, rule, " ".join(prose[begin : at + 70].split()))


def _python(path: Path, source: str) -> Iterator[Text]:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _docstrings(path, node)
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from _literals(path, "message", [*node.exc.args, *(word.value for word in node.exc.keywords)])
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in _LOG or name == "print":
                yield from _literals(path, "message", node.args)
            yield from _literals(path, "help", [word.value for word in node.keywords if word.arg in _HELP])
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "SUMMARY":
            yield from _literals(path, "help", [node.value])


def _docstrings(
    path: Path, node: "ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef"
) -> Iterator[Text]:
    for at, statement in enumerate(node.body):
        value = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            opens = (
                {ast.Module: "module", ast.ClassDef: "class"}.get(type(node), "function") if at == 0 else "attribute"
            )
            opens = (
                "attribute" if _NAMED.search(" ".join(map(ast.unparse, getattr(node, "decorator_list", [])))) else opens
            )
            text = "\n".join(line.strip() for line in _without_examples(value.value).splitlines())
            yield Text(path, statement.lineno, "docstring", text.strip(), opens)


def _without_examples(text: str) -> str:
    return "\n".join(
        "" if re.match(r"\s*(?:>>>|\.\.\.|={3,})| {4,}andon |  andon ", line) else line for line in text.split("\n")
    )


def _literals(path: Path, kind: Kind, nodes: list[ast.expr]) -> Iterator[Text]:
    for node in nodes:
        pieces = [
            inner
            for inner in ast.walk(node)
            if isinstance(inner, ast.Constant) and isinstance(inner.value, str) and " " in inner.value
        ]
        joined = " ".join(
            str(piece.value).strip() for piece in sorted(pieces, key=lambda one: (one.lineno, one.col_offset))
        )
        if joined:
            yield Text(path, node.lineno, kind, joined)


def _comments(path: Path, source: str) -> Iterator[Text]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not re.match(r"# (?:noqa|type:|fmt:|isort:)|#!", token.string):
            yield Text(path, token.start[0], "comment", token.string.lstrip("# "))


def _markdown(path: Path, source: str) -> Iterator[Text]:
    text = re.sub(
        r"^ *```.*?^ *```$|<!--.*?-->",
        lambda found: "\n" * found[0].count("\n"),
        source,
        flags=re.MULTILINE | re.DOTALL,
    )
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    at = 1
    for paragraph in re.split(r"(\n\s*\n|\n(?=[ ]*(?:[-*|>#]|\d+\.) ?))", text):
        if paragraph.strip():
            for cell in paragraph.split("|") if paragraph.lstrip().startswith("|") else [paragraph]:
                if cell.strip():
                    yield Text(path, at, "document", cell.strip())
        at += paragraph.count("\n")


def _table(found: list[Finding]) -> str:
    packages = [name for name, _ in Counter(package(one.path) for one in found).most_common()]
    counts = Counter((one.rule, package(one.path)) for one in found)
    rules = Counter(one.rule for one in found).most_common()
    lines = [f"{'rule':<24}{'all':>6}" + "".join(f"{name.removeprefix('andon.')[:11]:>12}" for name in packages)]
    for rule, number in rules:
        lines.append(f"{rule:<24}{number:>6}" + "".join(f"{counts[rule, name] or '':>12}" for name in packages))
    kinds = Counter(one.kind for one in found)
    return "\n".join([*lines, "", *(f"{kind:<24}{number:>6}" for kind, number in kinds.most_common())])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print("\n".join(map(str, check([Path(word).resolve() for word in sys.argv[1:]]))))
    else:
        print(_table(check(everything())))
