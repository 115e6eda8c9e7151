"""Who follows a run from stage to stage: nobody, or Weights & Biases."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ddselect.experiment import Experiment
from ddselect.runtime.ranks import rank
from ddselect.runtime.store import Listener


class Tracker(Listener):
    """Is told of the stages and the results of a run; this one takes no notice."""

    def reported(self, results: Path) -> None:
        """``results.json`` is written, and ``report.html`` beside it."""


@contextmanager
def tracking(experiment: Experiment, folder: Path) -> Iterator[Tracker]:
    """The tracker that an experiment asks for, in the first rank; it is closed whatever happens.

    Raises:
        UserError: W&B cannot start.
    """
    if "wandb" not in experiment.logger.kinds or rank() > 0:
        yield Tracker()
        return
    from ddselect.tracking.wandb_run import files_in, wandb_run

    with files_in(folder), wandb_run(experiment, folder) as tracker:
        yield tracker
