"""What the servers have in common: where they are, who may use them, how one runs Java and asks by HTTP."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import Any

ACCESS_KEY = "k2-access-key"
SECRET_KEY = "k2-secret-key"
REGION = "us-east-1"
BUCKET = "lake"
WAREHOUSE = f"s3://{BUCKET}/warehouse"
TABLE_BUCKET = "warehouse"
PARTITIONS = 12
# A start counts more than the last tenth of speed in servers that do little.
SMALL_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss512k", "-XX:-UsePerfData")


def java() -> str:
    home = os.environ.get("JAVA_HOME")
    return f"{home}/bin/java" if home else "java"


def http(url: str, body: Any = None, method: str | None = None, timeout_s: float = 20) -> Any:
    """The JSON that a request answers with, None for an empty body; errors as urllib raises them."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=timeout_s) as reply:
        text = reply.read()
    return json.loads(text) if text.strip() else None


def why_not(url: str) -> str | None:
    """Why a GET of the address does not end in 2xx; None when it does."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return None
    except (urllib.error.URLError, OSError, ValueError) as error:
        return f"{url}: {error}"
