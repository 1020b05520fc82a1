"""Why nobody was told of an alert that fires."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from alerts_fakes import at, catalog_of, simple
from test_covering import behind
from test_engine import CHANNELS, off_pace

from onpace.alerts.silences import Acknowledgement, Quiet
from onpace.alerts.states import Alert
from onpace.alerts.unheard import unheard
from onpace.config.rules import ThresholdRule
from onpace.config.silences import Matchers, Silence

NOW = at("2026-11-20")
LOW = ThresholdRule.model_validate(
    {"name": "low", "kpi": "revenue", "when": "threshold", "below": 60, "by": ["region"], "max_alerts": 1}
    | {"notify": ["ops"]}
)
CATALOG = catalog_of([simple(dimensions={"region": "region"})], [off_pace(), behind(), LOW], channels=CHANNELS)
TOLD = Alert(
    *("revenue-off-pace", "revenue", (), "2026-11"), state="firing", fired_at=NOW, notified="firing", heard="firing"
)
WAITS = replace(TOLD, rule="behind", heard="")
NOBODY = Quiet.at(NOW, (), ())


def test_what_people_heard_has_no_reason() -> None:
    """Nor has what does not fire."""
    assert unheard(CATALOG, NOBODY, TOLD.rule, [TOLD]) == {}
    assert unheard(CATALOG, NOBODY, "behind", [TOLD, replace(WAITS, state="pending")]) == {}


def test_another_alert_tells_of_it() -> None:
    """It is named; once it has ended, there is nothing that holds this one back."""
    place = ((), "2026-11")
    assert unheard(CATALOG, NOBODY, "behind", [TOLD, WAITS]) == {place: "revenue-off-pace tells of the same period"}
    assert unheard(CATALOG, NOBODY, "behind", [replace(TOLD, state="resolved"), WAITS]) == {}


def test_somebody_has_silenced_it_or_knows_of_it() -> None:
    """With whose it is and until when."""
    later = NOW + timedelta(hours=1)
    silence = Silence(id="1", matchers=Matchers(rule="behind"), by="anna", why="deploy", until=later)
    quiet = Quiet.at(NOW, [silence], ())
    assert unheard(CATALOG, quiet, "behind", [WAITS]) == {
        ((), "2026-11"): "silenced by anna (deploy) until 2026-11-20 01:00 UTC"
    }
    known = Acknowledgement("behind", "revenue", (), "2026-11", NOW, "ben", "", NOW)
    assert list(unheard(CATALOG, Quiet.at(NOW, (), [known]), "behind", [WAITS]).values()) == ["acknowledged by ben"]


def test_worse_series_take_the_places_of_the_rule() -> None:
    """The cap is named."""
    series = [
        Alert("low", "revenue", (("region", name),), state="firing", fired_at=NOW, gap=gap)
        for name, gap in (("EU", 5.0), ("US", 9.0))
    ]
    worst, other = replace(series[1], notified="firing", heard="firing"), series[0]
    words = "only the worst 1 series of the rule are told (max_alerts)"
    assert unheard(CATALOG, NOBODY, "low", [other, worst]) == {(other.series, ""): words}
