-- The latest status of every target in every period; a final one is the last version of its row.
CREATE TABLE IF NOT EXISTS kpi_status (
    kpi LowCardinality(String),
    target String,
    series String,
    period String,
    grain LowCardinality(String),
    period_start DateTime64(6, 'UTC'),
    period_end DateTime64(6, 'UTC'),
    evaluated_at DateTime64(6, 'UTC'),
    as_of Nullable(DateTime64(6, 'UTC')),
    actual Nullable(Float64),
    target_value Nullable(Float64),
    target_min Nullable(Float64),
    target_max Nullable(Float64),
    expected Nullable(Float64),
    attainment Nullable(Float64),
    gap Nullable(Float64),
    status LowCardinality(String),
    final Bool,
    stale Bool,
    reason String
) ENGINE = ReplacingMergeTree(evaluated_at) ORDER BY (kpi, target, series, period_start);

-- One row each time a status changed.
CREATE TABLE IF NOT EXISTS kpi_status_changes (
    kpi LowCardinality(String),
    target String,
    series String,
    period String,
    evaluated_at DateTime64(6, 'UTC'),
    as_of Nullable(DateTime64(6, 'UTC')),
    before LowCardinality(String),
    status LowCardinality(String),
    final Bool,
    actual Nullable(Float64),
    expected Nullable(Float64),
    target_value Nullable(Float64),
    reason String
) ENGINE = MergeTree ORDER BY (kpi, evaluated_at);

-- The latest state of every alert.
CREATE TABLE IF NOT EXISTS alerts (
    rule LowCardinality(String),
    kpi LowCardinality(String),
    series String,
    period String,
    severity LowCardinality(String),
    state LowCardinality(String),
    active_since Nullable(DateTime64(6, 'UTC')),
    fired_at Nullable(DateTime64(6, 'UTC')),
    resolved_at Nullable(DateTime64(6, 'UTC')),
    value Nullable(Float64),
    reason String,
    evaluated_to Nullable(DateTime64(6, 'UTC')),
    notified LowCardinality(String),
    updated_at DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(updated_at) ORDER BY (rule, kpi, series, period);

-- One row each time an alert went from one state to another, with all that its rule looked at.
CREATE TABLE IF NOT EXISTS alert_transitions (
    rule LowCardinality(String),
    kpi LowCardinality(String),
    series String,
    period String,
    severity LowCardinality(String),
    at DateTime64(6, 'UTC'),
    before LowCardinality(String),
    state LowCardinality(String),
    value Nullable(Float64),
    reason String,
    inputs String
) ENGINE = MergeTree ORDER BY (rule, at);

-- What has to reach a channel; `settled` 0 is waiting, 1 is delivered or rejected (see outcome).
CREATE TABLE IF NOT EXISTS notifications (
    key String,
    channel LowCardinality(String),
    payload String,
    created_at DateTime64(6, 'UTC'),
    delivered_at Nullable(DateTime64(6, 'UTC')),
    outcome LowCardinality(String),
    settled UInt8
) ENGINE = ReplacingMergeTree(settled) ORDER BY (channel, key);
