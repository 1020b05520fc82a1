"""What must hold for rules of each kind: thresholds, changes, anomalies and attainment."""

from __future__ import annotations

from collections.abc import Iterator

from onpace.config.amounts import Amount
from onpace.config.calendar import Grain
from onpace.config.kpi import SimpleKpi
from onpace.config.kpi_entities import ConversionKpi, Kpi
from onpace.config.rules import AnomalyRule, AttainmentRule, ChangeRule, ForecastRule, ThresholdRule

__all__ = [
    "Complaint",
    "anomaly_problems",
    "attainment_problems",
    "change_problems",
    "forecast_problems",
    "threshold_problems",
]

MIN_PROBABILITY, MAX_PROBABILITY = 0.2, 0.95
MIN_CLEAR = 0.1
"""With the fewest past periods that a probability is given by, it is never below or above these."""

Complaint = tuple[str, str]
"""The key that is wrong ('' for the rule itself) and what is wrong with it."""


def threshold_problems(rule: ThresholdRule, kpi: Kpi | None) -> Iterator[Complaint]:
    """Of a rule with a bound: it has one, and its clear condition can hold, beyond where it fires."""
    if (rule.below is None) == (rule.above is None):
        yield "", "a threshold needs either below or above"
        return
    counts = kpi is not None and _is_count(kpi)
    clear = rule.clear
    if clear is None:
        return
    if clear.above is not None and clear.below is not None and clear.above >= clear.below:
        side = f"above: {clear.above:g}" if rule.below is not None else f"below: {clear.below:g}"
        both = f"no value is above {clear.above:g} and below {clear.below:g}"
        yield "clear", f"clear can never hold: {both}: write clear: {{{side}}}"
    elif rule.below is not None and (clear.below is not None or clear.above is None or clear.above < rule.below):
        yield "", f"clear must be above, and at least {rule.below:g}, as in clear: {{above: {rule.below:g}}}"
    elif rule.above is not None and (clear.above is not None or clear.below is None or clear.below > rule.above):
        yield "", f"clear must be below, and at most {rule.above:g}, as in clear: {{below: {rule.above:g}}}"
    elif counts and clear.below is not None and clear.below <= 0:
        yield "clear", f"clear can never hold: a count is never below {clear.below:g}: write more, or leave it out"


def change_problems(rule: ChangeRule, kpi: Kpi | None) -> Iterator[Complaint]:
    """Of a rule that compares windows; what its KPI must be is looked at where there is a sound one."""
    if (rule.drop is None) == (rule.rise is None):
        yield "", "a change needs either drop or rise, as in drop: 30%"
        return
    word, amount = ("drop", rule.drop) if rule.drop else ("rise", rule.rise)
    if amount is None:
        return
    if amount.number == 0:
        yield word, f"a {word} of 0 is none: write how much, as in {word}: 30%"
    if rule.clear:
        yield from _clear_problems(rule.clear, amount, word)
    if not amount.relative and rule.min_effect is not None:
        yield "min_effect", f"{word}: {amount} says already how much it must be: leave min_effect out"
    if rule.against == "same_weekday" and rule.grain.rank > Grain.DAY.rank:
        yield "against", f"against: same_weekday needs a grain of a day or less: write previous for a {rule.grain}"
    if kpi:
        if word == "drop" and amount.relative and amount.number > 100 and _is_count(kpi):
            yield "drop", f"a drop of {amount} can never be: kpi '{kpi.name}' is a count, and never below 0"
        if not amount.relative:
            yield from _ratio_problems(kpi, word, amount.number)
        yield from _ratio_problems(kpi, "min_effect", rule.min_effect)


def _clear_problems(clear: Amount, amount: Amount, word: str) -> Iterator[Complaint]:
    if clear.relative != amount.relative:
        both = "both in % or both in the KPI's unit"
        yield "clear", f"clear: {clear} does not go with {word}: {amount}: write {both}"
    elif clear.number > amount.number:
        yield "clear", f"clear: {clear} is more than {word}: {amount}: it would end while it still holds"


def _is_count(kpi: Kpi) -> bool:
    match kpi:
        case SimpleKpi():
            return kpi.agg in ("count", "count_distinct")
        case ConversionKpi():
            return True
        case _:
            return False


def _ratio_problems(kpi: Kpi, key: str, number: float | None) -> Iterator[Complaint]:
    if kpi.unit == "ratio" and number is not None and number >= 1:
        share = f", or {number:g}% for a share of what it was" if key != "min_effect" else ""
        points = f"write {number / 100:g} for {number:g} percentage points{share}"
        yield key, f"{key}: {number:g} in a ratio is {number * 100:g} points: {points}"


def anomaly_problems(rule: AnomalyRule, kpi: Kpi | None) -> Iterator[Complaint]:
    """Of a rule that looks for the unusual."""
    if rule.grain.rank < Grain.HOUR.rank:
        yield "grain", f"grain {rule.grain} is too fine for an anomaly rule: write hour or longer"
    seasons = rule.grain.rank <= Grain.DAY.rank
    if rule.method == "seasonal" and not seasons:
        yield "method", f"a {rule.grain} has no seasons: leave method out"
    if "sensitivity" in rule.model_fields_set and (rule.method == "xmr" or not seasons):
        yield "sensitivity", "sensitivity is for seasons: XmR limits are always mean ± 2.66 x mean moving range"
    if "baseline" in rule.model_fields_set and rule.method == "seasonal":
        yield "baseline", "baseline is for XmR limits: seasons are learned from the last 8 weeks"
    if kpi:
        yield from _ratio_problems(kpi, "min_effect", rule.min_effect)


def attainment_problems(rule: AttainmentRule, kpi: Kpi | None) -> Iterator[Complaint]:
    """Of a rule on how much of the headline target is reached."""
    if (rule.below is None) == (rule.above is None):
        yield "", "an attainment rule needs either below or above, as in below: 80%"
        return
    if rule.below == 0:
        yield "below", "an attainment below 0 % is none: write a share, as in below: 80%"
    if rule.clear is not None:
        if rule.below is not None and rule.clear < rule.below:
            yield "clear", f"clear must be at least {rule.below * 100:g} %, which is where it fires"
        if rule.above is not None and rule.clear > rule.above:
            yield "clear", f"clear must be at most {rule.above * 100:g} %, which is where it fires"
    if kpi is None or kpi.headline is None:
        return
    if kpi.direction == "in_range":
        yield "", f"kpi '{kpi.name}' has a range as its target: it is held or not, and has no attainment"
    used_up = kpi.headline.start is None and kpi.headline.increase is None
    if kpi.direction == "lower_is_better" and used_up and rule.below is not None:
        usual = "where lower is better, attainment is the share of what is allowed that is used up"
        yield "below", f"{usual}: write above, as in above: 90%"


def forecast_problems(rule: ForecastRule) -> Iterator[Complaint]:
    """Of a rule on the probability to miss a target."""
    if not MIN_PROBABILITY <= rule.probability <= MAX_PROBABILITY:
        given, sure = f"probability: {rule.probability * 100:g}%", rule.probability > MAX_PROBABILITY
        why = "a forecast is never as sure as that" if sure else "most targets are that unsure"
        yield "probability", f"{given}: {why}: write 20% to 95%, as in probability: 70%"
    elif rule.clear is not None and rule.clear > rule.probability:
        yield "clear", f"clear must be at most {rule.probability * 100:g} %, which is where it fires"
    elif rule.clear is not None and rule.clear < MIN_CLEAR:
        yield "clear", f"clear: {rule.clear * 100:g}%: a forecast may never be as sure as that: write 10% or more"
