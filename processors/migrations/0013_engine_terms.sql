-- One row each time an alert engine took over: the latest term is in force, and whoever held an earlier one stands by.
CREATE TABLE IF NOT EXISTS engine_terms (
    term UInt64,
    engine String,
    begun DateTime64(6, 'UTC')
) ENGINE = MergeTree ORDER BY term;
