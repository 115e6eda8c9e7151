"""The story of a run: every stage in order, each skipped if it is done. The file to read first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ddselect.composition import compose as composing
from ddselect.config import Arm, Experiment
from ddselect.dataset import index as indexing
from ddselect.dataset.index import Index
from ddselect.evaluation.accuracy import Accuracy, TestSet, measure
from ddselect.evaluation.localisation import measure_localisation
from ddselect.evaluation.results import Branch, write_results
from ddselect.report.html import write_report
from ddselect.report.table import print_table
from ddselect.runtime.logger import StudentLoggers
from ddselect.runtime.progress import note
from ddselect.runtime.ranks import rank
from ddselect.runtime.store import Done, Stage, Store
from ddselect.scoring import module as scoring
from ddselect.selection import methods as selecting
from ddselect.selection.table import read_selection, write_selection
from ddselect.student import train as training
from ddselect.student.models import Classifier
from ddselect.student.module import TrainingSet
from ddselect.teacher import choice as teaching
from ddselect.workers import train_in_processes


def run(experiment: Experiment, folder: Path) -> Path | None:
    """Runs an experiment and returns the path of its ``results.json``.

    Stages write to the store and read from it; only results, report and curves lie in the run's own folder. Returns
    None on the ranks that only help with scoring.

    Raises:
        UserError: Something is missing or wrong that the user can mend.
    """
    pipeline = Pipeline(experiment, Store(experiment.store))
    ground = pipeline.prepare()
    if rank() > 0:
        return None
    branches = [(arm, seed) for arm in experiment.arms for seed in experiment.seeds]
    pipeline.go_at_the_same_time(branches, ground, folder)
    with experiment.logger.open(folder, experiment.config) as loggers:
        trained = [pipeline.train(pipeline.distil(arm, seed, ground), loggers) for arm, seed in branches]
    return pipeline.report(trained, ground, folder)


def run_branches(experiment: Experiment, branches: Sequence[tuple[str, int]], folder: Path) -> None:
    """What a worker does: the same way down to the students of some selections and seeds."""
    pipeline = Pipeline(experiment, Store(experiment.store))
    ground = pipeline.prepare()
    arms = {arm.selection.name: arm for arm in experiment.arms}
    with experiment.logger.open(folder, experiment.config) as loggers:
        for name, seed in branches:
            pipeline.train(pipeline.distil(arms[name], seed, ground), loggers)


@dataclass(frozen=True)
class Ground:
    """The finished stages that all selections and seeds share; ``scores`` is None where nobody asks for them."""

    index: Done
    teacher: Done
    scores: Done | None


class Pipeline:
    """The stages of an experiment: what each reads, what decides it, and who computes it."""

    def __init__(self, experiment: Experiment, store: Store) -> None:
        self.experiment, self.store = experiment, store
        self._test_set: TestSet | None = None

    def prepare(self) -> Ground:
        """Index, teacher and scores: once for every selection, IPC, factor, protocol and student."""
        index = self.store.run(self.index())
        teacher = self.store.run(self.teacher(index))
        needs_scores = any(arm.selection.needs_scores for arm in self.experiment.arms)
        return Ground(index, teacher, self.store.run(self.scores(index)) if needs_scores else None)

    def index(self) -> Stage:
        """Every readable image of the dataset, with its content hash."""
        dataset = self.experiment.dataset
        config = {"dataset": dataset, "files": dataset.signature()}
        self.experiment.trainer.check_devices()  # after the look for the images, before the work of reading them
        return Stage("index", indexing.VERSION, config, [], partial(indexing.build_index, dataset))

    def teacher(self, index: Done) -> Stage:
        """The teacher, loaded or trained, and checked on real images before anything expensive."""
        e = self.experiment
        bench = teaching.Bench(self._images(index, "train"), e.dataset.image_size, self._test(index), e.trainer.single)
        config = {
            "teacher": e.teacher,
            "weights": e.teacher.signature(),
            "split": e.evaluation.split,
            "test_margin": e.protocol.test_margin,
        }
        build = partial(teaching.build_teacher, e.teacher, bench)
        return Stage("teacher", teaching.VERSION, config, [index], build)

    def scores(self, index: Done) -> Stage:
        """Difference maps and boxes of all training images."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            images = self._images(index, "train")
            denoiser = e.backbone.load(e.trainer.device)
            conditions = e.prompt.conditions(denoiser, images.class_names, images.class_folders)
            view = e.backbone.image_size
            return scoring.score_images(images, denoiser, conditions, e.scoring, view, e.trainer.parallel, folder)

        config = {"scoring": e.scoring, "backbone": e.backbone, "weights": e.backbone.signature(), "prompt": e.prompt}
        return Stage("scoring", scoring.VERSION, config, [index], build, together=True)

    def selection(self, arm: Arm, seed: int, ground: Ground) -> Stage:
        """The order of every class's crops and whole images, for all IPC at once."""
        method = arm.selection
        scores = ground.scores if method.needs_scores else None
        after = [ground.index, *([scores] if scores else []), *([ground.teacher] if method.needs_teacher else [])]

        def build(folder: Path) -> dict[str, object]:
            material = selecting.Material(
                index=self._images(ground.index, "train"),
                view=self.experiment.dataset.image_size,
                seed=seed,
                teacher=partial(self._load_teacher, ground.teacher),
                scores=scores.folder if scores else None,
            )
            return write_selection(folder, method.rank(material))

        config = {"selection": method, "seed": seed, "view": self.experiment.dataset.image_size}
        title = f"selection {method.name}, seed {seed}"
        return Stage("selection", selecting.VERSION, config, after, build, title)

    def composition(self, arm: Arm, seed: int, ground: Ground, selection: Done) -> Stage:
        """The distilled images, with the provenance of every patch."""
        e = self.experiment
        ipc = e.ipc if arm.selection.limit else None

        def build(folder: Path) -> dict[str, object]:
            images, view = self._images(ground.index, "train"), e.dataset.image_size
            table = read_selection(selection.folder)
            return composing.compose(images, table, arm.composition, ipc, view, seed, folder, arm.selection.name)

        config = {"composition": arm.composition, "ipc": ipc, "seed": seed}
        title = f"composition of {arm.selection.name}, {f'{ipc} images per class' if ipc else 'all images'}"
        return Stage("composition", composing.VERSION, config, [ground.index, selection], build, title)

    def student(self, branch: Branch, loggers: StudentLoggers | None = None) -> Stage:
        """A student trained from scratch under the protocol, relabelled live, and its accuracy on the test images."""
        e, arm, seed, stages = self.experiment, branch.arm, branch.seed, branch.stages
        name = f"{arm.selection.name}, seed {seed}"

        def build(folder: Path) -> dict[str, object]:
            teacher = self._load_teacher(stages["teacher"])
            data = composing.read_distilled(stages["composition"].folder)
            ipc = e.ipc if arm.selection.limit else None
            classes = len(indexing.read_index(stages["index"].folder).class_names)
            mean, std = teacher.mean.flatten().tolist(), teacher.std.flatten().tolist()
            logger = loggers.named(f"{arm.selection.name}-seed{seed}") if loggers else False
            return training.train_student(
                model=e.student.build(classes, mean, std, seed),
                data=TrainingSet(data.images, data.labels, data.stitched, arm.composition.factor, ipc),
                protocol=e.protocol,
                student=e.student,
                seed=seed,
                teacher=e.relabel.labeller(teacher) if e.protocol.labels == "soft" else None,
                test=self._test(stages["index"]),
                make_trainer=partial(e.trainer.single, logger=logger),
                folder=folder,
                name=name,
            )

        config = {"student": e.student, "protocol": e.protocol, "relabel": e.relabel, "seed": seed}
        config["split"] = e.evaluation.split
        after = [stages[name] for name in ("index", "teacher", "composition")]
        return Stage("student", training.VERSION, config, after, build, f"student on {name}")

    def distil(self, arm: Arm, seed: int, ground: Ground) -> Branch:
        """Selection and composition of one arm and seed."""
        selection = self.store.run(self.selection(arm, seed, ground))
        return self._branch(
            arm, seed, ground, selection, self.store.run(self.composition(arm, seed, ground, selection))
        )

    def train(self, branch: Branch, loggers: StudentLoggers) -> Branch:
        """The student of a distilled set."""
        return branch.with_stage(self.store.run(self.student(branch, loggers)))

    def go_at_the_same_time(self, branches: list[tuple[Arm, int]], ground: Ground, folder: Path) -> None:
        """Distils and trains what is missing in processes of their own, where there is room for more than one."""
        e = self.experiment
        missing = [(arm.selection.name, seed) for arm, seed in branches if not self._is_trained(arm, seed, ground)]
        at_once = e.trainer.students_at_once(len(missing))
        if at_once > 1 and e.logger.kind == "csv":  # a W&B run belongs to one process
            note(f"{len(missing)} selections with their students, {at_once} at a time ...")
            train_in_processes(e, missing, folder, at_once)

    def _is_trained(self, arm: Arm, seed: int, ground: Ground) -> bool:
        selection = self.store.find(self.selection(arm, seed, ground))
        composition = self.store.find(self.composition(arm, seed, ground, selection)) if selection else None
        if not selection or not composition:
            return False
        branch = self._branch(arm, seed, ground, selection, composition)
        return self.store.find(self.student(branch)) is not None

    def _branch(self, arm: Arm, seed: int, ground: Ground, selection: Done, composition: Done) -> Branch:
        scored = [ground.scores] if ground.scores and arm.selection.needs_scores else []
        stages = [ground.index, ground.teacher, *scored, selection, composition]
        return Branch(arm, seed, {done.name: done for done in stages})

    def report(self, trained: list[Branch], ground: Ground, folder: Path) -> Path:
        """``results.json``, ``report.html`` and the table on the terminal."""
        e = self.experiment
        images, scores = self._images(ground.index, "train"), ground.scores
        found = measure_localisation(images, scores.folder, e.dataset.image_size) if scores else None
        path = folder / "results.json"
        results = write_results(e, trained, ground.teacher.facts, found, path)
        write_report(e.report, results, trained, images, scores, folder / "report.html")
        print_table(results)
        note(f"report:  {folder / 'report.html'}")
        return path

    def _images(self, index: Done, split: str) -> Index:
        return indexing.read_index(index.folder).split(split)

    def _load_teacher(self, teacher: Done) -> Classifier:
        return teaching.load_teacher(teacher.folder).to(self.experiment.trainer.device)

    def _test(self, index: Done) -> Callable[[Classifier], Accuracy]:
        """Measures a model's accuracy on the test images, which are read when first needed and kept."""
        e = self.experiment

        def test(model: Classifier) -> Accuracy:
            if self._test_set is None:
                images = self._images(index, e.evaluation.split)
                self._test_set = TestSet(images, e.dataset.image_size, e.protocol.test_margin)
            return measure(model, self._test_set, e.evaluation, e.trainer.device)

        return test
