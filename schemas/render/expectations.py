"""Rules of a table, counted in one aggregate pass; Great Expectations judges the one row that comes back.

Each rule is a predicate that a good row satisfies; its counter is the number of rows that do not (a null predicate
counts as not). Judging row by row would double a job's time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from schemas import tables
from schemas.records import Array, Field, Nested, Scalar
from schemas.render.sql import DUCKDB, SPARK, Dialect
from schemas.tables import Table

if TYPE_CHECKING:
    from great_expectations.core.expectation_suite import ExpectationSuite

EXPECTATION = "expect_column_values_to_be_between"
KEY = "key__unique"
_FINITE = "1.7976931348623157E308"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `predicate_sql` holds for a good row; the rule of the key has none, `count_sql` alone counts for it."""

    name: str
    predicate_sql: str
    count_sql: str
    doc: str


def audit_rules(table: Table, dialect: Dialect = SPARK) -> list[Rule]:
    """The rules of a table: no nulls but where declared, ranges, closed sets, finite doubles, a unique key.

    Args:
        table: its record's attributes are the rules.
        dialect: SPARK or DUCKDB; only quoting and array functions differ.
    """
    rules = [
        Rule(name, predicate, f"COUNT(CASE WHEN {predicate} THEN NULL ELSE 1 END)", doc)
        for field in _at_rest(table)
        for name, predicate, doc in _of_field(field, dialect)
    ]
    return [*rules, _key(table, dialect)]


def _at_rest(table: Table) -> list[Field]:
    fields = tables.columns(table)
    if not table.twofold:
        return list(fields)
    return [replace(f, values=(*f.values, tables.BOTH)) if f.name == "revision" else f for f in fields]


def _of_field(field: Field, dialect: Dialect) -> Iterator[tuple[str, str, str]]:
    column = dialect.column(field.name)
    if not field.nullable:
        yield f"{field.name}__not_null", f"{column} IS NOT NULL", f"{field.name} is never null"
    for name, test, doc in _bounds(field, column):
        either = f"({column} IS NULL OR {test})"
        yield f"{field.name}__{name}", either, f"{field.name} {doc}"
    if isinstance(field.type, Array) and isinstance(field.type.items, Nested):
        for inner in field.type.items.fields:
            for name, test, doc in _bounds(inner, f"x.{dialect.column(inner.name)}"):
                label = f"{field.name}__{inner.name}__{name}"
                yield (
                    label,
                    f"({column} IS NULL OR {_all(column, test, dialect)})",
                    f"{inner.name} in {field.name} {doc}",
                )


def _bounds(field: Field, column: str) -> Iterator[tuple[str, str, str]]:
    if field.type is Scalar.DOUBLE:
        yield "finite", f"{column} BETWEEN -{_FINITE} AND {_FINITE}", "is a finite number"
    if field.minimum is not None:
        yield "min", f"{column} >= {_number(field, field.minimum)}", f"is at least {field.minimum}"
    if field.maximum is not None:
        yield "max", f"{column} <= {_number(field, field.maximum)}", f"is at most {field.maximum}"
    if field.values:
        listed = ", ".join("'" + value.replace("'", "''") + "'" for value in field.values)
        yield "values", f"{column} IN ({listed})", f"is one of {', '.join(field.values)}"


def _number(field: Field, value: float) -> str:
    return f"{float(value)!r}E0" if field.type is Scalar.DOUBLE else str(int(value))


def _all(column: str, test: str, dialect: Dialect) -> str:
    if dialect is DUCKDB:
        return f"len(list_filter({column}, lambda x: NOT COALESCE({test}, FALSE))) = 0"
    return f"forall({column}, x -> COALESCE({test}, FALSE))"


def whole_key(table: Table) -> list[str]:
    """The columns of which no two rows agree in all: partition and key."""
    return [*([table.partition] if table.partition and table.partition not in table.key else []), *table.key]


def _key(table: Table, dialect: Dialect) -> Rule:
    whole = whole_key(table)
    names = ", ".join(dialect.column(name) for name in whole)
    row = f"({names})" if dialect is DUCKDB and len(whole) > 1 else names if len(whole) == 1 else f"struct({names})"
    return Rule(KEY, "", f"COUNT(*) - COUNT(DISTINCT {row})", f"({', '.join(whole)}) is unique")


def aggregates(table: Table, dialect: Dialect = SPARK) -> dict[str, str]:
    """Rule name to the aggregate that counts what breaks it, for the select list of one pass."""
    return {rule.name: rule.count_sql for rule in audit_rules(table, dialect)}


def sound(table: Table, dialect: Dialect = SPARK) -> str:
    """The predicate of a row that breaks no rule; the key's is none of a row."""
    return " AND ".join(f"({rule.predicate_sql})" for rule in audit_rules(table, dialect) if rule.predicate_sql)


def query(table: Table, source: str, dialect: Dialect = SPARK) -> str:
    """The whole pass over `source`: one row, the column ``row_count`` and a counter for each rule."""
    counters = [f"{sql} AS {dialect.column(name)}" for name, sql in aggregates(table, dialect).items()]
    return f"SELECT COUNT(*) AS {dialect.column('row_count')},\n  " + ",\n  ".join(counters) + f"\nFROM {source}"


def expectations(table: Table) -> list[tuple[str, dict[str, Any]]]:
    """(expectation type, arguments) over the one-row result: every counter is 0."""
    return [(EXPECTATION, {"column": rule.name, "min_value": 0, "max_value": 0}) for rule in audit_rules(table)]


def suite(table: Table, rules: Sequence[Rule]) -> ExpectationSuite:
    """Great Expectations' suite over the one-row result; each expectation carries its rule in words."""
    from great_expectations.core.expectation_suite import ExpectationSuite
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    judged = [
        ExpectationConfiguration(
            type=EXPECTATION, kwargs={"column": r.name, "min_value": 0, "max_value": 0}, meta={"rule": r.doc}
        )
        for r in rules
    ]
    return ExpectationSuite(name=table.fqn, expectations=judged)
