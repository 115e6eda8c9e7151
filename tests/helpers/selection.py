"""What selections look at: a small index, scores and an embedding made of random numbers, an untrained teacher."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from ddselect.dataset.index import Index
from ddselect.embed.table import FIELDS, embed_shards
from ddselect.runtime.files import write_table, write_tensors
from ddselect.runtime.shards import ShardPlan
from ddselect.runtime.trainer import TrainerConfig
from ddselect.scoring.table import MERGED, crops_of, read_scores
from ddselect.selection.base import SelectionConfig, SelectionInputs
from ddselect.selection.rded import TeacherScoredConfig
from ddselect.selection.teacher_crops import judge_crops
from tests.helpers.models import tiny_teacher

VIEW = 16
SHAPES = {"features": (12,), "loss": (), "channel_stats": (6,), "entropy": ()}


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

    def embedding(self, scores: Path, **seeds: int) -> ShardPlan:
        """An embedding of the candidates of a score table; another seed of a field gives other values of it alone."""
        counts = {"crop": len(crops_of(read_scores(scores)).boxes), "image": len(self.index)}
        made = {}
        for number, field in enumerate(FIELDS):
            random = np.random.default_rng([number, seeds.get(field, 0)])
            for kind, count in counts.items():
                values = torch.from_numpy(random.random((count, *SHAPES[field]), dtype=np.float32))
                made[f"{kind}.{field}"] = values.half() if SHAPES[field] else values
        plan = embed_shards(self.root / f"embedding-{scores.name}-{seeds}", len(self.index))
        write_tensors(plan.path(0), made)
        return plan

    def inputs(self, method: SelectionConfig, seed: int = 0, **seeds: int) -> SelectionInputs:
        """What a method asks for; ``seeds`` are those of the fields of its embedding."""
        scores = None
        if method.scored_by:
            scores = self.losses(method, seed) if isinstance(method, TeacherScoredConfig) else self.scores
        embedding = self.embedding(scores, **seeds) if scores and method.embeds else None
        return SelectionInputs(self.index, VIEW, seed, scores, embedding)
