"""The ``report`` group."""

from dataclasses import dataclass

from ddselect.runtime.errors import UserError


@dataclass
class ReportConfig:
    """What a report shows; see ``conf/report/``."""

    images_per_class: int = 10
    maps_per_class: int = 4
    megabytes: float = 5.0

    def __post_init__(self) -> None:
        if self.images_per_class < 1 or self.maps_per_class < 0:
            raise UserError("report: images_per_class must be at least 1, maps_per_class 0 or more")
        if self.megabytes < 0.25:
            raise UserError(f"report.megabytes={self.megabytes}: at least 0.25 is needed")
