"""The life of one alert."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import get_args

from alerts_fakes import at
from hypothesis import given
from hypothesis import strategies as st

from onpace.alerts.states import Alert, AlertState, step

T0 = at("2026-11-01")
HOUR = timedelta(hours=1)
LOOKS = st.lists(st.tuples(st.integers(0, 90), st.sampled_from([True, False, None])), max_size=60)


def test_it_fires_once_the_condition_has_held() -> None:
    """Pending from the first breach, firing an hour later, resolved when it ends."""
    alert = step(Alert("r", "k"), breached=True, hold=HOUR, now=T0)
    assert (alert.state, alert.active_since) == ("pending", T0)
    assert step(alert, breached=True, hold=HOUR, now=T0 + HOUR / 2) is alert
    firing = step(alert, breached=True, hold=HOUR, now=T0 + HOUR)
    assert (firing.state, firing.fired_at, firing.active_since) == ("firing", T0 + HOUR, T0)
    ended = step(firing, breached=False, hold=HOUR, now=T0 + 2 * HOUR)
    assert (ended.state, ended.resolved_at) == ("resolved", T0 + 2 * HOUR)


def test_without_a_hold_it_fires_at_once() -> None:
    """`for` is zero by default."""
    assert step(Alert("r", "k"), breached=True, hold=timedelta(), now=T0).state == "firing"


def test_a_pending_alert_that_recovers_starts_over() -> None:
    """The next breach counts from its own beginning."""
    pending = step(Alert("r", "k"), breached=True, hold=HOUR, now=T0)
    quiet = step(pending, breached=False, hold=HOUR, now=T0 + HOUR / 2)
    assert (quiet.state, quiet.active_since) == ("inactive", None)
    assert step(quiet, breached=True, hold=HOUR, now=T0 + HOUR).active_since == T0 + HOUR


def test_a_resolved_alert_can_fire_again() -> None:
    """With new times."""
    alert = Alert("r", "k", state="resolved", active_since=T0, fired_at=T0, resolved_at=T0 + HOUR)
    again = step(alert, breached=True, hold=timedelta(), now=T0 + 2 * HOUR)
    assert (again.state, again.active_since, again.resolved_at) == ("firing", T0 + 2 * HOUR, None)


def test_it_may_be_kept_firing_after_the_condition_has_ended() -> None:
    """For an hour, counted from the first good look; a breach in between starts it anew."""

    def look(alert: Alert, breached: bool | None, minutes: int) -> Alert:
        return step(alert, breached=breached, hold=timedelta(), keep=HOUR, now=T0 + timedelta(minutes=minutes))

    firing = look(Alert("r", "k"), True, 0)
    good = look(firing, False, 10)
    assert (good.state, good.good_since) == ("firing", T0 + timedelta(minutes=10))
    assert look(good, False, 69) is good
    assert look(good, None, 90) is good
    again = look(good, True, 60)
    assert (again.state, again.good_since, again.fired_at) == ("firing", None, T0)
    assert look(look(again, False, 100), False, 159).state == "firing"
    ended = look(good, False, 70)
    assert (ended.state, ended.good_since, ended.resolved_at) == ("resolved", None, T0 + timedelta(minutes=70))


def test_one_that_is_pending_is_not_kept() -> None:
    """Nobody was told of it."""
    pending = step(Alert("r", "k"), breached=True, hold=HOUR, keep=HOUR, now=T0)
    assert step(pending, breached=False, hold=HOUR, keep=HOUR, now=T0 + HOUR / 2).state == "inactive"


@given(LOOKS, st.integers(0, 300))
def test_it_never_fires_before_the_hold(looks: list[tuple[int, bool | None]], hold_minutes: int) -> None:
    """Whatever it is shown, it fires only after a breach for as long, with no look at a good value between."""
    alert, now, hold, since = Alert("r", "k"), T0, timedelta(minutes=hold_minutes), None
    for minutes, breached in looks:
        now += timedelta(minutes=minutes)
        if breached is not None:
            since = (since or now) if breached else None
        before, alert = alert, step(alert, breached=breached, hold=hold, now=now)
        if alert.state == "firing" and before.state != "firing":
            assert since is not None
            assert now - since >= hold


@given(st.sampled_from(get_args(AlertState)), st.integers(0, 10_000))
def test_no_data_never_changes_a_state(state: str, minutes: int) -> None:
    """None returns the alert itself."""
    alert = replace(Alert("r", "k", active_since=T0), state=state)
    assert step(alert, breached=None, hold=HOUR, now=T0 + timedelta(minutes=minutes)) is alert
