"""Which boxes of a scored image are candidates, from the maps that scoring kept: no network."""

from ddselect.boxes.settings import VERSION
from ddselect.runtime.stage import Stage

BOXES = Stage(
    name="boxes",
    version=VERSION,
    reads=("index", "pool?", "scoring"),
    key=lambda t: {"boxes": t.experiment.boxes},
    run="ddselect.boxes.search:run",
    expects=lambda t: {"images": t.stages["scoring"].facts["images"]},
    cost=lambda _, facts: ([], facts["images"], facts["images"]),
    on_processor=True,
)
