"""Which one of several processes does what only one may do: Faust's leader election, in a consumer group of its own.

Faust gives the only partition of a topic to one member of the group: that is the leader. A leader that ends is followed
within seconds, one that dies after the session timeout. While no broker answers, nobody is followed, and the leader
goes on: that the broker is away is one of the things that it has to tell.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog
from faust.types import TP

from onpace.config.errors import BrokerUnavailable
from onpace.config.settings import KafkaSettings
from onpace.ingest.topics import wait_for_broker
from onpace.processors.faust_apps import faust_app

__all__ = ["Alone", "Election", "KafkaElection"]

log = structlog.get_logger(__name__)

ASK_SECONDS = 2.0
"""How long a broker may take to answer before it counts as away."""
PAUSE_SECONDS = 1.0


class Election(Protocol):
    """Tells whether this process is the one."""

    @property
    def won(self) -> int | None:
        """The number of the election that this process has won, as far as it knows; None where another one has."""
        ...


class Alone:
    """Nobody else is there to be elected."""

    won = 0


class KafkaElection:
    """Takes part in the election for `role` from `run` until that is cancelled."""

    def __init__(self, kafka: KafkaSettings, role: str) -> None:
        self._kafka = kafka
        self._group = f"{kafka.group}-{role}"
        self._elections = 0
        self.won: int | None = None

    async def run(self) -> None:
        """Stand for election, and again where Faust gives up, until cancelled; then leave the group."""
        while True:
            await self._until_broker_answers()
            app = faust_app(
                self._kafka, self._group, topic_disable_leader=False, topic_replication_factor=self._kafka.replication
            )
            app.on_partitions_assigned.connect(self._elected)
            try:
                await app.start()
                while app.crash_reason is None:
                    await asyncio.sleep(PAUSE_SECONDS)
                log.warning("the election is begun anew", reason=str(app.crash_reason))
            finally:
                self.won = None
                await app.stop()

    async def _elected(self, _: object, assigned: set[TP], **__: object) -> None:
        """The broker has given the partition to somebody."""
        self._elections += 1
        mine = any(tp.topic.startswith(f"{self._group}-") for tp in assigned)
        self.won = self._elections if mine else None

    async def _until_broker_answers(self) -> None:
        said = False
        while True:
            try:
                return await asyncio.to_thread(wait_for_broker, self._kafka, ASK_SECONDS)
            except BrokerUnavailable as exc:
                if not said:
                    log.warning("no election until Kafka answers", reason=str(exc))
                said = True
            await asyncio.sleep(PAUSE_SECONDS)
