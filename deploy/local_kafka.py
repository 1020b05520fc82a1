"""Apache Kafka on this machine without Docker: one KRaft node from Maven Central's jars, durable over restarts.

`python -m onpace.deploy.local_kafka FOLDER [PORT]` (or `make kafka`) runs one until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from onpace.config.errors import BrokerUnavailable, OnPaceError
from onpace.config.settings import KafkaSettings
from onpace.ingest.embedded_broker import free_port
from onpace.ingest.topics import wait_for_broker

__all__ = ["LocalKafka", "jars"]

POM = Path(__file__).parent / "kafka" / "pom.xml"
_PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},FORWARDED://127.0.0.1:{forwarded}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},FORWARDED://{advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,FORWARDED:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={logs}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=2000
auto.create.topics.enable=false
log.retention.check.interval.ms=1000
"""


def jars(cache: Path | None = None) -> Path:
    """The folder of Kafka's jars, fetched once with Maven. Raises OnPaceError when they cannot be had."""
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing:
        raise OnPaceError(f"Apache Kafka needs {' and '.join(missing)}: install Java 17 and Maven, or use Docker")
    folder = (cache or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "onpace") / "kafka-4.1.0"
    if not (folder / "complete").exists():
        command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            raise OnPaceError("Maven did not fetch Apache Kafka within 300 s") from None
        if done.returncode:
            reason = (done.stdout + done.stderr).strip().splitlines()
            raise OnPaceError(f"Maven could not fetch Apache Kafka: {reason[0][:300] if reason else 'no reason given'}")
        (folder / "complete").touch()
    return folder


class LocalKafka:
    """One Kafka broker over a folder. `stop` and `start` again keep topics, offsets and events.

    `advertised`: where clients that came by `forwarded` are told to find it (`host:port`), so that they stay behind a
    proxy in front of that; may be set until the start. Clients that come by `address` stay there.
    """

    def __init__(self, folder: Path, port: int | None = None, *, advertised: str | None = None) -> None:
        self._folder = folder
        self._port = port or free_port("127.0.0.1")
        self._controller = free_port("127.0.0.1")
        self._forwarded = free_port("127.0.0.1")
        self.advertised = advertised
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self._port}"

    @property
    def forwarded(self) -> str:
        """`host:port` for a proxy to forward to."""
        return f"127.0.0.1:{self._forwarded}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self, timeout: float = 120.0) -> LocalKafka:
        """Start it and return once it answers. Raises OnPaceError with the end of its log."""
        classpath = f"{jars()}/*"
        self._folder.mkdir(parents=True, exist_ok=True)
        properties = self._folder / "server.properties"
        logs = self._folder / "logs"
        properties.write_text(
            _PROPERTIES.format(
                port=self._port,
                controller=self._controller,
                forwarded=self._forwarded,
                advertised=self.advertised or self.forwarded,
                logs=logs,
            )
        )
        if not (logs / "meta.properties").exists():
            form = ["java", "-cp", classpath, "kafka.tools.StorageTool", "format", "-t", "b25wYWNlLWxvY2FsLWthZg"]
            subprocess.run([*form, "-c", str(properties)], check=True, capture_output=True, timeout=60)
        output = self._folder / "kafka.log"
        with output.open("ab") as log:
            self._process = subprocess.Popen(
                ["java", "-Xmx512m", "-cp", classpath, "kafka.Kafka", str(properties)], stdout=log, stderr=log
            )
        try:
            wait_for_broker(KafkaSettings(bootstrap=self.address), timeout, alive=lambda: self.pid is not None)
        except BrokerUnavailable as exc:
            self.kill()
            tail = output.read_text(errors="replace").strip().splitlines()[-3:]
            raise OnPaceError(f"Apache Kafka did not start: {' | '.join(tail) or exc}") from exc
        return self

    def stop(self, timeout: float = 30.0) -> None:
        """Stop it in an orderly way."""
        self._signal(signal.SIGTERM, timeout)

    def kill(self) -> None:
        """End it at once, as a power cut would end the process."""
        self._signal(signal.SIGKILL, 10)

    def _signal(self, number: int, timeout: float) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
                return
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> LocalKafka:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def main() -> None:
    """Run a broker until Ctrl-C."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "onpace-kafka")
    try:
        broker = LocalKafka(folder, int(sys.argv[2]) if len(sys.argv) > 2 else 9092).start()
    except (OnPaceError, ValueError) as exc:
        sys.exit(f"error: {exc}")
    sys.stdout.write(f"Apache Kafka answers at {broker.address}; its data is in {folder}. Ctrl-C stops it.\n")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    broker.stop()


if __name__ == "__main__":
    main()
