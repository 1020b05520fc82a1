-- What direct channels heard lags behind what Alertmanagers did, while a silence holds it back.
ALTER TABLE alerts ADD COLUMN IF NOT EXISTS heard LowCardinality(String) DEFAULT notified;
ALTER TABLE alerts ADD COLUMN IF NOT EXISTS held_by String;
ALTER TABLE alerts ADD COLUMN IF NOT EXISTS held_words String;

-- Silences that were added by a command; ending one is a newer row. `matchers` is JSON. What is over lies in front of
-- what is not, so that it is not read.
CREATE TABLE IF NOT EXISTS silences (
    id String,
    matchers String,
    by String,
    why String,
    start DateTime64(6, 'UTC'),
    until DateTime64(6, 'UTC'),
    ended_at Nullable(DateTime64(6, 'UTC')),
    ended_by String,
    updated_at DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(updated_at) ORDER BY (until, id);

-- Who knows of which firing of which alert; the latest counts.
CREATE TABLE IF NOT EXISTS acknowledgements (
    rule LowCardinality(String),
    kpi LowCardinality(String),
    series String,
    period String,
    fired_at DateTime64(6, 'UTC'),
    by String,
    why String,
    at DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(at) ORDER BY (fired_at, rule, kpi, series, period);
