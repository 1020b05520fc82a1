-- The raw archive: a row per offset. Everything in `partials` can be counted again from here.
CREATE TABLE IF NOT EXISTS events (
    topic LowCardinality(String),
    incarnation UUID,
    partition UInt32,
    offset UInt64,
    type LowCardinality(String),
    source LowCardinality(String),
    id String CODEC(ZSTD(1)),
    time DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    arrival DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    data String CODEC(ZSTD(1)),
    duplicate UInt8,
    id_hash FixedString(16),
    data_hash UInt64
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(arrival)
ORDER BY (topic, incarnation, partition, offset);

-- Absolute window aggregates: what the events up to `revision` (an offset) add up to. Writing one twice is harmless.
CREATE TABLE IF NOT EXISTS partials (
    kpi LowCardinality(String),
    definition UInt64,
    window_start DateTime('UTC') CODEC(Delta, ZSTD(1)),
    dims String,
    topic LowCardinality(String),
    incarnation UUID,
    partition UInt32,
    segment LowCardinality(String) DEFAULT 'stream',
    revision UInt64,
    count UInt64,
    exact Decimal(38, 9),
    total Float64,
    compensation Float64,
    minimum Nullable(Float64),
    maximum Nullable(Float64),
    edge_time DateTime64(6, 'UTC'),
    edge_source String,
    edge_id String,
    edge_value Nullable(Float64),
    bins Array(Int32),
    bin_counts Array(UInt64)
) ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYear(window_start)
ORDER BY (kpi, definition, window_start, dims, topic, incarnation, partition, segment);

-- Distinct counts: hashes go in, ClickHouse keeps the union. Idempotent, so it needs no partition in its key.
CREATE TABLE IF NOT EXISTS partials_distinct (
    kpi LowCardinality(String),
    definition UInt64,
    window_start DateTime('UTC') CODEC(Delta, ZSTD(1)),
    dims String,
    revision SimpleAggregateFunction(max, UInt64),
    hashes Array(UInt64) EPHEMERAL,
    state AggregateFunction(uniqCombined64, UInt64) DEFAULT arrayReduce('uniqCombined64State', hashes)
) ENGINE = AggregatingMergeTree
PARTITION BY toYear(window_start)
ORDER BY (kpi, definition, window_start, dims);

-- Where a partition goes on: the next offset to read. Written after everything that it vouches for.
CREATE TABLE IF NOT EXISTS checkpoints (
    topic LowCardinality(String),
    incarnation UUID,
    partition UInt32,
    offset UInt64,
    max_arrival DateTime64(3, 'UTC'),
    written_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(offset)
ORDER BY (topic, incarnation, partition);

-- How far each partition has come, per event type ('' is the partition itself). Only ever grows.
CREATE TABLE IF NOT EXISTS watermarks (
    topic LowCardinality(String),
    incarnation UUID,
    partition UInt32,
    event_type LowCardinality(String),
    max_event_time SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    last_arrival SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    caught_up_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    input_end SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    finished_at SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
) ENGINE = AggregatingMergeTree
ORDER BY (topic, incarnation, partition, event_type);

-- The lives of a topic: a topic that was deleted and made again has another UUID.
CREATE TABLE IF NOT EXISTS incarnations (
    topic LowCardinality(String),
    incarnation UUID,
    partitions UInt32,
    first_seen DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree
ORDER BY (topic, incarnation, partitions, first_seen);

-- Events that could not be used, with the reason and the bytes as they came.
CREATE TABLE IF NOT EXISTS dead_letters (
    topic LowCardinality(String),
    incarnation UUID,
    partition UInt32,
    offset UInt64,
    arrival DateTime64(3, 'UTC'),
    reason LowCardinality(String),
    field String,
    message String,
    raw String CODEC(ZSTD(1)),
    event_type String,
    source String,
    id String,
    replayed UInt8 DEFAULT 0
) ENGINE = ReplacingMergeTree(replayed)
ORDER BY (topic, incarnation, partition, offset);

-- What each KPI definition meant, for those who read `partials`.
CREATE TABLE IF NOT EXISTS kpi_definitions (
    kpi LowCardinality(String),
    definition UInt64,
    spec String,
    seen_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree
ORDER BY (kpi, definition);
