"""The rows that a reported KPI is merged from, as SQL over the table `facts`. Pure.

Of each period and combination of dimension values the latest report counts, by (event time, source, id); the earlier
ones stay where they are. A report names some of the KPI's dimensions, all or none, and is about exactly those.
"""

from __future__ import annotations

from collections.abc import Sequence

from onpace.config.calendar import Grain
from onpace.config.kpi_entities import ReportedKpi, streams_of
from onpace.processors.quoting import inner, quoted

__all__ = ["period_start_sql", "reported_rows", "reported_since", "reported_until"]

_EXACT_BELOW = "1e20"
"""Sums of exact values have room in 38 digits; what is larger is a float."""
_THURSDAY = 3
"""Weeks have the ISO number of the Thursday in them: see `onpace.config.calendar.Period`."""


def reported_rows(leaf: ReportedKpi, dims: Sequence[str], condition: str) -> str:
    """A SELECT of one row per period and combination of the dimensions `dims` (some of the leaf's).

    Columns: `window_start` (DateTime('UTC'), the period's start in the KPI's zone), `revision` (UInt64: how many
    reports there were of it, corrections too), `` `by_<dim>` `` of `dims` (Nullable(String), never null), and the
    state: `exact` and `total` (their sum is the value: a number is exact as far as 15 digits, 9 of them after the
    point), `count` 1 (so that avg is their mean), `edge_time` (the period's start), `edge_source`, `edge_id` and
    `edge_value` (so that last is an argMax over periods). `condition`: over `window_start`.

    merge `last` and `avg`: what was reported for exactly these dimensions; a mean over regions would want weights.
    merge `sum`: that as well, and where there is none, the sum of what was reported for more dimensions. Reports that
    lie beneath another counted one are left out of the sum; of reports that divide the same whole by different
    dimensions, those by the fewest count, then those by the dimension that the KPI names first.
    """
    inside = _summed(leaf, dims) if leaf.merge == "sum" and set(leaf.dimensions) - set(dims) else _own(leaf, dims)
    names = "".join(f", {inner(name)}" for name in dims)
    return f"""SELECT window_start, revision{names}, exact, total, toUInt64(1) AS count,
      toDateTime64(window_start, 6, 'UTC') AS edge_time, '' AS edge_source, '' AS edge_id,
      CAST(toFloat64(toString(exact)) + total, 'Nullable(Float64)') AS edge_value
    FROM (SELECT {period_start_sql(leaf, "entity")} AS window_start, revision{names}, exact, total FROM (
{inside}
    ))
    WHERE {condition}"""


def reported_until(leaf: ReportedKpi) -> str:
    """A SELECT of one value: the end (DateTime in UTC) of the latest period that was reported; 1970 without any.

    Whether everything before it was reported as well, `onpace.processors.reports.Reported` says.
    """
    following = {
        Grain.DAY: "addDays({}, 1)",
        Grain.WEEK: "addDays({}, 7)",
        Grain.MONTH: "addMonths({}, 1)",
        Grain.QUARTER: "addMonths({}, 3)",
        Grain.YEAR: "addYears({}, 1)",
    }
    end = following[leaf.base_grain].format(_first_day_sql(leaf, "latest"))
    mine = f"(SELECT max(entity) AS latest, count() AS reports FROM facts WHERE {_mine(leaf)})"
    return f"SELECT if(reports = 0, toDateTime(0, 'UTC'), {_midnight_sql(end, leaf.timezone)}) FROM {mine}"


def reported_since(leaf: ReportedKpi) -> str:
    """A SELECT of one value: the start (DateTime in UTC) of the first period that was reported; 1970 without any."""
    mine = f"(SELECT min(entity) AS first, count() AS reports FROM facts WHERE {_mine(leaf)})"
    return f"SELECT if(reports = 0, toDateTime(0, 'UTC'), {period_start_sql(leaf, 'first')}) FROM {mine}"


def period_start_sql(leaf: ReportedKpi, column: str) -> str:
    """SQL for the start (DateTime in UTC) of the period whose text is in `column`, in the KPI's zone."""
    return _midnight_sql(_first_day_sql(leaf, column), leaf.timezone)


def _midnight_sql(day: str, zone: str) -> str:
    return f"toTimeZone(toDateTime({day}, {quoted(zone)}), 'UTC')"


def _first_day_sql(leaf: ReportedKpi, column: str) -> str:
    year = f"substring({column}, 1, 4)"
    match leaf.base_grain:
        case Grain.YEAR:
            return f"toDateOrZero(concat({column}, '-01-01'))"
        case Grain.QUARTER:
            return f"addMonths(toDateOrZero(concat({year}, '-01-01')), 3 * toInt32OrZero(substring({column}, 7)) - 3)"
        case Grain.MONTH:
            return f"toDateOrZero(concat({column}, '-01'))"
        case Grain.WEEK:  # the fourth of January is in week 1 (ISO 8601)
            first = f"toMonday(toDateOrZero(concat({year}, '-01-04')))"
            begins = _THURSDAY - (_THURSDAY - leaf.calendar.week_start) % 7  # days after Monday
            return f"addDays({first}, 7 * toInt32OrZero(substring({column}, 7)) + {begins - 7})"
        case _:
            return f"toDateOrZero({column})"


_FORMS = {
    Grain.YEAR: "^\\\\d{4}$",
    Grain.QUARTER: "^\\\\d{4}-Q\\\\d$",
    Grain.MONTH: "^\\\\d{4}-\\\\d\\\\d$",
    Grain.WEEK: "^\\\\d{4}-W\\\\d\\\\d$",
    Grain.DAY: "^\\\\d{4}-\\\\d\\\\d-\\\\d\\\\d$",
}
"""What was reported while the KPI had another cadence is not of one of its periods."""


def _mine(leaf: ReportedKpi) -> str:
    (stream,) = streams_of(leaf)
    return (
        f"kpi = {quoted(stream.name)} AND definition = {stream.definition} "
        f"AND match(entity, '{_FORMS[leaf.base_grain]}')"
    )


def _latest(leaf: ReportedKpi) -> str:
    """What counts of every period and combination of dimension values."""
    decimal = "toDecimal128OrNull(toString(latest), 9)"
    fits = f"ifNull(toFloat64(toString({decimal})) = latest AND abs(latest) < {_EXACT_BELOW}, 0)"
    return f"""SELECT entity, dims, revision, if({fits}, 0, latest) AS total,
          if({fits}, ifNull({decimal}, toDecimal128(0, 9)), toDecimal128(0, 9)) AS exact
        FROM (SELECT entity, dims, toUInt64(count()) AS revision, argMax(total, (time, source, id)) AS latest
          FROM facts FINAL WHERE {_mine(leaf)} GROUP BY entity, dims)"""


def _own(leaf: ReportedKpi, dims: Sequence[str]) -> str:
    """What was reported for exactly these dimensions."""
    given = " AND ".join(f"{_raw(leaf, name)} {'!=' if name in dims else '='} 'null'" for name in leaf.dimensions)
    return f"""      SELECT entity, revision{_columns(leaf, dims)}, exact, total
      FROM ({_latest(leaf)})
      WHERE {given or "1"}"""


def _summed(leaf: ReportedKpi, dims: Sequence[str]) -> str:
    """What was reported for these dimensions, or adds up to it."""
    given = " AND ".join(f"{_raw(leaf, name)} != 'null'" for name in dims) or "1"
    names = "".join(f", {inner(name)}" for name in dims)
    masks = ", ".join(f"if({_raw(leaf, name)} = 'null', 0, {2**at})" for at, name in enumerate(leaf.dimensions))
    above = "arrayAll((mine, other) -> mine = 'null' OR mine = other, above.2, report.2)"
    apart = "bitAnd(above.1, report.1) NOT IN (above.1, report.1)"
    first = "(bitCount(above.1), above.1) < (bitCount(report.1), report.1)"
    beaten = f"arrayExists(above -> above.1 != report.1 AND ({above} OR ({apart} AND {first})), reports)"
    return f"""      SELECT entity{names}, arrayFilter(report -> NOT {beaten}, reports) AS kept,
        arraySum(arrayMap(report -> report.3, kept)) AS revision,
        arraySum(arrayMap(report -> report.4, kept)) AS exact, arraySum(arrayMap(report -> report.5, kept)) AS total
      FROM (
        SELECT entity{_columns(leaf, dims)}, groupArray(
          (toUInt16(arraySum([{masks}])), JSONExtractArrayRaw(dims), revision, exact, total)) AS reports
        FROM ({_latest(leaf)})
        WHERE {given} GROUP BY entity{names}
      )"""


def _raw(leaf: ReportedKpi, name: str) -> str:
    return f"JSONExtractRaw(dims, {leaf.dimensions.index(name) + 1})"


def _columns(leaf: ReportedKpi, dims: Sequence[str]) -> str:
    places = {name: at for at, name in enumerate(leaf.dimensions, 1)}
    return "".join(f", JSONExtract(dims, {places[name]}, 'Nullable(String)') AS {inner(name)}" for name in dims)
