"""Commands about Kafka's topics: grow."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from onpace.config.durations import parse_duration
from onpace.config.errors import DataFolderBusy, OnPaceError
from onpace.deploy.cli_events import Kafka, kafka_of
from onpace.deploy.cli_options import Data, settings_with
from onpace.deploy.stores import now, open_store, prepare_store

if TYPE_CHECKING:
    from onpace.config.settings import Settings

__all__ = ["add_to", "record_and_grow"]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    topics = typer.Typer(help="The events topic in Kafka.", no_args_is_help=True)
    topics.callback()(_only_a_group)
    topics.command("grow")(grow)
    app.add_typer(topics, name="topics")


def _only_a_group() -> None:
    """Else typer makes the only command of a group the group itself."""


def grow(
    partitions: Annotated[int, typer.Argument(min=1, help="A multiple of the present number.")],
    settle: Annotated[
        str,
        typer.Option(help="How long producers may still go by the old number: 5min to notice, 2min to deliver."),
    ] = "10min",
    kafka: Kafka = None,
    data: Data = None,
) -> None:
    """Give the events topic more partitions, so that a duplicate is still recognised where its key moves to.

    Running processors take the new partitions by themselves, and begin to read them when the settling time is over.
    """
    settings, settling = settings_with(data=data), _settling(settle)
    settings = settings.model_copy(update={"kafka": kafka_of(settings, kafka)})
    before = _count_that_may_become(settings, partitions)
    record_and_grow(settings, before, partitions, settling)
    typer.echo(
        f"'{settings.kafka.topic}' has {partitions} partitions now instead of {before}. Processors take the new ones "
        f"within a minute, and read them in {settle}, when every producer has noticed as well. Until then windows from "
        "now on stay incomplete, and the lag shows what waits; nothing is lost."
    )


def _settling(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as exc:
        raise OnPaceError(f"--settle: {exc}") from None


def _count_that_may_become(settings: Settings, partitions: int) -> int:
    """How many partitions there are. Raises OnPaceError when there cannot be so many next."""
    from onpace.ingest.topics import grow_topic, partition_count

    before, topic = partition_count(settings.kafka), settings.kafka.topic
    if partitions == before:
        raise OnPaceError(f"'{topic}' has {before} partitions already")
    if partitions < before:
        raise OnPaceError(f"'{topic}' has {before} partitions: Kafka cannot take any away")
    if partitions % before:
        raise OnPaceError(
            f"'{topic}' has {before} partitions, and {partitions} is no multiple: a key would move to where its "
            "earlier events are not known, and duplicates would count twice; choose "
            f"{before * (partitions // before + 1)}"
        )
    grow_topic(settings.kafka, partitions, only_ask=True)
    return before


def record_and_grow(settings: Settings, before: int, after: int, settle: timedelta) -> None:
    """Record first: a processor must never see a new partition without knowing where its keys come from.

    Safe to repeat after a failure in between. Raises OnPaceError, BrokerUnavailable, StoreUnavailable.
    """
    from onpace.ingest.topics import grow_topic, topic_id
    from onpace.processors.growth import Growth
    from onpace.processors.writer import StoreWriter

    topic = settings.kafka.topic
    try:
        with open_store(settings, write=True) as store:
            prepare_store(store, None, topic)
            writer, life, at = StoreWriter(store, topic), topic_id(settings.kafka, topic), now()
            writer.record_growth(life, Growth(before, after, at, at + settle))
            grow_topic(settings.kafka, after)
            writer.record_incarnation(life, after, now())
    except DataFolderBusy as exc:
        raise OnPaceError(
            f"{exc}. The growth must be recorded there: stop that process, run this command, start it again; "
            "events wait in Kafka meanwhile"
        ) from exc
