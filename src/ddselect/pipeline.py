"""The story of a run: every stage in order, each skipped if it is done. The file to read first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ddselect.backbone.adapt import VERSION as ADAPT_VERSION
from ddselect.backbone.choice import Backbone, adapted
from ddselect.composition import compose as composing
from ddselect.config import Arm, Experiment
from ddselect.dataset import index as indexing
from ddselect.dataset.index import Index
from ddselect.evaluation.accuracy import Accuracy, TestSet, measure
from ddselect.evaluation.localisation import measure_localisation
from ddselect.evaluation.results import Branch, write_results
from ddselect.pilot.settings import VERSION as PILOT_VERSION
from ddselect.prompt.conditions import VERSION as PROMPT_VERSION
from ddselect.prompt.conditions import read_conditions, read_prompts, write_conditions
from ddselect.report.html import write_report
from ddselect.report.table import print_pilot, print_table
from ddselect.runtime.errors import UserError
from ddselect.runtime.logger import StudentLoggers
from ddselect.runtime.progress import note
from ddselect.runtime.ranks import rank
from ddselect.runtime.store import Done, ReachedError, Stage, Store
from ddselect.scoring.settings import VERSION as SCORING_VERSION
from ddselect.scoring.settings import Scoring
from ddselect.selection import methods as selecting
from ddselect.selection.table import read_selection, write_selection
from ddselect.student.models import Classifier
from ddselect.student.settings import VERSION as STUDENT_VERSION
from ddselect.teacher import choice as teaching
from ddselect.workers import train_in_processes


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
    if rank() > 0:
        return None
    branches = [(arm, seed) for arm in experiment.arms for seed in experiment.seeds]
    pipeline.go_at_the_same_time(branches, ground, folder)
    with experiment.logger.open(folder, experiment.config) as loggers:
        trained = [pipeline.train(pipeline.distil(arm, seed, ground), loggers) for arm, seed in branches]
    return "results", pipeline.report(trained, ground, folder)


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
    """The finished stages that all selections and seeds share.

    Attributes:
        scored: What scoring needed, and the scores: ``backbone`` (if it was adapted), ``prompt`` and ``scoring``; empty
            where nobody asks for scores.
    """

    index: Done
    teacher: Done
    scored: dict[str, Done]

    @property
    def scores(self) -> Done | None:
        """The scores, if anybody asked for them."""
        return self.scored.get("scoring")


class Pipeline:
    """The stages of an experiment: what each reads, what decides it, and who computes it."""

    def __init__(self, experiment: Experiment, store: Store) -> None:
        self.experiment, self.store = experiment, store
        self._test_set: TestSet | None = None

    def prepare(self) -> Ground:
        """Index, teacher and scores: once for every selection, IPC, factor, protocol and student."""
        e = self.experiment
        if e.until == "backbone" and e.backbone.adapt.mode == "none":
            raise UserError("until=backbone: the prior is used as it is; choose backbone/adapt=full, lora or scratch")
        only_scores = e.until in ("backbone", "prompt", "pilot", "scoring")  # needs no teacher, and ends there
        needs_scores = only_scores or any(arm.selection.needs_scores for arm in e.arms)
        if needs_scores:
            folders = e.dataset.class_folders()
            e.backbone.check(e.prompt, e.dataset.class_names(folders), folders)  # before any work
        index = self.store.run(self.index())
        if only_scores:
            self.score(index)
        teacher = self.store.run(self.teacher(index))
        return Ground(index, teacher, self.score(index) if needs_scores else {})

    def score(self, index: Done) -> dict[str, Done]:
        """The prior adapted if it should be, the classes' conditions, and the scores."""
        backbone, stages = self.experiment.backbone, []
        if backbone.adapt.mode != "none":
            stages.append(self.store.run(self.backbone(index)))
            backbone = adapted(backbone, stages[0].folder)
        prompt = self.store.run(self.prompt(index, backbone, stages))
        if self.experiment.until == "pilot":
            self.store.run(self.pilot(index, backbone, [*stages, prompt]))
        scores = self.store.run(self.scores(index, backbone, [*stages, prompt]))
        return {done.name: done for done in (*stages, prompt, scores)}

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

    def backbone(self, index: Done) -> Stage:
        """The prior fine-tuned on the training images, or a small one trained on them from scratch."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            from ddselect.backbone.stage import adapt_backbone

            images, trainer = self._images(index, "train"), e.trainer
            return adapt_backbone(e.backbone, e.prompt, images, trainer.device, trainer.parallel, folder)

        config = {**self._backbone_key(e.backbone), "prompt": e.prompt, "texts": e.prompt.signature()}
        return Stage("backbone", ADAPT_VERSION, config, [index], build, together=True)

    def prompt(self, index: Done, backbone: Backbone, before: list[Done]) -> Stage:
        """The conditions of every class; text is embedded here, once, and its encoder is gone before scoring starts."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            images = self._images(index, "train")
            names, folders = images.class_names, images.class_folders
            conditions = backbone.conditions(e.prompt, names, folders, e.trainer.device)
            write_conditions(folder, conditions, names, folders)
            return {"mode": e.prompt.mode, "reference": conditions.words[-1]}

        config = {**self._backbone_key(backbone), "prompt": e.prompt, "texts": e.prompt.signature()}
        return Stage("prompt", PROMPT_VERSION, config, [index, *before], build)

    def pilot(self, index: Done, backbone: Backbone, before: list[Done]) -> Stage:
        """How many draws, in which band, this prior needs on this dataset: tried on a few images."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            from ddselect.pilot.stage import run_pilot

            score = self._scorer(backbone, before[-1])
            return run_pilot(self._images(index, "train"), e.pilot, e.scoring, score, folder)

        config = {"pilot": e.pilot, "scoring": e.scoring, **self._backbone_key(backbone)}
        return Stage("pilot", PILOT_VERSION, config, [index, *before], build, together=True)

    def scores(self, index: Done, backbone: Backbone, before: list[Done]) -> Stage:
        """Difference maps and boxes of all training images."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            return self._scorer(backbone, before[-1])(self._images(index, "train"), e.scoring, folder)

        config = {"scoring": e.scoring, **self._backbone_key(backbone)}
        return Stage("scoring", SCORING_VERSION, config, [index, *before], build, together=True)

    def _scorer(self, backbone: Backbone, prompt: Done) -> Callable[[Index, Scoring, Path], dict[str, object]]:
        """Scores images into a folder with the prior and the conditions of the classes."""
        from ddselect.scoring.module import score_images

        trainer, conditions = self.experiment.trainer, read_conditions(prompt.folder)
        denoiser = backbone.load(trainer.device)

        def score(images: Index, settings: Scoring, folder: Path) -> dict[str, object]:
            return score_images(images, denoiser, conditions, settings, backbone.image_size, trainer.parallel, folder)

        return score

    @staticmethod
    def _backbone_key(backbone: Backbone) -> dict[str, object]:
        """What decides a prior: its settings and the weights in its folders, wherever those are."""
        return {"backbone": replace(backbone, path="", lora=""), "weights": backbone.signature() or backbone.path}

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
            from ddselect.student.module import TrainingSet
            from ddselect.student.train import train_student

            teacher = self._load_teacher(stages["teacher"])
            data = composing.read_distilled(stages["composition"].folder)
            ipc = e.ipc if arm.selection.limit else None
            classes = len(indexing.read_index(stages["index"].folder).class_names)
            mean, std = teacher.mean.flatten().tolist(), teacher.std.flatten().tolist()
            logger = loggers.named(f"{arm.selection.name}-seed{seed}") if loggers else False
            return train_student(
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
        return Stage("student", STUDENT_VERSION, config, after, build, f"student on {name}")

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
        scored = ground.scored if arm.selection.needs_scores else {}
        stages = [selection, composition]
        ground_stages = {"index": ground.index, "teacher": ground.teacher, **scored}
        return Branch(arm, seed, {**ground_stages, **{done.name: done for done in stages}})

    def report(self, trained: list[Branch], ground: Ground, folder: Path) -> Path:
        """``results.json``, ``report.html`` and the table on the terminal."""
        e = self.experiment
        images, scores = self._images(ground.index, "train"), ground.scores
        found = measure_localisation(images, scores.folder, e.dataset.image_size) if scores else None
        path = folder / "results.json"
        results = write_results(e, trained, ground.teacher.facts, found, path)
        prompts = read_prompts(ground.scored["prompt"].folder) if scores else []
        write_report(e.report, results, trained, images, scores, folder / "report.html", prompts)
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
