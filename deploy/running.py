"""Running until told to stop: signals, cancellation, and clean-up in the reverse order of starting."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import structlog

from onpace.config.errors import BrokerUnavailable, OnPaceError, StoreUnavailable

__all__ = ["Main", "at_end", "background", "in_thread", "run", "until_available", "until_failed"]

log = structlog.get_logger(__name__)

Result = TypeVar("Result")
Main = Callable[[AsyncExitStack], Coroutine[Any, Any, Result]]
"""Starts things, registers on the stack how each is ended, and goes on until cancelled."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAME_SIGNAL_SECONDS = 1.0
"""A signal to the whole process group may come twice, once through make; that is one wish, not two."""


def run(main: Main[Result]) -> Result | None:
    """Run `main` to its end, or until SIGINT or SIGTERM (then the result is None); then end what it has started.

    A second signal ends the process at once, with exit code 130; nothing is lost then that a crash would not lose.
    """
    return asyncio.run(_run(main))


async def _run(main: Main[Result]) -> Result | None:
    stop = _stop_on_signals()
    async with AsyncExitStack() as held:
        work = asyncio.create_task(main(held), name="main")
        signalled = asyncio.create_task(stop.wait(), name="signals")
        await asyncio.wait([work, signalled], return_when=asyncio.FIRST_COMPLETED)
        signalled.cancel()
        if not work.done():
            work.cancel()
            await asyncio.wait([work])
        if not work.cancelled():
            return work.result()
    return None


def _stop_on_signals() -> asyncio.Event:
    """Set by the first signal. Both handlers are installed: a background job inherits SIGINT ignored."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    first = 0.0

    def signalled() -> None:
        nonlocal first
        if not stop.is_set():
            first = loop.time()
            log.debug("stopping")
            stop.set()
        elif loop.time() - first > SAME_SIGNAL_SECONDS:
            os._exit(130)

    for number in SIGNALS:
        loop.add_signal_handler(number, signalled)
    return stop


async def in_thread(
    call: Callable[..., Result], *arguments: Any, on_cancel: Callable[[], None] = lambda: None
) -> Result:
    """Run a blocking call in a thread. When cancelled, call `on_cancel`, and wait for its end: it may hold things."""
    future = asyncio.get_running_loop().run_in_executor(None, lambda: call(*arguments))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        on_cancel()
        await asyncio.wait([future])
        if not future.cancelled():
            future.exception()
        raise


async def until_available(call: Callable[[], Result], seconds: float) -> Result:
    """Try in a thread until the broker or the store answers. Raises what it said last after `seconds`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        try:
            return await in_thread(call)
        except (BrokerUnavailable, StoreUnavailable) as exc:
            if loop.time() >= deadline:
                raise
            log.debug("waiting", reason=str(exc))
        await asyncio.sleep(0.5)


async def until_failed(tasks: Sequence[asyncio.Task[Any]], failure: Callable[[], str | None]) -> None:
    """Go on until a task fails, whose error is raised, or until `failure` says why it cannot go on (OnPaceError)."""
    while True:
        running = [task for task in tasks if not task.done()]
        if running:
            await asyncio.wait(running, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(0.5)
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error
        if reason := failure():
            raise OnPaceError(reason)


async def _ended(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end; its error, if any, has been raised where it was watched."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def background(held: AsyncExitStack, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
    """A task that ends with the stack."""
    task = asyncio.create_task(work, name=name)
    held.push_async_callback(_ended, task)
    return task


def at_end(held: AsyncExitStack, call: Callable[[], Any]) -> None:
    """Register a blocking clean-up."""

    async def end() -> None:
        await in_thread(call)

    held.push_async_callback(end)
