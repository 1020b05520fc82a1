"""What the processor tells Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from onpace.processors.intake import Batch

__all__ = ["ProcessorMetrics"]


class ProcessorMetrics:
    """Counters and gauges of one processor process. Labels are bounded: declared types, KPIs, reasons, partitions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        self.events = counter("onpace_events_total", "Events accepted.", "event_type")
        self.duplicates = counter("onpace_duplicate_events_total", "Events that repeat an accepted id.", "event_type")
        self.conflicts = counter(
            "onpace_conflicting_events_total", "Duplicates whose data differs from the first.", "event_type"
        )
        self.late = counter(
            "onpace_late_events_total", "Events later than their allowed lateness; still counted.", "event_type"
        )
        self.dead_letters = counter("onpace_dead_letters_total", "Events that could not be used.", "reason")
        self.flushed_rows = counter("onpace_flushed_rows_total", "Rows written to ClickHouse.", "table")
        self.store_errors = counter("onpace_store_errors_total", "Operations that failed and are retried.", "operation")
        self.series_overflow = counter(
            "onpace_series_overflow_events_total", "Events counted under __other__: beyond max_series.", "kpi"
        )
        self.offset_gap = counter("onpace_offset_gap_events_total", "Offsets that were gone before they could be read.")
        self.lag = Gauge(
            "onpace_consumer_lag_events", "Events not yet processed.", ("topic", "partition"), registry=registry
        )
        self.watermark = Gauge(
            "onpace_watermark_timestamp_seconds", "Latest event time processed.", ("event_type",), registry=registry
        )
        self.heartbeat = Gauge(
            "onpace_processor_heartbeat_timestamp_seconds", "When the processor last turned.", registry=registry
        )
        self.flush_seconds = Histogram("onpace_flush_duration_seconds", "Duration of one flush.", registry=registry)

    def took(self, batch: Batch) -> None:
        """Count what a batch came to."""
        for counter, counts in (
            (self.events, batch.accepted),
            (self.duplicates, batch.duplicates),
            (self.conflicts, batch.conflicts),
            (self.late, batch.late),
        ):
            for event_type, count in counts.items():
                counter.labels(event_type).inc(count)
        for letter in batch.dead:
            self.dead_letters.labels(letter.reason).inc()
        for event_type, frames in batch.frames.items():
            latest = max((f["onpace:time_us"].to_numpy().max(initial=0) for f in frames), default=0)
            gauge = self.watermark.labels(event_type)
            gauge.set(max(gauge._value.get(), latest / 1e6))

    def flushed(self, rows: Mapping[str, int]) -> None:
        """Count the rows of a flush that was written."""
        for table, count in rows.items():
            self.flushed_rows.labels(table).inc(count)
