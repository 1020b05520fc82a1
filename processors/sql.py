"""KPI values as SQL: one SELECT per KPI, whatever it is made of.

Every term (see `onpace.config.terms`) is one branch of a UNION ALL with the same columns; one GROUP BY merges
partitions, lives, segments, windows and dimensions; the KPI's own formula stands on top of the merged terms, never
under them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onpace.config.catalog import Catalog
from onpace.config.expressions import parse_kpi_expression, render_clickhouse
from onpace.config.kpi import CumulativeKpi, DerivedKpi, RatioKpi
from onpace.config.kpi_entities import BalanceKpi, Kpi
from onpace.config.offsets import split_name
from onpace.config.terms import Reach, Step, Term, reach_of, terms_of
from onpace.processors.leaf_sql import (
    STATE_COLUMNS,
    columns_of,
    leaf_dimensions,
    leaf_fraction,
    leaf_series,
    leaf_value,
)
from onpace.processors.placing import Placement
from onpace.processors.quoting import inner

__all__ = ["dimension_select", "merged_select"]

_UNION = "\n  UNION ALL\n"


def merged_select(
    catalog: Catalog,
    kpi: Kpi,
    placement: Placement,
    by: Sequence[str] = (),
    where: Sequence[str] = (),
    *,
    leaf_parts: bool = False,
) -> str:
    """A SELECT with the placement's column, the dimensions `by`, value, numerator, denominator and revision.

    `where`: dimensions that are compared with the query parameters `where_<name>`. `leaf_parts`: the KPI is a mean or
    a share made of events itself, and its numerator and denominator are wanted too.
    """
    terms = list(dict.fromkeys(terms_of(catalog, kpi)))
    numbers = {term: f"v{at}" for at, term in enumerate(terms)}
    formula = _Formula(catalog, numbers)
    numerator, denominator = formula.fraction(kpi) if isinstance(kpi, RatioKpi) else ("NULL", "NULL")
    dims = list(dict.fromkeys([*by, *where]))
    needed = [name for name in STATE_COLUMNS if any(name in columns_of(term.leaf) for term in terms)]
    branches = _UNION.join(_branch(at, term, needed, dims, placement) for at, term in enumerate(terms))
    keys = [placement.column, *map(inner, by)]
    merged = [*keys, *(f"{leaf_value(term.leaf, f'term = {at}')} AS v{at}" for at, term in enumerate(terms))]
    if leaf_parts:
        numerator, denominator = "numerator", "denominator"
        parts = leaf_fraction(terms[0].leaf, "term = 0")
        merged += [f"{sql} AS {name}" for sql, name in zip(parts, (numerator, denominator), strict=True)]
    outer = [placement.column, *(f"{inner(name)} AS `{name}`" for name in by)]
    return f"""SELECT {", ".join(outer)}, CAST({formula.value(kpi)}, 'Nullable(Float64)') AS value,
  CAST({numerator}, 'Nullable(Float64)') AS numerator, CAST({denominator}, 'Nullable(Float64)') AS denominator, revision
FROM (
  SELECT {", ".join([*merged, "max(revision) AS revision"])}
  FROM (
{branches}
  )
  WHERE {_comparisons(where)}
  GROUP BY {", ".join(keys)}
)"""


def dimension_select(
    catalog: Catalog, kpi: Kpi, by: Sequence[str], where: Sequence[str] = (), *, every: bool = True
) -> str:
    """A SELECT with every combination of the dimensions `by` that the KPI has ever had; without `every` it is a fast
    one, that may lack what was rebuilt from the archive."""
    rows = leaf_dimensions if every else leaf_series
    dims = list(dict.fromkeys([*by, *where]))
    names = ", ".join(map(inner, dims))
    branches = [f"SELECT {names} FROM ({rows(leaf, dims)})" for leaf in catalog.leaves(kpi)]
    return f"SELECT DISTINCT {', '.join(map(inner, by))} FROM (\n{_UNION.join(branches)}\n) WHERE {_comparisons(where)}"


def _comparisons(where: Sequence[str]) -> str:
    return " AND ".join(f"{inner(name)} = {{where_{name}:String}}" for name in where) or "1"


def _branch(at: int, term: Term, needed: Sequence[str], dims: Sequence[str], placement: Placement) -> str:
    own = columns_of(term.leaf)
    columns = [f"{name if name in own else STATE_COLUMNS[name]} AS {name}" for name in needed]
    selected = [f"{at} AS term", placement.column, "revision", *columns, *map(inner, dims)]
    return f"    SELECT {', '.join(selected)}\n    FROM ({placement.rows(term, dims)})"


class _Formula:
    """A KPI's value as SQL over the values of its terms, `numbers`."""

    def __init__(self, catalog: Catalog, numbers: Mapping[Term, str]) -> None:
        self._catalog = catalog
        self._numbers = numbers

    def value(self, kpi: Kpi, steps: tuple[Step, ...] = ()) -> str:
        """SQL for the KPI looked at through steps."""
        match kpi:
            case RatioKpi():
                numerator, denominator = self.fraction(kpi, steps)
                least = f" OR {denominator} < {kpi.min_denominator!r}" if kpi.min_denominator is not None else ""
                return f"if({denominator} = 0 OR {denominator} IS NULL{least}, NULL, {numerator} / {denominator})"
            case DerivedKpi():
                expression = parse_kpi_expression(kpi.expr)
                inputs = {name: self._input(name, steps) for name in expression.names}
                return f"({render_clickhouse(expression, inputs)})"
            case CumulativeKpi():
                return self.value(self._catalog.kpi(kpi.of), (*steps, reach_of(kpi)))
            case BalanceKpi():
                return self._numbers[Term(kpi, (*steps, Reach()))]
            case _:
                return self._numbers[Term(kpi, steps)]

    def _input(self, name: str, steps: tuple[Step, ...]) -> str:
        kpi, shift = split_name(name)
        return f"({self.value(self._catalog.kpi(kpi), (*steps, shift) if shift else steps)})"

    def fraction(self, kpi: RatioKpi, steps: tuple[Step, ...] = ()) -> tuple[str, str]:
        """SQL for a ratio's numerator and denominator."""
        parts = [self._catalog.kpi(name) for name in (kpi.numerator, kpi.denominator)]
        numerator, denominator = (f"({self.value(part, steps)})" for part in parts)
        return numerator, denominator
