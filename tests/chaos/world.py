"""Plays a schedule: the services behind proxies, the k2 processes and who starts them again, and each fault."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import s3_proxy
from kafka_oracle import LiveProducer, Oracle
from service_warehouse import Lake, Process

from chaos import catalog_proxy
from chaos.schedule import SERVERS, Fault, Role, Schedule
from stack.services import Services

STALL_S = 2.0
GRACE_S = 20.0  # after SIGTERM; then SIGKILL, as Docker does it
# Ends of a process that its starter answers with another start: killed, a service is away, a commit's outcome unknown.
MAY_END_WITH = (-9, 3, 4)
NIGHT_S = 2 * 86_400  # that a machine sleeps


class Links:
    """The proxies through which k2 sees the services. One set for all schedules of a session.

    `seaweed`: with SeaweedFS's own catalog in place of the reference.
    """

    def __init__(self, services: Services, seaweed: bool = False) -> None:
        services.start("kafka", "seaweedfs" if seaweed else "catalog", "toxiproxy")
        self.services = services
        self.seaweed = seaweed
        self.servers = ("kafka", "seaweedfs") if seaweed else SERVERS
        self.toxiproxy = services.toxiproxy
        self.s3 = s3_proxy.S3Proxy("127.0.0.1", services.s3.ports["s3"], stall_s=STALL_S)
        catalog_port = services.s3.ports["catalog"] if seaweed else services.catalog.ports["http"]
        self.catalog = catalog_proxy.CatalogProxy("127.0.0.1", catalog_port, stall_s=STALL_S)
        self.brokers = self.toxiproxy.proxy_kafka(services.kafka)
        self.s3_port = self.toxiproxy.proxy(self.name("s3"), port_of(self.s3.endpoint))
        self.catalog_port = self.toxiproxy.proxy(self.name("catalog"), port_of(self.catalog.endpoint))

    def name(self, link: str) -> str:
        """Of the link's proxy: there may be two sets."""
        return f"{link}-with-seaweed" if self.seaweed and link != "kafka" else link

    def variables(self) -> dict[str, str]:
        return {
            "K2_KAFKA": self.brokers,
            "K2_CATALOG": f"http://127.0.0.1:{self.catalog_port}",
            "K2_S3_ENDPOINT": f"http://127.0.0.1:{self.s3_port}",
        }

    def heal(self) -> None:
        self.s3.script = self.catalog.script = lambda _number, _method, _path: None
        self.services.mend()


def port_of(endpoint: str) -> int:
    return int(endpoint.rsplit(":", 1)[1])


class Worker:
    """The lives of one k2 process."""

    def __init__(self, lake: Lake, role: Role, crashes: tuple[str, ...], variables: dict[str, str]) -> None:
        self.lake = lake
        self.role = role
        self.crashes = list(crashes)
        self.variables = variables
        self.stop_at = ""  # a step at which its first life stands still
        self.process: Process | None = None
        self.ends: Counter[int] = Counter()
        self.not_before = 0.0

    def tend(self) -> None:
        """Starts it where it does not run."""
        if self.process is not None and self.process.code is not None:
            code = self.process.code
            assert code in MAY_END_WITH, f"{self.role.name} ended with {code}:\n{self.process.said()[-3000:]}"
            self.ends[code] += 1
            self.process = None
            self.not_before = time.monotonic() + 0.3
        if self.process is None and time.monotonic() >= self.not_before:
            stop = {}
            if self.stop_at:
                stop, self.stop_at = {"K2_TEST_STOP_AT": self.stop_at}, ""
            elif self.crashes:
                stop = {"K2_TEST_CRASH_AT": self.crashes.pop(0)}
            self.process = self.lake.begin("run", *self.role.flags, env=self.variables | stop)


class World:
    def __init__(self, schedule: Schedule, links: Links, lake: Lake, oracle: Oracle) -> None:
        self.schedule = schedule
        self.links = links
        self.services = links.services
        self.oracle = oracle
        self.lake = lake
        self.clock = lake.folder.parent / f"{lake.folder.name}-clock"
        sleeps = [fault.target.split(" ") for fault in schedule.faults if fault.kind == "sleep"]
        variables = links.variables() | ({"K2_TEST_CLOCK": str(self.clock)} if sleeps else {})
        self.workers = {
            role.name: Worker(lake, role, schedule.crashes[role.name], variables) for role in schedule.roles
        }
        for name, point in sleeps:
            self.workers[name].stop_at = point
        self.orphans = 0  # files that were removed while all slept
        self._tending = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []

    def play(self) -> None:
        """From the first message to the last fault; ends with all healed and every k2 process gone."""
        begun = time.monotonic()
        faults = list(self.schedule.faults)
        with LiveProducer(self.oracle, self.schedule.per_second):
            while (now := time.monotonic() - begun) < self.schedule.seconds or self._running():
                with self._tending:
                    for worker in self.workers.values():
                        worker.tend()
                while faults and faults[0].at <= now:
                    self._begin(faults.pop(0))
                time.sleep(0.03)
            self._join()
            self.links.heal()
            time.sleep(0.5)
        self._end_workers()

    def _end_workers(self) -> None:
        """Half of the schedules end as an operator does, half as a power cut does."""
        for worker in self.workers.values():
            if worker.process is None:
                continue
            if self.schedule.seed % 2:
                worker.process.kill()
            else:
                worker.process.resume()  # it may have come to its stop after the sleep
                worker.process.end(GRACE_S)
                code = worker.process.code
                assert code in (0, *MAY_END_WITH), f"{worker.role.name}: {code}\n{worker.process.said()[-3000:]}"

    # Faults.

    def _begin(self, fault: Fault) -> None:
        thread = threading.Thread(target=self._run, args=(fault,), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join(timeout=60)
            assert not thread.is_alive(), "a fault does not end"
        if self._errors:
            raise self._errors[0]

    def _run(self, fault: Fault) -> None:
        """One fault at a time on each target; one that finds its target busy is left out."""
        lock = self._lock_of(fault)
        if not lock.acquire(blocking=False):
            return
        try:
            how: dict[str, Callable[[Fault], None]] = {
                "kill": self._kill,
                "pause": self._pause,
                "server-killed": self._server_killed,
                "server-paused": self._server_paused,
                "toxic": self._toxic,
                "catalog": self._catalog,
                "s3": self._s3,
                "grow": self._grow,
                "sleep": self._sleep,
                "maintain": self._maintain,
            }
            how[fault.kind](fault)
        except BaseException as error:
            self._errors.append(error)
        finally:
            lock.release()

    def _lock_of(self, fault: Fault) -> threading.Lock:
        """Of the fault's target."""
        target = fault.target.split(" ")[0] if fault.kind in ("toxic", "grow") else f"{fault.kind} {fault.target}"
        if fault.kind == "grow" or fault.target == "kafka":
            target = "kafka"
        elif fault.kind.startswith("server"):
            target = "tables"  # a catalog that starts while its database is away ends at once
        return self._busy.setdefault(target, threading.Lock())

    def _kill(self, fault: Fault) -> None:
        process = self.workers[fault.target].process
        if process is not None:
            process.kill()

    def _pause(self, fault: Fault) -> None:
        process = self.workers[fault.target].process
        if process is not None:
            process.pause()
            time.sleep(fault.lasts)
            process.resume()

    def _server_killed(self, fault: Fault) -> None:
        server = self.services.server(fault.target)
        server.kill()
        time.sleep(fault.lasts / 3)
        server.start()

    def _server_paused(self, fault: Fault) -> None:
        server = self.services.server(fault.target)
        server.pause()
        time.sleep(fault.lasts)
        server.resume()

    def _toxic(self, fault: Fault) -> None:
        link, kind = fault.target.split(" ")
        link, proxy = self.links.name(link), self.links.toxiproxy
        if kind == "cut":
            proxy.cut(link)
        elif kind == "slow":
            proxy.add(link, "latency", latency=50 + fault.seed % 400, jitter=50)
        elif kind == "narrow":
            proxy.add(link, "bandwidth", "upstream", rate=20)
        elif kind == "slices":
            proxy.add(link, "slicer", average_size=200, size_variation=100, delay=500)
        elif kind == "stalled":
            proxy.add(link, "latency", latency=3_600_000)
        elif kind == "losing":
            proxy.add(link, "timeout", timeout=0)
        elif kind == "deaf":
            proxy.add(link, "timeout", "upstream", timeout=0)
        elif kind == "reset":
            proxy.add(link, "reset_peer", timeout=fault.seed % 200)
        else:
            proxy.add(link, "limit_data", bytes=fault.seed % 5000)
        time.sleep(fault.lasts)
        proxy.mend(link)

    def _catalog(self, fault: Fault) -> None:
        self._scripted(self.links.catalog, catalog_proxy.at_random(fault.seed, 0.6), fault.lasts)

    def _s3(self, fault: Fault) -> None:
        self._scripted(self.links.s3, s3_proxy.at_random(fault.seed, 0.25), fault.lasts)

    @staticmethod
    def _scripted(proxy: s3_proxy.S3Proxy, script: s3_proxy.Script, lasts: float) -> None:
        proxy.script = script
        time.sleep(lasts)
        proxy.script = lambda _number, _method, _path: None

    def _grow(self, fault: Fault) -> None:
        with contextlib.suppress(Exception):  # where the broker does not answer the topic stays as it is
            self.oracle.grow(fault.target, self.oracle.partitions[fault.target] + 1)

    def _sleep(self, fault: Fault) -> None:
        """The machine of all processes is suspended for two days, in which somebody else removes orphan files: those of
        commits that are under way among them. The wall clock is not moved, as that of a machine may be wrong.

        No request outlives such a time: nothing holds one back meanwhile, and what was sent has arrived before.
        """
        held_back = [Fault(0, 0, "toxic", f"{link} cut") for link in ("catalog", "s3")]
        held_back += [Fault(0, 0, "catalog"), Fault(0, 0, "s3"), Fault(0, 0, "server-paused", "catalog")]
        held_back += [Fault(0, 0, "pause", name) for name in self.workers]
        with contextlib.ExitStack() as quiet:
            for other in held_back:
                quiet.enter_context(self._lock_of(other))
            self._made_tables()
            self._await_stop(fault)
            quiet.enter_context(self._tending)
            asleep = [worker.process for worker in self.workers.values() if worker.process is not None]
            for process in asleep:
                process.pause()
            time.sleep(STALL_S + 0.5)
            later = self.clock.with_name(f"{self.clock.name}-of-others")
            later.write_text(f"{NIGHT_S} 0")
            removed = self.lake.k2_run(
                *("maintain", "orphans", "--older-than", "1d", "--output", "json"), env={"K2_TEST_CLOCK": str(later)}
            )
            self.orphans += sum(row["files"] for row in json.loads(removed.stdout))
            self.clock.write_text(f"0 {NIGHT_S}")
            for process in asleep:
                process.resume()

    def _await_stop(self, fault: Fault) -> None:
        """The process stands still by itself where it has come to the step. It may not come there."""
        end = time.monotonic() + fault.lasts
        while time.monotonic() < end:
            process = self.workers[fault.target.split(" ")[0]].process
            if process is not None and process.code is None and process.stopped():
                return
            time.sleep(0.05)

    def _maintain(self, fault: Fault) -> None:
        """Two at once. Where a service is away they end with its exit code."""
        if not self._made_tables():
            return
        both = [self.lake.begin("maintain", *fault.target.split(" ")) for _ in range(2)]
        for process in both:
            code = process.wait(120)
            assert code in (0, *MAY_END_WITH), f"maintain {fault.target}: {code}\n{process.said()[-3000:]}"

    def _made_tables(self) -> bool:
        """A service may make them at the same time."""
        made = self.lake.begin("tables", "create")
        code = made.wait(60)
        assert code in (0, *MAY_END_WITH), f"tables create: {code}\n{made.said()[-3000:]}"
        return code == 0


def play(schedule: Schedule, links: Links, k2: Path, folder: Path, stem: str) -> str:
    """Plays a schedule, works off what is left, and asks the oracle. Returns what happened, in one line."""
    services = links.services
    links.heal()
    oracle = Oracle(services.kafka.brokers, schedule.seed)
    topics = [oracle.create(f"{stem}.{exchange}") for exchange in ("binance", "kraken")]
    lake = Lake.rest(k2, folder, services, links.seaweed)
    lake.variables["K2_TOPICS"] = ",".join(topics)
    world = World(schedule, links, lake, oracle)
    hits = links.catalog.hits + links.s3.hits
    begun = time.monotonic()
    try:
        world.play()
        played = time.monotonic()
        oracle.flush()
        lake.run_kafka()
        oracle.check(lake)
        report = lake.run_kafka()
        left = [report[layer]["rows_in"] for layer in ("bronze", "silver", "gold")]
        assert left == [0, 0, 0], f"the second run found {left} rows"
    except BaseException:
        with contextlib.suppress(Exception):
            print(f"{schedule}\n{lake.state()}")
        raise
    finally:
        lake.kill_all()
        links.heal()
        with contextlib.suppress(Exception):
            oracle.delete(set(oracle.partitions))
    injected = links.catalog.hits + links.s3.hits - hits
    ends = sum((worker.ends for worker in world.workers.values()), Counter())
    return (
        f"{schedule.seed}: {len(oracle.acknowledged)} messages, {ends.total()} ends {dict(ends)}, "
        f"{len(schedule.faults)} faults, {injected.total()} broken requests, {world.orphans} orphan files, "
        f"{played - begun:.1f} s and {time.monotonic() - played:.1f} s to check"
    )
