"""What the stages cost, and what made the results: for the last part of the page."""

import shlex
from dataclasses import dataclass
from typing import Any

from ddselect.evaluation.branch import Trial
from ddselect.runtime.store import StageResult


@dataclass(frozen=True)
class StageLine:
    """A finished stage.

    Attributes:
        done: The stage.
        users: Which selections and seeds it served, in words; of several protocols or students also which of them.
    """

    done: StageResult
    users: str


@dataclass(frozen=True)
class StageSum:
    """All finished stages of one name.

    Attributes:
        name: Their name.
        count: How many there are.
        reused: How many of them were finished before this run.
        seconds: Wall time in all.
        seconds_before: The part of it that was spent before this run.
        bytes: Size in all.
        peak_bytes: Highest peak memory of one of them; None where no stage says it.
        gpu_peak_bytes: The same on a GPU.
    """

    name: str
    count: int
    reused: int
    seconds: float
    seconds_before: float
    bytes: int
    peak_bytes: int | None
    gpu_peak_bytes: int | None


def stage_lines(trained: list[Trial]) -> list[StageLine]:
    """Every stage once, in the order of the way, those of one name in order of first use."""
    found: dict[tuple[str, str], StageResult] = {}
    users: dict[tuple[str, str], list[str]] = {}
    students, protocols = {item.student.name for item in trained}, {item.protocol.name for item in trained}
    for item in trained:
        for done in item.stages.values():
            key = (done.name, done.fingerprint)
            found.setdefault(key, done)
            words = [item.arm.selection.name, f"seed {item.seed}"]
            if done.name in ("relabel", "student"):
                words += [item.student.name] if len(students) > 1 else []
                words += [item.protocol.name] if len(protocols) > 1 else []
            users.setdefault(key, []).append(", ".join(words))
    names: list[str] = []
    for item in trained:  # one selection may pass by stages that another does not
        place = 0
        for name in item.stages:
            if name not in names:
                names.insert(place, name)
            place = names.index(name) + 1
    keys = sorted(found, key=lambda key: names.index(key[0]))

    def served(key: tuple[str, str]) -> str:
        if len(users[key]) == len(trained) > 1:
            return "every student"
        return "; ".join(dict.fromkeys(users[key]))

    return [StageLine(found[key], served(key)) for key in keys]


def stage_sums(lines: list[StageLine]) -> list[StageSum]:
    """What the stages of each name took together."""
    sums = []
    for name in dict.fromkeys(line.done.name for line in lines):
        mine = [line.done for line in lines if line.done.name == name]
        sums.append(
            StageSum(
                name,
                len(mine),
                sum(done.reused for done in mine),
                sum(done.seconds for done in mine),
                sum(done.seconds for done in mine if done.reused),
                sum(done.bytes for done in mine),
                max(done.peak_bytes or 0 for done in mine) or None,
                max(done.gpu_peak_bytes or 0 for done in mine) or None,
            )
        )
    return sums


def command_line(environment: dict[str, Any]) -> str:
    """The command of the run, as a shell takes it."""
    return shlex.join(["python", "run.py", *environment["command"]])


def environment_lines(environment: dict[str, Any]) -> list[tuple[str, str]]:
    """What made the results, as names and values."""
    state = {True: ", with changes that are not committed", False: "", None: ""}[environment["modified"]]
    commit = environment["commit"]
    packages = [f"{name} {version}" for name, version in environment["packages"].items() if version]
    return [
        ("ddselect", environment["ddselect"]),
        ("commit", f"{commit}{state}" if commit else "unknown: not run from a git checkout with a commit"),
        ("Python", environment["python"]),
        ("packages", ", ".join(packages)),
        ("platform", environment["platform"]),
        ("processor", f"{environment['cpu']}; CPUs: {environment['cpus']}; threads: {environment['threads']}"),
        ("GPUs", ", ".join(environment["gpus"]) or "none"),
    ]
