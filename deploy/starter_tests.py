"""The rule test that `onpace init` writes beside the KPI file of each kind of business."""

from __future__ import annotations

__all__ = ["STARTER_TESTS", "render_tests"]

HEAD = """\
# Rule tests: `onpace test` with this folder sends these events and compares what comes of them (docs/testing-rules.md).
# It needs no Kafka and no data; put it into CI. Targets are the test's own, so that yours may change.
"""

STARTER_TESTS = {
    "shop": """\
  - name: sales that fall behind in the second third of the month are told
    targets: {sales: [{every: month, value: 3000}]}
    events:
      - {type: order.paid, from: 2026-09-01, every: 12h, to: 2026-09-11, data: {order_id: "a{n}", amount: 60}}
      - {type: order.paid, from: 2026-09-11, every: 12h, to: 2026-09-22, data: {order_id: "b{n}", amount: 10}}
    values:
      - {kpi: sales, at: 2026-09-01, value: 120, complete: true}
    statuses:
      - {at: 2026-09-09, kpi: sales, period: 2026-09, status: on_track}
    alerts:
      - {at: 2026-09-09, rule: sales-off-pace, firing: []}
      - {at: 2026-09-21, rule: sales-off-pace, firing: [{}]}
""",
    "saas": """\
  - name: a customer who leaves is told when the recurring revenue is too low then
    targets: {mrr: [{every: month, value: 1000}]}
    events:
      - {type: subscription.changed, time: 2026-09-01, data: {account_id: a, mrr: 800}}
      - {type: subscription.changed, time: 2026-09-01, data: {account_id: b, mrr: 400}}
      - {type: subscription.changed, time: 2026-09-11 12:00, data: {account_id: b, mrr: 0}}
    values:
      - {kpi: mrr, at: 2026-09-10, value: 1200, complete: true}
      - {kpi: mrr, at: 2026-09-12, value: 800}
    alerts:
      - {at: 2026-09-11, rule: mrr-off-pace, firing: []}
      - {at: 2026-09-14, rule: mrr-off-pace, firing: [{}]}
""",
    "b2b": """\
  - name: deals that stay away are told within the quarter
    targets: {deals_won: [{every: quarter, value: 92}]}
    events:
      - {type: deal.won, from: 2026-07-01, every: 12h, to: 2026-07-21, data: {deal_id: "a{n}", amount: 9000}}
      - {type: deal.won, from: 2026-07-21, every: 4d, to: 2026-09-01, data: {deal_id: "b{n}", amount: 9000}}
    values:
      - {kpi: deals_won, at: 2026-07-02, value: 2, complete: true}
    statuses:
      - {at: 2026-07-20, kpi: deals_won, period: 2026-Q3, status: on_track}
    alerts:
      - {at: 2026-07-20, rule: deals-won-off-pace, firing: []}
      - {at: 2026-08-30, rule: deals-won-off-pace, firing: [{}]}
""",
    "support": """\
  - name: one ticket in two that is resolved is not enough
    events:
      - {type: ticket.opened, from: 2026-08-31, every: 6h, count: 28, data: {ticket_id: "t{n}", kind: question}}
      - {type: ticket.resolved, from: 2026-08-31 01:00, every: 6h, count: 14, data: {ticket_id: "t{n}"}}
    values:
      - {kpi: resolution_rate, at: 2026-08-31, value: 1, as_of: 2026-10-15}
      - {kpi: resolution_rate, at: 2026-08-31, grain: week, value: 0.5, complete: true, as_of: 2026-10-15}
    statuses:
      - {at: 2026-10-15, kpi: resolution_rate, period: 2026-W36, status: missed}
""",
    "operations": """\
  - name: work that is finished too slowly is told within the month
    targets: {throughput: [{every: month, value: 300}]}
    events:
      - {type: work.finished, from: 2026-09-01, every: 2h, to: 2026-09-11, data: {item_id: "a{n}"}}
      - {type: work.finished, from: 2026-09-11, every: 12h, to: 2026-09-22, data: {item_id: "b{n}"}}
    values:
      - {kpi: throughput, at: 2026-09-01, value: 12, complete: true}
    statuses:
      - {at: 2026-09-09, kpi: throughput, period: 2026-09, status: on_track}
    alerts:
      - {at: 2026-09-09, rule: throughput-off-pace, firing: []}
      - {at: 2026-09-21, rule: throughput-off-pace, firing: [{}]}
""",
    "content": """\
  - name: a month in which too few leads become customers is missed
    events:
      - {type: lead.captured, from: 2026-06-01 01:00, every: 6h, count: 100, data: {lead_id: "l{n}"}}
      - {type: lead.converted, from: 2026-06-02, every: 12h, count: 3, data: {lead_id: "l{n}"}}
    values:
      - {kpi: lead_conversion, at: 2026-06-01, grain: month, value: 0.03, complete: true, as_of: 2026-12-01}
    statuses:
      - {at: 2026-12-01, kpi: lead_conversion, period: 2026-06, status: missed}
""",
    "software": """\
  - name: a month in which one deployment in five causes an incident is missed
    events:
      - {type: deployment.finished, from: 2026-06-01, every: 12h, count: 50, data: {deployment_id: "d{n}"}}
      - type: incident.opened
        from: 2026-06-01 01:00
        every: 12h
        count: 10
        data: {incident_id: "i{n}", deployment_id: "d{n}", service: web}
    values:
      - {kpi: change_failure_rate, at: 2026-06-01, grain: month, value: 0.2, complete: true, as_of: 2026-12-01}
    statuses:
      - {at: 2026-12-01, kpi: change_failure_rate, period: 2026-06, status: missed}
""",
    "project": """\
  - name: hours that cost more than planned are told within the month
    targets: {labour_cost: [{every: month, value: 3000}]}
    events:
      - {type: time.booked, from: 2026-09-01 12:00, every: 1d, count: 10, data: {project_id: p, hours: 2, cost: 80}}
      - {type: time.booked, from: 2026-09-11 12:00, every: 1d, count: 11, data: {project_id: p, hours: 5, cost: 200}}
    values:
      - {kpi: labour_cost, at: 2026-09-01, value: 80, complete: true}
    statuses:
      - {at: 2026-09-09, kpi: labour_cost, period: 2026-09, status: on_track}
    alerts:
      - {at: 2026-09-09, rule: labour-cost-off-pace, firing: []}
      - {at: 2026-09-21 12:00, rule: labour-cost-off-pace, firing: [{}]}
""",
}
"""Kind of business -> one test of the KPIs that `onpace init` begins with."""


def render_tests(business: str, timezone: str) -> str:
    """The file of tests."""
    return f"{HEAD}timezone: {timezone}\ntests:\n{STARTER_TESTS[business]}"
