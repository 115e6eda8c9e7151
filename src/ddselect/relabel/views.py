"""The views of a trial: what its student sees, and what labels are stored for."""

from ddselect.composition.distilled import read_distilled
from ddselect.runtime.stage import Trial
from ddselect.student.train import student_views
from ddselect.student.views import TrainingSet, Views


def views_of(trial: Trial) -> Views:
    """What a trial's student sees."""
    found = read_distilled(trial.stages["composition"].folder)
    data = TrainingSet(found.images, found.parts, found.stitched, trial.method.composition.factor, trial.ipc)
    return student_views(data, trial.protocol, trial.student, trial.seed)
