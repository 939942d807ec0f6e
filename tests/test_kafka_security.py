"""Kafka behind TLS and SASL: the settings of librdkafka reach produce, run and doctor; what is refused is said."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs

import pytest
from service_warehouse import Lake
from warehouse import BRONZE, GOLD

from stack.messages import Kafka
from stack.process import HOST

USER = "k2"
PASSWORD = "right-horse=battery"
CLIENT_SECRET = "client-secret-of-k2"
TRADES = 300
REFUSED_WITHIN_S = 20.0


class SecureKafka(Kafka):
    """A broker with one more listener, SASL_SSL, on which a user has to say who it is in one of three ways."""

    default_ports: ClassVar = {**Kafka.default_ports, "secure": 9098}

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        super().__init__(folder)
        login = "org.apache.kafka.common.security"
        of_listener = {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(certificates.server),
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512,OAUTHBEARER",
            "plain.sasl.jaas.config": f'{login}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
            "scram-sha-512.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;",
            "oauthbearer.sasl.jaas.config": f"{login}.oauthbearer.OAuthBearerLoginModule required "
            'unsecuredLoginStringClaim_sub="broker";',
        }
        self._settings = {
            "listeners": f"{self._all_settings()['listeners']},SECURE://{HOST}:{self.ports['secure']}",
            "advertised.listeners": f"{self._all_settings()['advertised.listeners']},"
            f"SECURE://{HOST}:{self.ports['secure']}",
            "listener.security.protocol.map": f"{self._all_settings()['listener.security.protocol.map']},"
            "SECURE:SASL_SSL",
            **{f"listener.name.secure.{name}": value for name, value in of_listener.items()},
        }

    @property
    def secure_brokers(self) -> str:
        return f"{HOST}:{self.ports['secure']}"


class Certificates:
    """A certificate authority of the test's own, the broker's key and certificate from it, and another authority."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.authority = self._authority("ours")
        self.other_authority = self._authority("another")
        key, request, signed = (folder / f"broker.{kind}" for kind in ("key", "csr", "crt"))
        names = folder / "broker.ext"
        names.write_text(f"subjectAltName=IP:{HOST},DNS:localhost\n")
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=broker",
                      "-keyout", key, "-out", request)  # fmt: skip
        self._openssl("x509", "-req", "-in", request, "-CA", self.authority, "-CAkey", folder / "ours.key",
                      "-CAcreateserial", "-days", "2", "-extfile", names, "-out", signed)  # fmt: skip
        self.server = folder / "broker.pem"
        self.server.write_text(key.read_text() + signed.read_text())

    def _authority(self, name: str) -> Path:
        path = self._folder / f"{name}.crt"
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                      "-subj", f"/CN={name}", "-keyout", self._folder / f"{name}.key", "-out", path)  # fmt: skip
        return path

    def _openssl(self, *args: str | Path) -> None:
        done = subprocess.run(["openssl", *args], capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, done.stderr


class TokenEndpoint:
    """Gives tokens to clients that know the secret (OAuth2 client credentials).

    They are unsigned: a broker takes these that was not told whose signatures to look for.
    """

    def __init__(self) -> None:
        self.granted = 0
        self.refused = 0
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                wanted = base64.b64encode(f"{USER}:{CLIENT_SECRET}".encode()).decode()
                if self.headers["Authorization"] != f"Basic {wanted}" or form["grant_type"] != ["client_credentials"]:
                    endpoint.refused += 1
                    self._answer(401, {"error": "invalid_client"})
                    return
                endpoint.granted += 1
                token = unsigned_token(USER)
                self._answer(200, {"access_token": token, "token_type": "bearer", "expires_in": 600})

            def _answer(self, status: int, body: Mapping[str, object]) -> None:
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self._server.server_address[1]}/token"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def unsigned_token(subject: str) -> str:
    def part(value: Mapping[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    now = int(time.time())
    return f"{part({'alg': 'none'})}.{part({'sub': subject, 'iat': now, 'exp': now + 600})}."


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def set_scram_user(brokers: str, name: str = USER, password: str = PASSWORD) -> None:
    from confluent_kafka import admin

    login = admin.ScramCredentialInfo(admin.ScramMechanism.SCRAM_SHA_512, 4096)  # type: ignore[attr-defined]
    user = admin.UserScramCredentialUpsertion(name, login, password.encode())  # type: ignore[attr-defined]
    client = admin.AdminClient({"bootstrap.servers": brokers, "log_level": 0})
    for done in client.alter_user_scram_credentials([user]).values():
        done.result(timeout=20)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[SecureKafka]:
    broker = SecureKafka(tmp_path_factory.mktemp("secure") / "kafka", certificates)
    broker.start()
    try:
        set_scram_user(broker.brokers)
        yield broker
    finally:
        broker.kill()


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenEndpoint]:
    endpoint = TokenEndpoint()
    yield endpoint
    endpoint.close()


def kafka_set(settings: Mapping[str, object]) -> dict[str, str]:
    return {"K2_KAFKA_SET": ",".join(f"{name}={value}" for name, value in settings.items())}


def by_password(certificates: Certificates, mechanism: str, password: str = PASSWORD) -> dict[str, object]:
    return {
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": certificates.authority,
        "sasl.mechanism": mechanism,
        "sasl.username": USER,
        "sasl.password": password,
    }


def by_token(certificates: Certificates, **more: object) -> dict[str, object]:
    settings = {name.replace("_", "."): value for name, value in more.items()}
    return {
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": certificates.authority,
        "sasl.mechanism": "OAUTHBEARER",
        **settings,
    }


def by_endpoint(certificates: Certificates, tokens: TokenEndpoint, secret: str) -> dict[str, object]:
    return by_token(
        certificates,
        sasl_oauthbearer_method="oidc",
        sasl_oauthbearer_client_id=USER,
        sasl_oauthbearer_client_secret=secret,
        sasl_oauthbearer_token_endpoint_url=tokens.url,
    )


@pytest.fixture
def lake(k2: Path, tmp_path: Path, kafka: SecureKafka) -> Iterator[Lake]:
    made = Lake.local(k2, tmp_path / "lake", kafka.secure_brokers)
    prefix = f"s{uuid.uuid4().hex[:8]}.trades."
    made.variables["K2_TOPICS"] = f"{prefix}kraken"
    yield made
    made.kill_all()


def producing(lake: Lake) -> tuple[str, ...]:
    prefix = lake.variables["K2_TOPICS"].removesuffix("kraken")
    what = ("--simulate", "kraken", "--trades", str(TRADES))
    return ("produce", *what, "--topic-prefix", prefix, "--create-topics", "3")


LOGINS = ("PLAIN", "SCRAM-SHA-512", "tokens of an endpoint", "tokens of its own")


@pytest.mark.parametrize("login", LOGINS)
def test_a_login_over_tls(lake: Lake, certificates: Certificates, tokens: TokenEndpoint, login: str) -> None:
    """produce, run and doctor work through SASL_SSL by each mechanism; doctor shows the settings without the secret."""
    match login:
        case "tokens of an endpoint":
            settings = by_endpoint(certificates, tokens, CLIENT_SECRET)
        case "tokens of its own":
            settings = by_token(
                certificates, enable_sasl_oauthbearer_unsecure_jwt="true", sasl_oauthbearer_config=f"principal={USER}"
            )
        case mechanism:
            settings = by_password(certificates, mechanism)
    lake.variables |= kafka_set(settings)
    lake.k2_run(*producing(lake))
    report = lake.run_kafka()
    assert report["bronze"]["rows_in"] >= TRADES
    assert lake.total(BRONZE) == report["bronze"]["rows_in"]
    assert lake.total(GOLD) == TRADES
    doctor = lake.k2_run("doctor")
    assert "1 topics to read" in doctor.stdout
    assert str(certificates.authority) in doctor.stdout
    assert PASSWORD not in doctor.stdout + doctor.stderr
    assert CLIENT_SECRET not in doctor.stdout + doctor.stderr


def test_a_password_that_changes_while_a_service_runs(
    lake: Lake, certificates: Certificates, kafka: SecureKafka, tmp_path: Path
) -> None:
    """The brokers refuse the present one when the client reconnects; then the file is read once more."""
    secret = tmp_path / "password"
    user = "rotated"

    def change(password: str) -> None:
        set_scram_user(kafka.brokers, user, password)
        secret.write_text(f"sasl.password={password}\n")

    change("first-password")
    settings = by_password(certificates, "SCRAM-SHA-512") | {"sasl.username": user}
    del settings["sasl.password"]
    lake.variables |= kafka_set(settings) | {"K2_KAFKA_SET_FILE": str(secret), "K2_LOG_LEVEL": "info"}
    lake.k2_run(*producing(lake))
    service = lake.begin("run", "--commit-interval", "100ms")
    lake.await_rows({GOLD: TRADES})
    taken = lake.total(BRONZE)
    change("second-password")
    kafka.kill()  # connections that were let in stay
    kafka.start()
    lake.k2_run(*producing(lake), "--seed", "2")
    lake.await_rows({BRONZE: taken + TRADES})
    said = service.stop()
    assert "retrying with a new password" in said, said
    assert "-password" not in said.replace("a new password", "")


REFUSALS = ("wrong password, PLAIN", "wrong password, SCRAM-SHA-512", "wrong client secret", "untrusted certificate")


@pytest.mark.parametrize("why", REFUSALS)
def test_a_refusal_is_said_in_time(lake: Lake, certificates: Certificates, tokens: TokenEndpoint, why: str) -> None:
    """produce, run and doctor end in seconds with exit code 3, and say where, why, and which settings to look at."""
    secret = "wrong-staple"
    match why.split(", "):
        case ["wrong password", mechanism]:
            settings, reason = by_password(certificates, mechanism, secret), "uthentication failed"
        case ["wrong client secret"]:
            settings, reason = by_endpoint(certificates, tokens, secret), "OIDC"
        case _:
            settings = by_password(certificates, "PLAIN") | {"ssl.ca.location": certificates.other_authority}
            reason = "certificate verify failed"
    lake.variables |= kafka_set(settings)
    commands = {
        "produce": producing(lake),
        "run": ("run", "--until-caught-up"),
        "service": ("run",),
        "doctor": ("doctor",),
    }
    begun = time.monotonic()
    running = {name: lake.begin(*words) for name, words in commands.items()}
    codes = {name: process.wait(REFUSED_WITHIN_S) for name, process in running.items()}
    assert time.monotonic() - begun < REFUSED_WITHIN_S
    assert set(codes.values()) == {3}, (codes, lake.state())
    said = {name: process.said() for name, process in running.items()}
    for command, words in said.items():
        for wanted in (reason, "sasl.*", "ssl.*", "--kafka-set", lake.variables["K2_KAFKA"]):
            assert wanted in words, f"{command} says nothing of {wanted}: {words}"
        assert secret not in words
        assert PASSWORD not in words


def test_private_keys_and_passphrases_are_not_shown(lake: Lake) -> None:
    """Of what a client certificate and a signed assertion need, doctor shows the names only."""
    hidden = {
        "ssl.key.pem": "hidden-1",
        "ssl.key.password": "hidden-2",
        "sasl.oauthbearer.assertion.private.key.pem": "hidden-3",
        "sasl.oauthbearer.assertion.private.key.passphrase": "hidden-4",
    }
    lake.variables |= kafka_set({"client.rack": "shown-1"} | hidden)
    del lake.variables["K2_KAFKA"]
    doctor = lake.k2_run("doctor", "--output", "json")
    assert "shown-1" in doctor.stdout
    assert "hidden-" not in doctor.stdout + doctor.stderr
    assert all(name in doctor.stdout for name in hidden)
