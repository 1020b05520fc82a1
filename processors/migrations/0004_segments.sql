-- From which offset on the stream holds each KPI (key: name/definition). What lies before is rebuilt from the archive.
ALTER TABLE checkpoints ADD COLUMN IF NOT EXISTS starts Map(String, UInt64);

-- Rebuilds that are finished: everything archived below `start` is in the segment `rebuild:<start>`.
CREATE TABLE IF NOT EXISTS rebuilds (
    kpi LowCardinality(String),
    definition UInt64,
    topic LowCardinality(String),
    incarnation UUID,
    partition UInt32,
    start UInt64,
    events UInt64,
    finished_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(finished_at)
ORDER BY (kpi, definition, topic, incarnation, partition, start);
