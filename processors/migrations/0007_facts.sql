-- Events kept one by one with their entity, for the KPIs that are computed from them when they are read. A row per event
-- and stream: its key follows from the event and its place in the log, so writing one twice is harmless.
CREATE TABLE IF NOT EXISTS facts (
    kpi LowCardinality(String),
    definition UInt64,
    time DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    topic LowCardinality(String),
    incarnation UUID,
    partition UInt32,
    offset UInt64 CODEC(Delta, ZSTD(1)),
    source LowCardinality(String),
    id String CODEC(ZSTD(1)),
    entity String CODEC(ZSTD(1)),
    dims String CODEC(ZSTD(1)),
    exact Decimal(38, 9) CODEC(ZSTD(1)),
    total Float64 CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree
PARTITION BY toYear(time)
ORDER BY (kpi, definition, time, topic, incarnation, partition, offset);
