"""A versioned bucket of an S3 store, by its API: who has versions can bring the files of an earlier time back."""

from __future__ import annotations

import hashlib
import hmac
import urllib.error
import urllib.request
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

Query = dict[str, str]


@dataclass(frozen=True)
class Version:
    key: str
    identity: str
    is_marker: bool  # of a deletion
    at: datetime


class VersionedBucket:
    def __init__(self, endpoint: str, access_key: str, secret_key: str, name: str, region: str = "us-east-1") -> None:
        self.endpoint, self.name, self.region = endpoint, name, region
        self._access_key, self._secret_key = access_key, secret_key
        self._ask("PUT", "")
        self._ask(
            "PUT",
            "",
            {"versioning": ""},
            b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
        )

    def versions(self, prefix: str) -> dict[str, list[Version]]:
        """Of each key, the newest first."""
        found: dict[str, list[Version]] = defaultdict(list)
        more: Query = {}
        while True:
            page = ElementTree.fromstring(self._ask("GET", "", {"versions": "", "prefix": prefix} | more))
            for one in page:
                kind = one.tag.rpartition("}")[2]
                if kind in ("Version", "DeleteMarker") and not text(one, "Key").endswith("/"):
                    at = datetime.fromisoformat(text(one, "LastModified").replace("Z", "+00:00"))
                    version = Version(text(one, "Key"), text(one, "VersionId"), kind == "DeleteMarker", at)
                    found[version.key].append(version)
            if text(page, "IsTruncated") != "true":
                break
            more = {"key-marker": text(page, "NextKeyMarker"), "version-id-marker": text(page, "NextVersionIdMarker")}
        return {key: sorted(versions, key=lambda one: one.at, reverse=True) for key, versions in found.items()}

    def restore(self, prefix: str, then: datetime) -> int:
        """Brings the files back that were there at a time, and removes those that came later. How many had been deleted
        since. Times are of whole seconds.

        No file of a table is written twice: a key has one version, and a marker once it is deleted."""
        returned = 0
        for key, versions in self.versions(prefix).items():
            was = next((one for one in versions if one.at <= then), None)
            if was is None or was.is_marker:
                if not versions[0].is_marker:
                    self._ask("DELETE", key)
                continue
            later = [one for one in versions if one.at > then]
            assert all(one.is_marker for one in later), f"{key} was written twice"
            for marker in later:
                self._ask("DELETE", key, {"versionId": marker.identity})
            returned += bool(later)
        return returned

    def _ask(self, method: str, key: str, query: Query | None = None, body: bytes = b"") -> bytes:
        path = quote(f"/{self.name}/{key}" if key else f"/{self.name}")
        words = "&".join(
            f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted((query or {}).items())
        )
        request = urllib.request.Request(
            f"{self.endpoint}{path}?{words}", body or None, self._headers(method, path, words, body), method=method
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            content: bytes = answer.read()
        return content

    def _headers(self, method: str, path: str, query: str, body: bytes) -> dict[str, str]:
        """Signed: AWS Signature Version 4."""
        now = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        headers = {"host": urlsplit(self.endpoint).netloc, "x-amz-content-sha256": digest, "x-amz-date": now}
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        canonical = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{digest}"
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{self._secret_key}".encode()
        for part in (*scope.split("/"), to_sign):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = f"Credential={self._access_key}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
        return headers | {"Authorization": f"AWS4-HMAC-SHA256 {signature}"}


def text(element: Any, name: str) -> str:
    found = element.find("{*}" + name)
    return "" if found is None or found.text is None else str(found.text)
