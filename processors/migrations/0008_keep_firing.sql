-- When the condition of an alert that is kept firing was first found to have ended.
ALTER TABLE alerts ADD COLUMN IF NOT EXISTS good_since Nullable(DateTime64(6, 'UTC'));
