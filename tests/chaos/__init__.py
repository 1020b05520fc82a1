"""The fault suite: real processes, a real broker, real signals; then every value is counted again."""
