"""The story of a run: every stage in order, each skipped if it is done. The file to read first."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from ddselect.backbone.choice import adapted
from ddselect.config import Arm, Experiment
from ddselect.dataset.index import read_index
from ddselect.evaluation.branch import Branch
from ddselect.evaluation.localisation import measure_localisation
from ddselect.evaluation.results import write_results
from ddselect.evaluation.twins import protocols_for
from ddselect.prompt.conditions import read_prompts
from ddselect.protocol.recipe import Protocol
from ddselect.report.html import write_report
from ddselect.report.table import print_pilot, print_table
from ddselect.runtime.errors import UserError
from ddselect.runtime.logger import StudentLoggers
from ddselect.runtime.progress import note
from ddselect.runtime.ranks import rank
from ddselect.runtime.store import Done, ReachedError, Stage, Store
from ddselect.stages import Ground, Stages
from ddselect.student.settings import Student
from ddselect.workers import Named, train_in_processes

Training = tuple[Arm, int, Protocol, Student]


def run(experiment: Experiment, folder: Path) -> tuple[str, Path] | None:
    """Runs an experiment and returns the path of its ``results.json`` as ("results", path).

    Stages write to the store and read from it; only results, report and curves lie in the run's own folder. A run that
    ends with an earlier stage returns that one's name and folder. The ranks that only help return None.

    Raises:
        UserError: Something is missing or wrong that the user can mend.
    """
    pipeline = Pipeline(experiment, Store(experiment.store, experiment.until))
    try:
        ground = pipeline.prepare()
    except ReachedError as end:
        if end.done.name == "pilot" and rank() == 0:
            print_pilot(end.done.facts)
        return (end.done.name, end.done.folder) if rank() == 0 else None
    if rank() > 0 and not experiment.trainer.together:
        return None
    pipeline.go_at_the_same_time(ground, folder)
    trained = []
    with experiment.logger.open(folder, experiment.config) as loggers:
        for arm, seed in product(experiment.arms, experiment.seeds):
            distilled = pipeline.distil(arm, seed, ground)
            ways = product(protocols_for(experiment, arm), experiment.students)
            trained += [pipeline.train(distilled.training_by(*way), loggers) for way in ways]
    if rank() > 0:
        return None
    return "results", pipeline.report(trained, ground, folder)


def run_branches(experiment: Experiment, branches: Sequence[Named], folder: Path) -> None:
    """What a worker does: the same way down to some students of some selections, seeds and protocols."""
    pipeline = Pipeline(experiment, Store(experiment.store))
    ground = pipeline.prepare()
    named = {(arm.selection.name, seed, p.name, s.name): (arm, seed, p, s) for arm, seed, p, s in pipeline.trainings()}
    with experiment.logger.open(folder, experiment.config) as loggers:
        for branch in branches:
            arm, seed, protocol, student = named[branch]
            pipeline.train(pipeline.distil(arm, seed, ground).training_by(protocol, student), loggers)


class Pipeline:
    """The way through the stages of an experiment."""

    def __init__(self, experiment: Experiment, store: Store) -> None:
        self.experiment, self.store, self.stages = experiment, store, Stages(experiment)

    def prepare(self) -> Ground:
        """Index, teacher and scores: once for every selection, IPC, factor, protocol and student."""
        e = self.experiment
        if e.until == "backbone" and e.backbone.adapt.mode == "none":
            raise UserError("until=backbone: the prior is used as it is; choose backbone/adapt=full, lora or scratch")
        only_scores = e.until in ("backbone", "prompt", "pilot", "scoring")  # needs no teacher, and ends there
        if e.until == "report":
            for student in e.students:
                student.check(e.dataset.image_size)
                if e.trainer.together:
                    student.check_ranks(e.dataset.image_size, e.trainer.accelerator)
        needs_scores = only_scores or any(arm.selection.needs_scores for arm in e.arms)
        if needs_scores:
            folders = e.dataset.class_folders()
            e.backbone.check(e.prompt, e.dataset.class_names(folders), folders)  # before any work
        index = self.store.run(self.stages.index())
        if only_scores:
            self.score(index)
        teacher = self.store.run(self.stages.teacher(index))
        scored = self.score(index) if needs_scores else {}
        if not any(arm.selection.needs_features for arm in e.arms):
            return Ground(index, teacher, scored)
        return Ground(index, teacher, scored, self.store.run(self.stages.features(index, teacher, scored["scoring"])))

    def score(self, index: Done) -> dict[str, Done]:
        """The prior adapted if it should be, the classes' conditions, the latents if they are kept, and the scores."""
        e, run, backbone = self.experiment, self.store.run, self.experiment.backbone
        done: dict[str, Done] = {}
        if backbone.adapt.mode != "none":
            done["backbone"] = run(self.stages.backbone(index))
            backbone = adapted(backbone, done["backbone"].folder)
        done["prompt"] = run(self.stages.prompt(index, backbone, done))
        if e.scoring.keep_latents:
            before = {name: stage for name, stage in done.items() if name == "backbone"}
            done["latents"] = run(self.stages.latents(index, backbone, before))
        if e.until == "pilot":
            run(self.stages.pilot(index, backbone, done))
        done["scoring"] = run(self.stages.scores(index, backbone, done))
        return done

    def distil(self, arm: Arm, seed: int, ground: Ground) -> Branch:
        """Selection and composition of one arm and seed, for the chosen protocol and student."""
        selection = self.store.run(self.stages.selection(arm, seed, ground))
        composition = self.store.run(self.stages.composition(arm, seed, ground, selection))
        return self._branch(arm, seed, ground, selection, composition)

    def train(self, branch: Branch, loggers: StudentLoggers) -> Branch:
        """The labels of a distilled set, if they are stored, and its student."""
        if self._stores_labels(branch.protocol):
            branch = branch.with_stage(self.store.run(self.stages.labels(branch)))
        return branch.with_stage(self.store.run(self.stages.student(branch, loggers)))

    def _stores_labels(self, protocol: Protocol) -> bool:
        return protocol.labels == "soft" and self.experiment.relabel.keep != "nothing"

    def trainings(self) -> list[Training]:
        """Every student that is trained, as arm, seed, protocol and student."""
        e = self.experiment
        return [way for arm in e.arms for way in product([arm], e.seeds, protocols_for(e, arm), e.students)]

    def go_at_the_same_time(self, ground: Ground, folder: Path) -> None:
        """Distils and trains what is missing in processes of their own, where there is room for more than one.

        Students whose distilled set or labels are still to be made wait for the first of them to make these.
        """
        e = self.experiment
        if e.logger.kind != "csv" or e.trainer.together:  # a W&B run belongs to one process
            return
        everything = self.trainings()
        while e.trainer.students_at_once(len(missing := self._missing(everything, ground))) > 1:
            first = {fingerprint: branch for branch, fingerprint in reversed(missing)}
            now = [branch for branch, fingerprint in missing if first[fingerprint] is branch]
            at_once = e.trainer.students_at_once(len(now))
            note(f"{len(now)} selections with their students, {at_once} at a time ...")
            names = [(arm.selection.name, seed, p.name, s.name) for arm, seed, p, s in now]
            train_in_processes(e, names, folder, at_once)
            everything = [branch for branch, _ in missing if branch not in now]

    def _missing(self, branches: list[Training], ground: Ground) -> list[tuple[Training, str]]:
        """What is not trained yet, with the fingerprint of the first stage that it lacks."""
        found = [(branch, self._first_missing(*branch, ground)) for branch in branches]
        return [(branch, stage.fingerprint()) for branch, stage in found if stage]

    def _first_missing(self, arm: Arm, seed: int, protocol: Protocol, student: Student, ground: Ground) -> Stage | None:
        selecting = self.stages.selection(arm, seed, ground)
        if not (selection := self.store.find(selecting)):
            return selecting
        composing = self.stages.composition(arm, seed, ground, selection)
        if not (composition := self.store.find(composing)):
            return composing
        branch = self._branch(arm, seed, ground, selection, composition).training_by(protocol, student)
        if self._stores_labels(protocol):
            labelling = self.stages.labels(branch)
            if not (labels := self.store.find(labelling)):
                return labelling
            branch = branch.with_stage(labels)
        training = self.stages.student(branch)
        return None if self.store.find(training) else training

    def _branch(self, arm: Arm, seed: int, ground: Ground, selection: Done, composition: Done) -> Branch:
        scored = ground.scored.values() if arm.selection.needs_scores else ()
        features = [ground.features] if ground.features and arm.selection.needs_features else []
        stages = (ground.index, ground.teacher, *scored, *features, selection, composition)
        e = self.experiment
        return Branch(arm, seed, e.protocol, e.student, {done.name: done for done in stages})

    def report(self, trained: list[Branch], ground: Ground, folder: Path) -> Path:
        """``results.json``, ``report.html`` and the table on the terminal."""
        e = self.experiment
        images, scores = read_index(ground.index.folder).split("train"), ground.scores
        found = measure_localisation(images, scores.folder, e.dataset.image_size) if scores else None
        path = folder / "results.json"
        results = write_results(e, trained, ground.teacher.facts, found, path)
        prompts = read_prompts(ground.scored["prompt"].folder) if scores else []
        write_report(e.report, results, trained, images, scores, folder / "report.html", prompts)
        print_table(results)
        note(f"report:  {folder / 'report.html'}")
        return path
