"""What must hold for silences, whether they stand in a KPI file or are added by a command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from onpace.config.catalog import Catalog
from onpace.config.declarations import Declarations, Declared, SilencesOfFile
from onpace.config.errors import did_you_mean
from onpace.config.reports import Report
from onpace.config.rules import PeriodRule, Rule, WindowRule
from onpace.config.silences import BUILT_IN_RULES, Matchers, PlannedSilence, Silence, instant_in
from onpace.config.yaml_lines import Place

__all__ = ["check_silences", "matcher_problems"]

UTC = "UTC"
MISSING = {
    "by": "say whose silence it is, as in by: anna",
    "why": "say why, as in why: Move to the new warehouse",
    "until": "say when it ends, as in until: 2026-11-30T06:00",
}
EVENT_TYPE = "event_type"
"""The dimension of the alerts of silent sources."""


def check_silences(found: Declarations, catalog: Catalog, report: Report) -> tuple[Silence, ...]:
    """Report what is wrong with the silences of the files; return those that are sound, in file order.

    `catalog` holds the KPIs, channels and rules that are sound.
    """
    sound: dict[str, Silence] = {}
    places: dict[str, Place] = {}
    for section in found.silences:
        for spec, place in _entries(section, report):
            silence = _Check(place, section.timezone, report).silence(spec, catalog, found)
            if silence is None:
                continue
            if silence.id in sound:
                report.add(place, f"silence '{silence.id}': declared twice: also at {places[silence.id]}")
            sound.setdefault(silence.id, silence)
            places.setdefault(silence.id, place)
    return tuple(sound.values())


def _entries(section: SilencesOfFile, report: Report) -> Iterator[tuple[Mapping[str, object], Place]]:
    content, place = section.content, section.place
    if not isinstance(content, list | None):
        report.add(place, "silences: must be a list: begin each silence with '- rule: …'")
        return
    for index, spec in enumerate(content or []):
        if isinstance(spec, dict):
            yield spec, place.at(index)
        else:
            report.add(place.at(index), "silence: must be a mapping, as in {rule: …, by: …, why: …, until: …}")


class _Check:
    """Looks at one silence of a file, whose times without a zone are in `timezone`, else UTC."""

    def __init__(self, place: Place, timezone: str | None, report: Report) -> None:
        self._place = place
        self._timezone = timezone
        self._report = report
        self._subject = "silence"
        self._sound = True

    def silence(self, spec: Mapping[str, object], catalog: Catalog, found: Declarations) -> Silence | None:
        """What it says, or None where something is wrong with it."""
        if isinstance(name := spec.get("name"), str):
            self._subject = f"silence '{name}'"
        harmless: dict[str, Any] = dict.fromkeys(("by", "why"))
        model = self._report.build(PlannedSilence, spec, place=self._place, subject=self._subject, harmless=harmless)
        if model is None:
            return None
        for key, what in MISSING.items():
            if spec.get(key) is None:
                self._complain((), f"'{key}' is missing: {what}")
        for keys, message in matcher_problems(model.matchers, catalog, declared=found):
            self._complain(keys, message)
        start, until = self._times(model)
        if until is None or not self._sound or not (model.by and model.why):
            return None
        meant, by, why = model.matchers, model.by, model.why
        return Silence(id=model.id, matchers=meant, by=by, why=why, start=start, until=until, declared=True)

    def _complain(self, keys: tuple[str, ...], message: str) -> None:
        self._sound = False
        self._report.add(self._place.at(*keys), f"{self._subject}: {message}")

    def _times(self, model: PlannedSilence) -> tuple[datetime | None, datetime | None]:
        try:
            zone = ZoneInfo(self._timezone or UTC)
        except (ValueError, OSError, ZoneInfoNotFoundError):
            hint = "write one as in Europe/Berlin"
            self._complain(("until",), f"unknown time zone '{self._timezone}' in defaults: {hint}")
            return None, None
        start, until = (instant_in(text, zone) if text else None for text in (model.start, model.until))
        if start is not None and until is not None and until <= start:
            self._complain(("until",), "it ends before it begins: until must be later than from")
        return start, until


Complaint = tuple[tuple[str, ...], str]
"""The keys that are wrong (none: the silence itself) and what is wrong with them."""


def matcher_problems(
    matchers: Matchers, catalog: Catalog, *, declared: Declarations | None = None
) -> Iterator[Complaint]:
    """Why these can match no alert of the catalog, or would match all.

    `declared`: the declarations of files that are being checked; what is wrong in itself is not complained of twice.
    """
    if matchers.empty:
        yield (), "it would silence everything: give rule, kpi, severity, period or match"
        return
    rules = dict.fromkeys((*(declared.rules if declared else catalog.rules), *BUILT_IN_RULES))
    kpis = declared.kpis if declared else catalog.kpis
    wrong = False
    named: list[tuple[str, str | None, Iterable[str]]] = [("rule", matchers.rule, rules), ("kpi", matchers.kpi, kpis)]
    for what, name, known in named:
        if name is not None and not _known(name, known):
            wrong = True
            yield (what,), f"unknown {what} '{name}'{did_you_mean(name, known)}"
    if wrong or (declared and _broken(declared)):
        return
    meant = list(_meant(matchers, catalog))
    if not meant:
        why = ": only rules on targets have alerts of a period" if matchers.period else ""
        yield (), f"no rule has alerts that match {matchers}{why}"
        return
    for name, value in matchers.match.items():
        if not value:
            yield ("match", name), f"{name} is empty: write (empty) for the empty value, (null) for a missing one"
    yield from _dimension_problems(matchers, catalog, meant)
    if managers := _only_managers(meant, catalog):
        yield (), f"what it matches goes to Alertmanager only ({managers}), which silences by itself: silence it there"


def _broken(declared: Declarations) -> bool:
    sections: tuple[Iterable[Declared[Any]], ...] = (declared.rules.values(), declared.kpis.values())
    return any(one.model is None for section in sections for one in section)


def _only_managers(meant: list[Rule | str], catalog: Catalog) -> str:
    """The channels of these rules, where all of them are Alertmanagers."""
    names = [name for rule in meant if not isinstance(rule, str) for name in rule.notify]
    reached = [catalog.channels[name] for name in dict.fromkeys(names) if name in catalog.channels]
    only = all(channel.type == "alertmanager" for channel in reached) and not any(isinstance(r, str) for r in meant)
    return ", ".join(channel.name for channel in reached) if only else ""


def _known(pattern: str, names: Iterable[str]) -> bool:
    return any(Matchers(rule=pattern).hold(rule=name, kpi="", severity="", period="", series={}) for name in names)


def _meant(matchers: Matchers, catalog: Catalog) -> Iterator[Rule | str]:
    """The rules whose alerts it may match, whatever their series and period; built-in ones by name."""
    lax = matchers.model_copy(update={"match": {}, "period": None})
    for rule in catalog.rules.values():
        held = lax.hold(rule=rule.name, kpi=rule.kpi, severity=rule.severity, period="", series={})
        if held and (matchers.period is None or isinstance(rule, PeriodRule)):
            yield rule
    for name in BUILT_IN_RULES:
        if matchers.period is None and lax.hold(rule=name, kpi="", severity="ticket", period="", series={}):
            yield name


def _dimension_problems(matchers: Matchers, catalog: Catalog, meant: list[Rule | str]) -> Iterator[Complaint]:
    series = [names for rule in meant for names in _series_names(rule, catalog)]
    known = sorted({name for names in series for name in names})
    everywhere = {name for kpi in catalog.kpis.values() for name in catalog.dimensions(kpi)}
    for name in matchers.match:
        if name in known:
            continue
        hint = did_you_mean(name, known)
        if name in everywhere and not hint:
            yield ("match", name), f"no rule that it matches has alerts by '{name}': leave it out, or give the rule by"
        else:
            hint = hint or (f" (known are {', '.join(known)})" if known else "")
            yield ("match", name), f"unknown dimension '{name}'{hint}"
    together = any(set(matchers.match) <= names for names in series)
    if not together and all(dimension in known for dimension in matchers.match):
        yield ("match",), f"no alert has {' and '.join(matchers.match)} together"


def _series_names(rule: Rule | str, catalog: Catalog) -> Iterator[set[str]]:
    """The dimensions that alerts of a rule may have."""
    if isinstance(rule, str):
        yield {EVENT_TYPE} if rule == BUILT_IN_RULES[0] else set()
    elif isinstance(rule, WindowRule):
        yield set(rule.by)
    elif isinstance(rule, PeriodRule) and rule.kpi in catalog.kpis:
        yield from (set(target.by) for target in catalog.kpi(rule.kpi).targets)
    else:
        yield set()
