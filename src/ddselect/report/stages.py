"""The stages that a run needed, for the last part of the page."""

from dataclasses import dataclass

from ddselect.runtime.store import StageResult
from ddselect.runtime.trial import Trial


@dataclass(frozen=True)
class StageLine:
    """A finished stage.

    Attributes:
        users: Which selections and seeds it served, in words; of several protocols or students also which of them.
    """

    done: StageResult
    users: str


def stage_lines(trained: list[Trial]) -> list[StageLine]:
    """Every stage once, in the order of the way, those of one name in order of first use."""
    found: dict[tuple[str, str], StageResult] = {}
    users: dict[tuple[str, str], list[str]] = {}
    students, protocols = {item.student.name for item in trained}, {item.protocol.name for item in trained}
    for item in trained:
        for done in item.stages.values():
            key = (done.name, done.fingerprint)
            found.setdefault(key, done)
            words = [item.method.selection.name, f"seed {item.seed}"]
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

    def served(key: tuple[str, str]) -> str:
        if len(users[key]) == len(trained) > 1:
            return "every student"
        return "; ".join(dict.fromkeys(users[key]))

    return [StageLine(found[key], served(key)) for key in sorted(found, key=lambda key: names.index(key[0]))]
