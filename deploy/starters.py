"""What `onpace init` writes: for each kind of business three to five KPIs of the library, leading and lagging ones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from onpace.config.templates import Template, library

__all__ = ["STARTERS", "Pick", "Starter", "render"]


@dataclass(frozen=True, slots=True)
class Pick:
    """A KPI of the library, with an example of a target and what must not suffer for it."""

    name: str
    target: str
    guardrails: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Starter:
    """The KPIs to begin with in one kind of business."""

    title: str
    objective: str
    """The objective's name and its title."""
    aim: str
    picks: tuple[Pick, ...]


STARTERS = {
    "shop": Starter(
        "an online shop",
        "sell-more",
        "Sell more without giving the margin away",
        (
            Pick("visit_to_purchase", "{every: month, value: 0.03}", ("average_margin",)),
            Pick("orders", "{every: month, value: 400}", ("average_margin",)),
            Pick("sales", "{every: month, value: 20000, headline: true}"),
            Pick("average_margin", "{every: month, value: 0.35}", ("sales",)),
        ),
    ),
    "saas": Starter(
        "software as a service",
        "grow-recurring-revenue",
        "Grow recurring revenue with customers who stay",
        (
            Pick("qualified_leads", "{every: month, value: 40}", ("net_revenue_retention",)),
            Pick("first_response_time", "{every: month, value: 7200}", ("resolution_rate",)),
            Pick("mrr", "{every: month, value: 50000, headline: true}"),
            Pick("net_revenue_retention", "{every: month, value: 1.0}", ("mrr",)),
            Pick("resolution_rate", "{every: month, value: 0.9}", ("first_response_time",)),
        ),
    ),
    "b2b": Starter(
        "sales-led business between companies",
        "win-deals",
        "Win more and better deals, and keep the customers",
        (
            Pick("qualified_leads", "{every: month, value: 40}", ("renewal_rate",)),
            Pick("deals_won", "{every: quarter, value: 20}"),
            Pick("average_deal_value", "{every: quarter, value: 12000}", ("deals_won",)),
            Pick("renewal_rate", "{every: quarter, value: 0.85}", ("average_deal_value",)),
        ),
    ),
    "support": Starter(
        "customer support",
        "help-quickly",
        "Help customers quickly, and so that it lasts",
        (
            Pick("first_response_time", "{every: week, value: 7200}", ("resolution_rate",)),
            Pick("support_reply_rate", "{every: week, value: 0.95}", ("csat",)),
            Pick("resolution_rate", "{every: week, value: 0.9}", ("csat",)),
            Pick("csat", "{every: month, value: 0.85}", ("complaints",)),
            Pick("complaints", "{every: month, value: 20}", ("csat",)),
        ),
    ),
    "operations": Starter(
        "manufacturing or operations",
        "flow-and-quality",
        "Finish more, sooner and right the first time",
        (
            Pick("lead_time", "{every: month, value: 432000}", ("first_time_right",)),
            Pick("first_time_right", "{every: month, value: 0.95}", ("throughput",)),
            Pick("throughput", "{every: month, value: 500}", ("first_time_right",)),
            Pick("efficiency_ratio", "{every: month, value: 0.9}", ("first_time_right",)),
        ),
    ),
    "content": Starter(
        "content and marketing",
        "readers-to-customers",
        "Turn readers into customers",
        (
            Pick("post_traffic", "{every: month, value: 10000}", ("bounce_rate",)),
            Pick("bounce_rate", "{every: month, value: 0.6}", ("leads",)),
            Pick("leads", "{every: month, value: 200}", ("lead_conversion",)),
            Pick("lead_conversion", "{every: month, value: 0.05}", ("leads",)),
        ),
    ),
    "software": Starter(
        "software delivery",
        "deliver-safely",
        "Deliver often without breaking things",
        (
            Pick("deployment_frequency", "{every: month, value: 40}", ("change_failure_rate",)),
            Pick("lead_time_for_changes", "{every: month, value: 86400}", ("change_failure_rate",)),
            Pick("change_failure_rate", "{every: month, value: 0.1}", ("deployment_frequency",)),
            Pick("time_to_restore", "{every: month, value: 3600}", ("change_failure_rate",)),
        ),
    ),
    "project": Starter(
        "a project",
        "deliver-on-plan",
        "Deliver what was planned, on time and at the cost that was planned",
        (
            Pick("spi", "{every: month, value: 1.0}", ("cpi",)),
            Pick("cpi", "{every: month, value: 1.0}", ("spi",)),
            Pick("critical_path_length", "{every: month, value: 120}", ("spi",)),
            Pick("labour_cost", "{every: month, value: 30000}", ("spi",)),
        ),
    ),
}
"""Kind of business -> what to begin with."""


def render(business: str, *, owner: str, currency: str, timezone: str, now: datetime) -> str:
    """The KPI file. Texts must be plain words; `now` decides the objective's period, the current quarter."""
    starter = STARTERS[business]
    entries = [(library().templates[pick.name], pick) for pick in starter.picks]
    quarter = f"{now.year}-Q{(now.month + 2) // 3}"
    return "\n".join(
        [
            f"# KPIs for {starter.title}, to begin with. Change what does not fit, above all the targets: they are",
            "# examples.",
            "# `onpace validate` checks this file, `onpace lint` says whether these are good KPIs,",
            "# `onpace library NAME` explains each of them, and `onpace up --kpis` with this folder runs it.",
            "version: 1",
            f"defaults: {{timezone: {timezone}, owner: {owner}, currency: {currency}}}",
            "",
            *_event_comments([entry for entry, _ in entries]),
            "objectives:",
            f'  - {{name: {starter.objective}, title: "{starter.aim}", owner: {owner}, period: {quarter}}}',
            "",
            "kpis:",
            *(line for entry, pick in entries for line in _kpi(entry, pick, starter.objective)),
            *_alert(next(pick for entry, pick in entries if entry.spec["role"] == "lagging")),
        ]
    )


def _event_comments(entries: list[Template]) -> list[str]:
    """What applications must send, and how own events take its place."""
    needs: dict[str, dict[str, None]] = {}
    for entry in entries:
        for event, names in library().needs(entry).items():
            needs.setdefault(event, {}).update(dict.fromkeys(names))
    lines = [f"#   {event}: {', '.join(names) or 'no property'}" for event, names in needs.items()]
    wanted, first = next((event, next(iter(names))) for event, names in needs.items() if names)
    example = f"{{{wanted}: {{event: my.event, {first}: my_property}}}}"
    return [
        "# These events are wanted, with these properties:",
        *lines,
        "# If yours have other names, declare them under events:, and map them in each KPI that uses them:",
        f"#   map: {example}",
        "",
    ]


def _kpi(entry: Template, pick: Pick, objective: str) -> list[str]:
    guardrails = [f"    guardrails: [{', '.join(pick.guardrails)}]"] if pick.guardrails else []
    return [
        f"  # {entry.spec['title']} ({entry.spec['role']}): {entry.definition}",
        f"  - use: library/{entry.key}",
        f"    name: {entry.name}",
        f"    objective: {objective}",
        *guardrails,
        f"    targets: [{pick.target}]",
        "",
    ]


def _alert(pick: Pick) -> list[str]:
    return [
        "channels:",
        "  - {name: team, type: log}   # or a webhook, or Alertmanager: see docs/kpi-format.md",
        "",
        "rules:",
        "  # Says so when the number is off its pace, once a tenth of the period has passed.",
        f"  - {{name: {pick.name.replace('_', '-')}-off-pace, kpi: {pick.name}, when: pace, at: off_track, after: 10%, "
        "notify: [team]}",
        "",
    ]
