-- What became of scheduled reports, a row per time that one was due: `sent`, `skipped` (too late), or `begun` (from then
-- on its schedule counts). `statuses` and `told` are JSON: what it said, for the next one to compare with.
CREATE TABLE IF NOT EXISTS scorecard_reports (
    report LowCardinality(String),
    schedule String,
    due DateTime64(6, 'UTC'),
    outcome LowCardinality(String),
    made_at DateTime64(6, 'UTC'),
    statuses String,
    told String
) ENGINE = ReplacingMergeTree(made_at) ORDER BY (report, due, outcome);
