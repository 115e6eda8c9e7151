"""Pretrained teachers: timm's or torchvision's models, with published weights or those of a file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from ddselect.dataset.classes import imagenet_classes
from ddselect.runtime.errors import UserError, at_least
from ddselect.runtime.files import file_signature, read_text
from ddselect.runtime.store import execution
from ddselect.student.models import Classifier, build_network, check_network, check_published
from ddselect.teacher.card import Card, write_teacher
from ddselect.teacher.choice import Bench, TeacherConfig
from ddselect.teacher.torchvision_models import (
    TorchvisionNetwork,
    check_weights,
    is_torchvision,
    last_linear,
    pretrained_torchvision,
    torchvision_model,
)
from ddselect.teacher.weights import misfit, read_weights

_IMAGENET = 1000  # classes


@dataclass
class PretrainedTeacherConfig(TeacherConfig):
    """A timm or torchvision model: pretrained on ImageNet-1K, or with weights from a file."""

    architecture: str = "resnet18.tv_in1k"
    weights: str = execution("")
    classes: str = execution("")
    mean: list[float] = field(default_factory=lambda: [0.485, 0.456, 0.406])
    std: list[float] = field(default_factory=lambda: [0.229, 0.224, 0.225])
    side: int = 0

    def __post_init__(self) -> None:
        if self.classes and not self.weights:
            raise UserError(
                f"teacher.classes={self.classes}: it says the order of teacher.weights=<file>, which is not given"
            )
        if len(self.mean) != 3:
            raise UserError(f"teacher.mean={list(self.mean)}: three numbers are needed")
        if len(self.std) != 3 or min(self.std) <= 0:
            raise UserError(f"teacher.std={list(self.std)}: three numbers above 0 are needed")
        at_least(0, "teacher", self, "side")

    def signature(self) -> str:
        return " ".join(file_signature(Path(path)) or path for path in (self.weights, self.classes))

    def check_network(self, sides: Sequence[int]) -> None:
        weights = read_weights(Path(self.weights)) if self.weights else None
        if weights is None:
            (check_weights if is_torchvision(self.architecture) else check_published)(self.architecture)

        def build() -> Classifier:
            if weights is None:
                network = self._network(_IMAGENET, None)
            else:
                network, _ = self._fitting(weights, sides[0])
            taken = TorchvisionNetwork(network) if is_torchvision(self.architecture) else network
            return Card(self.architecture, 1, self.mean, self.std, [], side=self.side or None).model(taken)

        remedy = "set teacher.side=<pixels>, to which it has them resized, or choose another teacher"
        check_network(build, sides, f"teacher.architecture={self.architecture}", remedy)

    def provide(self, bench: Bench, folder: Path) -> dict[str, object]:
        network, card = self._from_file(bench) if self.weights else self._published(bench)
        write_teacher(folder, network, card)
        return {}

    def _published(self, bench: Bench) -> tuple[nn.Module, Card]:
        columns = _imagenet_columns(bench.index.class_folders)
        if isinstance(columns, str):
            raise UserError(
                f"teacher {self.name} knows ImageNet-1K classes only: class folder '{columns}' is not one of "
                "their WordNet IDs; use teacher=trained, or teacher.weights=<file>"
            )
        if is_torchvision(self.architecture):
            network, mean, std = pretrained_torchvision(self.architecture)
        else:
            from timm.data import resolve_model_data_config  # seconds to import

            network = build_network(self.architecture, _IMAGENET, None, pretrained=True)
            data = resolve_model_data_config(network)
            mean, std = list(data["mean"]), list(data["std"])
        card = Card(self.architecture, _IMAGENET, mean, std, bench.index.class_names, columns, side=self.side or None)
        return network, card

    def _from_file(self, bench: Bench) -> tuple[nn.Module, Card]:
        weights = read_weights(Path(self.weights))
        network, image_size = self._fitting(weights, bench.view)
        rows = len(weights[f"{_last_layer(network, self.architecture)}.weight"])
        columns = self._columns(rows, bench.index.class_folders)
        network.load_state_dict({**network.state_dict(), **weights})  # counts of batches may be absent
        taken = TorchvisionNetwork(network) if is_torchvision(self.architecture) else network
        card = Card(
            self.architecture, rows, list(self.mean), list(self.std), bench.index.class_names, columns,
            image_size, self.side or None,
        )  # fmt: skip
        return taken, card

    def _fitting(self, weights: dict[str, Tensor], view: int) -> tuple[nn.Module, int | None]:
        """An untrained network that weights fit, and the side in pixels that it is made for; None for published ones.

        ``view`` is the side in pixels of the square view.

        Raises:
            UserError: There is none of the architecture.
        """
        found = ""
        for image_size in self._forms(self.side or view):
            layer = _last_layer(self._network(_IMAGENET, image_size), self.architecture)
            rows = len(weights[f"{layer}.weight"]) if f"{layer}.weight" in weights else _IMAGENET
            network = self._network(rows, image_size)
            wrong = misfit(network, weights)
            if not wrong:
                return network, image_size
            found = found or wrong
        raise UserError(
            f"teacher.weights={self.weights} does not fit '{self.architecture}': {found}; set teacher.architecture"
        )

    def _forms(self, size: int) -> list[int | None]:
        """The forms that an architecture has, as sides in pixels; None for the published one."""
        if is_torchvision(self.architecture):
            return [None]
        return [size] if self.architecture.startswith("convnet") else [None, size]

    def _network(self, outputs: int, image_size: int | None) -> nn.Module:
        if is_torchvision(self.architecture):
            return torchvision_model(self.architecture, outputs)
        return build_network(self.architecture.split(".")[0], outputs, image_size)

    def _columns(self, rows: int, folders: list[str]) -> list[int] | None:
        """The outputs of the class folders; None for all, in order."""
        if self.classes:
            return _named_columns(Path(self.classes), rows, folders)
        imagenet = _imagenet_columns(folders) if rows == _IMAGENET else ""
        if isinstance(imagenet, list):
            return imagenet
        if rows == len(folders):
            return None
        raise UserError(
            f"teacher.weights={self.weights} has {rows} classes, the dataset {len(folders)}; only the {_IMAGENET} "
            "of ImageNet may be more, for class folders named by WordNet ID; use a file made for this dataset, or "
            "teacher=trained"
        )


def _imagenet_columns(folders: list[str]) -> list[int] | str:
    """ImageNet's class numbers of class folders, or the first folder that is none of its classes."""
    known = {wnid: number for number, wnid in enumerate(imagenet_classes())}
    strangers = [folder for folder in folders if folder not in known]
    return strangers[0] if strangers else [known[folder] for folder in folders]


def _named_columns(path: Path, rows: int, folders: list[str]) -> list[int]:
    """The outputs of class folders by a file of their names.

    Raises:
        UserError: There is no such file, or it does not name each folder once.
    """
    if not path.is_file():
        raise UserError(f"teacher.classes={path}: no such file")
    names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if len(names) != rows:
        raise UserError(f"teacher.classes={path} has {len(names)} names, the last layer {rows} outputs")
    missing, strange = [f for f in folders if f not in names], [n for n in names if n not in folders]
    if missing or strange or len(set(names)) < len(names):
        which = (
            f"lacks the class folder '{missing[0]}'" if missing else f"names '{(strange or names)[0]}', no class folder"
        )
        raise UserError(f"teacher.classes={path} {which}; it must name each class folder once")
    return [names.index(folder) for folder in folders]


def _last_layer(network: nn.Module, architecture: str) -> str:
    if is_torchvision(architecture):
        return last_linear(network)
    layer = network.get_classifier()  # type: ignore[operator]
    found = [name for name, module in network.named_modules() if module is layer]
    if not found:
        raise UserError(f"'{architecture}' has no single last layer; choose another architecture")
    return found[0]
