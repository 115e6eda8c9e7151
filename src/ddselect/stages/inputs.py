"""What the stages of a run read: images, the teacher, test views."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ddselect.config import Experiment
from ddselect.dataset.index import Index, read_index
from ddselect.evaluation.accuracy import Accuracy, TestSet, measure
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.runtime.store import StageResult
from ddselect.student.models import Classifier
from ddselect.teacher.card import load_teacher

if TYPE_CHECKING:  # imported when they are needed
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import Callback


class Inputs:
    """What several stages of one experiment read or compute with."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self._test_sets: dict[float, TestSet] = {}  # by margin

    def images(self, index: StageResult, split: str) -> Index:
        """The images of a split of an index."""
        return read_index(index.folder).split(split)

    def teacher(self, teacher: StageResult) -> Classifier:
        """The finished teacher, on the run's device."""
        return load_teacher(teacher.folder).to(self.experiment.trainer.device)

    def test(
        self, index: StageResult, protocol: ProtocolConfig, together: bool = False
    ) -> Callable[[Classifier], Accuracy]:
        """Measures a model's accuracy on a protocol's test views, which are read when first needed and kept."""
        e, size = self.experiment, self.experiment.dataset.image_size
        margin = protocol.margin(size)

        def on_test_views(model: Classifier) -> Accuracy:
            if margin not in self._test_sets:
                self._test_sets[margin] = TestSet(self.images(index, e.evaluation.split), size, margin)
            return measure(model, self._test_sets[margin], e.evaluation, e.trainer.device, together)

        return on_test_views

    def single(self, callbacks: "list[Callback]") -> "pl.Trainer":
        """The trainer of a stage that one process computes."""
        return self.experiment.trainer.single(callbacks=callbacks)
