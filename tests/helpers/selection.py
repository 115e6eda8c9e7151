"""What selections look at, made of a small index and an untrained teacher."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from ddselect.dataset.index import Index
from ddselect.embed.feature_table import feature_shards
from ddselect.embed.moments import Moments
from ddselect.embed.settings import EmbedConfig
from ddselect.embed.stage import embed_candidates
from ddselect.runtime.files import write_table
from ddselect.runtime.shards import ShardPlan
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.table import MERGED, crops_of, read_scores
from ddselect.selection.base import SelectionConfig, SelectionInputs
from ddselect.selection.confidence import ask_teacher, confidence_shards
from ddselect.selection.rded import TeacherScoredConfig
from ddselect.selection.styles import READING, style_shards
from ddselect.selection.teacher_losses import judge_crops
from tests.helpers.models import tiny_teacher

VIEW = 16
SHARD = 25  # cuts through classes


@dataclass
class Bench:
    """Stages of an index of three classes, each made when it is first asked for."""

    index: Index
    root: Path

    @cached_property
    def scores(self) -> Path:
        """A score table with two boxes for every image but the first, which has room for one."""
        random, rows = np.random.default_rng(0), []
        for i, (image, (width, height)) in enumerate(zip(self.index.ids, self.index.sizes().tolist(), strict=True)):
            x, y = (width - 12) // 2, (height - 12) // 2
            boxes = [x, y, x + 12, y + 12] + ([0, 0, 12, 12] if i else [])
            values = sorted(random.random(len(boxes) // 4).tolist(), reverse=True)
            rows.append({"id": image, "label": int(self.index.labels[i]), "image_score": random.random(),
                         "boxes": boxes, "scores": values})  # fmt: skip
        types = {"boxes": pa.list_(pa.int32()), "scores": pa.list_(pa.float32()), "image_score": pa.float32()}
        fields = [(name, types.get(name, pa.string() if name == "id" else pa.int64())) for name in rows[0]]
        write_table(self.root / "scores" / MERGED, pa.Table.from_pylist(rows, schema=pa.schema(fields)))
        return self.root / "scores"

    def losses(self, method: TeacherScoredConfig, seed: int) -> Path:
        """The losses stage of a method and seed."""
        folder = self.root / f"losses-{method.crop_settings}-{seed}"
        judge_crops(self.index, tiny_teacher(3), method, VIEW, seed, TrainerConfig().parallel, folder)
        return folder

    def features(self, scores: Path) -> ShardPlan:
        """Features of the candidates of a score table."""
        folder, settings = self.root / f"features-{scores.name}", EmbedConfig("teacher", shard_size=SHARD, batch_size=8)
        crops = crops_of(read_scores(scores))
        embed_candidates(self.index, crops, tiny_teacher(3), settings, VIEW, TrainerConfig().parallel, folder)
        return feature_shards(folder, len(self.index), SHARD)

    def confidence(self) -> ShardPlan:
        """The teacher's losses on the candidates of the score table."""
        folder, crops = self.root / "confidence", crops_of(read_scores(self.scores))
        ask_teacher(self.index, crops, tiny_teacher(3), VIEW, TrainerConfig().parallel, folder)
        return confidence_shards(folder, len(self.index))

    def styles(self) -> ShardPlan:
        """The styles of the candidates of the score table."""
        folder, crops = self.root / "styles", crops_of(read_scores(self.scores))
        embed_candidates(self.index, crops, Moments(), READING, VIEW, TrainerConfig().parallel, folder)
        return style_shards(folder, len(self.index))

    def material(self, method: SelectionConfig, seed: int = 0) -> SelectionInputs:
        """What a method asks for."""
        scores = None
        if method.scored_by:
            scores = self.losses(method, seed) if isinstance(method, TeacherScoredConfig) else self.scores
        features = self.features(scores) if scores and method.needs_features else None
        confidence = self.confidence() if method.needs_confidence else None
        styles = self.styles() if method.needs_styles else None
        return SelectionInputs(self.index, VIEW, seed, scores, features, confidence, styles)
