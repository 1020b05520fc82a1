"""What a host may do to a process: a small disk, a memory limit, a clock that is set."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

CGROUPS = Path("/sys/fs/cgroup")


class SmallDisk:
    """A file system of its own, in memory."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._mount("-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "none")

    def _mount(self, *options: str) -> None:
        done = subprocess.run(
            ["mount", *options, str(self.folder)], capture_output=True, text=True, check=False, timeout=30
        )
        if done.returncode:
            pytest.skip(f"NO FILE SYSTEM OF ITS OWN (needs root): {done.stderr.strip()}")

    def fill(self) -> None:
        """Leave not a byte."""
        with (self.folder / "ballast").open("ab", buffering=0) as ballast:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while ballast.write(b"\0" * size) == size:
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        """Leave as much as before."""
        (self.folder / "ballast").unlink()

    def read_only(self) -> None:
        """Take nothing more. Not while a file is open for writing."""
        self._mount("-o", "remount,ro")

    def writable(self) -> None:
        """Take everything again."""
        self._mount("-o", "remount,rw")

    def close(self) -> None:
        """Let it go, whoever still holds files on it."""
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True, timeout=30)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mounted there; skips where that is not allowed."""
    disk = SmallDisk(folder, megabytes)
    try:
        yield disk
    finally:
        disk.close()


@contextmanager
def memory_limit(megabytes: int) -> Iterator[Path]:
    """A control group whose `cgroup.procs` takes process ids; skips where none can be made."""
    old = CGROUPS / "memory"
    group = (old if old.is_dir() else CGROUPS) / f"onpace-{uuid4().hex[:8]}"
    try:
        group.mkdir()
        limit = group / ("memory.limit_in_bytes" if old.is_dir() else "memory.max")
        limit.write_text(str(megabytes << 20))
    except OSError as exc:
        if group.exists():
            group.rmdir()
        pytest.skip(f"NO MEMORY LIMIT CAN BE SET: {exc}")
    try:
        yield group
    finally:
        group.rmdir()


class Clock:
    """The wall clock of processes started with `environment`; the kernel's own stays as it is."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("NO CLOCK THAT CAN BE SET: install a C compiler")
        library, self._step = folder / "clock.so", folder / "clock.step"
        source = Path(__file__).with_name("clock.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True, timeout=60)
        self.set(0)
        self.environment = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(self._step)}

    def set(self, seconds: int) -> None:
        """Let it be so many seconds ahead of the kernel's from now on."""
        file = os.open(self._step, os.O_RDWR | os.O_CREAT)
        try:
            os.pwrite(file, struct.pack("q", seconds), 0)
        finally:
            os.close(file)
