"""The teacher: loaded or trained."""

from ddselect.runtime.stage import Stage
from ddselect.teacher.choice import VERSION

TEACHER = Stage(
    name="teacher",
    version=VERSION,
    reads=("index",),
    key=lambda t: {"teacher": t.experiment.teacher, "weights": t.experiment.teacher.signature()},
    run="ddselect.teacher.choice:run",
    cost=lambda config, _: (config["teacher"], 1, 1),
)
