"""Puts an answer together: what is stored of a rule's alerts, and what the rule says as of the instant asked about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from onpace.alerts.alert_log import AlertLog
from onpace.alerts.alerting import BEHIND_RULE, PIPELINE_RULES, STALE_RULE
from onpace.alerts.hindsight import Hindsight
from onpace.alerts.history import StatusStore
from onpace.alerts.notifications import series_words
from onpace.alerts.overdue import ReportSource
from onpace.alerts.reading import SeriesReader, SourceTimes
from onpace.alerts.rule_words import rule_words
from onpace.alerts.rules import Verdict
from onpace.alerts.silence_store import SilenceStore
from onpace.alerts.silences import Quiet, unsettled
from onpace.alerts.staleness import Patience, behind_reason, stale_sources
from onpace.alerts.states import Alert
from onpace.alerts.unheard import unheard
from onpace.alerts.versions import TargetHistory
from onpace.alerts.why import Answer, Asked, Explanation, Finding, Place, Step, Told, answer, stand_at, worst_first
from onpace.alerts.why_beside import beside
from onpace.config.calendar import Period
from onpace.config.catalog import Catalog
from onpace.config.errors import OnPaceError, UnknownName, did_you_mean
from onpace.config.rules import NoDataRule, PeriodRule, Rule, WindowRule
from onpace.config.silences import label_text

__all__ = ["Explainer", "Question"]

MAX_ANSWERS = 10
"""So many series are told about; the others are counted."""

_UTC = ZoneInfo("UTC")
_MICROSECOND = timedelta(microseconds=1)


Steps = Mapping[Place, Sequence[Step]]


@dataclass(frozen=True, slots=True)
class Question:
    """Which rule, as of when, and which of its alerts."""

    rule: str
    at: datetime
    now: datetime
    series: Mapping[str, str] = field(default_factory=dict)
    """Dimension values; those that are not named may be any."""
    period: Period | None = None
    live: bool = True
    """False in a replay: then silence means nothing."""

    def holds(self, place: Place) -> bool:
        """Whether it is about this alert."""
        series, period = dict(place[0]), place[1]
        chosen = all(
            value in (label_text(series[name]), series[name] or "")
            for name, value in self.series.items()
            if name in series
        )
        return chosen and self.series.keys() <= series.keys() and (self.period is None or str(self.period) == period)


class Explainer:
    """Answers why alerts fired and why they did not. Reads only; every answer is read anew."""

    def __init__(
        self,
        catalog: Catalog,
        reader: SeriesReader,
        history: StatusStore,
        log: AlertLog,
        *,
        patience: Patience | None = None,
        reports: ReportSource | None = None,
        silences: SilenceStore | None = None,
    ) -> None:
        self._catalog = catalog
        self._reader = reader
        self._history = history
        self._log = log
        self._patience = patience or Patience()
        self._reports = reports
        self._silences = silences

    def explain(self, question: Question) -> Explanation:
        """Why the rule's alerts were as they were then.

        Raises UnknownName for a rule that neither the KPI files nor the store know, OnPaceError for a series or period
        that it does not have, StoreUnavailable.
        """
        name, at = question.rule, question.at
        rule = self._catalog.rules.get(name)
        alerts = self._history.alerts()
        known = [alert for alert in alerts if alert.rule == name]
        if rule is None and name not in PIPELINE_RULES and not known:
            listed = did_you_mean(name, [*self._catalog.rules, *PIPELINE_RULES])
            raise UnknownName(f"unknown rule '{name}'{listed or self._rules()}")
        _check(question, rule)
        steps = _by_place(self._log.steps(name, at))
        asked = self._asked(question, rule, alerts)
        hindsight = self._hindsight()
        findings = self._findings(question, rule, steps, hindsight)
        findings += _others(asked, findings, steps, known)
        chosen = [one for one in findings if question.holds(one.place)]
        if not chosen:
            raise OnPaceError(f"rule '{name}' has no such series{_there_are(findings)}")
        shown = worst_first(chosen, {place: stand_at(found, at) for place, found in steps.items()})
        told = self._log.told(name)
        answers = tuple(
            self._answer(asked, one, steps.get(one.place, ()), told, hindsight) for one in shown[:MAX_ANSWERS]
        )
        return Explanation(asked, self._about(name, rule), answers, len(shown) - len(answers), _notes(asked, known))

    def _rules(self) -> str:
        return f": there are {', '.join(self._catalog.rules) or 'none'}"

    def _asked(self, question: Question, rule: Rule | None, alerts: Sequence[Alert]) -> Asked:
        known = [alert for alert in alerts if alert.rule == question.rule]
        kpi = self._catalog.kpi(rule.kpi) if rule else None
        return Asked(
            name=question.rule,
            rule=rule,
            at=question.at,
            now=question.now,
            zone=kpi.zone if kpi else _UTC,
            unit=kpi.unit if kpi else "",
            held=self._held(rule, question) if rule else "",
            unheard=unheard(self._catalog, self._quiet(question.at, known), question.rule, alerts),
            evaluated_to={(alert.series, alert.period): alert.evaluated_to for alert in known},
        )

    def _quiet(self, at: datetime, known: Sequence[Alert]) -> Quiet:
        """The silences that held then, and who knew of what."""
        if self._silences is None:
            return Quiet.at(at, self._catalog.silences, ())
        _, since = unsettled(known)
        acknowledged = self._silences.acknowledgements(since) if since else []
        return Quiet.at(at, (*self._catalog.silences, *self._silences.all()), acknowledged)

    def _held(self, rule: Rule, question: Question) -> str:
        """Why the rule's alerts were held as they were: a source was stale, or the pipeline behind."""
        if not question.live:
            return ""
        gate = rule.min_volume.kpi if isinstance(rule, WindowRule) and rule.min_volume else rule.kpi
        kpis = [self._catalog.kpi(name) for name in dict.fromkeys([rule.kpi, gate])]
        types = dict.fromkeys(name for kpi in kpis for name in self._catalog.event_types(kpi))
        if question.at < question.now:
            return self._was_held(types, question.at, silence=not isinstance(rule, NoDataRule))
        sources = self._reader.sources()
        if isinstance(rule, NoDataRule):
            return behind_reason(
                {name: sources[name] for name in types if name in sources}, question.at, self._patience
            )
        stale = stale_sources(self._catalog, sources, question.at, self._patience)
        reasons = [f"{name} is stale: {stale[name]}" for name in types if name in stale]
        building = dict.fromkeys(name for kpi in kpis for name in self._reader.rebuilding(kpi.name))
        return "; ".join([*reasons, *(f"{name} is being rebuilt from the archive" for name in building)])

    def _was_held(self, types: Iterable[str], at: datetime, *, silence: bool) -> str:
        """The same for an earlier instant, from what was recorded of the pipeline's own alerts."""
        found = []
        for rule in PIPELINE_RULES if silence else (BEHIND_RULE,):
            for (series, _), steps in _by_place(self._log.steps(rule, at)).items():
                stand, name = stand_at(steps, at), dict(series).get("event_type")
                if stand.state in ("pending", "firing") and name in (None, *types):
                    found.append(f"{name} was stale: {stand.reason}" if name else stand.reason)
        return "; ".join(found)

    def _findings(self, question: Question, rule: Rule | None, steps: Steps, hindsight: Hindsight) -> list[Finding]:
        if rule is None:
            return self._pipeline(question, steps) if question.rule in PIPELINE_RULES else []
        if isinstance(rule, NoDataRule) and not question.live:
            return [Finding(_TOTAL, Verdict(None, "in a replay silence means nothing"), "")]

        def fired(place: Place, instant: datetime) -> bool:
            return stand_at(steps.get(place, ()), instant - _MICROSECOND).state == "firing"

        return hindsight.findings(rule, question.at, fired, question.period)

    def _pipeline(self, question: Question, steps: Steps) -> list[Finding]:
        """What is known of the sources: now by a look at them, earlier by what was recorded."""
        stale = question.rule == STALE_RULE
        places = [((("event_type", name),), "") for name in self._catalog.events] if stale else [_TOTAL]
        if question.at < question.now:
            stands = [(place, stand_at(steps.get(place, ()), question.at)) for place in places]
            return [
                Finding(place, Verdict(stand.state in ("pending", "firing"), stand.reason or "nothing was amiss"), "")
                for place, stand in stands
            ]
        sources = self._reader.sources()
        behind = behind_reason(sources, question.at, self._patience)
        if not stale:
            return [Finding(_TOTAL, Verdict(bool(behind), behind or "the pipeline is caught up"), "")]
        reasons = stale_sources(self._catalog, sources, question.at, self._patience)
        said = {name: reasons.get(name) or _arriving(sources.get(name)) for name in self._catalog.events}
        return [
            Finding(place, Verdict(None if behind else name in reasons, said[name]), "")
            for place, name in zip(places, self._catalog.events, strict=True)
        ]

    def _hindsight(self) -> Hindsight:
        recorded = TargetHistory(self._history.targets())
        statuses = self._history.statuses()
        return Hindsight(self._catalog, self._reader, statuses, recorded, arrivals=self._log, reports=self._reports)

    def _answer(
        self, asked: Asked, finding: Finding, steps: Sequence[Step], told: Sequence[Told], hindsight: Hindsight
    ) -> Answer:
        mine = [one for one in told if one.place == finding.place]
        if asked.rule is None:
            return answer(asked, finding, steps, told=mine)
        values = hindsight.values(asked.rule, finding.place, [step.at for step in steps])
        if not isinstance(asked.rule, PeriodRule):
            return answer(asked, finding, steps, told=mine, values=values)
        kpi = self._catalog.kpi(asked.rule.kpi)
        changes, versions = self._log.changes(kpi.name, asked.at), self._history.targets()
        return answer(
            asked,
            finding,
            steps,
            told=mine,
            values=values,
            beside=beside(kpi, finding.place, asked.at, changes, versions),
        )

    def _about(self, name: str, rule: Rule | None) -> str:
        if rule is None:
            return _PIPELINE.get(name, "this rule is no longer in the KPI files")
        kpi = self._catalog.kpi(rule.kpi)
        return rule_words(rule, kpi.title or kpi.name, kpi.unit)


_TOTAL: Place = ((), "")
_PIPELINE = {
    STALE_RULE: "a source has been silent for longer than its expected_every",
    BEHIND_RULE: "the pipeline is not caught up with the stream",
}


def _check(question: Question, rule: Rule | None) -> None:
    """A question must fit its rule. Raises OnPaceError."""
    if question.at > question.now:
        raise OnPaceError(f"{question.at:%Y-%m-%d %H:%M} UTC is yet to come: --at is now or earlier")
    if rule is not None and question.period and not isinstance(rule, PeriodRule):
        raise OnPaceError(f"rule '{rule.name}' is about windows and not about targets: it has no periods; use --at")
    names = rule.by if isinstance(rule, WindowRule) else None
    for name in question.series if names is not None else ():
        if name not in (names or ()):
            has = f"it is by {', '.join(names)}" if names else "it is about the total"
            raise OnPaceError(
                f"rule '{question.rule}' has no series by '{name}'{did_you_mean(name, names or ())}: {has}"
            )


def _by_place(steps: Iterable[Step]) -> dict[Place, list[Step]]:
    found: dict[Place, list[Step]] = {}
    for step in steps:
        found.setdefault(step.place, []).append(step)
    return found


def _others(asked: Asked, findings: Sequence[Finding], steps: Steps, known: Sequence[Alert]) -> list[Finding]:
    """Alerts that were active then and of which the rule has nothing to say now, and all of a rule that is gone."""
    there = {one.place for one in findings}
    places = {(alert.series, alert.period) for alert in known} | steps.keys()
    gone = asked.rule is None and asked.name not in PIPELINE_RULES
    words = "the rule is gone from the KPI files" if gone else "there is nothing to judge any more"
    return [
        Finding(place, Verdict(None, words), "")
        for place in sorted(places - there, key=str)
        if gone or stand_at(steps.get(place, ()), asked.at).state in ("pending", "firing")
    ]


def _arriving(source: SourceTimes | None) -> str:
    """Why a source is not stale."""
    if source is None or source.last_event_time is None:
        return "no event of it ever came, so that it cannot have fallen silent"
    return "events arrive"


def _there_are(findings: Sequence[Finding]) -> str:
    names = [
        " ".join(part for part in (series_words(series), period) if part)
        for series, period in (one.place for one in findings)
    ]
    listed = sorted(name for name in names if name)
    more = ", …" if len(listed) > MAX_ANSWERS else ""
    return f": there are {', '.join(listed[:MAX_ANSWERS])}{more}" if listed else ": it is about the total"


def _notes(asked: Asked, known: Sequence[Alert]) -> tuple[str, ...]:
    notes = []
    if not known and asked.rule is not None:
        notes.append(
            "Nothing of this rule is on record: no engine ran with it here, or it never had anything to judge."
        )
    if asked.past and asked.rule is not None:
        notes.append("Judged on the numbers as they are now; the timeline has what was known then.")
    return tuple(notes)
