"""The stages that all selections and seeds of a run share."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ddselect.backbone.adapt import VERSION as ADAPT_VERSION
from ddselect.backbone.choice import BackboneConfig, adapted
from ddselect.boxes.settings import VERSION as BOXES_VERSION
from ddselect.dataset import index as indexing
from ddselect.dataset.index import Index
from ddselect.embed.settings import VERSION as FEATURES_VERSION
from ddselect.embed.settings import EmbedConfig, Prior
from ddselect.pilot.settings import VERSION as PILOT_VERSION
from ddselect.pool.settings import VERSION as POOL_VERSION
from ddselect.prompt.conditions import VERSION as PROMPT_VERSION
from ddselect.prompt.conditions import read_conditions, write_conditions
from ddselect.runtime.files import file_signature
from ddselect.runtime.progress import note
from ddselect.runtime.ranks import rank
from ddselect.runtime.store import Stage, StageResult
from ddselect.scoring.candidates import candidates, scored_images
from ddselect.scoring.settings import LATENTS_VERSION, ScoringConfig
from ddselect.scoring.settings import VERSION as SCORING_VERSION
from ddselect.scoring.table import crops_of, read_scores
from ddselect.selection.base import SelectionConfig
from ddselect.selection.diffusion import CONFIDENCE_VERSION
from ddselect.selection.styles import READING, STYLES_VERSION
from ddselect.stages.inputs import Inputs
from ddselect.teacher import choice as teaching
from ddselect.teacher.card import load_teacher


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

    index: StageResult
    teacher: StageResult | None
    scored: dict[str, StageResult]
    features: StageResult | None = None
    confidence: StageResult | None = None
    styles: StageResult | None = None
    real: StageResult | None = None

    @property
    def pool(self) -> StageResult:
        """The index of the images that are selected from."""
        return self.scored.get("pool", self.index)

    @property
    def scores(self) -> StageResult | None:
        """The candidate boxes with their scores, if anybody asked for them."""
        return self.scored.get("boxes") or self.maps

    @property
    def maps(self) -> StageResult | None:
        """The finished scoring, which holds the difference maps, if anybody asked for it."""
        return self.scored.get("scoring")

    def beneath(self, method: SelectionConfig) -> list[StageResult]:
        """What a selection stands on, in order; one of all images has nothing to do with the prior."""
        of_prior = list(self.scored.values())
        if method.scored_by != "prior":
            of_prior = of_prior[: list(self.scored).index("pool") + 1] if method.limit and "pool" in self.scored else []
        else:
            of_prior += [self.features] if method.needs_features and self.features else []
            of_prior += [self.confidence] if method.needs_confidence and self.confidence else []
            of_prior += [self.styles] if method.needs_styles and self.styles else []
        return [done for done in (self.index, self.teacher, *of_prior) if done]


class SharedStages:
    """The stages from the index to the scores, and what candidates are described by."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs, self.experiment = inputs, inputs.experiment

    def index(self) -> Stage:
        """Every readable image of the dataset, with its content hash."""
        dataset = self.experiment.dataset
        config = {"dataset": dataset, "files": dataset.signature(), "names": file_signature(Path(dataset.names))}
        if not self.experiment.dry_run:
            self.experiment.trainer.check_devices()  # after the look for the images, before the work of reading them
        return Stage("index", indexing.VERSION, config, [], partial(indexing.build_index, dataset))

    def teacher(self, index: StageResult) -> Stage:
        """The teacher, loaded or trained, and checked on real images before anything expensive."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            test = self.inputs.test(index, e.protocol)
            bench = teaching.Bench(self.inputs.images(index, "train"), e.dataset.image_size, test, e.trainer.single)
            return teaching.build_teacher(e.teacher, bench, folder)

        config = {
            "teacher": e.teacher,
            "weights": e.teacher.signature(),
            "split": e.evaluation.split,
            "test_margin": e.protocol.margin(e.dataset.image_size),
        }
        return Stage("teacher", teaching.VERSION, config, [index], build)

    def backbone(self, index: StageResult) -> Stage:
        """The prior fine-tuned on the training images, or a small one trained on them from scratch."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            from ddselect.backbone.stage import adapt_backbone

            images, trainer = self.inputs.images(index, "train"), e.trainer
            return adapt_backbone(e.backbone, e.prompt, images, trainer.device, trainer.parallel, folder)

        config = {**self._backbone_key(e.backbone), "prompt": e.prompt, "texts": e.prompt.signature()}
        return Stage("backbone", ADAPT_VERSION, config, [index], build, together=True)

    def prompt(self, index: StageResult, backbone: BackboneConfig, before: dict[str, StageResult]) -> Stage:
        """The conditions of every class; text is embedded here, once, and its encoder is gone before scoring starts."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            images = self.inputs.images(index, "train")
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

    def pool(self, index: StageResult, backbone: BackboneConfig, before: dict[str, StageResult]) -> Stage:
        """Images that the prior makes, and if the pool is mixed the training images with them: an index."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            from ddselect.pool.generation import generate
            from ddselect.pool.index import index_pool

            images, trainer = self.inputs.images(index, "train"), e.trainer
            denoiser = replace(backbone, compile=False).load(trainer.device)  # batches have several sizes
            conditions, view = read_conditions(before["prompt"].folder), backbone.image_size
            root = generate(e.pool, images, denoiser, conditions, view, trainer.parallel, folder)
            return index_pool(root, images, e.pool.kind == "mixed", view, folder) if rank() == 0 else {}

        config = {"pool": e.pool, **self._backbone_key(backbone)}
        title = f"pool of {e.pool.name} images"
        return Stage("pool", POOL_VERSION, config, [index, *before.values()], build, title, together=True)

    def latents(self, pool: StageResult, backbone: BackboneConfig, before: dict[str, StageResult]) -> Stage:
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

    def pilot(self, pool: StageResult, backbone: BackboneConfig, before: dict[str, StageResult]) -> Stage:
        """How many draws, in which band, this prior needs on this dataset: tried on a few images."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            from ddselect.pilot.stage import run_pilot

            images = self._candidates(pool)
            return run_pilot(images, e.pilot, e.scoring, self._scorer(images, backbone, before), folder)

        config = {"pilot": e.pilot, "scoring": e.scoring, **self._backbone_key(backbone)}
        return Stage("pilot", PILOT_VERSION, config, [pool, *before.values()], build, together=True)

    def scores(self, pool: StageResult, backbone: BackboneConfig, before: dict[str, StageResult]) -> Stage:
        """Difference maps and boxes of the images of the pool."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            images = self._candidates(pool)
            facts = self._scorer(images, backbone, before)(images, e.scoring, folder)
            return {**facts, "images_left_out": len(self.inputs.images(pool, "train")) - len(images)}

        config = {"scoring": e.scoring, **self._backbone_key(backbone)}
        return Stage("scoring", SCORING_VERSION, config, [pool, *before.values()], build, together=True)

    def boxes(self, pool: StageResult, scoring: StageResult) -> Stage:
        """Boxes of other sizes than scoring's own, from its maps."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            from ddselect.boxes.stage import search_boxes

            return search_boxes(self.inputs.images(pool, "train"), scoring.folder, e.boxes, folder)

        return Stage("boxes", BOXES_VERSION, {"boxes": e.boxes}, [pool, scoring], build)

    def _candidates(self, pool: StageResult) -> Index:
        """The images of the pool that are scored: at most ``scoring.cap`` of each class."""
        scoring, everything = self.experiment.scoring, self.inputs.images(pool, "train")
        images = candidates(everything, scoring.cap, scoring.seed)
        if len(images) < len(everything):
            note(f"  {len(images)} of {len(everything)} images, at most {scoring.cap} of each class (scoring.cap)")
        return images

    def _scorer(
        self, candidates: Index, backbone: BackboneConfig, before: dict[str, StageResult]
    ) -> Callable[[Index, ScoringConfig, Path], dict[str, object]]:
        """Scores some of the candidates into a folder, from their latents if those are kept."""
        from ddselect.scoring.latents import KeptLatents, latent_shards
        from ddselect.scoring.module import score_images

        e, latents = self.experiment, None
        make_trainer, conditions = e.trainer.parallel, read_conditions(before["prompt"].folder)
        denoiser, view = backbone.load(e.trainer.device), backbone.image_size
        if "latents" in before:
            shards = latent_shards(before["latents"].folder, len(candidates), e.scoring)
            latents = KeptLatents(candidates, shards)

        def score(images: Index, settings: ScoringConfig, folder: Path) -> dict[str, object]:
            return score_images(images, denoiser, conditions, settings, view, make_trainer, folder, latents)

        return score

    def features(
        self,
        pool: StageResult,
        teacher: StageResult,
        scores: StageResult,
        asked: dict[str, StageResult],
        together: bool,
    ) -> Stage:
        """The features of every candidate, whoever scored it; ``asked`` has the stages that the prior was asked in."""
        e, of_prior = self.experiment, {}
        if e.embed.asks_prior:
            of_prior = {name: asked[name] for name in ("backbone", "prompt") if name in asked}
        backbone = adapted(e.backbone, of_prior["backbone"].folder) if "backbone" in of_prior else e.backbone

        def load_prior() -> Prior:
            denoiser = replace(backbone, compile=False).load(e.trainer.device)  # batches have several sizes
            return denoiser, read_conditions(of_prior["prompt"].folder)

        def build(folder: Path) -> dict[str, object]:
            from ddselect.embed.stage import embed_candidates

            table, images = read_scores(scores.folder), self.inputs.images(pool, "train")
            network = e.embed.network(partial(load_teacher, teacher.folder), load_prior)
            make_trainer, view = e.trainer.parallel if together else self.inputs.single, e.dataset.image_size
            images, crops = scored_images(images, table), crops_of(table)
            facts = embed_candidates(images, crops, network, e.embed, view, make_trainer, folder)
            evaluations = {"network_evaluations": len(images) + len(crops.boxes)} if of_prior else {}
            return {**facts, **evaluations}

        config = {"features": e.embed, "view": e.dataset.image_size}
        if of_prior:
            config |= self._backbone_key(backbone)
        after = [pool, *(of_prior.values() if of_prior else [teacher]), scores]
        title = f"features of the candidates of {scores.name}"
        label = "" if together else f"losses-seed{scores.manifest['config']['seed']}"
        return Stage("features", FEATURES_VERSION, config, after, build, title, together, label)

    def confidence(self, pool: StageResult, teacher: StageResult, scores: StageResult) -> Stage:
        """The teacher's loss on every candidate that the prior scored."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            from ddselect.selection.confidence import ask_teacher

            table, judge = read_scores(scores.folder), load_teacher(teacher.folder)
            images, crops = scored_images(self.inputs.images(pool, "train"), table), crops_of(table)
            return ask_teacher(images, crops, judge, e.dataset.image_size, e.trainer.parallel, folder)

        config, after = {"view": e.dataset.image_size}, [pool, teacher, scores]
        title = f"confidence of the teacher in the candidates of {scores.name}"
        return Stage("confidence", CONFIDENCE_VERSION, config, after, build, title, together=True)

    def styles(self, pool: StageResult, scores: StageResult) -> Stage:
        """What every candidate that the prior scored looks like, whatever it shows."""
        e = self.experiment

        def build(folder: Path) -> dict[str, object]:
            from ddselect.embed.moments import Moments
            from ddselect.embed.stage import embed_candidates

            table, images = read_scores(scores.folder), self.inputs.images(pool, "train")
            images, crops = scored_images(images, table), crops_of(table)
            view, make_trainer = e.dataset.image_size, e.trainer.parallel
            return embed_candidates(images, crops, Moments(), READING, view, make_trainer, folder, "styles")

        title, config = f"styles of the candidates of {scores.name}", {"view": e.dataset.image_size}
        return Stage("styles", STYLES_VERSION, config, [pool, scores], build, title, together=True)

    def real(self, index: StageResult, teacher: StageResult) -> Stage:
        """The teacher's features of all training images, whatever candidates are embedded by, to compare sets with."""
        e, chosen = self.experiment, self.experiment.embed
        settings = EmbedConfig("teacher", chosen.shard_size, chosen.batch_size, chosen.workers)

        def build(folder: Path) -> dict[str, object]:
            from ddselect.embed.stage import embed_candidates

            images, network = self.inputs.images(index, "train"), load_teacher(teacher.folder)
            view, make_trainer = e.dataset.image_size, e.trainer.parallel
            return embed_candidates(images, None, network, settings, view, make_trainer, folder)

        config, title = {"features": settings, "view": e.dataset.image_size}, "features of the real images"
        return Stage("real", FEATURES_VERSION, config, [index, teacher], build, title, together=True)

    @staticmethod
    def _backbone_key(backbone: BackboneConfig) -> dict[str, object]:
        """What decides a prior: its settings and the weights in its folders, wherever those are."""
        return {"backbone": replace(backbone, path="", lora=""), "weights": backbone.signature() or backbone.path}
