"""What the jobs of a sweep found, pooled: one line for each setting, its seeds together wherever they were run."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from ddselect.sweep.job import Job

KEYS = ("dataset", "selection", "ipc", "protocol", "student")  # what an entry of results.json says itself
_NOT_VALUES = {*KEYS, "seeds", "compare", "students", "protocols"}  # keys that say which entries a job has
Panel = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Setting:
    """All that was trained alike but for the seed.

    Attributes:
        panels: What it may be compared in: for each of those jobs the keys that are not about the selection.
    """

    labels: dict[str, str]  # what tells it from others, by key; a key that makes no difference to it is left out
    entries: dict[int, dict[str, Any]]  # the entries of ``results.json`` by seed
    jobs: list[str]  # names of the jobs that have it
    panels: frozenset[Panel]

    @property
    def selection(self) -> str:
        """Name of the selection."""
        return self.labels["selection"]

    @property
    def is_reference(self) -> bool:
        """Whether it trains on all images, whatever the IPC: the ceiling."""
        return "ipc" not in self.labels

    @property
    def top1(self) -> list[float]:
        """Last top-1 in percent of each seed, in the order of the seeds."""
        return [self.entries[seed]["top1_last"] for seed in sorted(self.entries)]

    @property
    def mean(self) -> float:
        """Mean of the last top-1 over seeds, in percent."""
        return mean(self.top1)

    @property
    def std(self) -> float | None:
        """Its sample standard deviation; None for one seed."""
        return stdev(self.top1) if len(self.top1) > 1 else None

    def mean_of(self, name: str) -> float:
        """Mean over seeds of another number of the entries."""
        return mean(entry[name] for entry in self.entries.values())


@dataclass(frozen=True)
class Pooled:
    """What a sweep found.

    Attributes:
        settings: The settings, those of a selection and IPC together, in the order of the jobs; references last.
    """

    settings: list[Setting]
    columns: list[str]  # keys that vary, the selection first
    constant: list[str]  # overrides that are the same in every job, in words

    @property
    def panels(self) -> list[Panel]:
        """Everything but selection and IPC that settings are compared in."""
        return list(dict.fromkeys(panel for setting in self.settings for panel in sorted(setting.panels)))

    def within(self, panel: Panel) -> list[Setting]:
        """The settings that belong to a panel."""
        return [setting for setting in self.settings if panel in setting.panels]


@dataclass(frozen=True)
class _Found:
    """An entry of a job's results with the values of that job's keys that vary."""

    job: str
    entry: dict[str, Any]
    values: dict[str, str]

    @property
    def key(self) -> tuple[object, ...]:
        return tuple(self.entry[name] for name in KEYS)

    @property
    def student(self) -> str:
        return str(self.entry["fingerprints"]["student"])


def pool(jobs: Sequence[Job]) -> Pooled:
    """Pools the results of jobs over seeds.

    A student counts once for its setting and seed, however many jobs have it: rivals and the full-data reference are
    the same in every job that does not change them.
    """
    finished = [job for job in jobs if job.results]
    keys = [key for key in _keys(jobs) if len({job.values.get(key, "") for job in finished}) > 1]
    found = [
        _Found(job.name, entry, {key: job.values.get(key, "") for key in keys})
        for job in finished
        for entry in (job.results or {})["results"]
    ]
    lines: dict[tuple[object, ...], list[_Found]] = defaultdict(list)
    for one in found:
        lines[one.key].append(one)
    of_selections = [name for name in keys if name.startswith(("selection.", "composition."))]
    shown = [name for name in KEYS if len({one.entry[name] for one in found} - {None}) > 1]
    others = [name for name in shown if name not in ("selection", "ipc")]

    def panel(one: _Found) -> Panel:
        pairs = [(name, str(one.entry[name])) for name in others]
        return (*pairs, *((key, value) for key, value in one.values.items() if key not in of_selections))

    settings = []
    for members in lines.values():
        relevant = _relevant(members, keys)
        alike: dict[tuple[str, ...], list[_Found]] = defaultdict(list)
        for one in members:
            alike[tuple(one.values[key] for key in relevant)].append(one)
        for values, same in alike.items():
            entry = same[0].entry
            labels = {name: str(entry[name]) for name in KEYS if entry[name] is not None}
            settings.append(
                Setting(
                    labels=labels | dict(zip(relevant, values, strict=True)),
                    entries={one.entry["seed"]: one.entry for one in same},
                    jobs=list(dict.fromkeys(one.job for one in same)),
                    panels=frozenset(map(panel, same)),
                )
            )
    settings.sort(key=lambda setting: setting.is_reference)
    vary = [key for key in keys if any(key in setting.labels for setting in settings)]
    columns = list(dict.fromkeys(["selection", *shown, *vary]))
    constant = [word for word in (jobs[0].overrides if jobs else []) if all(word in job.overrides for job in jobs)]
    return Pooled(settings, columns, constant)


def _keys(jobs: Iterable[Job]) -> list[str]:
    """Keys that jobs set to something that an entry does not say itself, in order."""
    return list(dict.fromkeys(key for job in jobs for key in job.values if key not in _NOT_VALUES))


def _relevant(members: Sequence[_Found], keys: Sequence[str]) -> list[str]:
    """Keys that make a difference to a line.

    One does not if a student is found under several of its values, and no two students that differ in nothing else.
    """
    kept = list(keys)
    for key in keys:
        values: dict[str, set[str]] = defaultdict(set)
        students: dict[tuple[object, ...], set[str]] = defaultdict(set)
        rest = [other for other in kept if other != key]
        for one in members:
            values[one.student].add(one.values[key])
            students[(one.entry["seed"], *(one.values[other] for other in rest))].add(one.student)
        if any(len(several) > 1 for several in values.values()) and all(len(one) == 1 for one in students.values()):
            kept = rest
    return kept


@dataclass(frozen=True)
class Best:
    """The best selection where everything else is the same."""

    place: str  # IPC and whatever else varies, in words
    first: Setting
    second: Setting | None
    reference: Setting | None


def best_settings(pooled: Pooled) -> list[Best]:
    """The best setting of every IPC in every panel."""
    found = []
    for panel in pooled.panels:
        within = pooled.within(panel)
        reference = next((setting for setting in within if setting.is_reference), None)
        rivals = [setting for setting in within if not setting.is_reference]
        for ipc in dict.fromkeys(setting.labels["ipc"] for setting in rivals):
            order = sorted((s for s in rivals if s.labels["ipc"] == ipc), key=lambda s: s.mean, reverse=True)
            place = ", ".join([f"IPC {ipc}", *(f"{key}={value}" for key, value in panel)])
            found.append(Best(place, order[0], order[1] if len(order) > 1 else None, reference))
    return found
