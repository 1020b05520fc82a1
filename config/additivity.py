"""Which KPIs can be taken apart by a dimension: those that add up over its values, and ratios of two such. Pure."""

from __future__ import annotations

from sqlglot import exp

from onpace.config.catalog import Catalog
from onpace.config.expression_grammar import column_name
from onpace.config.expressions import parse_kpi_expression
from onpace.config.kpi import CumulativeKpi, DerivedKpi, KpiCommon, RatioKpi, SimpleKpi
from onpace.config.kpi_entities import BalanceKpi, ConversionKpi, Kpi, RetentionKpi

__all__ = ["adds_up", "fraction_of", "is_fraction"]


def adds_up(catalog: Catalog, kpi: Kpi) -> bool:
    """Whether its values for all values of a dimension add up to its total."""
    match kpi:
        case SimpleKpi():
            return kpi.agg in ("count", "sum")
        case ConversionKpi():
            return kpi.measure == "count"
        case CumulativeKpi():
            return adds_up(catalog, catalog.kpi(kpi.of))
        case _:
            return isinstance(kpi, BalanceKpi)


def is_fraction(catalog: Catalog, kpi: Kpi) -> bool:
    """Whether it is a numerator by a denominator, both of which add up."""
    match kpi:
        case SimpleKpi():
            return kpi.agg == "avg"
        case ConversionKpi():
            return kpi.measure == "rate"
        case _:
            return isinstance(kpi, RetentionKpi) or fraction_of(catalog, kpi) is not None


def fraction_of(catalog: Catalog, kpi: Kpi) -> RatioKpi | None:
    """The KPI as a ratio of two KPIs that add up; None where it is none. A derived `a / b` is one as well."""
    found = kpi if isinstance(kpi, RatioKpi) else _quotient(catalog, kpi) if isinstance(kpi, DerivedKpi) else None
    if found is None or not all(adds_up(catalog, part) for part in catalog.inputs(found)):
        return None
    return found


def _quotient(catalog: Catalog, kpi: DerivedKpi) -> RatioKpi | None:
    tree = parse_kpi_expression(kpi.expr).tree
    while isinstance(tree, exp.Paren):
        tree = tree.this
    if not isinstance(tree, exp.Div):
        return None
    numerator, denominator = column_name(tree.this), column_name(tree.expression)
    if numerator not in catalog.kpis or denominator not in catalog.kpis:  # an offset is no KPI's name
        return None
    own = {name: getattr(kpi, name) for name in KpiCommon.model_fields}
    return RatioKpi.model_construct(
        **own, type="ratio", numerator=numerator, denominator=denominator, min_denominator=None
    )
