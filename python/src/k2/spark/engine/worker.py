"""Runs tasks on an executor: one k2 process for each Python worker, fed through its standard input."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from typing import IO

from k2.spark.engine.program import NO_SETTINGS_FILE, find_program
from k2.spark.utils.errors import UnavailableError

LOG_LINES_KEPT = 20


class Worker:
    """A `k2 task --worker`. It ends by itself when this process does, for its standard input closes then.

    Of K2's variables only the driver's count, so that one job has one configuration on all machines.
    """

    def __init__(self, program: str, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._log: deque[str] = deque(maxlen=LOG_LINES_KEPT)
        self._process = subprocess.Popen(
            [program, "task", "--worker", *NO_SETTINGS_FILE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if not name.startswith("K2_")} | self.environment,
            text=True,
            encoding="utf-8",
            errors="replace",
            bufsize=1,
        )
        assert self._process.stderr is not None
        self._reader = threading.Thread(target=self._pass_on, args=(self._process.stderr,), daemon=True)
        self._reader.start()

    def _pass_on(self, stderr: IO[str]) -> None:
        """What k2 says goes to the executor's own log, which Spark's page shows."""
        for line in stderr:
            self._log.append(line.rstrip())
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(line)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def run(self, task: str) -> str:
        """The answer to a task, one line. Raises UnavailableError when the process ends instead."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        answer = ""
        with contextlib.suppress(BrokenPipeError):
            stdin.write(task + "\n")
            stdin.flush()
            answer = stdout.readline()
        if answer.endswith("\n"):
            return answer.rstrip("\n")
        code = self._process.wait(timeout=30)
        self._reader.join(timeout=5)
        said = " | ".join(self._log) or "it said nothing"
        raise UnavailableError(f"k2 ended in the middle of a task, {_how(code)}: {said}")

    def close(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()


def _how(code: int) -> str:
    if code == -9:
        return "killed (out of memory? See the sizing guide: each task needs its own beside the executor's)"
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"


_worker: Worker | None = None


def _worker_for(environment: Mapping[str, str]) -> Worker:
    global _worker
    if _worker is not None and (not _worker.alive or _worker.environment != environment):
        _worker.close()
        _worker = None
    if _worker is None:
        _worker = Worker(find_program(), environment)
        atexit.register(_worker.close)
    return _worker


def run_task(task: str, environment: Mapping[str, str]) -> str:
    """Runs one planned task here and gives its result as JSON, or {"error", "exit_code"} where running it again would
    end the same way. Raises, so that Spark runs it again, where it might not.

    Each run writes under an attempt id of its own, which begins with the planned one, so that a second run of the
    same task, on purpose or not, writes nothing that the first one wrote, and the commit knows whose result it is.
    """
    document = json.loads(task)
    document["attempt_id"] += f"-{secrets.token_hex(4)}"
    answer = _worker_for(environment).run(json.dumps(document))
    failure = json.loads(answer) if answer.startswith('{"error"') else {}
    if failure.get("exit_code", 0) in (3, 4):
        hint = f" ({failure['hint']})" if failure.get("hint") else ""
        raise UnavailableError(failure["error"] + hint)
    return answer
