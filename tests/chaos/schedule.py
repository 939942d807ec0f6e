"""What happens in a schedule, drawn by its seed: the processes, and the faults with their times."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from warehouse import GOLD, TABLES

CRASH_POINTS = {
    "bronze": ("bronze.data-file", "bronze.manifests", "bronze.done"),
    "silver": (
        "silver.data-file",
        "silver.rejected-data-file",
        "rejected.manifests",
        "rejected.done",
        "silver.manifests",
        "silver.done",
    ),
    "gold": ("gold.data-file", "gold.manifests", "gold.done"),
}
LAYERS = tuple(CRASH_POINTS)
SERVERS = ("kafka", "catalog", "postgres", "seaweedfs")
LINKS = ("kafka", "catalog", "s3")
TOXICS = ("cut", "slow", "narrow", "slices", "stalled", "losing", "deaf", "reset", "limit")
# kinds of faults and how often each is drawn
KINDS = {"kill": 4, "pause": 3, "server-killed": 2, "server-paused": 1, "toxic": 5, "catalog": 4, "s3": 3, "grow": 1}
# What `k2 maintain` is asked for by two at once, beside the services' own maintenance.
MAINTAIN = (
    "compact --settled 0s --min-input-files 2",
    "expire",
    "retention",
    "orphans --older-than 1d",
)


@dataclass(frozen=True)
class Role:
    """One k2 process, which is started again when it dies."""

    name: str
    flags: tuple[str, ...]
    layers: tuple[str, ...] = LAYERS


@dataclass(frozen=True)
class Fault:
    at: float  # seconds from the begin
    lasts: float
    kind: str
    target: str = ""
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.at:5.1f} s {self.kind} {self.target} for {self.lasts:.1f} s ({self.seed})"


@dataclass(frozen=True)
class Schedule:
    seed: int
    seconds: float
    per_second: int
    roles: tuple[Role, ...]
    faults: tuple[Fault, ...]
    # of each role: the crash point of each of its lives, one after the other; then none any more
    crashes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        roles = "\n".join(
            f"  {role.name}: k2 run {' '.join(role.flags)}  dies at {', '.join(self.crashes[role.name]) or 'none'}"
            for role in self.roles
        )
        faults = "\n".join(f"  {fault}" for fault in self.faults)
        return f"K2_SEED={self.seed}: {self.per_second} messages a second for {self.seconds:.0f} s\n{roles}\n{faults}"


def topology(draw: random.Random, topics: tuple[str, ...]) -> tuple[Role, ...]:
    takeover = ("--takeover-after", "1s")
    layers = tuple(Role(layer, ("--layer", layer), (layer,)) for layer in LAYERS)
    return draw.choice(
        (
            (Role("all", ()),),
            layers,
            (Role("first", takeover), Role("second", takeover)),
            (Role("active", takeover), Role("standby", ("--standby", *takeover))),
            tuple(Role(f"of-{topic.rsplit('.', 1)[1]}", ("--topics", topic, *takeover)) for topic in topics),
            (Role("low", ("--partitions", "0-1", *takeover)), Role("high", ("--partitions", "2-99", *takeover))),
            (
                *(Role(role.name, (*role.flags, *takeover), role.layers) for role in layers),
                Role("bronze-too", ("--layer", "bronze", *takeover), ("bronze",)),
                Role("gold-too", ("--layer", "gold", *takeover), ("gold",)),
            ),
        )
    )


def draw_schedule(
    seed: int, topics: tuple[str, ...], seconds: float = 8.0, servers: tuple[str, ...] = SERVERS
) -> Schedule:
    draw = random.Random(seed)
    interval = draw.choice(("20ms", "100ms", "400ms"))
    steps = ("--commit-interval", interval, "--rows-per-commit", draw.choice(("100", "400", "131072")))
    roles = tuple(Role(role.name, (*role.flags, *steps), role.layers) for role in topology(draw, topics))
    crashes = {role.name: tuple(draw_crash(draw, role) for _ in range(draw.randrange(4))) for role in roles}
    faults = []
    for _ in range(draw.randrange(5, 11)):
        kind = draw.choices(list(KINDS), list(KINDS.values()))[0]
        target = {
            "kill": lambda: draw.choice(roles).name,
            "pause": lambda: draw.choice(roles).name,
            "server-killed": lambda: draw.choice(servers),
            "server-paused": lambda: draw.choice(servers),
            "toxic": lambda: f"{draw.choice(LINKS)} {draw.choice(TOXICS)}",
            "grow": lambda: draw.choice(topics),
        }.get(kind, str)()
        at, lasts = draw.uniform(0.5, seconds * 0.8), draw.uniform(0.2, 3.0)
        faults.append(Fault(at, lasts, kind, target, draw.randrange(1 << 16)))
    faults.sort(key=lambda fault: fault.at)
    rate = draw.choice((200, 600, 1500))
    # Drawn last, so that older seeds keep their faults. All processes look after the tables, and often.
    joined = draw.choice(("none", GOLD, ",".join(TABLES)))
    upkeep = ("--retention-interval", "1s", "--compact", joined, "--compact-settled", "0s")
    roles = tuple(Role(role.name, (*role.flags, *upkeep), role.layers) for role in roles)
    # The machine sleeps for two days, from a step of one process on, while somebody else removes orphan files; two
    # people maintain the tables.
    if draw.random() < 0.5:
        role = draw.choice(roles)
        faults.append(Fault(draw.uniform(1.0, seconds * 0.4), 4.0, "sleep", f"{role.name} {draw_stop(draw, role)}"))
    if draw.random() < 0.7:
        faults.append(Fault(draw.uniform(1.0, seconds * 0.8), 0.0, "maintain", draw.choice(MAINTAIN)))
    faults.sort(key=lambda fault: fault.at)
    return Schedule(seed, seconds, rate, roles, tuple(faults), crashes)


def draw_stop(draw: random.Random, role: Role) -> str:
    """Between a commit's files and its swap."""
    point = draw.choice(("catalog.before-swap", f"{draw.choice(role.layers)}.manifests"))
    return f"{point}:{draw.choice((2, 4, 8))}"


def draw_crash(draw: random.Random, role: Role) -> str:
    point = draw.choice(CRASH_POINTS[draw.choice(role.layers)])
    return f"{point}:{draw.choice((1, 1, 1, 2, 3))}"
