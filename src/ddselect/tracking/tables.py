"""Tables for W&B: classes, clusters, confusions, stages and results."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import wandb

from ddselect.composition.distilled import class_of
from ddselect.dataset.index import Index
from ddselect.evaluation.results import comparison
from ddselect.runtime.store import StageResult, Task
from ddselect.student.confusion import class_accuracies, class_counts

_CHARTED = 50  # classes up to which a confusion matrix can be read
_CONFUSED = 100  # rows of the table of confusions


def table_of(rows: Sequence[Mapping[str, Any]]) -> wandb.Table:
    """A table of rows with the same keys."""
    columns: list[Any] = list(rows[0]) if rows else []
    return wandb.Table(columns=columns, data=[[row[name] for name in columns] for row in rows])


def class_table(index: Index) -> wandb.Table:
    """Every class with its number of images in each split."""
    of = index.table["split"].to_numpy(zero_copy_only=False)
    splits = {
        split: np.bincount(index.labels[of == split], minlength=len(index.class_names)) for split in sorted(set(of))
    }
    names = enumerate(index.class_names)
    return table_of([{"class": name, **{s: int(n[label]) for s, n in splits.items()}} for label, name in names])


def cluster_table(selection: pa.Table, entries: Sequence[Mapping[str, Any]], class_names: list[str]) -> wandb.Table:
    """For each class, of its crops and of its whole images: candidates, clusters, and how many of either were picked.

    The selection's table is set against the metadata of a distilled set made by it.
    """
    places, clusters = defaultdict[tuple[int, str], int](int), defaultdict[tuple[int, str], set[int]](set)
    for entry in entries:
        for patch in entry["patches"]:
            key = class_of(patch, entry), patch["kind"]
            places[key] += 1
            clusters[key] |= {patch["cluster"]} - {-1}
    aggregations: Any = [("rank", "count"), ("cluster", "count_distinct"), ("cluster", "max")]
    rows = selection.group_by(["label", "kind"], use_threads=False).aggregate(aggregations).to_pylist()
    return table_of(
        [
            {
                "class": class_names[row["label"]],
                "kind": row["kind"],
                "candidates": row["rank_count"],
                "clusters": row["cluster_count_distinct"] if row["cluster_max"] >= 0 else 0,
                "picked": places[row["label"], row["kind"]],
                "clusters picked from": len(clusters[row["label"], row["kind"]]),
            }
            for row in sorted(rows, key=lambda row: (row["label"], row["kind"]))
        ]
    )


def confusion_of(pairs: np.ndarray, class_names: list[str]) -> dict[str, Any]:
    """The accuracy of each class, the most frequent confusions, and of a few classes the confusion matrix.

    The pairs, (M, 3), are a class, one that its test images were taken for, and how many of them were.
    """
    wrong = pairs[:, 0] != pairs[:, 1]
    images, accuracies = class_counts(pairs, len(class_names))[0].tolist(), class_accuracies(pairs, len(class_names))
    most = pairs[wrong][np.argsort(-pairs[wrong, 2], kind="stable")][:_CONFUSED].tolist()
    classes = [list(row) for row in zip(class_names, images, accuracies, strict=True)]
    confused = [[class_names[label], class_names[taken], n, 100 * n / images[label]] for label, taken, n in most]
    found: dict[str, Any] = {
        "classes": wandb.Table(columns=["class", "test images", "top-1 %"], data=classes),
        "confused": wandb.Table(columns=["class", "taken for", "test images", "% of the class"], data=confused),
    }
    if len(class_names) <= _CHARTED:
        true, taken = (np.repeat(pairs[:, column], pairs[:, 2]).tolist() for column in (0, 1))
        found["confusion"] = wandb.plot.confusion_matrix(y_true=true, preds=taken, class_names=class_names)
    return found


def results_of(results: Mapping[str, Any]) -> dict[str, Any]:
    """Of ``results.json`` the comparison over seeds, every student, and the chosen selection's top-1 in percent."""
    rows, entries = comparison(results["results"]), results["results"]
    plain = [{k: v for k, v in entry.items() if not isinstance(v, Mapping | list)} for entry in entries]
    return {
        "selections": table_of([asdict(row) for row in rows]),
        "students": table_of(plain),
        **({"published by others": table_of(others)} if (others := results.get("published")) else {}),
        "top1": rows[0].top1,
        "top1_best": rows[0].top1_best,
        "top5": rows[0].top5,
    }


def stage_table(stages: Sequence[tuple[Task, StageResult]]) -> wandb.Table:
    """What each stage took when it was computed, and whether it was done before this run."""
    columns: list[Any] = ["stage", "title", "fingerprint", "cached", "seconds", "bytes", "peak bytes", "GPU peak bytes"]
    rows = [
        [d.name, s.title or s.name, d.fingerprint, d.reused, d.seconds, d.bytes, d.peak_bytes, d.gpu_peak_bytes]
        for s, d in stages
    ]
    return wandb.Table(columns=columns, data=rows)
