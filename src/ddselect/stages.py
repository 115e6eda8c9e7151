"""The stages of a run: what each reads, what decides its result, and who computes it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ddselect.backbone.adapt import VERSION as ADAPT_VERSION
from ddselect.backbone.choice import Backbone, adapted
from ddselect.boxes.settings import VERSION as BOXES_VERSION
from ddselect.composition import compose as composing
from ddselect.composition.card import Card, write_card
from ddselect.composition.distilled import DISTILLED, read_distilled
from ddselect.config import Arm, Experiment
from ddselect.dataset import index as indexing
from ddselect.dataset.index import Index
from ddselect.evaluation.accuracy import Accuracy, TestSet, measure
from ddselect.evaluation.branch import Branch
from ddselect.evaluation.quality import VERSION as QUALITY_VERSION
from ddselect.evaluation.quality import measure_quality
from ddselect.features.settings import VERSION as FEATURES_VERSION
from ddselect.features.settings import Features, Prior
from ddselect.features.table import FeatureTable, feature_shards
from ddselect.pilot.settings import VERSION as PILOT_VERSION
from ddselect.pool.settings import VERSION as POOL_VERSION
from ddselect.prompt.conditions import VERSION as PROMPT_VERSION
from ddselect.prompt.conditions import read_conditions, write_conditions
from ddselect.protocol.recipe import Protocol
from ddselect.relabel.settings import VERSION as RELABEL_VERSION
from ddselect.runtime.files import file_signature
from ddselect.runtime.logger import CurveFiles
from ddselect.runtime.progress import note
from ddselect.runtime.ranks import rank
from ddselect.runtime.store import Done, Stage, describe
from ddselect.scoring.candidates import candidates, scored_images
from ddselect.scoring.settings import LATENTS_VERSION, Scoring
from ddselect.scoring.settings import VERSION as SCORING_VERSION
from ddselect.scoring.table import crops_of, read_scores
from ddselect.selection import base as selecting
from ddselect.selection.base import Selection
from ddselect.selection.diffusion import CONFIDENCE_VERSION
from ddselect.selection.rded import LOSSES_VERSION, TeacherSelection
from ddselect.selection.styles import READING, STYLES_VERSION, style_shards
from ddselect.selection.table import read_selection, write_selection
from ddselect.student.models import Classifier
from ddselect.student.settings import VERSION as STUDENT_VERSION
from ddselect.teacher import choice as teaching
from ddselect.teacher.card import load_teacher

if TYPE_CHECKING:  # imported when they are needed
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import Callback

    from ddselect.student.views import Views


@dataclass(frozen=True)
class Ground:
    """The finished stages that all selections and seeds share.

    Attributes:
        teacher: None if nothing that is wanted needs it.
        scored: What the prior was asked for: ``backbone`` (if it was adapted), ``prompt``, ``pool`` (if it makes
            images), and where scores are wanted ``latents`` (if they are kept), ``scoring`` and ``boxes`` (if others
            than scoring's own are wanted).
        features: Features of the scored candidates, if anybody asks for them.
        confidence: The teacher's losses on them, likewise.
        styles: Their styles, likewise.
        real: The teacher's features of all training images, if distilled sets are compared with them.
    """

    index: Done
    teacher: Done | None
    scored: dict[str, Done]
    features: Done | None = None
    confidence: Done | None = None
    styles: Done | None = None
    real: Done | None = None

    @property
    def pool(self) -> Done:
        """The index of the images that are selected from."""
        return self.scored.get("pool", self.index)

    @property
    def scores(self) -> Done | None:
        """The candidate boxes with their scores, if anybody asked for them."""
        return self.scored.get("boxes") or self.maps

    @property
    def maps(self) -> Done | None:
        """The finished scoring, which holds the difference maps, if anybody asked for it."""
        return self.scored.get("scoring")

    def beneath(self, method: Selection) -> list[Done]:
        """What a selection stands on, in order; one of all images has nothing to do with the prior."""
        of_prior = list(self.scored.values())
        if method.scored_by != "prior":
            of_prior = of_prior[: list(self.scored).index("pool") + 1] if method.limit and "pool" in self.scored else []
        else:
            of_prior += [self.features] if method.needs_features and self.features else []
            of_prior += [self.confidence] if method.needs_confidence and self.confidence else []
            of_prior += [self.styles] if method.needs_styles and self.styles else []
        return [done for done in (self.index, self.teacher, *of_prior) if done]


class Stages:
    """The stages of one experiment."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self._test_sets: dict[float, TestSet] = {}  # by margin

    def index(self) -> Stage:
        """Every readable image of the dataset, with its content hash."""
        dataset = self.experiment.dataset
        config = {"dataset": dataset, "files": dataset.signature(), "names": file_signature(Path(dataset.names))}
        if not self.experiment.dry_run:
            self.experiment.trainer.check_devices()  # after the look for the images, before the work of reading them
        return Stage("index", indexing.VERSION, config, [], partial(indexing.build_index, dataset))

    def teacher(self, index: Done) -> Stage:
        """The teacher, loaded or trained, and checked on real images before anything expensive."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            test = self._test(index, e.protocol)
            bench = teaching.Bench(self._images(index, "train"), e.dataset.image_size, test, e.trainer.single)
            return teaching.build_teacher(e.teacher, bench, folder)

        config = {
            "teacher": e.teacher,
            "weights": e.teacher.signature(),
            "split": e.evaluation.split,
            "test_margin": e.protocol.margin(e.dataset.image_size),
        }
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

    def prompt(self, index: Done, backbone: Backbone, before: dict[str, Done]) -> Stage:
        """The conditions of every class; text is embedded here, once, and its encoder is gone before scoring starts."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            images = self._images(index, "train")
            names, folders = images.class_names, images.class_folders
            conditions = backbone.conditions(e.prompt, names, folders, e.trainer.device)
            write_conditions(folder, conditions, names, folders)
            return {"mode": e.prompt.mode, "reference": conditions.words[-1], "shortened": conditions.shortened}

        config = {
            **self._backbone_key(backbone),
            "prompt": e.prompt,
            "texts": e.prompt.signature(),
            "names": e.dataset.class_names(e.dataset.class_folders()),
        }
        return Stage("prompt", PROMPT_VERSION, config, [index, *before.values()], build)

    def pool(self, index: Done, backbone: Backbone, before: dict[str, Done]) -> Stage:
        """Images that the prior makes, and if the pool is mixed the training images with them: an index."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            from ddselect.pool.generation import generate
            from ddselect.pool.index import index_pool

            images, trainer = self._images(index, "train"), e.trainer
            denoiser = replace(backbone, compile=False).load(trainer.device)  # batches have several sizes
            conditions, view = read_conditions(before["prompt"].folder), backbone.image_size
            root = generate(e.pool, images, denoiser, conditions, view, trainer.parallel, folder)
            return index_pool(root, images, e.pool.kind == "mixed", view, folder) if rank() == 0 else {}

        config = {"pool": e.pool, **self._backbone_key(backbone)}
        title = f"pool of {e.pool.name} images"
        return Stage("pool", POOL_VERSION, config, [index, *before.values()], build, title, together=True)

    def latents(self, pool: Done, backbone: Backbone, before: dict[str, Done]) -> Stage:
        """The latents of the images that are scored, encoded once for every later scoring with this prior."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            from ddselect.scoring.latents import keep_latents

            images, trainer = self._candidates(pool), e.trainer
            denoiser = backbone.load(trainer.device)
            return keep_latents(images, denoiser, e.scoring, backbone.image_size, trainer.parallel, folder)

        chosen = {"cap": e.scoring.cap, "seed": e.scoring.seed if e.scoring.cap else 0}
        config = {**chosen, "shard_size": e.scoring.shard_size, **self._backbone_key(backbone)}
        return Stage("latents", LATENTS_VERSION, config, [pool, *before.values()], build, together=True)

    def pilot(self, pool: Done, backbone: Backbone, before: dict[str, Done]) -> Stage:
        """How many draws, in which band, this prior needs on this dataset: tried on a few images."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            from ddselect.pilot.stage import run_pilot

            images = self._candidates(pool)
            return run_pilot(images, e.pilot, e.scoring, self._scorer(images, backbone, before), folder)

        config = {"pilot": e.pilot, "scoring": e.scoring, **self._backbone_key(backbone)}
        return Stage("pilot", PILOT_VERSION, config, [pool, *before.values()], build, together=True)

    def scores(self, pool: Done, backbone: Backbone, before: dict[str, Done]) -> Stage:
        """Difference maps and boxes of the images of the pool."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            images = self._candidates(pool)
            facts = self._scorer(images, backbone, before)(images, e.scoring, folder)
            return {**facts, "images_left_out": len(self._images(pool, "train")) - len(images)}

        config = {"scoring": e.scoring, **self._backbone_key(backbone)}
        return Stage("scoring", SCORING_VERSION, config, [pool, *before.values()], build, together=True)

    def boxes(self, pool: Done, scoring: Done) -> Stage:
        """Boxes of other sizes than scoring's own, from its maps."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            from ddselect.boxes.stage import search_boxes

            return search_boxes(self._images(pool, "train"), scoring.folder, e.boxes, folder)

        return Stage("boxes", BOXES_VERSION, {"boxes": e.boxes}, [pool, scoring], build)

    def _candidates(self, pool: Done) -> Index:
        """The images of the pool that are scored: at most ``scoring.cap`` of each class."""
        scoring, everything = self.experiment.scoring, self._images(pool, "train")
        images = candidates(everything, scoring.cap, scoring.seed)
        if len(images) < len(everything):
            note(f"  {len(images)} of {len(everything)} images, at most {scoring.cap} of each class (scoring.cap)")
        return images

    def _scorer(
        self, candidates: Index, backbone: Backbone, before: dict[str, Done]
    ) -> Callable[[Index, Scoring, Path], dict[str, object]]:
        """Scores some of the candidates into a folder, from their latents if those are kept."""
        from ddselect.scoring.latents import KeptLatents, latent_shards
        from ddselect.scoring.module import score_images

        e, latents = self.experiment, None
        make_trainer, conditions = e.trainer.parallel, read_conditions(before["prompt"].folder)
        denoiser, view = backbone.load(e.trainer.device), backbone.image_size
        if "latents" in before:
            shards = latent_shards(before["latents"].folder, len(candidates), e.scoring)
            latents = KeptLatents(candidates, shards)

        def score(images: Index, settings: Scoring, folder: Path) -> dict[str, object]:
            return score_images(images, denoiser, conditions, settings, view, make_trainer, folder, latents)

        return score

    def losses(self, branch: Branch) -> Stage:
        """The teacher's loss on random crops of every image of the pool and on the whole of it."""
        e, method, stages = self.experiment, branch.arm.selection, branch.stages
        assert isinstance(method, TeacherSelection)

        def build(folder: Path) -> dict[str, object]:
            from ddselect.selection.teacher_losses import judge_crops

            images, teacher = self._images(branch.pool, "train"), self._load_teacher(stages["teacher"])
            return judge_crops(images, teacher, method, e.dataset.image_size, branch.seed, self._single, folder)

        config = {**method.crop_settings, "seed": branch.seed, "view": e.dataset.image_size}
        after, title = [branch.pool, stages["teacher"]], f"teacher losses, seed {branch.seed}"
        return Stage("losses", LOSSES_VERSION, config, after, build, title, label=f"seed{branch.seed}")

    def features(self, pool: Done, teacher: Done, scores: Done, asked: dict[str, Done], together: bool) -> Stage:
        """The features of every candidate, whoever scored it; ``asked`` has the stages that the prior was asked in."""
        e, of_prior = self.experiment, {}
        if e.features.asks_prior:
            of_prior = {name: asked[name] for name in ("backbone", "prompt") if name in asked}
        backbone = adapted(e.backbone, of_prior["backbone"].folder) if "backbone" in of_prior else e.backbone

        def load_prior() -> Prior:
            denoiser = replace(backbone, compile=False).load(e.trainer.device)  # batches have several sizes
            return denoiser, read_conditions(of_prior["prompt"].folder)

        def build(folder: Path) -> dict[str, object]:
            from ddselect.features.stage import embed_candidates

            table, images = read_scores(scores.folder), self._images(pool, "train")
            network = e.features.network(partial(load_teacher, teacher.folder), load_prior)
            make_trainer, view = e.trainer.parallel if together else self._single, e.dataset.image_size
            images, crops = scored_images(images, table), crops_of(table)
            facts = embed_candidates(images, crops, network, e.features, view, make_trainer, folder)
            evaluations = {"network_evaluations": len(images) + len(crops.boxes)} if of_prior else {}
            return {**facts, **evaluations}

        config = {"features": e.features, "view": e.dataset.image_size}
        if of_prior:
            config |= self._backbone_key(backbone)
        after = [pool, *(of_prior.values() if of_prior else [teacher]), scores]
        title = f"features of the candidates of {scores.name}"
        label = "" if together else f"losses-seed{scores.manifest['config']['seed']}"
        return Stage("features", FEATURES_VERSION, config, after, build, title, together, label)

    def confidence(self, pool: Done, teacher: Done, scores: Done) -> Stage:
        """The teacher's loss on every candidate that the prior scored."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            from ddselect.selection.confidence import ask_teacher

            table, images, judge = read_scores(scores.folder), self._images(pool, "train"), load_teacher(teacher.folder)
            images, crops = scored_images(images, table), crops_of(table)
            return ask_teacher(images, crops, judge, e.dataset.image_size, e.trainer.parallel, folder)

        config, after = {"view": e.dataset.image_size}, [pool, teacher, scores]
        title = f"confidence of the teacher in the candidates of {scores.name}"
        return Stage("confidence", CONFIDENCE_VERSION, config, after, build, title, together=True)

    def styles(self, pool: Done, scores: Done) -> Stage:
        """What every candidate that the prior scored looks like, whatever it shows."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            from ddselect.features.moments import Moments
            from ddselect.features.stage import embed_candidates

            table, images = read_scores(scores.folder), self._images(pool, "train")
            images, crops = scored_images(images, table), crops_of(table)
            view, make_trainer = e.dataset.image_size, e.trainer.parallel
            return embed_candidates(images, crops, Moments(), READING, view, make_trainer, folder, "styles")

        title, config = f"styles of the candidates of {scores.name}", {"view": e.dataset.image_size}
        return Stage("styles", STYLES_VERSION, config, [pool, scores], build, title, together=True)

    def real(self, index: Done, teacher: Done) -> Stage:
        """The teacher's features of all training images, to compare distilled sets with."""
        e, settings = self.experiment, self._real

        def build(folder: Path) -> dict[str, object]:
            from ddselect.features.stage import embed_candidates

            images, network = self._images(index, "train"), load_teacher(teacher.folder)
            view, make_trainer = e.dataset.image_size, e.trainer.parallel
            return embed_candidates(images, None, network, settings, view, make_trainer, folder)

        config, title = {"features": settings, "view": e.dataset.image_size}, "features of the real images"
        return Stage("real", FEATURES_VERSION, config, [index, teacher], build, title, together=True)

    @property
    def _real(self) -> Features:
        """How real images are embedded: by the teacher, whatever candidates are embedded by."""
        features = self.experiment.features
        return Features("teacher", features.shard_size, features.batch_size, features.workers)

    def _single(self, callbacks: "list[Callback]") -> "pl.Trainer":
        return self.experiment.trainer.single(callbacks=callbacks)

    @staticmethod
    def _backbone_key(backbone: Backbone) -> dict[str, object]:
        """What decides a prior: its settings and the weights in its folders, wherever those are."""
        return {"backbone": replace(backbone, path="", lora=""), "weights": backbone.signature() or backbone.path}

    def selection(self, branch: Branch) -> Stage:
        """The order of every class's crops and whole images, for all IPC at once."""
        e, method, stages = self.experiment, branch.arm.selection, branch.stages
        scores = next((stages[name] for name in ("boxes", "scoring", "losses") if name in stages), None)
        features, confidence, styles = (stages.get(name) for name in ("features", "confidence", "styles"))

        def build(folder: Path) -> dict[str, object]:
            from ddselect.selection.confidence import confidence_shards

            shards = losses = None
            if features:
                shards = feature_shards(features.folder, features.facts["images"], e.features.shard_size)
            if confidence:
                losses = confidence_shards(confidence.folder, confidence.facts["images"])
            looks = style_shards(styles.folder, styles.facts["images"]) if styles else None
            material = selecting.Material(
                index=self._images(branch.pool, "train"),
                view=e.dataset.image_size,
                seed=branch.seed,
                scores=scores.folder if scores else None,
                features=shards,
                confidence=losses,
                styles=looks,
            )
            return write_selection(folder, method.rank(material))

        config = {"selection": method, "seed": branch.seed, "view": e.dataset.image_size}
        after = [done for done in (branch.pool, scores, features, confidence, styles) if done]
        title = f"selection {self._who(branch)}"
        return Stage("selection", selecting.VERSION, config, after, build, title, label=self._label(branch))

    def composition(self, branch: Branch) -> Stage:
        """The distilled images, with the provenance of every patch."""
        e, arm, stages, ipc = self.experiment, branch.arm, branch.stages, self._ipc(branch.arm)

        def build(folder: Path) -> dict[str, object]:
            images, view = self._images(branch.pool, "train"), e.dataset.image_size
            table = read_selection(stages["selection"].folder)
            facts = composing.compose(images, table, arm.composition, ipc, view, branch.seed, folder)
            card = self._card(branch, images, int(facts["images"]))
            write_card(folder / DISTILLED, card)
            return {**facts, "card": asdict(card)}

        source = {"dataset": e.dataset.name, "license": e.dataset.license, "terms": e.dataset.terms}
        config = {"composition": arm.composition, "ipc": ipc, "seed": branch.seed, "source": source}
        title = f"composition of {arm.selection.name}, {f'{ipc} images per class' if ipc else 'all images'}"
        after, label = [branch.pool, stages["selection"]], self._label(branch)
        return Stage("composition", composing.VERSION, config, after, build, title, label=label)

    def quality(self, branch: Branch, real: Done) -> Stage:
        """How the distilled images lie among the real ones of their class, and where their patches come from."""
        stages = branch.stages

        def build(folder: Path) -> dict[str, object]:
            index = self._images(stages["index"], "train")
            features = FeatureTable(feature_shards(real.folder, real.facts["images"], self._real.shard_size))
            distilled = read_distilled(stages["composition"].folder)
            return measure_quality(distilled, index, features, self._load_teacher(stages["teacher"]))

        after = [stages["index"], stages["teacher"], real, stages["composition"]]
        title, label = f"quality of {self._who(branch)}", self._label(branch)
        return Stage("quality", QUALITY_VERSION, {}, after, build, title, label=label)

    def _card(self, branch: Branch, images: Index, count: int) -> Card:
        """What the card of a distilled set tells of where it comes from."""
        e, arm = self.experiment, branch.arm
        judges = {
            "prior": f"the prior {e.backbone.name}, prompt {e.prompt.mode}",
            "teacher": f"the teacher {e.teacher.name}",
        }
        settings = describe(arm.selection)
        return Card(
            dataset=e.dataset.name,
            license=e.dataset.license,
            terms=e.dataset.terms,
            pool=e.pool.kind if "pool" in branch.stages else "real",
            selection=arm.selection.name,
            settings={key: value for key, value in settings.items() if key not in ("kind", "name", "whole")},
            judge=judges.get(arm.selection.scored_by, ""),
            seed=branch.seed,
            ipc=self._ipc(arm),
            factor=arm.composition.factor,
            whole=arm.composition.whole,
            mix_classes=arm.composition.mix_classes,
            side=e.dataset.image_size,
            images=count,
            folders=images.class_folders,
        )

    def labels(self, branch: Branch) -> Stage:
        """The teacher's outputs on every view that a student will see."""
        e, arm, protocol, stages = self.experiment, branch.arm, branch.protocol, branch.stages
        name, label = self._name(branch), self._label(branch, *self._not_chosen(branch))

        def build(folder: Path) -> dict[str, object]:
            from ddselect.relabel.stored import store_labels

            teacher = self._load_teacher(stages["teacher"])
            return store_labels(teacher, self._views(branch), e.relabel.keep, e.trainer.student, folder, name)

        # what decides the views may depend on the student's architecture, but not on its rate
        views = protocol.settled(branch.student.architecture, 1.0, self._ipc(arm), self._classes(branch)).of_views()
        config = {"keep": e.relabel.keep, "views": views, "seed": branch.seed}
        after = [stages["teacher"], stages["composition"]]
        return Stage("relabel", RELABEL_VERSION, config, after, build, f"labels of {name}", e.trainer.together, label)

    def student(self, branch: Branch, curves: CurveFiles | None = None) -> Stage:
        """A student trained from scratch under the protocol, and its accuracy on the test images."""
        e, seed, stages = self.experiment, branch.seed, branch.stages
        name, protocol, student = self._name(branch), branch.protocol, branch.student
        label = self._label(branch, *self._not_chosen(branch))

        def build(folder: Path) -> dict[str, object]:
            from ddselect.relabel.live import LiveTeacher
            from ddselect.relabel.stored import StoredLabels
            from ddselect.student.module import Labeller
            from ddselect.student.train import train_student

            teacher, views = self._load_teacher(stages["teacher"]), self._views(branch)
            mean, std = teacher.mean.flatten().tolist(), teacher.std.flatten().tolist()
            labeller: Labeller | None = None
            if protocol.labels == "soft":
                stored = stages.get("relabel")
                labeller = StoredLabels(stored.folder, views) if stored else LiveTeacher(teacher)
            return train_student(
                model=student.build(self._classes(branch), mean, std, seed, e.dataset.image_size),
                views=views,
                precision=student.precision,
                labeller=labeller,
                test=self._test(stages["index"], protocol, e.trainer.together),
                make_trainer=partial(e.trainer.student, logger=curves.of(label) if curves else False),
                folder=folder,
                name=name,
            )

        config = {"student": student, "protocol": protocol, "seed": seed, "split": e.evaluation.split}
        after = [stages[name] for name in ("index", "teacher", "composition", "relabel") if name in stages]
        return Stage("student", STUDENT_VERSION, config, after, build, f"student on {name}", e.trainer.together, label)

    def _not_chosen(self, branch: Branch) -> list[str]:
        """Names of a branch's student and protocol where they are not the chosen ones."""
        e = self.experiment
        pairs = ((branch.student.name, e.student.name), (branch.protocol.name, e.protocol.name))
        return [name for name, chosen in pairs if name != chosen]

    def _name(self, branch: Branch) -> str:
        """What to call a branch: by its student and protocol only where these are not the chosen ones."""
        return ", ".join([self._who(branch), *self._not_chosen(branch)])

    @staticmethod
    def _who(branch: Branch) -> str:
        return f"{branch.arm.selection.name}, seed {branch.seed}"

    @staticmethod
    def _label(branch: Branch, *more: str) -> str:
        """The same as a name for folders and metrics."""
        return "-".join([branch.arm.selection.name, f"seed{branch.seed}", *more])

    def _views(self, branch: Branch) -> "Views":
        """What a branch's student sees."""
        from ddselect.student.train import student_views
        from ddselect.student.views import TrainingSet

        arm = branch.arm
        found = read_distilled(branch.stages["composition"].folder)
        data = TrainingSet(found.images, found.parts, found.stitched, arm.composition.factor, self._ipc(arm))
        return student_views(data, branch.protocol, branch.student, branch.seed)

    def _ipc(self, arm: Arm) -> int | None:
        """Images per class of an arm; None for all."""
        return self.experiment.ipc if arm.selection.limit else None

    @staticmethod
    def _classes(branch: Branch) -> int:
        return int(branch.stages["index"].facts["classes"])

    def _images(self, index: Done, split: str) -> Index:
        return indexing.read_index(index.folder).split(split)

    def _load_teacher(self, teacher: Done) -> Classifier:
        return load_teacher(teacher.folder).to(self.experiment.trainer.device)

    def _test(self, index: Done, protocol: Protocol, together: bool = False) -> Callable[[Classifier], Accuracy]:
        """Measures a model's accuracy on a protocol's test views, which are read when first needed and kept."""
        e, size = self.experiment, self.experiment.dataset.image_size
        margin = protocol.margin(size)

        def test(model: Classifier) -> Accuracy:
            if margin not in self._test_sets:
                self._test_sets[margin] = TestSet(self._images(index, e.evaluation.split), size, margin)
            return measure(model, self._test_sets[margin], e.evaluation, e.trainer.device, together)

        return test
