"""How many cores a session has for its tasks: executors come after the session, and come and go while it lasts."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark import SparkContext

# Spark itself waits so long for its resources (spark.scheduler.maxRegisteredResourcesWaitingTime).
WAIT_S = 30.0
# Executors that start together register within about this time.
SETTLED_S = 1.0
LOOK_S = 0.1

_waited_for: set[str] = set()  # applications


def cores_now(context: SparkContext) -> int:
    return max(1, context.defaultParallelism)


def wait_for_executors(context: SparkContext) -> bool:
    """Waits until the cores that were asked for are there, or until some are and no more come; for 30 s at most, and
    once for a session. False where none has come: tasks wait for them then. On a local master, and where executors come
    with the tasks (dynamic allocation), there is nothing to wait for."""
    if context.applicationId in _waited_for:
        return True
    _waited_for.add(context.applicationId)
    conf = context.getConf()
    if re.match(r"local(\[|$)", str(context.master)) or conf.get("spark.dynamicAllocation.enabled", "false") == "true":
        return True
    wanted = _asked_for(context)
    java: Any = context
    seen = (0, 0)
    began = since = time.monotonic()
    while True:
        now = time.monotonic()
        found = (java._jsc.sc().getExecutorMemoryStatus().size() - 1, cores_now(context))  # less the driver's own
        if found != seen:
            seen, since = found, now
        executors, cores = seen
        if executors and (now - since >= SETTLED_S or (wanted and cores >= wanted)):
            return True
        if now - began >= WAIT_S:
            return executors > 0
        time.sleep(LOOK_S)


def _asked_for(context: SparkContext) -> int:
    """0: as many as there are."""

    def number(key: str, default: str) -> int:
        text = context.getConf().get(key, default) or default
        return int(text) if text.isdecimal() else 0

    if str(context.master).startswith("spark://"):
        return number("spark.cores.max", "0")
    return number("spark.executor.instances", "0") * number("spark.executor.cores", "1")
