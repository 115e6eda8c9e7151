"""The teacher's outputs on every view that a student will see."""

from ddselect.protocol.recipe import ProtocolConfig
from ddselect.relabel.settings import VERSION
from ddselect.runtime.stage import Stage
from ddselect.runtime.trial import Facts, Trial


def _key(trial: Trial) -> Facts:
    # what decides the views may depend on the student's architecture, but not on its rate
    resolved = trial.protocol.resolve(trial.student.architecture, 1.0, trial.ipc, trial.classes)
    return {"keep": trial.experiment.relabel.keep, "views": resolved.of_views(), "seed": trial.seed}


def training_size(trial: Trial, protocol: ProtocolConfig) -> tuple[int, int, int]:
    """Steps, batch size and images of a training under a resolved protocol."""
    images = int(trial.stages["composition"].facts["images"])
    batch = protocol.batch(trial.ipc, trial.classes, images)
    return protocol.total_steps(images, batch), batch, images


def _expects(trial: Trial) -> Facts:
    if trial.experiment.relabel.keep != "logits":  # how many features a teacher has it tells when it is loaded
        return {}
    protocol = trial.protocol.resolve(trial.student.architecture, 1.0, trial.ipc, trial.classes)
    steps, batch, images = training_size(trial, protocol)
    per_pass = protocol.steps_per_epoch(images, batch)
    passes, width = -(-steps // per_pass), trial.classes
    shown = min(protocol.images_per_pass(images, batch), per_pass * batch)
    return {"passes": passes, "width": width, "label_bytes": 2 * width * shown * passes}


RELABEL = Stage(
    name="relabel",
    version=VERSION,
    reads=("index", "teacher", "composition"),
    key=_key,
    run="ddselect.relabel.stored:run",
    exists=lambda t: bool(t.protocol.labels == "soft" and t.experiment.relabel.keep != "nothing"),
    advice="choose relabel=logits or features, with soft labels",
    scope="student",
    together=lambda t: bool(t.experiment.trainer.together),
    title=lambda t: f"labels of {t.name}",
    expects=_expects,
    cost=lambda config, facts: (config["keep"], facts["label_bytes"], facts["label_bytes"]),
)
