"""deploy/kubernetes and the image: valid by Kubernetes' own schemas, and what they would run does what they say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from conftest import Simulate
from test_status_server import Server, read_log
from warehouse import Warehouse

from stack.process import free_port

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.27", "1.37")


def documents() -> list[dict[str, Any]]:
    """What the kustomization lists."""
    names = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    return [one for name in names for one in yaml.safe_load_all((BASE / name).read_text())]


def of_kind(kind: str) -> dict[str, Any]:
    (found,) = (one for one in documents() if one["kind"] == kind)
    return found


def pod() -> dict[str, Any]:
    found: dict[str, Any] = of_kind("StatefulSet")["spec"]["template"]
    return found


def test_every_file_is_listed() -> None:
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    assert sorted([*listed, "kustomization.yaml"]) == sorted(file.name for file in BASE.iterdir())


@pytest.mark.parametrize("version", VERSIONS)
def test_schemas_of_kubernetes_accept_it(version: str) -> None:
    for document in documents():
        kubernetes_validate.validate(document, version, strict=True)
    wrong = pod() | {}
    broken = of_kind("StatefulSet")
    broken["spec"]["template"] = wrong | {"spec": wrong["spec"] | {"containres": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, version, strict=True)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_kustomize_builds_it(tmp_path: Path) -> None:
    if not shutil.which("go"):
        pytest.skip("there is no Go to build kustomize with")
    variables = os.environ | {"GOBIN": str(tmp_path), "GOPATH": str(tmp_path / "go"), "GOFLAGS": "-modcacherw"}
    install = ["go", "install", "sigs.k8s.io/kustomize/kustomize/v5@v5.4.3"]
    subprocess.run(install, env=variables, check=True, capture_output=True, timeout=1100)
    built = subprocess.run(
        [tmp_path / "kustomize", "build", BASE], capture_output=True, text=True, timeout=60, check=True
    )
    documents_built = list(yaml.safe_load_all(built.stdout))
    assert sorted(one["kind"] for one in documents_built) == sorted(one["kind"] for one in documents())
    for document in documents_built:
        kubernetes_validate.validate(document, VERSIONS[-1], strict=True)


def test_names_and_labels_meet() -> None:
    labels = pod()["metadata"]["labels"]
    stateful = of_kind("StatefulSet")["spec"]
    chosen = [
        stateful["selector"]["matchLabels"],
        of_kind("Service")["spec"]["selector"],
        of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        of_kind("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(one.items() <= labels.items() for one in chosen)
    assert stateful["serviceName"] == of_kind("Service")["metadata"]["name"]
    spec = pod()["spec"]
    (container,) = spec["containers"]
    volumes = {one["name"] for one in spec["volumes"]}
    volumes |= {one["metadata"]["name"] for one in stateful["volumeClaimTemplates"]}
    assert {one["name"] for one in container["volumeMounts"]} == volumes
    assert container["envFrom"][0]["configMapRef"]["name"] == of_kind("ConfigMap")["metadata"]["name"]
    assert spec["serviceAccountName"] == of_kind("ServiceAccount")["metadata"]["name"]
    assert int(of_kind("ConfigMap")["data"]["PODS"]) == stateful["replicas"]


def test_the_pod_is_restricted() -> None:
    """What the Pod Security Standard `restricted` asks, and a root that is read-only."""
    spec = pod()["spec"]
    (container,) = spec["containers"]
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"]["drop"] == ["ALL"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert f"--uid {spec['securityContext']['runAsUser']} " in (ROOT / "Dockerfile").read_text()
    (status,) = container["ports"]
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    assert {probe["port"] for probe in probes.values()} == {status["name"]}
    (address,) = (one["value"] for one in container["env"] if one["name"] == "K2_HTTP")
    assert address == f"0.0.0.0:{status['containerPort']}"


def test_settings_are_settings(k2: Path) -> None:
    help_text = subprocess.run([k2, "help", "settings"], capture_output=True, text=True, timeout=20, check=True).stdout
    (container,) = pod()["spec"]["containers"]
    names = [*of_kind("ConfigMap")["data"], *(one["name"] for one in container["env"])]
    for name in names:
        if name.startswith("K2_"):
            assert re.search(rf"--{name[3:].lower().replace('_', '-')}\b", help_text), name


@pytest.mark.parametrize(("partitions", "pods"), [(12, 1), (12, 2), (12, 5), (3, 4), (1, 1)])
def test_pods_share_all_partitions(partitions: int, pods: int, tmp_path: Path) -> None:
    """The container's command, with a k2 that says what it was asked."""
    (container,) = pod()["spec"]["containers"]
    stub = tmp_path / "k2"
    stub.write_text('#!/bin/sh\necho "$@"\n')
    stub.chmod(0o755)
    read: list[int] = []
    for number in range(pods):
        variables = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "HOSTNAME": f"k2-{number}",
            "PARTITIONS": str(partitions),
            "PODS": str(pods),
        }
        said = subprocess.run(
            container["command"], env=variables, capture_output=True, text=True, timeout=20, check=True
        )
        found = re.fullmatch(r"run --partitions (\d+)-(\d+)\n", said.stdout)
        assert found, said.stdout
        read += [one for one in range(int(found[1]), int(found[2]) + 1) if one < partitions + 3]
    assert sorted(read) == list(range(partitions + 3)), "each once, and three that are added later"


@pytest.fixture
def status_port(warehouse: Warehouse, simulate: Simulate) -> Iterator[int]:
    recording = simulate("binance", 100, 3)
    flags = ("--follow", "--http", "127.0.0.1:0", "--log-level", "info")
    running = Server(warehouse.start("run", "--recording", f"binance={recording}", *flags))
    with read_log(running):
        yield int(running.address.rpartition(":")[2])


def health_check() -> list[str]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
    found = re.search(r"^HEALTHCHECK .*? CMD (\[.*\])$", text, re.M)
    assert found
    words: list[str] = json.loads(found[1])
    return words


def test_the_image_is_healthy_where_livez_says_so(status_port: int) -> None:
    def asked(**variables: str) -> int:
        environment = {"PATH": os.environ["PATH"]} | variables
        return subprocess.run(health_check(), env=environment, capture_output=True, timeout=20, check=False).returncode

    assert asked(K2_HTTP=f"0.0.0.0:{status_port}") == 0
    assert asked(K2_HTTP=f":{status_port}") == 0
    assert asked() == 0, "a run without a status page"
    assert asked(K2_HTTP=f":{free_port()}") != 0
