"""The story of a run: every stage in order, each skipped if it is done. The file to read first."""

from collections.abc import Generator, Sequence
from itertools import product
from pathlib import Path
from typing import cast

from ddselect.backbone.choice import adapted
from ddselect.composition.distilled import DISTILLED
from ddselect.config import Experiment, MethodConfig
from ddselect.dataset.index import read_index
from ddselect.evaluation.branch import Trial
from ddselect.evaluation.localisation import measure_localisation
from ddselect.evaluation.results import write_results
from ddselect.evaluation.twins import protocols_for
from ddselect.prompt.conditions import read_prompts
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.report.html import write_report
from ddselect.report.table import print_pilot, print_table
from ddselect.runtime.logger import CurveFiles
from ddselect.runtime.progress import note
from ddselect.runtime.ranks import rank, run_name
from ddselect.runtime.store import Stage, StageResult, Store
from ddselect.stages.branch import BranchStages
from ddselect.stages.inputs import Inputs
from ddselect.stages.shared import Ground, SharedStages
from ddselect.student.settings import StudentConfig
from ddselect.tracking.tracker import Tracker, tracking
from ddselect.wanted import wanted_stages
from ddselect.workers import Named, train_in_processes

Training = tuple[MethodConfig, int, ProtocolConfig, StudentConfig]

Way = Generator[
    Stage, StageResult, Trial
]  # stages in order, each made in view of those finished; at its end all of them


def run(experiment: Experiment, folder: Path) -> list[tuple[str, Path]]:
    """Runs an experiment and returns what it came to: the path of its ``results.json`` as ("results", path).

    Stages write to the store and read from it; only results, report and curves lie in the run's own folder. Where the
    report is not asked for, it returns the name and folder of every stage that is. The ranks that only help return
    nothing.

    Raises:
        UserError: Something is missing or wrong that the user can mend.
    """
    with tracking(experiment, folder) as tracker:
        return _run(experiment, folder, tracker)


def _run(experiment: Experiment, folder: Path, tracker: Tracker) -> list[tuple[str, Path]]:
    pipeline = Pipeline(experiment, Store(experiment.store, run_name(folder), tracker))
    ground = pipeline.prepare()
    if rank() > 0 and not (experiment.trainer.together and "student" in pipeline.wanted):
        return []
    trained = pipeline.branches(ground, folder) if pipeline.wanted & {"losses", "selection"} else []
    if rank() > 0:
        return []
    if "report" in pipeline.wanted:
        tracker.reported(results := pipeline.report(trained, ground, folder))
        return [("results", results)]
    asked_for = [done for done in pipeline.made.values() if done.name in experiment.stages]
    for done in asked_for:
        if done.name == "pilot":
            print_pilot(done.facts)
    return [(done.name, done.folder) for done in asked_for]


def run_branches(experiment: Experiment, branches: Sequence[Named], folder: Path) -> None:
    """What a worker does: the same way down to some students of some selections, seeds and protocols."""
    pipeline = Pipeline(experiment, Store(experiment.store, run_name=run_name(folder)))
    ground = pipeline.prepare()
    named = {(arm.selection.name, seed, p.name, s.name): (arm, seed, p, s) for arm, seed, p, s in pipeline.trainings()}
    curves = experiment.logger.curves(folder)
    for branch in branches:
        arm, seed, protocol, student = named[branch]
        pipeline.train(pipeline.distil(arm, seed, ground).training_by(protocol, student), curves)


class Pipeline:
    """The way through the stages of an experiment."""

    def __init__(self, experiment: Experiment, store: Store) -> None:
        self.experiment, self.store, inputs = experiment, store, Inputs(experiment)
        self.shared, self.of_branch = SharedStages(inputs), BranchStages(inputs)
        self.wanted = wanted_stages(experiment)
        self.made: dict[str, StageResult] = {}  # by fingerprint

    def make(self, stage: Stage) -> StageResult:
        """Runs a stage, or skips it if it is finished."""
        done = self.made[stage.fingerprint()] = self.store.run(stage)
        return done

    def prepare(self) -> Ground:
        """Index, teacher and scores: once for every selection, IPC, factor, protocol and student."""
        e, make, wanted = self.experiment, self.make, self.wanted
        self._check()
        index = make(self.shared.index())
        teacher = make(self.shared.teacher(index)) if "teacher" in wanted else None
        scored = self.ask_prior(index) if wanted & {"backbone", "prompt", "latents"} else {}
        features = confidence = styles = real = None
        pool, scores = scored.get("pool", index), scored.get("boxes") or scored.get("scoring")
        if "features" in wanted and any(
            a.selection.scored_by == "prior" and a.selection.needs_features for a in e.arms
        ):
            assert teacher
            assert scores
            features = make(self.shared.features(pool, teacher, scores, scored, together=True))
        if "confidence" in wanted:
            assert teacher
            assert scores
            confidence = make(self.shared.confidence(pool, teacher, scores))
        if "styles" in wanted:
            assert scores
            styles = make(self.shared.styles(pool, scores))
        if "real" in wanted:
            assert teacher
            real = make(self.shared.real(index, teacher))
        return Ground(index, teacher, scored, features, confidence, styles, real)

    def _check(self) -> None:
        """Refuses what will not do, before any work."""
        e = self.experiment
        if "student" in self.wanted:
            for student in e.students:
                student.check(e.dataset.image_size)
                if e.trainer.together:
                    student.check_ranks(e.dataset.image_size, e.trainer.accelerator)
        if self.wanted & {"backbone", "prompt", "latents"}:
            folders = e.dataset.class_folders()
            e.backbone.check(e.prompt, e.dataset.class_names(folders), folders)

    def _is_compared(self, arm: MethodConfig) -> bool:
        """Whether an arm's distilled sets are compared with the real images; all images are not."""
        return self.experiment.evaluation.quality and arm.selection.limit

    def ask_prior(self, index: StageResult) -> dict[str, StageResult]:
        """What the prior is asked for: conditions, the images it makes for the pool, latents, and the scores of all."""
        make, backbone = self.make, self.experiment.backbone
        before: dict[str, StageResult] = {}
        if "backbone" in self.wanted:
            before["backbone"] = make(self.shared.backbone(index))
            backbone = adapted(backbone, before["backbone"].folder)
        adaptation = dict(before)
        if "prompt" in self.wanted:
            before["prompt"] = make(self.shared.prompt(index, backbone, before))
        done, pool = dict(before), index
        if "pool" in self.wanted:
            done["pool"] = pool = make(self.shared.pool(index, backbone, before))
        if "latents" in self.wanted:
            done["latents"] = before["latents"] = make(self.shared.latents(pool, backbone, adaptation))
        if "pilot" in self.wanted:
            make(self.shared.pilot(pool, backbone, before))
        if "scoring" in self.wanted:
            done["scoring"] = make(self.shared.scores(pool, backbone, before))
        if "boxes" in self.wanted:
            done["boxes"] = make(self.shared.boxes(pool, done["scoring"]))
        return done

    def branches(self, ground: Ground, folder: Path) -> list[Trial]:
        """Everything from selection on, for every arm, seed, protocol and student."""
        e, trained, curves = self.experiment, [], self.experiment.logger.curves(folder)
        self.go_at_the_same_time(ground, folder)
        for arm, seed in product(e.arms, e.seeds):
            distilled = self.distil(arm, seed, ground)
            ways = product(protocols_for(e, arm), e.students)
            trained += [self.train(distilled.training_by(*way), curves) for way in ways]
        return trained

    def distil(self, arm: MethodConfig, seed: int, ground: Ground) -> Trial:
        """Selection and composition of one arm and seed, for the chosen protocol and student."""
        e = self.experiment
        return self._go(self._to_distilled(Trial(arm, seed, e.protocol, e.student, {}), ground))

    def train(self, branch: Trial, curves: CurveFiles | None = None) -> Trial:
        """The labels of a distilled set, if they are stored, and its student."""
        return self._go(self._to_student(branch, curves))

    def _to_distilled(self, branch: Trial, ground: Ground) -> Way:
        """The stages from what all selections share to a distilled set."""
        method, stages = branch.arm.selection, self.of_branch
        for done in ground.beneath(method):
            branch = branch.with_stage(done)
        if method.scored_by == "teacher":
            if method.needs_features and self.experiment.embed.asks_prior:
                for name in ("backbone", "prompt"):
                    branch = branch.with_stage(ground.scored[name]) if name in ground.scored else branch
            branch = branch.with_stage(losses := (yield stages.losses(branch)))
            if method.needs_features and "features" in self.wanted:
                embedding = self.shared.features(
                    branch.pool, branch.stages["teacher"], losses, ground.scored, together=False
                )
                branch = branch.with_stage((yield embedding))
        if "selection" not in self.wanted:
            return branch
        branch = branch.with_stage((yield stages.selection(branch)))
        if "composition" in self.wanted:
            branch = branch.with_stage((yield stages.composition(branch)))
        if "quality" in self.wanted and ground.real and self._is_compared(branch.arm):
            branch = branch.with_stage((yield stages.quality(branch, ground.real)))
        return branch

    def _to_student(self, branch: Trial, curves: CurveFiles | None = None) -> Way:
        """The stages from a distilled set to its student."""
        if "relabel" in self.wanted and branch.protocol.labels == "soft":
            branch = branch.with_stage((yield self.of_branch.labels(branch)))
        if "student" in self.wanted:
            branch = branch.with_stage((yield self.of_branch.student(branch, curves)))
        return branch

    def _go(self, way: Way) -> Trial:
        """Runs the stages of a way, or skips those that are finished."""
        try:
            stage = next(way)
            while True:
                stage = way.send(self.make(stage))
        except StopIteration as end:
            return cast(Trial, end.value)

    def trainings(self) -> list[Training]:
        """Every student that is trained, as arm, seed, protocol and student."""
        e = self.experiment
        return [way for arm in e.arms for way in product([arm], e.seeds, protocols_for(e, arm), e.students)]

    def go_at_the_same_time(self, ground: Ground, folder: Path) -> None:
        """Distils and trains what is missing in processes of their own, where there is room for more than one.

        Students whose distilled set or labels are still to be made wait for the first of them to make these.
        """
        e = self.experiment
        if e.trainer.together:
            return
        everything = self.trainings()
        while e.trainer.students_at_once(len(missing := self._missing(everything, ground))) > 1:
            first = {fingerprint: branch for branch, fingerprint in reversed(missing)}
            now = [branch for branch, fingerprint in missing if first[fingerprint] is branch]
            at_once = e.trainer.students_at_once(len(now))
            what = "selections with their students" if "student" in self.wanted else "selections"
            note(f"{len(now)} {what}, {at_once} at a time ...")
            names = [(arm.selection.name, seed, p.name, s.name) for arm, seed, p, s in now]
            train_in_processes(e, names, folder, at_once)
            everything = [branch for branch, _ in missing if branch not in now]

    def _missing(self, branches: list[Training], ground: Ground) -> list[tuple[Training, str]]:
        """What is not trained yet, with the fingerprint of the first stage that it lacks."""
        found = [(branch, self._first_missing(*branch, ground)) for branch in branches]
        return [(branch, stage.fingerprint()) for branch, stage in found if stage]

    def _first_missing(
        self, arm: MethodConfig, seed: int, protocol: ProtocolConfig, student: StudentConfig, ground: Ground
    ) -> Stage | None:
        def whole() -> Way:
            distilled = yield from self._to_distilled(Trial(arm, seed, protocol, student, {}), ground)
            return (yield from self._to_student(distilled))

        way = whole()
        try:
            stage = next(way)
            while done := self.store.find(stage):
                stage = way.send(done)
        except StopIteration:
            return None
        return stage

    def report(self, trained: list[Trial], ground: Ground, folder: Path) -> Path:
        """``results.json``, ``report.html`` and the table on the terminal."""
        e = self.experiment
        assert ground.teacher
        images, scores, maps = read_index(ground.pool.folder).split("train"), ground.scores, ground.maps
        found = None
        if scores and maps:
            found = measure_localisation(images, scores.folder, e.dataset.image_size, maps.folder)
        path = folder / "results.json"
        results = write_results(e, trained, ground.teacher.facts, found, path)
        prompts = read_prompts(ground.scored["prompt"].folder) if scores else []
        write_report(e.report, results, trained, images, scores, folder / "report.html", prompts, maps)
        print_table(results)
        note(f"report:    {folder / 'report.html'}")
        note(
            f"distilled: {trained[0].stages['composition'].folder / DISTILLED} ({trained[0].arm.selection.name}, seed "
            f"{trained[0].seed}; each one's folder is in the results, `ddselect export` copies one)"
        )
        return path
