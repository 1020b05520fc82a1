"""Why an alert fired at an instant, and why it did not: from its transitions and a fresh verdict. Pure.

What is stored says what happened, a verdict on the windows as they are now says what the rule sees. Where the two
differ, late events have come in between, and the answer says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from onpace.alerts.rule_words import asks
from onpace.alerts.rules import Inputs, Verdict, is_active
from onpace.alerts.states import AlertState
from onpace.alerts.status import ROUNDING, Labels, format_value
from onpace.config.durations import format_duration
from onpace.config.rules import Rule

__all__ = [
    "Answer",
    "Asked",
    "Entry",
    "Explanation",
    "Finding",
    "Place",
    "Stand",
    "Step",
    "Told",
    "answer",
    "clock",
    "due_words",
    "stand_at",
    "worst_first",
]

Place = tuple[Labels, str]
"""Dimension values and period: which of a rule's alerts it is."""


@dataclass(frozen=True, slots=True)
class Step:
    """One stored transition."""

    place: Place
    at: datetime
    before: str
    state: str
    value: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Told:
    """One message about an alert."""

    place: Place
    channel: str
    state: str
    starts_at: datetime
    """Since when the condition held: the messages of one episode have it in common."""
    created_at: datetime
    outcome: str
    """`waiting`, `delivered` or `rejected`."""
    settled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What the rule says of one series at the instant asked about, from what is stored now."""

    place: Place
    verdict: Verdict
    looked_at: str
    """The window or the part of the period that it is about."""
    end: datetime | None = None
    """Where that ends."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the timeline."""

    at: datetime
    what: str
    """The state that the alert went to, the status that its KPI went to, or `target`."""
    words: str
    value: float | None = None
    revised: str = ""
    """What has become of the value since."""
    told: tuple[Told, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked: a rule, an instant, and what is known of both."""

    name: str
    rule: Rule | None
    """None: one of the pipeline's own, or one that has left the KPI files."""
    at: datetime
    now: datetime
    zone: ZoneInfo
    unit: str = ""
    held: str = ""
    """Why its alerts were held as they were; empty where they were not."""
    unheard: Mapping[Place, str] = field(default_factory=dict)
    """Alerts whose messages are held back, each with the reason: a silence, an acknowledgement, another alert."""
    evaluated_to: Mapping[Place, datetime | None] = field(default_factory=dict)
    """How far each alert that the engine knows was looked at; one of a rule about windows at least is known."""

    @property
    def past(self) -> bool:
        """Whether it is about an earlier instant than now."""
        return self.at < self.now


@dataclass(frozen=True, slots=True)
class Stand:
    """Where one alert stood at an instant."""

    state: AlertState | str = "inactive"
    active_since: datetime | None = None
    changed_at: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer for one alert."""

    place: Place
    stand: Stand
    breached: bool | None
    words: str
    looked_at: str
    telling: str
    """Whom it told, or why nobody; empty where there was nothing to tell."""
    timeline: tuple[Entry, ...]
    inputs: Inputs = field(default_factory=dict)
    """All that the verdict looked at."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole answer: one for each series, firing first."""

    asked: Asked
    about: str
    """What the rule is."""
    answers: tuple[Answer, ...]
    more: int
    """So many series are left out."""
    notes: tuple[str, ...] = ()


def stand_at(steps: Sequence[Step], at: datetime) -> Stand:
    """The state after all transitions up to `at`, which are given in order of time."""
    found = Stand()
    for step in steps:
        if step.at > at:
            break
        active = step.state in ("pending", "firing")
        begins = active and step.before not in ("pending", "firing")
        since = step.at if begins else found.active_since if active else None
        found = Stand(step.state, since or (step.at if active else None), step.at, step.reason)
    return found


def clock(at: datetime, zone: ZoneInfo) -> str:
    """`2026-11-14 09:00`, in the KPI's zone; seconds only where there are some."""
    local = at.astimezone(zone)
    return f"{local:%Y-%m-%d %H:%M:%S}" if local.second else f"{local:%Y-%m-%d %H:%M}"


def answer(
    asked: Asked,
    finding: Finding,
    steps: Sequence[Step],
    *,
    told: Sequence[Told] = (),
    values: Mapping[datetime, float | None] | None = None,
    beside: Iterable[Entry] = (),
) -> Answer:
    """The answer for one alert. `steps` are its transitions in order, `values` what the rule sees there today; what
    happened `beside` (to its KPI) goes into the timeline too."""
    stand = stand_at(steps, asked.at)
    verdict = finding.verdict
    entries = [_entry(step, steps, told, values or {}, asked.unit) for step in steps]
    return Answer(
        finding.place,
        stand,
        verdict.breached,
        _words(asked, stand, finding),
        finding.looked_at,
        _telling(asked, finding.place, stand, told),
        tuple(sorted([*entries, *beside], key=lambda entry: entry.at)),
        verdict.inputs,
    )


def worst_first(findings: Iterable[Finding], stands: Mapping[Place, Stand]) -> list[Finding]:
    """Those that fire, then those that are pending, those whose rule is broken, those without a verdict, the rest."""

    def rank(one: Finding) -> tuple[int, int, str]:
        state = stands.get(one.place, Stand()).state
        place = _FIRST.index(state) if state in _FIRST else len(_FIRST)
        return place, {True: 0, None: 1, False: 2}[one.verdict.breached], str(one.place)

    return sorted(findings, key=rank)


_FIRST = ("firing", "pending")


def _words(asked: Asked, stand: Stand, finding: Finding) -> str:
    verdict = finding.verdict
    if asked.held:
        return f"{_STATES.get(stand.state, stand.state)}, and held as it is: {asked.held}"
    match stand.state:
        case "firing":
            return f"firing since {_moment(asked, stand.changed_at)}{_so_far(asked, stand, verdict)}"
        case "pending":
            return _pending(asked, stand, verdict)
        case "met" | "missed":
            return f"its period is over since {_moment(asked, stand.changed_at)}: {verdict.reason or stand.reason}"
        case _:
            return _quiet(asked, stand, finding)


_STATES = {"firing": "firing", "pending": "pending", "inactive": "did not fire", "resolved": "did not fire"}


def _so_far(asked: Asked, stand: Stand, verdict: Verdict) -> str:
    """What an alert that fires goes by."""
    since = ""
    if stand.active_since and stand.active_since != stand.changed_at:
        since = f" (bad since {_moment(asked, stand.active_since)})"
    if verdict.breached:
        return f"{since}: {verdict.reason}"
    if verdict.breached is None:
        return f"{since}: {stand.reason}; it stays so: {verdict.reason}"
    keep = asked.rule.keep if asked.rule else timedelta()
    kept = f"; it is over and fires on for {format_duration(keep)}" if keep else "; as the numbers are now it is over"
    return f"{since}: {stand.reason}{kept}: {verdict.reason}"


def due_words(asked: Asked, at: datetime) -> str:
    """When it fires. `for` is counted in what is complete, which is behind the clock."""
    if at <= asked.at:
        return f", it fires once all up to {_moment(asked, at)} is complete and was looked at, if that lasts"
    return f", it fires at {_moment(asked, at)} if that lasts"


def _pending(asked: Asked, stand: Stand, verdict: Verdict) -> str:
    hold = asked.rule.hold if asked.rule else timedelta()
    due = due_words(asked, stand.active_since + hold) if stand.active_since else ""
    lasting = f"for {format_duration(hold)} wanted" if hold else "not long enough yet"
    now = "" if verdict.breached else f"; now: {verdict.reason}"
    reason = verdict.reason if verdict.breached else stand.reason
    return f"did not fire: pending since {_moment(asked, stand.active_since)} ({lasting}{due}): {reason}{now}"


def _quiet(asked: Asked, stand: Stand, finding: Finding) -> str:
    verdict = finding.verdict
    ended = f" (it ended at {_moment(asked, stand.changed_at)})" if stand.state == "resolved" else ""
    if verdict.breached is None:
        return f"did not fire{ended}: no verdict: {verdict.reason}"
    if not verdict.breached:
        wanted = asks(asked.rule, asked.unit) if asked.rule else ""
        return f"did not fire{ended}: {verdict.reason}{f'; {wanted}' if wanted else ''}"
    broken = "though the rule is broken by what is known now"
    return f"did not fire{ended}, {broken}: {verdict.reason}; {_why_not(asked, finding)}"


def _why_not(asked: Asked, finding: Finding) -> str:
    """Why an alert does not fire whose rule is broken."""
    known = asked.evaluated_to
    seen = known.get(finding.place) if finding.place[1] else max((at for at in known.values() if at), default=None)
    if seen is None:
        return "no engine has looked at it yet"
    if finding.end and seen < finding.end:
        return f"the engine has looked at it up to {_moment(asked, seen)}"
    return "late events came after the engine had judged it"


def _telling(asked: Asked, place: Place, stand: Stand, told: Sequence[Told]) -> str:
    if stand.state != "firing":
        return ""
    mine = [one for one in told if one.starts_at == stand.active_since and one.state == "firing"]
    unheard = asked.unheard.get(place, "")
    if mine:
        others = [f"others were not: {unheard}"] if unheard else []
        return "; ".join([*(_message(asked, one) for one in mine), *others])
    if unheard:
        return f"nobody was told: {unheard}"
    rule = asked.rule
    if rule is not None and not rule.notify:
        return "nobody is told: the rule names no channel under notify"
    if rule is not None and rule.active and not is_active(rule.active, asked.at, asked.zone):
        return f"nobody was told: outside active hours {rule.active.days} {rule.active.hours}"
    return "nobody was told: no message is on record (a replay tells nobody)"


def _message(asked: Asked, one: Told) -> str:
    at = _moment(asked, one.settled_at or one.created_at)
    match one.outcome:
        case "delivered":
            return f"told {one.channel} at {at}"
        case "rejected":
            return f"{one.channel} refused the message of {_moment(asked, one.created_at)}"
        case _:
            return f"{one.channel} was not reached yet: a message waits since {_moment(asked, one.created_at)}"


def _moment(asked: Asked, at: datetime | None) -> str:
    return clock(at, asked.zone) if at else "?"


def _entry(
    step: Step, steps: Sequence[Step], told: Sequence[Told], values: Mapping[datetime, float | None], unit: str
) -> Entry:
    begun = stand_at([one for one in steps if one.at <= step.at], step.at).active_since
    if step.state not in ("pending", "firing"):
        earlier = [one for one in steps if one.at < step.at]
        begun = stand_at(earlier, step.at).active_since
    # what is met or missed is told as an end
    meant = {"firing": "firing", "pending": "", "inactive": ""}.get(step.state, "resolved")
    mine = tuple(one for one in told if one.starts_at == begun and one.state == meant)
    revised = _revised(step.value, values[step.at], unit) if step.at in values else ""
    return Entry(step.at, step.state, step.reason, step.value, revised, mine)


def _revised(then: float | None, now: float | None, unit: str) -> str:
    if then == now or (then is not None and now is not None and math.isclose(then, now, rel_tol=ROUNDING)):
        return ""
    return f"known then: {format_value(then, unit)}; now {format_value(now, unit)} after late events"
