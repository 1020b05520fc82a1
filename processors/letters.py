"""Copies of dead letters in their topic, for other consumers. The table has them all, whatever becomes of these."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from onpace.config.errors import OnPaceError
from onpace.ingest.deadletters import DeadLetter
from onpace.processors.metrics import ProcessorMetrics
from onpace.processors.writer import Flush

__all__ = ["LetterCopies"]

log = structlog.get_logger(__name__)


class LetterCopies:
    """Publishes the dead letters of each flush once. A topic that does not take them is counted, and said once."""

    def __init__(self, publish: Callable[[list[DeadLetter]], None], metrics: ProcessorMetrics) -> None:
        self._publish = publish
        self._metrics = metrics
        self._published: Flush | None = None
        self._refused = False

    def publish(self, flush: Flush) -> None:
        """Publish the dead letters of a flush, however often it is tried; never raises for want of a topic."""
        if not flush.dead or flush is self._published:
            return
        self._published = flush
        try:
            self._publish([letter for _, letter in flush.dead])
        except OnPaceError as exc:
            self._metrics.store_errors.labels("dead_letter_topic").inc()
            if not self._refused:
                log.warning("dead-letter topic not written: the table dead_letters has them all", reason=str(exc))
            self._refused = True
        else:
            if self._refused:
                log.info("dead-letter topic written again")
            self._refused = False
