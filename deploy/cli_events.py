"""Commands about events: emit, replay, and dead letters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onpace.config.errors import InvalidEvent, OnPaceError, UnknownName
from onpace.deploy.cli_kpis import DocumentFormat
from onpace.deploy.cli_options import Data, Kpis, console, events_file, settings_with
from onpace.deploy.data_folder import address_of
from onpace.deploy.stores import catalog_of, open_store

if TYPE_CHECKING:
    from rich.table import Table

    from onpace.config.settings import KafkaSettings, Settings
    from onpace.deploy.dead_letters import DeadLetters, StoredLetter

__all__ = ["Kafka", "add_to", "kafka_of"]

Kafka = Annotated[
    str | None, typer.Option(help="Broker, host:port. [default: that of the running stack]", show_default=False)
]
MESSAGE_CHARACTERS = 160


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(emit)
    app.command()(replay)
    dlq = typer.Typer(help="Dead letters: events that could not be used.", no_args_is_help=True)
    dlq.command("list")(list_letters)
    dlq.command("show")(show)
    dlq.command("replay")(replay_letters)
    app.add_typer(dlq, name="dlq")


def kafka_of(settings: Settings, bootstrap: str | None) -> KafkaSettings:
    """The broker given, that of the settings, or that of the stack that runs on the data folder."""
    held = address_of(settings.data)
    found = bootstrap or settings.kafka.bootstrap or (held.kafka if held else None)
    if found is None:
        raise OnPaceError("no broker: start `onpace up`, or give --kafka host:port or ONPACE_KAFKA__BOOTSTRAP")
    return settings.kafka.model_copy(update={"bootstrap": found})


def emit(
    event_type: Annotated[str, typer.Argument(help="Event type, such as order.placed.")],
    data_json: Annotated[str, typer.Argument(metavar="DATA", help="The event's data as JSON.")] = "{}",
    id: Annotated[
        str | None,
        typer.Option(help="Stays the same when the event is sent again. [default: a new one]", show_default=False),
    ] = None,
    source: Annotated[str, typer.Option(help="Who says so.")] = "/onpace/emit",
    subject: Annotated[
        str | None, typer.Option(help="What it is about; decides the partition.", show_default=False)
    ] = None,
    time: Annotated[str | None, typer.Option(help="Event time with a zone. [default: now]", show_default=False)] = None,
    kafka: Kafka = None,
    data: Data = None,
    kpis: Kpis = None,
) -> None:
    """Send one event, checked against its schema first."""
    settings = settings_with(data=data, kpis=kpis)
    content, at = _content(data_json), _event_time(time)
    types, broker = catalog_of(settings).events, kafka_of(settings, kafka)

    from onpace.ingest.producer import EventProducer

    try:
        with EventProducer(broker, source=source, event_types=types) as producer:
            delivery = producer.send(event_type, content, id=id, time=at, subject=subject)
            partition, offset = delivery.result(30)
    except InvalidEvent as exc:
        raise OnPaceError(f"not sent: {exc}") from None
    typer.echo(f"{delivery.event_id} is in partition {partition} at offset {offset}")


def _content(text: str) -> dict[str, Any]:
    """The event's data; numbers keep the digits that were typed."""
    try:
        content = json.loads(text, parse_float=Decimal)
    except ValueError as exc:
        raise OnPaceError(f"DATA is not JSON: {exc}") from None
    if not isinstance(content, dict):
        raise OnPaceError('DATA must be a JSON object, such as {"amount": 12.5}')
    return content


def _event_time(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        raise OnPaceError(f"--time '{text}': write 2026-10-01T12:00:00Z") from None


def replay(
    file: Annotated[Path, typer.Argument(help="Events: .jsonl, .jsonl.gz, .json or .csv.")],
    kafka: Kafka = None,
    data: Data = None,
    kpis: Kpis = None,
) -> None:
    """Send every event of a file to the running system. Safe to repeat: events keep their ids."""
    settings = settings_with(data=data, kpis=kpis)
    events, catalog = events_file(file), catalog_of(settings)
    settings = settings.model_copy(update={"kafka": kafka_of(settings, kafka)})

    from onpace.deploy.replaying import feed

    result = feed(events, catalog, settings)
    typer.echo(f"{file}: {result.sent:,} of {result.lines:,} events sent")
    if result.failed:
        raise OnPaceError(
            f"{result.failed} events are too large for the broker and were not sent: split or shrink them"
        )


@contextmanager
def _letters(settings: Settings) -> Iterator[DeadLetters]:
    from onpace.deploy.dead_letters import DeadLetters

    with open_store(settings) as store:
        yield DeadLetters(store)


def list_letters(
    reason: Annotated[str | None, typer.Option(help="Only this reason.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    format: Annotated[DocumentFormat, typer.Option(help="How to print.")] = DocumentFormat.TABLE,
    data: Data = None,
) -> None:
    """List dead letters, newest first."""
    with _letters(settings_with(data=data)) as letters:
        rows, total = letters.find(reason=reason, limit=limit), letters.count(reason)
    if format is DocumentFormat.JSON:
        print(json.dumps([row.as_json() for row in rows], indent=1, ensure_ascii=False))
        return
    if rows:
        console().print(_table(rows))
    typer.echo(f"{len(rows)} of {total} dead letters", err=True)


def _table(rows: Sequence[StoredLetter]) -> Table:
    """The name of a letter is never cut off: it is what the other commands take."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None)
    table.add_column("letter", no_wrap=True, min_width=max(len(str(row.place)) for row in rows))
    for name in ("arrived", "reason", "type", "message", "replayed"):
        table.add_column(name, overflow="fold")
    for row in rows:
        message = row.message if len(row.message) <= MESSAGE_CHARACTERS else row.message[:MESSAGE_CHARACTERS] + "…"
        cells = (str(row.place), f"{row.arrival:%Y-%m-%d %H:%M:%S}", row.reason, row.event_type, message)
        table.add_row(*map(Text, cells), Text("yes" if row.replayed else ""))
    return table


def show(letter: Annotated[str, typer.Argument(help="As `dlq list` names it.")], data: Data = None) -> None:
    """Print one dead letter: the reason, the field at fault and the event as it came."""
    with _letters(settings_with(data=data)) as letters:
        row = _one(letters, letter)
    for name, value in row.as_json().items():
        if name != "raw":
            typer.echo(f"{name:>10}  {value}")
    typer.echo(row.raw.decode("utf-8", "backslashreplace"))


def replay_letters(
    letters: Annotated[
        list[str] | None, typer.Argument(help="As `dlq list` names them; none: all of --reason.", show_default=False)
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Every letter with this reason.", show_default=False)] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A repair, such as data.amount=12.50; may be repeated.", show_default=False),
    ] = None,
    kafka: Kafka = None,
    data: Data = None,
) -> None:
    """Send dead letters again, repaired. An event keeps its id, so that a replay never counts anything twice."""
    from onpace.ingest.deadletters import parse_change

    settings = settings_with(data=data)
    if not letters and not reason:
        raise OnPaceError("name the letters to replay, or --reason for all with that reason")
    changes = dict(parse_change(text) for text in set_ or [])
    broker = kafka_of(settings, kafka)
    with _letters(settings) as found:
        rows = [_one(found, text) for text in letters or []] or found.find(reason=reason, limit=1_000_000, waiting=True)
        _send_again(rows, changes, broker)
        _mark(settings, found, rows)
    typer.echo(f"{len(rows)} dead letters sent again")


def _send_again(rows: Sequence[StoredLetter], changes: Mapping[str, object], broker: KafkaSettings) -> None:
    from onpace.ingest.deadletters import key_of_raw, repair
    from onpace.ingest.producer import EventProducer

    messages = [repair(row.raw, changes) if changes else row.raw for row in rows]
    with EventProducer(broker) as producer:
        for message in messages:
            producer.send_raw(message, key_of_raw(message))
        producer.flush(60)


def _mark(settings: Settings, letters: DeadLetters, rows: Sequence[StoredLetter]) -> None:
    """Note what was sent again, where need be through the stack that holds the store."""
    import httpx

    held = None if settings.clickhouse.url else address_of(settings.data)
    if held is None or held.web is None:
        letters.mark_replayed(rows)
        return
    url = f"{held.web}/api/dead-letters/replayed"
    try:
        httpx.post(url, json=[str(row.place) for row in rows], timeout=30).raise_for_status()
    except httpx.HTTPError as exc:
        raise OnPaceError(f"sent again, but `dlq list` will not say so: {url}: {exc}") from exc


def _one(letters: DeadLetters, text: str) -> StoredLetter:
    from onpace.deploy.dead_letters import Place

    row = letters.get(Place.parse(text))
    if row is None:
        raise UnknownName(f"no dead letter '{text}': `onpace dlq list` names them")
    return row
