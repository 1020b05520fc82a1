"""The windows of `onpace.config.calendar` as SQL."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

from onpace.config.calendar import Calendar, Grain
from onpace.processors.quoting import quoted

__all__ = ["first_day_sql", "later_sql", "longest", "shortest", "window_end_sql", "window_start_sql"]


def window_start_sql(grain: Grain, zone: str | Calendar, column: str = "window_start") -> str:
    """SQL for the start (DateTime in UTC) of the window of `grain` that holds the base window `column`.

    A bare zone has weeks from Monday and fiscal years from January 1st.
    """
    tz = _tz(zone)
    if grain is Grain.MINUTE:
        return f"toStartOfMinute({column})"
    if step := grain.step:  # by the offset: ClickHouse's own functions are off in zones like Kathmandu and Lord Howe
        seconds = int(step.total_seconds())
        local = f"(toUnixTimestamp({column}) + timezoneOffset(toTimeZone({column}, {tz})))"
        return f"({column} - toIntervalSecond({local} % {seconds}))"
    return f"toTimeZone(toDateTime({first_day_sql(grain, zone, column)}, {tz}), 'UTC')"


def window_end_sql(grain: Grain, zone: str | Calendar, column: str = "window_start") -> str:
    """SQL for the end (exclusive) of the window of `grain` that begins at `column`."""
    if step := grain.step:
        return f"({column} + toIntervalSecond({int(step.total_seconds())}))"
    # by the date: a day that begins at 01:00, when the clock skips midnight, ends at 00:00
    day = later_sql(grain, first_day_sql(grain, zone, column), 1)
    return f"toTimeZone(toDateTime({day}, {_tz(zone)}), 'UTC')"


def first_day_sql(grain: Grain, zone: str | Calendar, column: str) -> str:
    """SQL for the first local day (Date) of the window of `grain`, a day or longer, that holds `column`."""
    calendar = zone if isinstance(zone, Calendar) else Calendar(ZoneInfo(zone))
    tz = _tz(zone)
    match grain:
        case Grain.WEEK if calendar.week_start:
            days = calendar.week_start
            return f"addDays(toMonday(addDays(toDate({column}, {tz}), -{days})), {days})"
        case Grain.FISCAL_QUARTER | Grain.FISCAL_YEAR:
            month, day = calendar.fiscal_start
            start = "toStartOfYear" if grain is Grain.FISCAL_YEAR else "toStartOfQuarter"
            # as if fiscal years began on January 1st, and back again
            moved = f"addMonths(toStartOfMonth(addDays(toDate({column}, {tz}), {1 - day})), {1 - month})"
            return f"addDays(addMonths({start}({moved}), {month - 1}), {day - 1})"
    first = {
        Grain.DAY: "toDate",
        Grain.WEEK: "toMonday",
        Grain.MONTH: "toStartOfMonth",
        Grain.QUARTER: "toStartOfQuarter",
        Grain.YEAR: "toStartOfYear",
    }
    return f"{first[grain]}({column}, {tz})"


def later_sql(grain: Grain, day: str, count: int | str) -> str:
    """SQL for the local day so many windows of `grain` later; earlier, where `count` is negative."""
    function, times = _ADDED[grain]
    return f"{function}({day}, {count if times == 1 else f'{times} * {count}'})"


_ADDED = {
    Grain.DAY: ("addDays", 1),
    Grain.WEEK: ("addDays", 7),
    Grain.MONTH: ("addMonths", 1),
    Grain.QUARTER: ("addMonths", 3),
    Grain.FISCAL_QUARTER: ("addMonths", 3),
    Grain.YEAR: ("addYears", 1),
    Grain.FISCAL_YEAR: ("addYears", 1),
}
_DAYS = {
    Grain.DAY: (1.0, 1.0),
    Grain.WEEK: (7.0, 7.0),
    Grain.MONTH: (28.0, 31.0),
    Grain.QUARTER: (90.0, 92.0),
    Grain.FISCAL_QUARTER: (89.0, 92.0),
    Grain.YEAR: (365.0, 366.0),
    Grain.FISCAL_YEAR: (365.0, 366.0),
}


def shortest(grain: Grain) -> timedelta:
    """No window of the grain is shorter, whatever changes of the clock lie in it."""
    return grain.step or timedelta(days=_DAYS[grain][0]) - _CLOCK


def longest(grain: Grain) -> timedelta:
    """No window of the grain is longer."""
    return grain.step or timedelta(days=_DAYS[grain][1]) + _CLOCK


_CLOCK = timedelta(hours=2)


def _tz(zone: str | Calendar) -> str:
    return quoted(zone.zone.key if isinstance(zone, Calendar) else zone)
