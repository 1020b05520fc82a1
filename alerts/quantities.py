"""Numbers, times and periods as people write them. Pure."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from onpace.alerts.status import format_value
from onpace.config.calendar import FISCAL_GRAINS, Grain, Period

__all__ = ["difference", "in_period", "local_time", "percent", "period_name", "quantity"]

MINUS = "−"


def quantity(value: float | None, unit: str) -> str:
    """`52,100 EUR`; a ratio as `51.2 %`; an en dash for nothing."""
    if value is None:
        return format_value(None)
    if unit == "ratio":
        return _signed(format_value(value, unit))
    return _signed(f"{format_value(value)} {unit}".rstrip())


def difference(value: float | None, unit: str) -> str:
    """`+5,900 EUR`, `−5,900 EUR`; of ratios in percentage points."""
    if value is None:
        return format_value(None)
    sign = "+" if value > 0 else ""
    if unit == "ratio":
        return _signed(f"{sign}{_points(value)} percentage points")
    return sign + quantity(value, unit)


def percent(share: float) -> str:
    """`82 %`, in whole ones."""
    return _signed(f"{share * 100:.0f} %")


def _points(value: float) -> str:
    size = abs(value) * 100
    return f"{value * 100:,.0f}" if size >= 100 else f"{value * 100:.3g}"


def _signed(text: str) -> str:
    return text.replace("-", MINUS, 1) if text.startswith("-") else text


def local_time(at: datetime, zone: ZoneInfo) -> str:
    """`2026-10-14 09:00 CEST`."""
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M %Z}"


def period_name(period: Period) -> str:
    """`October 2026`, `Q4 2026`, `week 43 of 2026`, `2026-10-05`, `fiscal year 2027`."""
    day = period.first_day
    fiscal = "fiscal " if period.grain in FISCAL_GRAINS else ""
    match period.grain:
        case Grain.MONTH:
            return f"{day:%B %Y}"
        case Grain.QUARTER | Grain.FISCAL_QUARTER:
            return f"{fiscal}Q{(day.month + 2) // 3} {day.year}"
        case Grain.WEEK:
            year, week, _ = day.isocalendar()
            return f"week {week} of {year}"
        case Grain.YEAR | Grain.FISCAL_YEAR:
            return f"{fiscal and 'fiscal year '}{day.year}"
        case _:
            return str(period)


def in_period(period: Period) -> str:
    """`in October 2026`, `on 2026-10-05`."""
    return f"{'on' if period.grain is Grain.DAY else 'in'} {period_name(period)}"
