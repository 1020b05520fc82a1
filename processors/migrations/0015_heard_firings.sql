-- When the firing began that direct channels heard of last, until they hear of its end.
ALTER TABLE alerts ADD COLUMN IF NOT EXISTS heard_fired_at Nullable(DateTime64(6, 'UTC'));
