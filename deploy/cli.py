"""The `onpace` command: signals, logging, and errors as one line. What it can do is in the modules `cli_*`."""

from __future__ import annotations

import logging
import os
import signal
import sys
from types import FrameType

__all__ = ["main"]

LEVELS = ("debug", "info", "warning", "error")


def main() -> None:
    """Run a command. A user's mistake is one line (or one per problem) on standard error and exit code 1."""
    before = {number: signal.signal(number, _leave) for number in (signal.SIGINT, signal.SIGTERM)}

    from onpace.config.errors import ConfigError, OnPaceError

    try:
        configure_logging(os.environ.get("ONPACE_LOG", "info"))
        from onpace.deploy.cli_app import app_of

        app_of(restore=lambda: [signal.signal(number, handler) for number, handler in before.items()])()
    except ConfigError as exc:
        print(exc, file=sys.stderr)
        sys.exit(1)
    except OnPaceError as exc:
        print(f"error: {exc}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output has gone, as in `onpace query … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)


def configure_logging(level: str) -> None:
    """One line an event on standard error: for people on a terminal, JSON elsewhere. Raises OnPaceError."""
    import structlog

    from onpace.config.errors import OnPaceError

    if level not in LEVELS:
        raise OnPaceError(f"ONPACE_LOG is '{level}': set it to one of {', '.join(LEVELS)}")
    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    for noisy in (
        "kafka",
        "aiokafka",
        "faust",
        "mode",
        "clickhouse_connect",
        "urllib3.connectionpool",
    ):  # what matters in them is raised, and said once by us
        logging.getLogger(noisy).setLevel(logging.WARNING if level == "debug" else logging.CRITICAL)


def _leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """Until a command has something to end, a signal ends the process quietly, even in the middle of an import."""
    os._exit(0)


if __name__ == "__main__":
    main()
