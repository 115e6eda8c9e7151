"""The index: every readable image of the dataset, with its content hash."""

from pathlib import Path

from ddselect.dataset.index import VERSION
from ddselect.runtime.files import file_signature
from ddselect.runtime.stage import Stage
from ddselect.runtime.trial import Facts, Trial


def _expects(trial: Trial) -> Facts:
    dataset = trial.experiment.dataset
    counts = dataset.counts()
    return {"classes": len(dataset.class_folders()), **({"images": counts} if counts else {})}


def _key(trial: Trial) -> Facts:
    dataset = trial.experiment.dataset
    names = file_signature(Path(dataset.names)) or dataset.names
    return {"dataset": dataset, "files": dataset.signature(), "names": names}


INDEX = Stage(
    name="index",
    version=VERSION,
    reads=(),
    key=_key,
    run="ddselect.dataset.index:run",
    expects=_expects,
    cost=lambda _, facts: ([], sum(facts["images"].values()), sum(facts["images"].values())),
    unit="images",
    on_processor=True,
)
