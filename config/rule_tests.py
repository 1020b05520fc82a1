"""Files of rule tests: events that are sent, and the values, statuses and alerts that must come of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, WithJsonSchema

from onpace.config.calendar import Grain
from onpace.config.catalog import Catalog
from onpace.config.checks_kpis import target_problems
from onpace.config.durations import Duration, parse_duration
from onpace.config.errors import ConfigError, did_you_mean
from onpace.config.kpi import CalendarPeriod, Model, Name, Status, Target
from onpace.config.loader import load_catalog
from onpace.config.reports import Report
from onpace.config.yaml_lines import Document, Place, read_document

__all__ = [
    "AlertCheck",
    "RuleTest",
    "SentEvents",
    "StatusCheck",
    "Suite",
    "SuiteFile",
    "ValueCheck",
    "find_suites",
    "load_suite",
]

MOST_EVENTS = 1_000_000
YEARS = range(1971, 2095)
"""The years that moments may be in."""
END = datetime(YEARS[-1] + 1, 1, 1, tzinfo=UTC)
PIPELINE = ("pipeline-stale", "pipeline-behind")
"""The built-in rules."""


def _moment(value: Any) -> Any:
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"'{value}' is no date or time: write 2026-11-03 or 2026-11-03 10:00") from None
    if found.year not in YEARS:
        raise ValueError(f"'{value}' is not in the years {YEARS[0]} to {YEARS[-1]}, which OnPace can hold")
    return str(value)


def _moment_or_delay(value: Any) -> Any:
    try:
        return parse_duration(str(value))
    except ValueError:
        if not str(value)[:4].isdigit():
            raise ValueError(f"'{value}' is neither a time nor a delay: write 2026-11-03 10:00 or 2h") from None
    return _moment(value)


Moment = Annotated[str, BeforeValidator(_moment), WithJsonSchema({"type": "string"})]
"""A date or time; without a zone it is in that of the test."""
Labels = dict[str, str | None]


class SentEvents(Model):
    """One event, or with `from` and `every` as many as fit: `{n}` in a text of `data` is then the event's number."""

    type: str
    time: Moment | None = None
    first: Moment | None = Field(default=None, alias="from")
    every: Duration | None = None
    count: int | None = Field(default=None, ge=1, le=MOST_EVENTS)
    to: Moment | None = None
    """Until when (exclusive), instead of a count."""
    data: dict[str, Any] = Field(default_factory=dict)
    id: str | None = None
    """For one event; the same id (and source) again is a duplicate."""
    source: str = "test"
    arrives: Annotated[
        timedelta | str | None,
        BeforeValidator(_moment_or_delay),
        WithJsonSchema({"type": "string"}),
    ] = None
    """When it arrives, or how long after its time; at once by default."""


class ValueCheck(Model):
    """The value of one window."""

    kpi: Name
    at: Moment
    """An instant in the window, such as its start."""
    grain: Grain = Grain.DAY
    by: Labels = Field(default_factory=dict)
    value: float | None
    complete: bool | None = None
    as_of: Moment | None = None
    """As it was known then; by default when the test ends."""


class StatusCheck(Model):
    """Where a KPI stands against its target."""

    at: Moment
    kpi: Name
    period: CalendarPeriod
    by: Labels = Field(default_factory=dict)
    status: Status
    actual: float | None = None
    expected: float | None = None
    reason: str | None = None
    """A part of the reason."""


class AlertCheck(Model):
    """What fires, and what does not."""

    at: Moment
    rule: str | None = None
    """Without one: nothing at all fires, so `firing` is empty."""
    period: CalendarPeriod | None = None
    """Of rules on targets: alerts of this period only."""
    firing: tuple[Labels, ...] = ()
    """The series that fire, by their dimension values; `{}` is the total. No others may."""
    pending: tuple[Labels, ...] | None = None
    reason: str | None = None
    """A part of the reason of each that fires."""


class RuleTest(Model):
    """Events that are sent, and what must come of them."""

    name: str
    start: Moment | None = None
    """From when on the engine evaluates; by default from the first event on."""
    now: Moment | None = None
    """When the test ends; by default when everything that is asked for is complete."""
    every: Duration | None = None
    """How often the engine evaluates between the checks."""
    events: tuple[SentEvents, ...] = ()
    targets: dict[Name, tuple[Target, ...]] = Field(default_factory=dict)
    """KPI -> its targets, instead of those in the KPI files."""
    values: tuple[ValueCheck, ...] = ()
    statuses: tuple[StatusCheck, ...] = ()
    alerts: tuple[AlertCheck, ...] = ()


class SuiteFile(Model):
    """A file of rule tests."""

    version: Literal[1] = 1
    kpis: str = "."
    """The folder of KPI files, from the folder of this file."""
    timezone: str | None = None
    tests: tuple[RuleTest, ...]


@dataclass(frozen=True, slots=True)
class Suite:
    """A file of tests with what it tests."""

    path: Path
    catalog: Catalog
    zone: ZoneInfo
    tests: tuple[RuleTest, ...]
    place: Place

    def instant(self, moment: str) -> datetime:
        """A moment of the file, in UTC."""
        found = datetime.fromisoformat(moment)
        return (found if found.tzinfo else found.replace(tzinfo=self.zone)).astimezone(UTC)

    def line(self, test: int, *keys: str | int) -> str:
        """`file:line` of something in one of its tests."""
        return str(self.place.at("tests", test, *keys))


def find_suites(path: Path) -> list[Path]:
    """The file, or the files of tests in a folder and below it: `*.test.yaml`, and others that have `tests:`."""
    if path.is_file():
        return [path]
    found = sorted(one for one in path.rglob("*.y*ml") if one.suffix in (".yaml", ".yml"))
    return [one for one in found if ".test" in one.suffixes or _has_tests(read_document(one))]


def _has_tests(document: Document) -> bool:
    return isinstance(document.content, dict) and "tests" in document.content


def load_suite(path: Path, *, private_webhooks: bool = True) -> Suite:
    """Read a file of tests and its KPI files. Raises ConfigError with every problem, each at its file and line."""
    report = Report()
    document = read_document(path)
    report.extend(document.problems)
    place = Place(document)
    if not document.problems and not isinstance(document.content, dict):
        report.add(place, "the file is no mapping: it begins with 'kpis: FOLDER', then tests:")
    _raise(report)
    file = report.build(SuiteFile, document.content, place=place, subject="test file")
    if file is None:
        raise ConfigError(report.problems())
    folder = path.parent / file.kpis
    if not folder.exists():
        report.add(place.at("kpis"), f"no folder '{file.kpis}' beside this file: name the folder of the KPI files")
        _raise(report)
    catalog = load_catalog(folder, private_webhooks=private_webhooks)
    suite = Suite(path, catalog, _zone(file, catalog, place, report), file.tests, place)
    if not file.tests:
        report.add(place.at("tests"), "there is no test: begin one with '- name: …'")
    for index, test in enumerate(file.tests):
        _Checker(suite, f"test '{test.name}'", report).test(test, place.at("tests", index))
    _raise(report)
    return suite


def _raise(report: Report) -> None:
    if problems := report.problems():
        raise ConfigError(problems)


def _zone(file: SuiteFile, catalog: Catalog, place: Place, report: Report) -> ZoneInfo:
    zones = sorted({kpi.timezone for kpi in catalog.kpis.values()})
    if file.timezone is None and len(zones) > 1:
        report.add(place, f"the KPIs are in several time zones ({', '.join(zones)}): say which with 'timezone:'")
    try:
        return ZoneInfo(file.timezone or (zones or ["UTC"])[0])
    except (ValueError, OSError, KeyError):
        report.add(place.at("timezone"), f"unknown time zone '{file.timezone}': write one such as Europe/Berlin")
        return ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class _Checker:
    """Checks one test against the KPI files."""

    suite: Suite
    subject: str
    report: Report

    def test(self, test: RuleTest, place: Place) -> None:
        """All of it."""
        if not (test.values or test.statuses or test.alerts):
            self._add(place, "checks nothing: give it values:, statuses: or alerts:")
        for index, sent in enumerate(test.events):
            self._events(sent, place.at("events", index))
            self._last_arrival(sent, place.at("events", index))
        if test.every == timedelta():
            self._add(place.at("every"), "every must be longer than 0s")
        for name, targets in test.targets.items():
            self._targets(name, targets, place.at("targets", name))
        for at, value in enumerate(test.values):
            self._value(value, place.at("values", at))
        for at, status in enumerate(test.statuses):
            self._kpi(status.kpi, status.by, place.at("statuses", at))
        for at, alert in enumerate(test.alerts):
            self._alert(alert, place.at("alerts", at))
        if test.now is not None:
            self._moments(test, self.suite.instant(test.now), place)

    def _moments(self, test: RuleTest, now: datetime, place: Place) -> None:
        """What would be looked at after the test has ended would never be."""
        looked = [("statuses", at, "at", one.at) for at, one in enumerate(test.statuses)]
        looked += [("alerts", at, "at", one.at) for at, one in enumerate(test.alerts)]
        looked += [("values", at, "as_of", one.as_of) for at, one in enumerate(test.values) if one.as_of]
        for section, at, key, moment in looked:
            if self.suite.instant(moment) > now:
                self._add(place.at(section, at, key), f"{key} {moment} is after the test's end, now: {test.now}")

    def _add(self, place: Place, message: str) -> None:
        self.report.add(place, f"{self.subject}: {message}")

    def _known(self, name: str, known: Collection[str], what: str, place: Place) -> bool:
        if name in known:
            return True
        hint = did_you_mean(name, known) or (f": there are {', '.join(known)}" if known else ": there is none")
        self._add(place, f"unknown {what} '{name}'{hint}")
        return False

    def _events(self, sent: SentEvents, place: Place) -> None:
        self._known(sent.type, self.suite.catalog.events, "event", place.at("type"))
        for message in _form_problems(sent):
            self._add(place, f"event '{sent.type}': {message}")
        if not sent.first or not sent.to:
            return
        length = self.suite.instant(sent.to) - self.suite.instant(sent.first)
        if length <= timedelta():
            self._add(place.at("to"), f"event '{sent.type}': 'to' must be after 'from'")
        elif sent.every and length / sent.every > MOST_EVENTS:
            self._add(place.at("every"), f"event '{sent.type}': more than {MOST_EVENTS:,} events: send fewer")

    def _last_arrival(self, sent: SentEvents, place: Place) -> None:
        """Events that go on for ever, or are on their way for so long."""
        steps = (sent.every or timedelta()) * ((sent.count or 1) - 1)
        begin = sent.time or sent.first
        delay = sent.arrives if isinstance(sent.arrives, timedelta) else timedelta()
        if begin and steps + delay > END - self.suite.instant(begin):
            self._add(place, f"event '{sent.type}': goes on beyond {YEARS[-1]}: send fewer, or let it arrive sooner")

    def _targets(self, name: str, targets: Sequence[Target], place: Place) -> None:
        catalog = self.suite.catalog
        if not self._known(name, catalog.kpis, "kpi", place):
            return
        kpi = catalog.kpi(name)
        for at, target in enumerate(targets):
            self._labels(name, target.by, place.at(at))
            for message in target_problems(kpi, target):
                self._add(place.at(at), f"target of '{name}': {message}")

    def _value(self, value: ValueCheck, place: Place) -> None:
        if self._kpi(value.kpi, value.by, place):
            base = self.suite.catalog.base_grain(self.suite.catalog.kpi(value.kpi))
            if value.grain.rank < base.rank:
                message = f"kpi '{value.kpi}' has windows of {base}: ask for {base} or coarser, not {value.grain}"
                self._add(place.at("grain"), message)

    def _kpi(self, name: str, by: Labels, place: Place) -> bool:
        if not self._known(name, self.suite.catalog.kpis, "kpi", place.at("kpi")):
            return False
        return self._labels(name, by, place)

    def _labels(self, kpi: str, by: Collection[str], place: Place) -> bool:
        dimensions = self.suite.catalog.dimensions(self.suite.catalog.kpi(kpi))
        return all(self._known(one, dimensions, f"dimension of '{kpi}'", place.at("by")) for one in by)

    def _alert(self, alert: AlertCheck, place: Place) -> None:
        if alert.rule is None:
            if alert.firing or alert.pending or alert.period or alert.reason:
                self._add(place, "without 'rule' it says that nothing fires: name the rule, or write 'firing: []'")
            return
        rules = self.suite.catalog.rules
        if not self._known(alert.rule, [*rules, *PIPELINE], "rule", place.at("rule")) or alert.rule not in rules:
            return
        rule = rules[alert.rule]
        targets = self.suite.catalog.kpi(rule.kpi).targets
        known: Collection[str] = getattr(rule, "by", None) or {name for target in targets for name in target.by}
        for key, series in (("firing", alert.firing), ("pending", alert.pending or ())):
            for at, labels in enumerate(series):
                for name in labels:
                    self._known(name, known, f"dimension of rule '{alert.rule}'", place.at(key, at))


def _form_problems(sent: SentEvents) -> Iterator[str]:
    if (sent.time is None) == (sent.first is None):
        yield "give either 'time', for one event, or 'from' with 'every', for many"
    elif sent.time is not None and (sent.every is not None or sent.count is not None or sent.to is not None):
        yield "'every', 'count' and 'to' go with 'from', not with 'time'"
    elif sent.first is not None:
        if not sent.every:
            yield "'from' needs 'every', longer than 0s, as in every: 10min"
        if (sent.count is None) == (sent.to is None):
            yield "'from' needs either 'count' or 'to'"
        if sent.id is not None:
            yield "an 'id' is for one event: many cannot have the same"
