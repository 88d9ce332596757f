"""Read table files as columns of numbers, dates and text, or as rows of text.

Nothing here depends on the meaning of the columns. All CSV files are read by the same rules. The separator is the most frequent
one of comma, semicolon, tab and vertical bar in the header. Blank lines are skipped, and spaces around a cell are removed. A cell
is missing only if it is empty.
"""

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.foundation.errors import DataError
from andon.foundation.extras import needs

Column = NDArray[np.float64] | NDArray[np.str_] | NDArray[np.datetime64]


class Columns(Struct, frozen=True):
    """The columns of a table file."""

    names: list[str]
    cells: list[Column]
    """Cells by column, each ``[n]``: numbers (NaN for an empty cell), dates if the file declares them, otherwise text."""
    separator: str = ""
    """Separator of a CSV file; empty for Parquet."""

    def place(self, row: int, path: Path) -> str:
        """Return the place of a row: ``line 12`` of a CSV file, or ``row 11`` of a Parquet file. Reads the file again."""
        if not self.separator:
            return f"row {row + 1}"
        with path.open(encoding="utf-8-sig") as file:
            file.readline()
            rows = _rows(file, self.separator, path)
            line = next((line for at, (line, _) in enumerate(rows) if at == row), None)
        return f"line {line}"


def read_csv(path: Path) -> Columns:
    """Read the columns of a table with a header.

    One million rows of a date and 8 numbers took 1.5 s of CPU time, and 17 s if quotes or irregular rows need the csv module.

    Raises:
        DataError: the file is not UTF-8, has no header, or a column name occurs twice. Also if a row has another number of
            cells, or a quotation mark is not closed; the message then contains the line.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            names, separator, header = _header(file, path)
            _require_header(names, header, path)
            first = next((line.rstrip("\n") for line in file if line.strip()), "")
            if not first:
                return Columns(names, [np.empty(0) for _ in names], separator)
            fields = first.split(separator)
            cells = None
            if len(fields) == len(names) and '"' not in first:
                cells = _fast(path, fields, separator)
                if cells is None:
                    cells = _fast(io.StringIO(_filled(first + "\n" + file.read(), separator)), fields, separator)
            if cells is None:
                file.seek(0)
                file.readline()
                cells = _slow(file, names, separator, path)
            return Columns(names, cells, separator)
    except UnicodeDecodeError as error:
        begin = error.object[:2]
        looks = (
            "UTF-16" if begin in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "an older encoding, such as Latin-1"
        )
        raise DataError(
            f"{path}: expected text in UTF-8, got byte {error.object[error.start]:#04x}, as in {looks}. Save it as UTF-8 (in a "
            "spreadsheet: CSV UTF-8), or convert it with iconv -f ENCODING -t UTF-8."
        ) from error


def parse_rows(lines: list[str], names: list[str], separator: str, path: Path) -> Columns:
    """Read the columns of some rows of a table whose header is known.

    A place in the result is a row among these rows, not a line of the file.

    Raises:
        DataError: a row has another number of cells, or a quotation mark is not closed.
    """
    rows = [line for line in lines if line.strip()]
    if not rows:
        return Columns(names, [np.empty(0) for _ in names])
    fields = rows[0].split(separator)
    text = "\n".join(rows)
    cells = None
    if len(fields) == len(names) and '"' not in rows[0]:
        cells = _fast(io.StringIO(_filled(text, separator)), fields, separator)
    return Columns(names, _slow(io.StringIO(text), names, separator, path) if cells is None else cells)


def parse_header(line: str, path: Path) -> tuple[list[str], str]:
    """Return the names of the columns and the separator.

    Raises:
        DataError: the line is not a header.
    """
    names, separator, header = _header(io.StringIO(line), path)
    _require_header(names, header, path)
    return names, separator


def _require_header(names: list[str], header: str, path: Path) -> None:
    if not names or any(is_number(name) for name in names):
        raise DataError(f"{path}: expected a header of column names in line 1, got {header[:80]!r}.")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{path}: expected each column name once in the header, got {repeated[0]!r} more than once.")


def read_table(path: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a table with a header, each as its line number and its cells by column.

    Raises:
        DataError: the file cannot be read, one of `columns` is missing or has an empty cell, or a quotation mark is not closed.
    """
    try:
        # utf-8-sig: spreadsheets write a byte-order mark, which must not become part of the first column's name
        with path.open(encoding="utf-8-sig") as file:
            names, separator, _ = _header(file, path)
            missing = [column for column in columns if column not in names]
            if missing:
                raise DataError(f"{path}: expected columns {','.join(columns)}, got {','.join(names) or 'nothing'}.")
            rows = []
            for line, cells in _rows(file, separator, path):
                row = dict(zip(names, (cell.strip() for cell in [*cells, *[""] * len(names)]), strict=False))
                if not all(row[column] for column in columns):
                    raise DataError(
                        f"{path}, line {line}: expected a value for each of {','.join(columns)}, got an empty cell."
                    )
                rows.append((line, row))
            return rows
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected a CSV file in UTF-8, got another encoding. Save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read as a CSV file: {error}") from error


def read_parquet(path: Path) -> Columns:
    """Read a Parquet table. Times of day and nested columns become text.

    Raises:
        DataError: the file is not a Parquet file.
        MissingExtra: pyarrow is not installed.
    """
    with needs("parquet", f"{path}: reading Parquet"):
        import pyarrow as pa
        import pyarrow.parquet
    try:
        table = pa.parquet.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: expected a Parquet file, but pyarrow cannot read it: {error}") from error
    columns: list[Column] = []
    for field in table.schema:
        column, kind = table.column(field.name), field.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            columns.append(column.cast(pa.timestamp("us"), safe=False).to_numpy())
        elif pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
            columns.append(column.cast(pa.float64(), safe=False).to_numpy())
        else:
            columns.append(np.array([str(value) for value in column.to_pylist()]))
    return Columns(list(table.column_names), columns)


def is_number(text: str) -> bool:
    """Return whether Python reads the text as a float. An empty text is not a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def with_point(text: str) -> str:
    """Rewrite a number with a decimal comma to a decimal point. Return an empty text if the text is not such a number.

    >>> with_point("-0,0601"), with_point("1.234,5"), with_point("auto,1")
    ('-0.0601', '1234.5', '')
    """
    whole, comma, rest = text.strip().rpartition(",")
    plain = f"{whole.replace('.', '')}.{rest}"
    return plain if comma and is_number(plain) else ""


def _fast(source: Path | io.StringIO, first: list[str], separator: str) -> list[Column] | None:
    """Read all columns with numpy's parser; return None if a later row does not have the form of the first one."""
    width = max(len(field) for field in first) + 8
    kinds = [
        np.dtype(np.float64) if not field.strip() or is_number(field) else np.dtype(f"U{width}") for field in first
    ]
    dtype = np.dtype([(f"c{at}", kind) for at, kind in enumerate(kinds)])
    skipped = 1 if isinstance(source, Path) else 0
    try:
        table = np.loadtxt(
            source, dtype=dtype, delimiter=separator, comments=None, skiprows=skipped, ndmin=1, encoding="utf-8-sig"
        )
    except ValueError:
        return None
    cells: list[Column] = [table[name] for name in dtype.names or ()]
    texts = [
        table[name].astype(np.str_) for name, kind in zip(dtype.names or (), kinds, strict=True) if kind.kind == "U"
    ]
    if any((np.char.str_len(text) >= width).any() for text in texts):
        return None  # text longer than that of the first row was cut off
    return cells


def _filled(rows: str, separator: str) -> str:
    """Replace empty fields by nan, which numpy's parser can read."""
    rows = rows.rstrip("\n")
    for _ in range(2):  # of three separators in a row, the first pass sees only one pair
        rows = rows.replace(separator * 2, f"{separator}nan{separator}")
    rows = rows.replace(f"{separator}\n", f"{separator}nan\n").replace(f"\n{separator}", f"\nnan{separator}")
    rows = f"nan{rows}" if rows.startswith(separator) else rows
    return f"{rows}nan" if rows.endswith(separator) else rows


def _header(file: TextIO, path: Path) -> tuple[list[str], str, str]:
    """Read the first line and return the names of the columns, the separator, and the line itself."""
    header = file.readline().rstrip("\n")
    separator = max(",;\t|", key=header.count)
    names = next((cells for _, cells in _rows([header], separator, path, first=1)), [])
    return [name.strip() for name in names], separator, header


def _rows(lines: Iterable[str], separator: str, path: Path, *, first: int = 2) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each row begins, and the cells of the row. Skip blank lines. A cell may span several lines."""
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    while True:
        line = first + reader.line_num
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{path}, line {line}: expected a row of CSV, but it cannot be parsed: {error}. Is a quotation mark not closed?"
            ) from error
        if len(cells) > 1 or (cells and cells[0].strip()):
            yield line, cells


def _slow(file: Iterable[str], names: list[str], separator: str, path: Path) -> list[Column]:
    """Read all columns with the csv module, which supports quotes and knows the line of an error."""
    rows: list[list[str]] = []
    for line, row in _rows(file, separator, path):
        if len(row) != len(names):
            commas = separator == "," and len(row) > len(names) and all(is_number(cell) for cell in row)
            hint = " Decimal commas are not supported. Write points, for example 0.5." if commas else ""
            raise DataError(
                f"{path}, line {line}: expected {len(names)} fields as in the header, got {len(row)}.{hint}"
            )
        rows.append(row)
    columns: list[Column] = []
    for column in zip(*rows, strict=True):
        text = np.array([cell.strip() for cell in column])
        try:
            columns.append(np.where(text == "", "nan", text).astype(np.float64))
        except ValueError:
            columns.append(text)
    return columns
