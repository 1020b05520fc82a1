-- The combinations of dimension values that have rows of their own (the first `max_series` of a KPI in each partition).
CREATE TABLE IF NOT EXISTS series (
    kpi LowCardinality(String),
    definition UInt64,
    topic LowCardinality(String),
    incarnation UUID,
    partition UInt32,
    segment LowCardinality(String),
    dims String CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree
ORDER BY (topic, incarnation, partition, kpi, definition, segment, dims);

-- What has rows keeps them, also where it is more than the ceiling. Distinct counts, whose rows have no partition, are
-- counted anew from here on.
INSERT INTO series
SELECT DISTINCT kpi, definition, topic, incarnation, partition, segment, dims FROM partials WHERE dims != '[]';
