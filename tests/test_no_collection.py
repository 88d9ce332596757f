"""Source is parsed without the error of CPython 3.11.0 to 3.11.7 while other code formats tracebacks."""

import ast
import gc
from collections.abc import Iterator

import pytest
from tests.no_collection import AFFECTED, no_collection

SOURCE = "x = [" + ", ".join(f"f({number}, a={number} + 1)" for number in range(2000)) + "]\n"


@pytest.fixture
def parsing_during_collections() -> Iterator[None]:
    """Parse other source in each garbage collection, as a thread does that formats a traceback."""

    def parse(_phase: str, _info: dict[str, int]) -> None:
        ast.parse("a + b")

    gc.callbacks.append(parse)
    yield
    gc.callbacks.remove(parse)


def parse_in_a_deeper_frame() -> ast.AST:
    return ast.parse(SOURCE)


@pytest.mark.usefixtures("parsing_during_collections")
def test_source_is_parsed_while_no_collection_can_begin() -> None:
    with no_collection():
        assert isinstance(parse_in_a_deeper_frame(), ast.Module)

    assert gc.isenabled()


@pytest.mark.skipif(not AFFECTED, reason="this Python has the correction")
@pytest.mark.usefixtures("parsing_during_collections")
def test_a_collection_breaks_the_parser_of_this_python() -> None:
    gc.collect()
    with pytest.raises(SystemError, match="recursion depth mismatch"):
        parse_in_a_deeper_frame()


def test_a_collector_that_is_switched_off_stays_so() -> None:
    gc.disable()
    try:
        with no_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
