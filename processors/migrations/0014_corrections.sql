-- How far off an active alert is; what it was before the newest window that changed it, so that late events can change that
-- again; how often they did; and what its rule was when it went through its last window.
ALTER TABLE alerts ADD COLUMN IF NOT EXISTS gap Nullable(Float64);
ALTER TABLE alerts ADD COLUMN IF NOT EXISTS prior String DEFAULT '{}';
ALTER TABLE alerts ADD COLUMN IF NOT EXISTS corrections UInt32;
ALTER TABLE alerts ADD COLUMN IF NOT EXISTS spec String;
