"""A server as a process group of its own: started, awaited, paused, stopped, killed, found again by a later program."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar

from stack.pins import STACK, StackError

HOST = "127.0.0.1"
POLL_S = 0.05
# Below what Linux hands to outgoing connections, so that a server that is down finds its port free again.
FREE_PORTS = range(15000, 32000)
_TAIL_LINES = 25


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(taken: set[int] | None = None) -> int:
    """A port that nothing listens on now; not one of `taken`, to which it is added."""
    for _ in range(200):
        port = random.choice(FREE_PORTS)
        if port not in (taken or ()) and port_is_free(port):
            if taken is not None:
                taken.add(port)
            return port
    raise StackError(f"no free port between {FREE_PORTS.start} and {FREE_PORTS.stop} on {HOST}")


def answers(port: int) -> bool:
    """Whether something accepts connections on the port."""
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False


class Keeper:
    """Kills what this program started, should this program die without stopping it."""

    _pipe: IO[str] | None = None

    @classmethod
    def watch(cls, pid: int, started: int) -> None:
        if cls._pipe is None:
            keeper = subprocess.Popen(
                [sys.executable, "-S", str(STACK / "keeper.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
            assert keeper.stdin is not None
            cls._pipe = keeper.stdin
        cls._pipe.write(f"{pid} {started}\n")
        cls._pipe.flush()


class Server:
    """One server. Its folder holds its data, its log and `state.json`: ports, process id, what it was started with."""

    name = "server"
    #: Default ports by what they serve, for the stack that people use.
    default_ports: ClassVar[Mapping[str, int]] = {}
    start_timeout_s = 120.0
    stop_timeout_s = 20.0
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path, ports: Mapping[str, int] | None = None, keep: bool = False) -> None:
        """`ports`: those not named are taken from an earlier start in this folder, else free ones.
        `keep`: whether the server is to outlive this program."""
        self.folder = folder
        self.keep = keep
        self.log = folder / "log.txt"
        self._popen: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        state = saved_state(folder)
        self._pid: int = state.get("pid", 0)
        self._started: int = state.get("started", 0)
        self._made_from: list[str] = state.get("made_from", [])
        taken = set((ports or {}).values())
        self.ports: dict[str, int] = {}
        for purpose in self.default_ports:
            given = (ports or {}).get(purpose) or state.get("ports", {}).get(purpose)
            self.ports[purpose] = given or free_port(taken)

    # What each server says about itself.

    def command(self) -> Sequence[str | Path]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Variables of the process beside those of this program."""
        return {}

    def prepare(self) -> None:
        """Writes configuration, makes empty data folders. Called before each start."""

    def check(self) -> str | None:
        """Why the server does not serve yet; None when it does."""
        raise NotImplementedError

    def listens_on(self) -> list[int]:
        """The ports that must be free before it starts."""
        return list(self.ports.values())

    def first_use(self) -> None:
        """What has to exist in a server that answers: buckets, databases. Called after each start."""

    # Life.

    def start(self) -> None:
        """Starts and waits until it serves; a server that serves already is left alone."""
        self.begin()
        self.wait()

    def begin(self) -> None:
        """Starts without waiting. A process that runs with other settings than today's is replaced."""
        self.prepare()
        made_from = [*map(str, self.command()), *(f"{k}={v}" for k, v in sorted(self.environment().items()))]
        made_from += self.settings()
        if self.running():
            if made_from == self._made_from:
                return
            self.stop()
        busy = [port for port in self.listens_on() if not port_is_free(port)]
        if busy:
            raise StackError(f"{self.name}: port {busy[0]} of {HOST} is taken by another program")
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [str(word) for word in self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=clean_environment() | self.environment(),
                start_new_session=True,
            )
        self._pid, self._made_from = self._popen.pid, made_from
        self._started = start_time(self._pid) or 0
        self._save()
        if not self.keep:
            Keeper.watch(self._pid, self._started)

    def wait(self, timeout_s: float | None = None) -> None:
        """Waits until it serves; StackError with the end of its log where it does not."""
        end = time.monotonic() + (timeout_s or self.start_timeout_s)
        reason: str | None = "not asked yet"
        while True:
            if not self.running():
                raise StackError(f"{self.name} ended while starting; the end of {self.log}:\n{self.log_tail()}")
            reason = self.check()
            if reason is None:
                break
            if time.monotonic() > end:
                raise StackError(f"{self.name} does not serve: {reason}; the end of {self.log}:\n{self.log_tail()}")
            time.sleep(POLL_S)
        self.first_use()

    def running(self) -> bool:
        if not self._pid:
            return False
        if self._popen is not None and self._popen.poll() is not None:
            return False
        return start_time(self._pid) == self._started

    def serves(self) -> bool:
        return self.running() and self.check() is None

    def stop(self) -> None:
        """Asks it to end, and kills it where it does not within `stop_timeout_s`."""
        self._signal(signal.SIGCONT)
        # Only the first process is asked: a server ends its children itself.
        if self.running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, self.stop_signal)
        if not self._gone(self.stop_timeout_s):
            self.kill()
        self._forget()

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        self._signal(signal.SIGKILL)
        if not self._gone(10):
            raise StackError(f"{self.name}: process {self._pid} outlives SIGKILL")
        self._forget()

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def remove(self) -> None:
        """Kills it and deletes its folder."""
        if self.running():
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        """Process id, 0 where it does not run."""
        return self._pid if self.running() else 0

    def settings(self) -> list[str]:
        """Contents of configuration files: a change of them asks for a restart."""
        return []

    def log_tail(self, lines: int = _TAIL_LINES) -> str:
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    # Inside.

    def _signal(self, number: signal.Signals) -> None:
        if self.running():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, number)

    def _gone(self, timeout_s: float) -> bool:
        end = time.monotonic() + timeout_s
        while self.running() or group_lives(self._pid):
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def _forget(self) -> None:
        self._pid, self._started, self._popen = 0, 0, None
        self._save()

    def _save(self) -> None:
        state = {"ports": self.ports, "pid": self._pid, "started": self._started, "made_from": self._made_from}
        part = self.folder / "state.json.part"
        part.write_text(json.dumps(state, indent=1))
        part.replace(self.folder / "state.json")


def saved_state(folder: Path) -> dict[str, Any]:
    """What the server of that folder was last started with; empty where none was."""
    try:
        state = json.loads((folder / "state.json").read_text())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def is_running(folder: Path) -> bool:
    """Whether the server that was last started in the folder still runs."""
    state = saved_state(folder)
    return bool(state.get("pid")) and start_time(state["pid"]) == state.get("started")


def clean_environment() -> dict[str, str]:
    """This program's, without what would reach into a server: K2's settings and keys of a cloud."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("K2_", "AWS_", "CATALOG_"))}


def start_time(pid: int) -> int | None:
    """When the process began, in ticks since boot: tells it from a later one of the same id. None once it ended."""
    fields = _stat(pid)
    return None if fields is None else int(fields[19])


def group_lives(group: int) -> bool:
    """Whether a process group has a member that has not ended."""
    return any(True for _ in group_members(group)) if group else False


def group_members(group: int) -> Iterator[int]:
    """The processes of a group that have not ended."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields is not None and int(fields[2]) == group:
                yield int(entry.name)


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on; None where the process has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    # A first thread that has ended is a zombie, and holds no port any more only when it is the last one.
    return None if fields[0] in "ZX" and int(fields[17]) <= 1 else fields
