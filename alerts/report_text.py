"""What a report says: first a line for people, then what has changed, what fired, and the scorecard. Pure.

All-good is said too: whoever hears nothing cannot tell a good week from a broken pipeline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from onpace.alerts.notifications import series_words
from onpace.alerts.scorecard import KpiLine, Scorecard
from onpace.alerts.scorecard_text import (
    escaped,
    objective_title,
    section_lines,
    shown_aim,
    shown_percent,
    shown_trend,
    shown_value,
    status_words,
)
from onpace.alerts.status import Labels
from onpace.alerts.why import clock
from onpace.config.scorecard_reports import ScorecardReport

__all__ = ["Fired", "ReportText", "ReportView", "Standing", "standings", "write_report"]

Standing = tuple[str, str]
"""A KPI's status and the period that it is of."""

RANKS = {"off_track": 0, "missed": 0, "at_risk": 1, "on_track": 2, "met": 2}
NOTHING = "–"
MOST = 10
"""So many alerts are named; the others are counted."""


@dataclass(frozen=True, slots=True)
class Fired:
    """An alert that fired."""

    rule: str
    kpi: str
    series: Labels
    period: str
    at: datetime
    still: bool
    """Whether it fires still."""


@dataclass(frozen=True, slots=True)
class ReportView:
    """All that a report is written from."""

    plan: ScorecardReport
    card: Scorecard
    zone: ZoneInfo
    since: datetime | None = None
    """When the last report was made; None: this is the first."""
    before: Mapping[str, Standing] = field(default_factory=dict)
    """What the last report said, by KPI."""
    fired: Sequence[Fired] = ()
    """What fired since then, or since the report before would have been due; in order of time."""
    stale: Mapping[str, str] = field(default_factory=dict)
    """KPIs whose numbers are not up to date, by name, and why."""

    @property
    def lines(self) -> list[KpiLine]:
        """Its KPIs, in order."""
        return [line for section in self.card.sections for line in section.kpis]


@dataclass(frozen=True, slots=True)
class ReportText:
    """A report, ready to be sent."""

    title: str
    """An e-mail's subject."""
    summary: str
    text: str
    """All of it, for services that show text as it is."""
    markdown: str


def standings(card: Scorecard) -> dict[str, Standing]:
    """What it says, by KPI, to be compared with the next one."""
    return {line.kpi.name: (line.word, line.period) for section in card.sections for line in section.kpis}


def write_report(view: ReportView) -> ReportText:
    """The same view gives the same text."""
    verdict, details = _verdict(view), _details(view)
    summary = f"{verdict}{f': {details}' if details else ''}."
    title = f"{view.plan.title or view.plan.name}: {verdict[:1].lower()}{verdict[1:]}"
    body = [part for part in (_changes(view), _alerts(view), _stale(view)) if part]
    lists = [("Objectives", list(_objectives(view))), ("KPIs", [_kpi(line) for line in view.lines])]
    whole = [*body, *(part for part in lists if part[1])]
    text = [summary, *(line for part in whole for line in _plain(*part)), "", _period(view)]
    markdown = [
        f"**{escaped(summary)}**",
        *(line for part in body for line in _marked(*part)),
        *section_lines(view.card),
        "",
        _period(view),
    ]
    return ReportText(title, summary, "\n".join(text) + "\n", "\n".join(markdown) + "\n")


def _period(view: ReportView) -> str:
    chosen = view.card.selection
    return f"Scorecard {chosen.period}, as of {clock(chosen.as_of, view.zone)} {view.zone}."


def _plain(title: str, lines: Sequence[str]) -> Iterator[str]:
    yield from ("", f"{title}:")
    yield from (f"- {line}" for line in lines)


def _marked(title: str, lines: Sequence[str]) -> Iterator[str]:
    yield from ("", f"## {title}", "")
    yield from (f"- {_inert(line)}" for line in lines)


def _inert(line: str) -> str:
    """Dimension values come from events: none of them is a link or code."""
    return escaped(line).replace("[", "\\[").replace("`", "\\`")


def _groups(view: ReportView) -> dict[str, list[KpiLine]]:
    """Its KPIs with a target, by how they are; the worst first, without those that are well."""
    judged = [line for line in view.lines if line.status]
    found = {words: [line for line in judged if RANKS.get(line.word) == rank] for rank, words in _GROUPS.items()}
    return {words: lines for words, lines in found.items() if lines}


_GROUPS = {0: "off track", 1: "at risk", None: "no data"}


def _verdict(view: ReportView) -> str:
    """`2 of 5 KPIs of sales are off track`, or that all are well."""
    of, count = _whose(view), sum(line.status is not None for line in view.lines)
    if not count:
        return f"No KPI{of} has a target" if view.lines else f"There are no KPIs{of}"
    for words, lines in _groups(view).items():
        be = ("is", "has") if len(lines) == 1 else ("are", "have")
        total = f"{count} KPI{'' if count == 1 else 's'}{of}"
        return f"{len(lines)} of {total} {be[words == 'no data']} {words}"
    return f"The only KPI{of} is on track" if count == 1 else f"All {count} KPIs{of} are on track"


def _whose(view: ReportView) -> str:
    names = [name for name in (view.plan.team, view.plan.owner) if name]
    return f" of {', '.join(names)}" if names else ""


def _details(view: ReportView) -> str:
    """Those that are not well, the worst first."""
    named = {
        words: ", ".join(_name(line) if words == "no data" else _measured(line) for line in lines)
        for words, lines in _groups(view).items()
    }
    first, *others = named or [""]
    return "; ".join([named.get(first, ""), *(f"{words}: {named[words]}" for words in others)])


def _name(line: KpiLine) -> str:
    series = series_words(line.status.series) if line.status else ""
    return f"{line.kpi.title or line.kpi.name}{f', {series}' if series else ''}"


def _measured(line: KpiLine) -> str:
    """`Revenue (750 of 1,339 EUR expected by now, 56 %)`."""
    status, kpi = line.status, line.kpi
    if status is None:
        return _name(line)
    unit = f" {kpi.unit}" if kpi.unit and kpi.unit != "ratio" else ""
    by = "wanted" if status.status == "missed" else "expected by now"
    value = shown_value(line.value, kpi)
    if kpi.direction == "in_range":
        return f"{_name(line)} ({value}{unit}, {shown_aim(status, kpi)} wanted)"
    if kpi.direction == "lower_is_better":
        return f"{_name(line)} ({value}{unit}, at most {shown_value(status.expected, kpi)} {by})"
    share = ""
    if status.expected and status.expected > 0 and status.actual is not None and kpi.unit != "ratio":
        share = f", {shown_percent(status.actual / status.expected)}"
    return f"{_name(line)} ({value} of {shown_value(status.expected, kpi)}{unit} {by}{share})"


def _changes(view: ReportView) -> tuple[str, list[str]] | None:
    """What got better or worse since the last report."""
    if view.since is None:
        return None
    lines = [words for line in view.lines if (words := _change(line, view.before.get(line.kpi.name)))]
    title = f"Since the last report ({clock(view.since, view.zone)})"
    return title, sorted(lines, key=lambda words: not words.startswith("worse")) or ["no KPI has got better or worse"]


def _change(line: KpiLine, before: Standing | None) -> str:
    if before is None or line.status is None or before[0] == line.word:
        return ""
    old, new = RANKS.get(before[0]), RANKS.get(line.word)
    if old == new:
        return ""
    periods = "" if before[1] == line.period else f" ({before[1]} to {line.period})"
    words = f"{_name(line)}: {before[0].replace('_', ' ')} → {line.word.replace('_', ' ')}{periods}"
    if old is None or new is None:
        return f"now: {words}"
    return f"{'better' if new > old else 'worse'}: {words}"


def _objectives(view: ReportView) -> Iterator[str]:
    for section in view.card.sections:
        for state in section.objectives:
            yield f"{objective_title(state)}: {shown_percent(state.progress)}, {state.reason}"


def _alerts(view: ReportView) -> tuple[str, list[str]]:
    title = "Alerts since then" if view.since else "Alerts"
    titles = {line.kpi.name: line.kpi.title or line.kpi.name for line in view.lines}
    lines = []
    for one in view.fired[:MOST]:
        about = ", ".join(part for part in (titles.get(one.kpi, one.kpi), series_words(one.series), one.period) if part)
        still = ", still firing" if one.still else ""
        lines.append(f"{one.rule}: {about}, fired at {clock(one.at, view.zone)}{still}")
    if len(view.fired) > MOST:
        lines.append(f"and {len(view.fired) - MOST} more")
    return title, lines or ["none fired"]


def _stale(view: ReportView) -> tuple[str, list[str]] | None:
    named = [f"{_name(line)}: {view.stale[line.kpi.name]}" for line in view.lines if line.kpi.name in view.stale]
    return ("Not up to date", named) if named else None


def _kpi(line: KpiLine) -> str:
    """`Revenue: 750 of 1,339 EUR (207 %), on track, ▲ +38.9 %, 2025-11`."""
    kpi, status = line.kpi, line.status
    unit = f" {kpi.unit}" if kpi.unit and kpi.unit != "ratio" else ""
    value, trend = f"{shown_value(line.value, kpi)}{unit}", shown_trend(line.trend, kpi)
    if status and kpi.direction == "higher_is_better":
        share = "" if status.attainment is None else f" ({shown_percent(status.attainment)})"
        value = f"{shown_value(line.value, kpi)} of {shown_aim(status, kpi)}{unit}{share}"
    elif status:
        value = f"{value} (target {shown_aim(status, kpi)})"
    parts = [f"{_name(line)}: {value}", status_words(line.word, status), trend, line.period]
    return ", ".join(part for part in parts if part != NOTHING)
