"""The composition stage."""

from dataclasses import asdict
from pathlib import Path

from ddselect.composition.card import Card, write_card
from ddselect.composition.compose import compose
from ddselect.composition.distilled import DISTILLED
from ddselect.composition.given import copy_given
from ddselect.dataset.index import Index, images_of
from ddselect.runtime.store import describe
from ddselect.runtime.trial import Facts, Trial
from ddselect.selection.table import read_selection


def compose_selection(trial: Trial, folder: Path) -> Facts:
    """Writes the distilled images of a selection, or those of a set that is given, with their card."""
    images, method = images_of(trial), trial.method
    if method.selection.ranks:
        table = read_selection(trial.stages["selection"].folder)
        facts = compose(images, table, method.composition, trial.ipc, trial.view, trial.seed, folder)
    else:
        given = method.selection.open(images.class_folders, images.class_names)
        facts = copy_given(method.selection.name, given, images, method.composition, trial.ipc, trial.view, folder)
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
    terms = (e.dataset.license, e.dataset.terms) if method.ranks else ("unknown", "")
    return Card(
        dataset=e.dataset.name,
        license=terms[0],
        terms=terms[1],
        pool="given" if not method.ranks else e.pool.kind if "pool" in trial.stages else "real",
        selection=method.name,
        settings={key: value for key, value in describe(method).items() if key not in ("kind", "name")},
        judge=judges.get(method.scored_by, ""),
        seed=trial.seed,
        ipc=trial.ipc if method.ranks else round(count / trial.classes),
        factor=composition.factor,
        whole=composition.whole,
        mix_classes=composition.mix_classes,
        side=trial.view,
        images=count,
        folders=images.class_folders,
    )
