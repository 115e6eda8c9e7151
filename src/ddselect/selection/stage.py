"""The teacher's random crops, for RDED and the coresets, and the order of every class's candidates for all IPC."""

from ddselect.embed.fields import SCORED
from ddselect.runtime.stage import Stage
from ddselect.runtime.trial import Facts, Trial
from ddselect.scoring.candidates import candidate_count
from ddselect.selection.base import VERSION
from ddselect.selection.rded import CROPS_VERSION


def _reads(trial: Trial) -> list[str]:
    method = trial.method.selection
    return ["index", "pool?", *SCORED[method.scored_by], *["embed"] * bool(method.embeds), *method.reads]


def _key(trial: Trial) -> Facts:
    method = trial.method.selection
    ipc = {} if method.nested else {"ipc": trial.ipc}
    return {"selection": method, "seed": trial.seed, "view": trial.view, **ipc}


def _expects(trial: Trial) -> Facts:
    method, stages = trial.method.selection, trial.stages
    images = next((stages[n].facts["images"] for n in ("boxes", "teacher_crops") if n in stages), trial.image_count)
    crops = trial.experiment.boxes.per_image if method.scored_by == "prior" else 1
    return {"image": images, "crop": images * crops}


TEACHER_CROPS = Stage(
    name="teacher_crops",
    version=CROPS_VERSION,
    reads=("index", "pool?", "teacher"),
    key=lambda t: {**t.method.selection.crop_settings, "seed": t.seed, "view": t.view},
    run="ddselect.selection.run:judge",
    exists=lambda t: bool(t.method.selection.scored_by == "teacher"),
    advice="choose a selection like rded, which asks the teacher",
    scope="seed",
    title=lambda t: f"teacher losses of random crops, seed {t.seed}",
    expects=lambda t: {"images": candidate_count(t.images, t.method.selection.images)},
    cost=lambda c, f: ([c["padded"], c["view"]], f["images"] * (c["crops"] + 1), f["images"]),
    unit="images",
)
SELECTION = Stage(
    name="selection",
    version=VERSION,
    reads=_reads,
    key=_key,
    run="ddselect.selection.run:select",
    exists=lambda t: bool(t.method.selection.ranks),
    advice="choose another selection than given, of which nothing is to be selected",
    scope="method",
    title=lambda t: f"selection {t.distilled}",
    expects=_expects,
    cost=lambda c, f: ([c["selection"]["kind"], c["view"]], f["image"], f["crop"] + f["image"]),
    on_processor=True,
)
