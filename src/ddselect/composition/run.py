"""The composition stage."""

from dataclasses import asdict
from pathlib import Path

from ddselect.composition.card import Card, write_card
from ddselect.composition.compose import compose
from ddselect.composition.distilled import DISTILLED
from ddselect.dataset.index import Index, images_of
from ddselect.runtime.store import describe
from ddselect.runtime.trial import Facts, Trial
from ddselect.selection.table import read_selection


def compose_selection(trial: Trial, folder: Path) -> Facts:
    """Writes the distilled images of a selection, with their card."""
    images = images_of(trial)
    table = read_selection(trial.stages["selection"].folder)
    facts = compose(images, table, trial.method.composition, trial.ipc, trial.view, trial.seed, folder)
    card = _card(trial, images, int(str(facts["images"])))
    write_card(folder / DISTILLED, card)
    return {**facts, "classes": len(images.class_names), "card": asdict(card)}


def _card(trial: Trial, images: Index, count: int) -> Card:
    """What the card of a distilled set tells of where it comes from."""
    e, method, composition = trial.experiment, trial.method.selection, trial.method.composition
    judges = {
        "prior": f"the prior {e.backbone.name}, prompt {e.prompt.mode}",
        "teacher": f"the teacher {e.teacher.name}",
    }
    return Card(
        dataset=e.dataset.name,
        license=e.dataset.license,
        terms=e.dataset.terms,
        pool=e.pool.kind if "pool" in trial.stages else "real",
        selection=method.name,
        settings={key: value for key, value in describe(method).items() if key not in ("kind", "name")},
        judge=judges.get(method.scored_by, ""),
        seed=trial.seed,
        ipc=trial.ipc,
        factor=composition.factor,
        whole=composition.whole,
        mix_classes=composition.mix_classes,
        side=trial.view,
        images=count,
        folders=images.class_folders,
    )
