"""Reads the tables of the paper that have a schema, a checked record each row."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from analysis.errors import UserError
from analysis.files import number_in, read_rows

SCHEMAS = Path(__file__).resolve().parents[2] / "workflow" / "schemas"


def records(
    path: Path, schema: str, columns: Sequence[str], numbers: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and content of each row, in file order; cells of `numbers` are floats, or None where they are empty.

    Raises:
        UserError: the file cannot be read, a column is missing or unknown, a cell breaks workflow/schemas/<schema>.schema.yaml,
            or an id occurs twice. The message names row, id and column.
    """
    from jsonschema.exceptions import best_match

    seen: dict[str, int] = {}
    for number, row in read_rows(path, columns):
        where = f"{path}, row {number} ({row['id'] or 'no id'})"
        record = row | {name: number_in(where, name, row[name]) for name in numbers}
        if wrong := best_match(_validator(schema).iter_errors(record)):
            column = ".".join(map(str, wrong.absolute_path)) or "row"
            raise UserError(f"{where}, column `{column}`: {wrong.message}")
        if row["id"] in seen:
            raise UserError(f"{where}: id `{row['id']}` stands already in row {seen[row['id']]}")
        seen[row["id"]] = number
        yield where, record


@cache
def _validator(schema: str) -> Any:
    import yaml
    from jsonschema import Draft202012Validator

    return Draft202012Validator(yaml.safe_load((SCHEMAS / f"{schema}.schema.yaml").read_text(encoding="utf-8")))
