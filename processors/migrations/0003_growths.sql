-- Topics that were given more partitions: until `settled_at` (arrival time) producers may still go by the old count.
CREATE TABLE IF NOT EXISTS growths (
    topic LowCardinality(String),
    incarnation UUID,
    partitions_before UInt32,
    partitions_after UInt32,
    grown_at DateTime64(3, 'UTC'),
    settled_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(grown_at)
ORDER BY (topic, incarnation, partitions_after);
