"""The ``report`` group."""

from dataclasses import dataclass

from ddselect.runtime.errors import at_least


@dataclass
class ReportConfig:
    """What a report shows; see ``conf/report/``."""

    images_per_class: int = 10
    maps_per_class: int = 4
    megabytes: float = 5.0

    def __post_init__(self) -> None:
        at_least(1, "report", self, "images_per_class")
        at_least(0, "report", self, "maps_per_class")
        at_least(0.25, "report", self, "megabytes")
