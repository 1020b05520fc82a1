"""Business days: which days are closed, and why. Holidays are those of the `holidays` package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

__all__ = ["BusinessDays", "aliases", "countries"]

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class BusinessDays:
    """A day is open unless it is listed as closed, on the weekend or a holiday; a day listed as open always is."""

    country: str | None = None
    """ISO 3166-1 code."""
    subdivision: str | None = None
    """ISO 3166-2 code, without the country."""
    weekend: frozenset[int] = frozenset()
    """0 is Monday."""
    closed: frozenset[date] = frozenset()
    open: frozenset[date] = frozenset()

    def closed_by(self, day: date) -> str:
        """Why the day is closed: the holiday's name, the weekday of a weekend, 'a day off'; empty for an open day."""
        if day in self.open:
            return ""
        if self.country and (holiday := _holidays(self.country, self.subdivision, day.year).get(day)):
            return holiday
        if day in self.closed:
            return "a day off"
        return WEEKDAYS[day.weekday()] if day.weekday() in self.weekend else ""


@lru_cache(maxsize=1024)
def _holidays(country: str, subdivision: str | None, year: int) -> Mapping[date, str]:
    """Public holidays of a year, in English where the package has them in English."""
    import holidays  # loaded only for catalogs that have a calendar with a country

    plain = holidays.country_holidays(country, subdiv=subdivision)
    english = [name for name in plain.supported_languages if name.startswith("en")]
    language = "en_US" if "en_US" in english else next(iter(english), None)
    return dict(holidays.country_holidays(country, subdiv=subdivision, years=year, language=language))


@lru_cache
def countries() -> Mapping[str, tuple[str, ...]]:
    """Every country that holidays are known of, with the codes of its subdivisions."""
    import holidays

    return {code: tuple(parts) for code, parts in holidays.list_supported_countries(include_aliases=False).items()}


def aliases(country: str) -> Mapping[str, str]:
    """Names of a country's subdivisions, in lower case, with their codes."""
    import holidays

    named = holidays.country_holidays(country).get_subdivision_aliases()
    return {alias.lower(): code for code, others in named.items() for alias in others}
