"""The stages of one selection, seed, protocol and student."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ddselect.composition import compose as composing
from ddselect.composition.card import Card, write_card
from ddselect.composition.distilled import DISTILLED, read_distilled
from ddselect.config import MethodConfig
from ddselect.dataset.index import Index
from ddselect.embed.feature_table import FeatureTable, feature_shards
from ddselect.evaluation.branch import Trial
from ddselect.evaluation.quality import VERSION as QUALITY_VERSION
from ddselect.evaluation.quality import measure_quality
from ddselect.relabel.settings import VERSION as RELABEL_VERSION
from ddselect.runtime.logger import CurveFiles
from ddselect.runtime.store import Stage, StageResult, describe
from ddselect.selection import base as selecting
from ddselect.selection.rded import LOSSES_VERSION, TeacherScoredConfig
from ddselect.selection.styles import style_shards
from ddselect.selection.table import read_selection, write_selection
from ddselect.stages.inputs import Inputs
from ddselect.student.settings import VERSION as STUDENT_VERSION

if TYPE_CHECKING:  # imported when they are needed
    from ddselect.student.views import Views


class BranchStages:
    """The stages from selection to student."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs, self.experiment = inputs, inputs.experiment

    def losses(self, branch: Trial) -> Stage:
        """The teacher's loss on random crops of every image of the pool and on the whole of it."""
        e, method, stages = self.experiment, branch.arm.selection, branch.stages
        assert isinstance(method, TeacherScoredConfig)

        def build(folder: Path) -> dict[str, object]:
            from ddselect.selection.teacher_losses import judge_crops

            images, teacher = self.inputs.images(branch.pool, "train"), self.inputs.teacher(stages["teacher"])
            return judge_crops(images, teacher, method, e.dataset.image_size, branch.seed, self.inputs.single, folder)

        config = {**method.crop_settings, "seed": branch.seed, "view": e.dataset.image_size}
        after, title = [branch.pool, stages["teacher"]], f"teacher losses, seed {branch.seed}"
        return Stage("losses", LOSSES_VERSION, config, after, build, title, label=f"seed{branch.seed}")

    def selection(self, branch: Trial) -> Stage:
        """The order of every class's crops and whole images, for all IPC at once."""
        e, method, stages = self.experiment, branch.arm.selection, branch.stages
        scores = next((stages[name] for name in ("boxes", "scoring", "losses") if name in stages), None)
        features, confidence, styles = (stages.get(name) for name in ("features", "confidence", "styles"))

        def build(folder: Path) -> dict[str, object]:
            from ddselect.selection.confidence import confidence_shards

            shards = losses = None
            if features:
                shards = feature_shards(features.folder, features.facts["images"], e.embed.shard_size)
            if confidence:
                losses = confidence_shards(confidence.folder, confidence.facts["images"])
            looks = style_shards(styles.folder, styles.facts["images"]) if styles else None
            material = selecting.SelectionInputs(
                index=self.inputs.images(branch.pool, "train"),
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

    def composition(self, branch: Trial) -> Stage:
        """The distilled images, with the provenance of every patch."""
        e, arm, stages, ipc = self.experiment, branch.arm, branch.stages, self._ipc(branch.arm)

        def build(folder: Path) -> dict[str, object]:
            images, view = self.inputs.images(branch.pool, "train"), e.dataset.image_size
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

    def quality(self, branch: Trial, real: StageResult) -> Stage:
        """How the distilled images lie among the real ones of their class, and where their patches come from."""
        e, stages = self.experiment, branch.stages

        def build(folder: Path) -> dict[str, object]:
            index = self.inputs.images(stages["index"], "train")
            features = FeatureTable(feature_shards(real.folder, real.facts["images"], e.embed.shard_size))
            distilled = read_distilled(stages["composition"].folder)
            return measure_quality(distilled, index, features, self.inputs.teacher(stages["teacher"]))

        after = [stages["index"], stages["teacher"], real, stages["composition"]]
        title, label = f"quality of {self._who(branch)}", self._label(branch)
        return Stage("quality", QUALITY_VERSION, {}, after, build, title, label=label)

    def _card(self, branch: Trial, images: Index, count: int) -> Card:
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
            settings={key: value for key, value in settings.items() if key not in ("kind", "name")},
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

    def labels(self, branch: Trial) -> Stage:
        """The teacher's outputs on every view that a student will see."""
        e, arm, protocol, stages = self.experiment, branch.arm, branch.protocol, branch.stages
        name, label = self._name(branch), self._label(branch, *self._not_chosen(branch))

        def build(folder: Path) -> dict[str, object]:
            from ddselect.relabel.stored import store_labels

            teacher = self.inputs.teacher(stages["teacher"])
            return store_labels(teacher, self._views(branch), e.relabel.keep, e.trainer.student, folder, name)

        # what decides the views may depend on the student's architecture, but not on its rate
        views = protocol.resolve(branch.student.architecture, 1.0, self._ipc(arm), self._classes(branch)).of_views()
        config = {"keep": e.relabel.keep, "views": views, "seed": branch.seed}
        after = [stages["teacher"], stages["composition"]]
        return Stage("relabel", RELABEL_VERSION, config, after, build, f"labels of {name}", e.trainer.together, label)

    def student(self, branch: Trial, curves: CurveFiles | None = None) -> Stage:
        """A student trained from scratch under the protocol, and its accuracy on the test images."""
        e, seed, stages = self.experiment, branch.seed, branch.stages
        name, protocol, student = self._name(branch), branch.protocol, branch.student
        label = self._label(branch, *self._not_chosen(branch))

        def build(folder: Path) -> dict[str, object]:
            from ddselect.relabel.live import LiveTeacher
            from ddselect.relabel.stored import StoredLabels
            from ddselect.student.module import Labeller
            from ddselect.student.train import train_student

            teacher, views = self.inputs.teacher(stages["teacher"]), self._views(branch)
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
                test=self.inputs.test(stages["index"], protocol, e.trainer.together),
                make_trainer=partial(e.trainer.student, logger=curves.of(label) if curves else False),
                folder=folder,
                name=name,
            )

        config = {"student": student, "protocol": protocol, "seed": seed, "split": e.evaluation.split}
        after = [stages[name] for name in ("index", "teacher", "composition", "relabel") if name in stages]
        return Stage("student", STUDENT_VERSION, config, after, build, f"student on {name}", e.trainer.together, label)

    def _not_chosen(self, branch: Trial) -> list[str]:
        """Names of a branch's student and protocol where they are not the chosen ones."""
        e = self.experiment
        pairs = ((branch.student.name, e.student.name), (branch.protocol.name, e.protocol.name))
        return [name for name, chosen in pairs if name != chosen]

    def _name(self, branch: Trial) -> str:
        """What to call a branch: by its student and protocol only where these are not the chosen ones."""
        return ", ".join([self._who(branch), *self._not_chosen(branch)])

    @staticmethod
    def _who(branch: Trial) -> str:
        return f"{branch.arm.selection.name}, seed {branch.seed}"

    @staticmethod
    def _label(branch: Trial, *more: str) -> str:
        """The same as a name for folders and metrics."""
        return "-".join([branch.arm.selection.name, f"seed{branch.seed}", *more])

    def _views(self, branch: Trial) -> "Views":
        """What a branch's student sees."""
        from ddselect.student.train import student_views
        from ddselect.student.views import TrainingSet

        arm = branch.arm
        found = read_distilled(branch.stages["composition"].folder)
        data = TrainingSet(found.images, found.parts, found.stitched, arm.composition.factor, self._ipc(arm))
        return student_views(data, branch.protocol, branch.student, branch.seed)

    def _ipc(self, arm: MethodConfig) -> int | None:
        """Images per class of an arm; None for all."""
        return self.experiment.ipc if arm.selection.limit else None

    @staticmethod
    def _classes(branch: Trial) -> int:
        return int(branch.stages["index"].facts["classes"])
