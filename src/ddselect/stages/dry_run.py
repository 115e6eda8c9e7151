"""A dry run's store, in which nothing is computed, and what stages cost by those that are finished in it."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from ddselect.runtime.stage import Stage
from ddselect.runtime.store import StageResult, Store, Task


class DryRunStore(Store):
    """A store in which an unfinished stage is taken as if it were finished, with the facts that are known before.

    Attributes:
        stages: Those that were asked for, by name and fingerprint.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.stages: dict[tuple[str, str], StageResult] = {}

    def run(self, task: Task) -> StageResult:
        """A stage that is finished, or what can be told of one that is not."""
        key = task.name, task.fingerprint()
        try:
            facts = dict(task.expects())
        except KeyError:  # a fact of an earlier stage that is not known
            facts = {}
        planned = StageResult(*key, self._folder(task), {**task.identity(), "facts": facts}, reused=False)
        return self.stages.setdefault(key, self.find(task) or planned)


def is_finished(done: StageResult) -> bool:
    """Whether a stage of a dry run is there."""
    return "finished" in done.manifest


class CostModel:
    """What finished stages took, to tell from it what others will take: never by a guess."""

    def __init__(self, stages: Mapping[str, Stage], known: Iterable[StageResult], accelerator: str) -> None:
        """From all stages that are known: finished ones, and those that are planned on an accelerator."""
        self._stages, self._accelerator, self._origin = stages, accelerator, dict[str, object]()
        everything = sorted(known, key=lambda done: list(stages).index(done.name) if done.name in stages else -1)
        for done in everything:  # the dataset and the teacher that a stage goes back to
            config, after = done.manifest["config"], done.manifest["after"]
            if done.name == "index":
                self._origin[done.identity] = [config["dataset"][key] for key in ("kind", "name", "image_size")]
            elif done.name == "teacher":
                self._origin[done.identity] = config["teacher"]
            elif done.name == "pool":
                self._origin[done.identity] = self._origin.get(after["index"])
        self._seen: dict[str, list[tuple[float, float, float, float]]] = {}
        for done in everything:
            if is_finished(done) and (work := self._work(done)):
                self._seen.setdefault(work[0], []).append((work[1], done.seconds, work[2], done.bytes))

    def _work(self, done: StageResult) -> tuple[str, float, float] | None:
        """What makes a stage comparable, what its time and what its bytes grow with; None if that is not known."""
        after = done.manifest["after"]
        try:
            stage = self._stages[done.name]
            kind, time, volume = stage.cost(done.manifest["config"], done.facts)
        except KeyError:
            return None
        origin = self._origin.get(done.identity if done.name == "index" else after.get("pool", after.get("index")))
        on_gpu = bool(done.gpu_peak_bytes) if is_finished(done) else self._accelerator == "gpu"
        parts = [done.name, kind, origin, self._origin.get(after.get("teacher")), on_gpu and not stage.on_processor]
        return json.dumps(parts, sort_keys=True), time, volume

    def forecast(self, done: StageResult) -> tuple[float | None, float | None]:
        """Seconds that a stage will take and bytes that it will write; None where nothing of the kind was measured."""
        kind, *work = self._work(done) or ("", 0.0, 0.0)
        times, seconds, volumes, written = (
            sum(part) for part in zip(*self._seen.get(kind, [(0, 0, 0, 0)]), strict=True)
        )
        return work[0] * seconds / times if times else None, work[1] * written / volumes if volumes else None
