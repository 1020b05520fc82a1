"""For every entry of the KPI library: a few events, and its value in February 2026 as computed by hand.

Days are of 2026 and in UTC. Values are written as the arithmetic that gives them, from the events above them.
Events that must not count are among the others, so that a template that forgot a filter gives another value.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from processors_fakes import Sent
from reports_fakes import report

__all__ = ["CASES", "REPORTS", "Case", "World"]

MINUTE, HOUR, DAY = 60, 3600, 86400
_ids = itertools.count(1)


def on(day: str, type: str, **data: Any) -> Sent:
    """An event of a type on a day (`02-03`, at noon) or at a time of one (`02-03 15:30`) of 2026."""
    at = datetime.strptime(f"2026-{day}" if " " in day else f"2026-{day} 12:00", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    return Sent(id=f"e{next(_ids)}", time=at, type=type, data=data)


@dataclass(frozen=True)
class Case:
    """A value in one window; `by` is the dimension's value that it is for (None: the total)."""

    value: float
    grain: str = "month"
    start: str = "2026-02-01"
    by: tuple[str, str] | None = None


@dataclass(frozen=True)
class World:
    """The events of one domain and what its entries come to."""

    events: tuple[Sent, ...]
    values: dict[str, float | Case]
    """Entry -> its value in February 2026, or a case that says where else."""


CASES: dict[str, World] = {}

CASES["sales"] = World(
    (
        # customers won, for the share of the market
        *(on("01-02", "customer.joined", customer_id=f"c{number}") for number in range(5)),
        on("02-10", "customer.left", customer_id="c0"),
        on("01-01", "market.sized", segment="towns", customers=30),
        on("02-01", "market.sized", segment="towns", customers=35),
        on("02-02", "market.sized", segment="villages", customers=5),
        # ann buys in January and again in February, bob in January only, cid twice in February
        on("01-05", "order.paid", order_id="1", customer_id="ann", visitor_id="va", amount=100, cost=70),
        on("01-20", "order.paid", order_id="2", customer_id="bob", visitor_id="vb", amount=140, cost=90),
        on("02-03", "order.paid", order_id="3", customer_id="ann", visitor_id="va", amount=120.50, cost=80.25),
        on("02-04", "order.paid", order_id="4", customer_id="cid", visitor_id="vc", amount=100, cost=95),
        on("02-25", "order.paid", order_id="5", customer_id="cid", visitor_id="vc", amount=79.50, cost=44.75),
        # visits in February: va buys 1 day later, vc within the hour, vd never, vc's second visit is 20 days too early
        on("02-02", "visit.started", visitor_id="va"),
        on("02-04 11:30", "visit.started", visitor_id="vc"),
        on("02-05", "visit.started", visitor_id="vc"),
        on("02-06", "visit.started", visitor_id="vd"),
        # opportunities of February: d1 and d3 won in time, d2 lost, d4 won by another salesperson
        on("02-01", "opportunity.opened", deal_id="d1", salesperson_id="sue"),
        on("02-02", "opportunity.opened", deal_id="d2", salesperson_id="sue"),
        on("02-03", "opportunity.opened", deal_id="d3", salesperson_id="sue"),
        on("02-04", "opportunity.opened", deal_id="d4", salesperson_id="tom"),
        on("02-20", "deal.won", deal_id="d1", salesperson_id="sue", amount=1000),
        on("02-21", "deal.won", deal_id="d4", salesperson_id="tom", amount=500.50),
        on("03-15", "deal.won", deal_id="d3", salesperson_id="sue", amount=7000),
        # contracts
        on("01-31", "contract.ended", contract_id="k0", renewed=False),
        on("02-01", "contract.ended", contract_id="k1", renewed=True),
        on("02-02", "contract.ended", contract_id="k2", renewed=True),
        on("02-03", "contract.ended", contract_id="k3", renewed=True),
        on("02-28", "contract.ended", contract_id="k4", renewed=False),
    ),
    {
        "sales": 300.0,  # 120.50 + 100 + 79.50
        "orders": 3,
        "sales_growth": 300 / 240 - 1,  # January: 100 + 140
        "sales_margin": 80.0,  # 40.25 + 5 + 34.75
        "average_margin": 80 / 300,  # not the mean of 0.334, 0.05 and 0.437
        "deals_won": 2,
        "deal_value": 1500.5,
        "average_deal_value": 1500.5 / 2,
        "deal_conversion": Case(2 / 3, by=("salesperson_id", "sue")),  # d1 and d3 of d1, d2, d3
        "contracts_ended": 4,
        "contracts_renewed": 3,
        "renewal_rate": 3 / 4,
        "visit_to_purchase": 2 / 4,  # va, and vc's first visit: its second one is followed 20 days later only
        "repeat_purchase": Case(1 / 2, start="2026-01-01"),  # of ann and bob, ann came again
        "market_size": 40,  # 35 + 5: the town's size was corrected
        "market_penetration": 4 / 40,  # 5 customers won, 1 lost
    },
)

CASES["finance"] = World(
    (
        on("01-15", "ledger.posted", category="revenue", amount=800, region="EU"),
        on("01-15", "ledger.posted", category="operating_expense", amount=100, region="EU"),
        on("02-01", "ledger.posted", category="revenue", amount=1000, region="EU"),
        on("02-02", "ledger.posted", category="revenue", amount=500.50, region="US"),
        on("02-02", "ledger.posted", category="revenue", amount=-0.50, region="US"),
        on("02-03", "ledger.posted", category="other_income", amount=20, region="EU"),
        on("02-04", "ledger.posted", category="cost_of_sales", amount=600, region="EU"),
        on("02-05", "ledger.posted", category="operating_expense", amount=250, region="EU"),
        on("02-06", "ledger.posted", category="depreciation", amount=60, region="EU"),
        on("02-07", "ledger.posted", category="amortization", amount=10, region="US"),
        on("02-08", "ledger.posted", category="interest", amount=50, region="EU"),
        on("02-09", "ledger.posted", category="tax", amount=100, region="EU"),
        on("02-03", "cash.moved", activity="operating", amount=900),
        on("02-04", "cash.moved", activity="operating", amount=-350.25),
        on("02-05", "cash.moved", activity="investing", amount=-4000),
        on("02-06", "cash.moved", activity="financing", amount=5000),
        on("01-31", "balance_sheet.stated", account="cash", side="current_asset", amount=400),
        on("02-28", "balance_sheet.stated", account="cash", side="current_asset", amount=700),
        on("02-28", "balance_sheet.stated", account="customers", side="current_asset", amount=450, receivable=True),
        on("02-28", "balance_sheet.stated", account="suppliers", side="current_liability", amount=300),
        on("02-28", "balance_sheet.stated", account="machines", side="fixed_asset", amount=9000),
        on("01-10", "invoice.issued", invoice_id="i1", amount=300),
        on("02-10", "invoice.issued", invoice_id="i2", amount=600),
        on("01-10", "investment.booked", investment_id="press", kind="cost", amount=800),
        on("02-10", "investment.booked", investment_id="press", kind="cost", amount=200),
        on("02-20", "investment.booked", investment_id="press", kind="return", amount=1250),
    ),
    {
        "revenue": 1500.0,  # 1000 + 500.50 - 0.50
        "cost_of_sales": 600.0,
        "gross_profit": 900.0,  # 1500 - 600
        "gross_margin": 900 / 1500,
        "ebitda": 670.0,  # 1500 + 20 - 600 - 250
        "net_profit": 450.0,  # 670 - 60 - 10 - 50 - 100
        "net_profit_margin": 450 / 1500,
        "profit_by_region": Case(110.0, by=("region", "EU")),  # 1000 + 20 - 600 - 250 - 60; the US has 500 - 10
        "working_capital": 850.0,  # 700 + 450 - 300: cash at its last balance, no machines
        "operating_cash_flow": 549.75,  # 900 - 350.25
        "investment_costs": 200.0,
        "investment_returns": 1250.0,
        "investment_costs_to_date": 1000.0,  # 800 + 200
        "investment_returns_to_date": 1250.0,
        "roi": (1250 - 1000) / 1000,
        "receivables": 450.0,
        "credit_sales": 600.0,
        "credit_sales_90d": 900.0,  # 300 + 600: both within 90 days before March
        "dso": 450 / 900 * 90,
        "costs": 1070.0,  # 600 + 250 + 60 + 10 + 50 + 100
        "costs_365d": 1170.0,  # with January's 100
        "average_monthly_cost": 1170 / 12,
    },
)

CASES["saas"] = World(
    (
        on("01-03", "subscription.changed", account_id="a", mrr=100),
        on("01-04", "subscription.changed", account_id="b", mrr=60),
        on("01-05", "subscription.changed", account_id="c", mrr=40),
        on("01-03", "subscription.moved", account_id="a", kind="new", amount=100),
        on("02-01", "subscription.changed", account_id="a", mrr=150.50),
        on("02-02", "subscription.changed", account_id="b", mrr=45),
        on("02-03", "subscription.changed", account_id="c", mrr=0),
        on("02-04", "subscription.changed", account_id="d", mrr=30),
        on("02-01", "subscription.moved", account_id="a", kind="expansion", amount=50.50),
        on("02-02", "subscription.moved", account_id="b", kind="contraction", amount=-15),
        on("02-03", "subscription.moved", account_id="c", kind="churn", amount=-40),
        on("02-04", "subscription.moved", account_id="d", kind="new", amount=30),
    ),
    {
        "mrr": 225.5,  # 150.50 + 45 + 0 + 30
        "arr": 225.5 * 12,
        "subscribers": 3,  # a, b, d
        "arpa": 225.5 / 3,
        "mrr_change_existing": -4.5,  # 50.50 - 15 - 40
        "net_revenue_retention": 1 - 4.5 / 200,  # January ended with 100 + 60 + 40
    },
)

CASES["customer"] = World(
    (
        *(on("01-02", "customer.joined", customer_id=f"c{number}") for number in range(20)),
        on("01-03", "customer.left", customer_id="c0"),  # 19 at January's end
        *(on("02-02", "customer.joined", customer_id=f"d{number}") for number in range(5)),
        on("02-20", "customer.left", customer_id="c1"),
        on("02-21", "customer.left", customer_id="d1"),  # 22 at February's end
        on("01-09", "acquisition.spent", amount=999),
        on("02-03", "acquisition.spent", amount=100.50, channel="ads"),
        on("02-04", "acquisition.spent", amount=149.50, channel="fair"),
        on("02-05", "order.paid", customer_id="c2", amount=60, cost=40),
        on("02-06", "order.paid", customer_id="c2", amount=40, cost=20),
        on("02-07", "order.paid", customer_id="c3", amount=100, cost=80),
        on("02-08", "survey.answered", survey="nps", score=10),
        on("02-08", "survey.answered", survey="nps", score=9),
        on("02-08", "survey.answered", survey="nps", score=8),
        on("02-08", "survey.answered", survey="nps", score=7),
        on("02-08", "survey.answered", survey="nps", score=6),
        on("02-09", "survey.answered", survey="csat", score=5),
        on("02-09", "survey.answered", survey="csat", score=4),
        on("02-09", "survey.answered", survey="csat", score=4),
        on("02-09", "survey.answered", survey="csat", score=3),
    ),
    {
        "new_customers": 5,
        "lost_customers": 2,
        "customers_joined_to_date": 25,
        "customers_left_to_date": 3,
        "total_customers": 22,  # 25 - 3
        "customer_churn": 2 / 19,
        "customer_retention": 17 / 19,  # (22 - 5) / 19
        "acquisition_cost": 250.0,
        "cac": 250 / 5,
        "buyers": 2,
        "revenue_per_customer": 200 / 2,
        "clv": 100 * 0.3 / (2 / 19),  # margin: (200 - 140) / 200
        "nps": 20.0,  # 100 x (2 promoters - 1 detractor) / 5
        "csat": 3 / 4,
        "brand_favourability": Case(0.41, "quarter", "2026-01-01"),
    },
)

CASES["support"] = World(
    (
        on("01-31", "ticket.opened", ticket_id="t0", kind="error"),
        on("02-02 10:00", "ticket.opened", ticket_id="t1", kind="question"),
        on("02-02 10:30", "ticket.replied", ticket_id="t1"),  # 30 minutes
        on("02-02 11:00", "ticket.replied", ticket_id="t1"),
        on("02-02 12:00", "ticket.resolved", ticket_id="t1"),
        on("02-03 10:00", "ticket.opened", ticket_id="t2", kind="complaint"),
        on("02-03 12:00", "ticket.replied", ticket_id="t2"),  # 2 hours
        on("02-04 10:00", "ticket.resolved", ticket_id="t2"),
        on("02-05 10:00", "ticket.opened", ticket_id="t3", kind="complaint"),
        on("02-07 10:00", "ticket.replied", ticket_id="t3"),  # 48 hours: too late for the reply rate
        on("02-15 10:00", "ticket.resolved", ticket_id="t3"),  # 10 days: too late for the resolution rate
        on("02-06 10:00", "ticket.opened", ticket_id="t4", kind="error"),  # nobody answers
        on("02-09 10:00", "ticket.opened", ticket_id="t5", kind="question"),  # solved without an answer
        on("02-09 11:00", "ticket.resolved", ticket_id="t5"),
    ),
    {
        "ticket_volume": 5,
        "error_tickets": 1,
        "complaints": 2,
        "complaint_resolution_rate": 1 / 2,  # t2 of t2, t3
        "resolution_rate": 3 / 5,  # t1, t2, t5
        "first_response_time": 2 * HOUR,  # the median of 30 minutes, 2 hours, 48 hours
        "support_reply_rate": 2 / 5,  # t1, t2
    },
)

CASES["operations"] = World(
    (
        on("02-01 08:00", "work.requested", item_id="w1"),
        on("02-02 08:00", "work.requested", item_id="w2"),
        on("02-03 08:00", "work.requested", item_id="w3"),
        on("02-04 08:00", "work.started", item_id="w1"),
        on("02-04 09:00", "work.started", item_id="w2"),
        on("02-04 10:00", "work.started", item_id="w3"),
        on("02-04 12:00", "work.finished", item_id="w1", reworked=False, standard_hours=3, actual_hours=4),
        on("02-04 15:00", "work.finished", item_id="w2", reworked=True, standard_hours=3, actual_hours=6),
        on("02-05 10:00", "work.finished", item_id="w3", reworked=False, standard_hours=6, actual_hours=5),
        on("03-01 10:00", "work.finished", item_id="w4", reworked=False, standard_hours=9, actual_hours=9),
    ),
    {
        "throughput": 3,
        "lead_time": 2 * DAY + 7 * HOUR,  # of 3 d 4 h, 2 d 7 h, 2 d 2 h
        "cycle_time": 6 * HOUR,  # of 4, 6 and 24 hours
        "right_first_time": 2,
        "first_time_right": 2 / 3,
        "standard_hours": 12.0,  # 3 + 3 + 6
        "worked_hours": 15.0,  # 4 + 6 + 5
        "efficiency_ratio": 12 / 15,
    },
)

CASES["people"] = World(
    (
        *(on("01-02", "employee.joined", employee_id=f"e{number}") for number in range(11)),
        on("01-30", "employee.left", employee_id="e0"),  # 10 at January's end
        *(on("02-02", "employee.joined", employee_id=f"f{number}") for number in range(4)),
        on("02-10", "employee.left", employee_id="e1"),
        on("02-11", "employee.left", employee_id="e2"),  # 12 at February's end
        on("04-20", "employee.left", employee_id="f0"),  # after 77 days
        on("01-05", "hr.complaint_filed", complaint_id="h1"),
        on("02-05", "hr.complaint_filed", complaint_id="h2"),
        on("02-06", "hr.complaint_filed", complaint_id="h3"),
    ),
    {
        "employees_joined": 4,
        "employees_left": 2,
        "employees_joined_to_date": 15,
        "employees_left_to_date": 3,
        "headcount": 12,  # 15 - 3
        "employee_turnover": 2 / 11,  # by the mean of 10 and 12
        "employee_retention": 8 / 10,  # (12 - 4) / 10
        "new_hire_turnover": 1 / 4,  # f0 of four
        "hr_complaints": 2,
        "employee_satisfaction": Case(71.5, "quarter", "2026-01-01"),
        "salary_competitiveness": Case(0.97, "year", "2025-01-01"),
    },
)

CASES["projects"] = World(
    (
        on("01-05", "time.booked", project_id="bridge", employee_id="x", hours=100, cost=5000),
        on("02-05", "time.booked", project_id="bridge", employee_id="x", hours=8, cost=400),
        on("02-06", "time.booked", project_id="bridge", employee_id="y", hours=4, cost=300.50),
        on("02-07", "time.booked", project_id="road", employee_id="x", hours=2, cost=100),
        on(
            "02-01", "task.updated", project_id="bridge", task_id="t1", planned_value=80, earned_value=0, actual_cost=10
        ),
        on(
            "02-20",
            "task.updated",
            project_id="bridge",
            task_id="t1",
            planned_value=100,
            earned_value=100,
            actual_cost=90,
        ),
        on(
            "02-20",
            "task.updated",
            project_id="bridge",
            task_id="t2",
            planned_value=60,
            earned_value=20,
            actual_cost=60,
        ),
        on("02-01", "project.scheduled", project_id="bridge", critical_path_days=30),
        on("02-10", "project.scheduled", project_id="bridge", critical_path_days=33.5),
        on("02-10", "project.scheduled", project_id="road", critical_path_days=12),
    ),
    {
        "labour_cost": Case(700.5, by=("project_id", "bridge")),  # 400 + 300.50
        "active_projects": 2,
        "labour_cost_per_project": 800.5 / 2,
        "planned_value": 160.0,  # 100 + 60
        "earned_value": 120.0,  # 100 + 20
        "actual_cost": 150.0,  # 90 + 60
        "cpi": 120 / 150,
        "spi": 120 / 160,
        "critical_path_length": Case(33.5, by=("project_id", "bridge")),  # the last one counts
    },
)

CASES["marketing"] = World(
    (
        on("02-01", "lead.captured", lead_id="l1"),
        on("02-02", "lead.captured", lead_id="l2"),
        on("02-03", "lead.captured", lead_id="l3"),
        on("02-04", "lead.captured", lead_id="l4"),
        on("02-05", "lead.captured", lead_id="l5"),
        on("02-05", "lead.qualified", lead_id="l1"),
        on("02-06", "lead.qualified", lead_id="l2"),
        on("03-02", "lead.qualified", lead_id="l3"),
        on("04-01", "lead.converted", lead_id="l2"),
        on("02-10", "campaign.spent", campaign="spring", amount=75.25),
        on("02-11", "campaign.spent", campaign="spring", amount=24.75),
        on("03-11", "campaign.spent", campaign="spring", amount=500),
        on("02-12", "content.measured", campaign="spring", impressions=4000, clicks=90),
        on("02-13", "content.measured", campaign="spring", impressions=1000, clicks=10),
        on("02-14", "download.completed", asset="guide"),
        on("02-15", "download.completed", asset="guide"),
        on("03-15", "download.completed", asset="guide"),
        on("02-16", "session.ended", session_id="s1", pages=1),
        on("02-16", "session.ended", session_id="s2", pages=7),
        on("02-16", "session.ended", session_id="s3", pages=2),
        on("02-16", "session.ended", session_id="s4", pages=1),
        on("02-16", "session.ended", session_id="s5", pages=1),
    ),
    {
        "leads": 5,
        "qualified_leads": 2,
        "lead_conversion": 1 / 5,  # l2, after 58 days
        "campaign_cost": 100.0,
        "cost_per_lead": 100 / 5,
        "impressions": 5000,
        "clicks": 100,
        "click_through_rate": 100 / 5000,  # not the mean of 0.0225 and 0.01
        "downloads": 2,
        "sessions": 5,
        "bounced_sessions": 3,
        "bounce_rate": 3 / 5,
        "search_ranking": Case(8.4, "week", "2026-02-09"),
    },
)

CASES["social"] = World(
    (
        on("01-31", "audience.counted", account="@shop", followers=900),
        on("02-10", "audience.counted", account="@shop", followers=1000),
        on("02-20", "audience.counted", account="shop.page", followers=250),
        *(
            on("02-05", "social.engaged", kind=kind, number=number)
            for kind, number in (
                ("like", 40),
                ("share", 8),
                ("reply", 5),
                ("comment", 7),
                ("follow", 100),
                ("mention", 2),
            )
        ),
        on("02-06", "social.engaged", kind="like", number=3),
        on("02-06", "social.engaged", kind="mention", number=1),
        on("03-06", "social.engaged", kind="share", number=99),
    ),
    {
        "followers": 1250,  # 1000 + 250
        "follows": 100,
        "likes": 43,  # 40 + 3
        "shares": 8,
        "replies": 5,
        "comments": 7,
        "brand_mentions": 3,  # 2 + 1
    },
)

CASES["content"] = World(
    (
        on("02-01", "post.published", post_id="p1", keywords=3, internal_links=2),
        on("02-02", "post.published", post_id="p2", keywords=4, internal_links=7),
        on("03-02", "post.published", post_id="p3", keywords=50, internal_links=70),
        on("02-03", "post.visited", post_id="p1", click_price=0.80),
        on("02-04", "post.visited", post_id="p1", click_price=0.80),
        on("02-05", "post.visited", post_id="p2", click_price=1.15),
        on("03-05", "post.visited", post_id="p2", click_price=9),
        on("02-06", "asset.finished", asset_id="a1", kind="text", hours=5),
        on("02-07", "asset.finished", asset_id="a2", kind="film", hours=20),
        on("02-08", "asset.finished", asset_id="a3", kind="text", hours=2),
    ),
    {
        "post_traffic": 3,
        "post_traffic_value": 2.75,  # 0.80 + 0.80 + 1.15
        "keywords_per_post": 3.5,  # (3 + 4) / 2
        "internal_links_per_post": 4.5,  # (2 + 7) / 2
        "hours_per_asset": 9.0,  # (5 + 20 + 2) / 3
    },
)

CASES["engineering"] = World(
    (
        on("02-02 08:00", "change.committed", change_id="c1"),
        on("02-02 09:00", "change.committed", change_id="c2"),
        on("02-03 09:00", "change.committed", change_id="c3"),
        on("02-02 10:00", "change.deployed", change_id="c1"),
        on("02-02 14:00", "change.deployed", change_id="c2"),
        on("02-05 09:00", "change.deployed", change_id="c3"),
        on("02-02 10:00", "deployment.finished", deployment_id="d1"),
        on("02-02 14:00", "deployment.finished", deployment_id="d2"),
        on("02-05 09:00", "deployment.finished", deployment_id="d3"),
        on("02-06 09:00", "deployment.finished", deployment_id="d4"),
        on("03-06 09:00", "deployment.finished", deployment_id="d5"),
        on("02-02 15:00", "incident.opened", incident_id="i1", deployment_id="d2"),
        on("02-02 15:40", "incident.resolved", incident_id="i1"),
        on("02-20 09:00", "incident.opened", incident_id="i2", deployment_id="d3"),  # 15 days later: too late to blame
        on("02-20 14:00", "incident.resolved", incident_id="i2"),
        on("02-21 09:00", "incident.opened", incident_id="i3"),  # caused by no deployment
        on("02-21 11:00", "incident.resolved", incident_id="i3"),
    ),
    {
        "deployment_frequency": 4,
        "lead_time_for_changes": 5 * HOUR,  # of 2, 5 and 48 hours
        "change_failure_rate": 1 / 4,  # d2
        "time_to_restore": 2 * HOUR,  # of 40 minutes, 5 hours, 2 hours
    },
)

REPORTS: dict[str, tuple[Sent, ...]] = {
    "customer": (
        report("r1", "brand_favourability", "2025-Q4", 0.38),
        report("r2", "brand_favourability", "2026-Q1", 0.41),
    ),
    "people": (
        report("r1", "employee_satisfaction", "2025-Q4", 68.0),
        report("r2", "employee_satisfaction", "2026-Q1", 71.5),
        report("r3", "salary_competitiveness", "2025", 0.97),
    ),
    "marketing": (
        report("r1", "search_ranking", "2026-W06", 9.1),
        report("r2", "search_ranking", "2026-W07", 8.4),
    ),
}
"""What was reported, by domain; 2026-W07 begins on 9 February."""
