"""A student trained from scratch under the protocol, and its accuracy on the test images."""

from ddselect.relabel.stage import training_size
from ddselect.runtime.stage import Stage
from ddselect.runtime.trial import Facts, Trial
from ddselect.student.settings import VERSION


def _reads(trial: Trial) -> list[str]:
    asks_teacher = trial.protocol.labels == "soft" or trial.protocol.normalisation == "teacher"
    return ["index", *["teacher"] * asks_teacher, "composition", "relabel?", "test_views"]


def _key(trial: Trial) -> Facts:
    return {"student": trial.student, "protocol": trial.protocol, "seed": trial.seed}


def _expects(trial: Trial) -> Facts:
    student = trial.student
    protocol = trial.protocol.resolve(student.architecture, student.learning_rate, trial.ipc, trial.classes)
    return dict(zip(("steps", "batch_size", "training_images"), training_size(trial, protocol), strict=True))


STUDENT = Stage(
    name="student",
    version=VERSION,
    reads=_reads,
    key=_key,
    run="ddselect.training.run:train",
    scope="student",
    together=lambda t: bool(t.experiment.trainer.together),
    title=lambda t: f"student on {t.name}",
    expects=_expects,
    cost=lambda c, f: (
        [c["student"]["architecture"], c["student"]["precision"], c["protocol"]["labels"]],
        f["steps"] * f["batch_size"],
        1,
    ),
    unit="steps",
)
