-- Where the way to the target began (`from`, or the baseline of an increase), and what is said of guardrails.
ALTER TABLE kpi_status ADD COLUMN IF NOT EXISTS baseline Nullable(Float64);
ALTER TABLE kpi_status ADD COLUMN IF NOT EXISTS remark String;

-- Every target as it was from `first_seen` on; an empty `spec` says that it was gone then. A period is judged by what
-- was in force at its end.
CREATE TABLE IF NOT EXISTS target_versions (
    kpi LowCardinality(String),
    target String,
    series String,
    first_seen DateTime64(6, 'UTC'),
    spec String
) ENGINE = ReplacingMergeTree ORDER BY (kpi, target, series, first_seen);
