"""Running until told to stop: what was started is ended in reverse, whenever the signal comes."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time

import pytest

from onpace.config.errors import PortBusy
from onpace.config.settings import WebSettings
from onpace.deploy.sockets import clickhouse_socket, listening_socket, url_of

HEAD = """
import asyncio, time
from onpace.deploy.cli import configure_logging
from onpace.deploy.running import at_end, background, in_thread, run

configure_logging("info")

def say(text):
    print(text, flush=True)
"""


def started(program: str) -> subprocess.Popen[str]:
    """A program that has printed `started`."""
    command = [sys.executable, "-c", HEAD + textwrap.dedent(program)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


WAITS = """
async def main(held):
    at_end(held, lambda: say("first"))
    at_end(held, lambda: say("second"))
    background(held, asyncio.sleep(3600), "task")
    say("started")
    await asyncio.sleep(3600)

say(run(main))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_what_was_started_in_reverse(number: signal.Signals) -> None:
    """And is no error."""
    process = started(WAITS)
    process.send_signal(number)
    assert (process.communicate()[0], process.returncode) == ("second\nfirst\nNone\n", 0)


def test_work_in_a_thread_is_waited_for() -> None:
    """What it made is there when the clean-up comes."""
    process = started("""
        made = []

        def make():
            say("started")
            time.sleep(0.3)
            made.append("made")

        async def main(held):
            at_end(held, lambda: say(made))
            await in_thread(make)

        run(main)
        """)
    process.terminate()
    assert (process.communicate()[0], process.returncode) == ("['made']\n", 0)


SLOW_END = """
async def main(held):
    at_end(held, lambda: time.sleep({seconds}))
    say("started")
    await asyncio.sleep(3600)

run(main)
say("ended")
"""


def test_a_signal_that_comes_twice_at_once_is_one() -> None:
    """As when make passes on what its group has got."""
    process = started(SLOW_END.format(seconds=0.5))
    for _ in range(3):
        process.terminate()
    assert (process.communicate()[0], process.returncode) == ("ended\n", 0)


def test_a_second_signal_ends_the_process_at_once() -> None:
    """Whatever is still being ended."""
    process = started(SLOW_END.format(seconds=3600))
    process.terminate()
    while process.poll() is None:
        time.sleep(0.2)
        process.terminate()
    assert process.communicate()[0] == ""
    assert process.returncode == 130


def test_an_error_is_raised_after_the_end_of_what_was_started() -> None:
    """Not swallowed, not before."""
    process = started("""
        async def main(held):
            at_end(held, lambda: say("ended"))
            say("started")
            raise ValueError("wrong")

        try:
            run(main)
        except ValueError as exc:
            say(exc)
        """)
    assert process.communicate()[0] == "ended\nwrong\n"


def test_a_taken_port_is_refused_by_name_and_the_usual_one_moves() -> None:
    """A port that was asked for never moves."""
    with listening_socket("127.0.0.1", 0, "x") as taken:
        port = taken.getsockname()[1]
        assert url_of(taken) == f"http://127.0.0.1:{port}"
        with pytest.raises(PortBusy, match=rf"^port {port} on 127.0.0.1 is taken: .* ONPACE_WEB__CLICKHOUSE_PORT$"):
            clickhouse_socket(WebSettings(clickhouse_port=port))
    with clickhouse_socket(WebSettings()) as usual, clickhouse_socket(WebSettings()) as other:
        assert usual.getsockname() != other.getsockname()


def test_an_address_that_is_not_ours_is_refused() -> None:
    """With the setting to look at."""
    with pytest.raises(PortBusy, match="check ONPACE_WEB__HOST"):
        listening_socket("192.0.2.1", 0, "x")
