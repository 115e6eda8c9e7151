"""Teachers with weights from a file, and torchvision's models: what does not fit is refused in one line."""

import os
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ddselect.dataset.index import Index
from ddselect.runtime.errors import UserError
from ddselect.student.models import Classifier, build_network
from ddselect.teacher.card import load_teacher
from ddselect.teacher.choice import StoredTeacherConfig
from ddselect.teacher.pretrained import PretrainedTeacherConfig
from ddselect.teacher.torchvision_models import TorchvisionNetwork, pretrained_torchvision, torchvision_model
from ddselect.teacher.weights import read_weights
from tests.helpers.data import scene_index
from tests.helpers.teachers import check_on, provide

HALF = [0.5] * 3


def small(classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return build_network("small_resnet16", classes, None)


def from_file(path: Path, architecture: str = "small_resnet16", **options: Any) -> PretrainedTeacherConfig:
    return PretrainedTeacherConfig("mine", architecture, str(path), mean=HALF, std=HALF, **options)


def logits(folder: Path, images: Tensor) -> Tensor:
    with torch.no_grad():
        return load_teacher(folder)(images)


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def renamed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


ZEROS = {"fc.weight": torch.zeros(3, 64)}
BESIDE = {"epoch": 3, "args": Namespace(lr=0.1), "best": np.float64(91.5), "log": np.zeros(2), "at": Path("x")}
OPTIMIZER = {"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
WRITERS: dict[str, Callable[[dict[str, Tensor], Path], Path]] = {
    "plain.pth": lambda state, path: torch.save(state, path) or path,  # type: ignore[func-returns-value]
    "wrapped.pt": lambda state, path: torch.save({"epoch": 3, "state_dict": state}, path) or path,  # type: ignore[func-returns-value]
    "model.pth": lambda state, path: torch.save({"model": state}, path) or path,  # type: ignore[func-returns-value]
    "parallel.pth": lambda state, path: torch.save({f"module.{k}": t for k, t in state.items()}, path) or path,  # type: ignore[func-returns-value]
    **{
        f"{key}.pth.tar": lambda state, path, key=key: saved({key: state, "optimizer": OPTIMIZER}, path)
        for key in ("net", "model_state_dict", "network", "model_state", "weights", "params")
    },
    **{
        f"prefix {prefix}ckpt": lambda state, path, prefix=prefix: saved({"state_dict": renamed(state, prefix)}, path)
        for prefix in ("_orig_mod.", "model.", "net.", "network.", "module._orig_mod.", "model.net.", "student.")
    },
    "objects beside.pth": lambda state, path: saved({"model": state, **BESIDE}, path),
    "averaged.pth": lambda state, path: saved(
        {"model": ZEROS, "model_ema": {"n_averaged": torch.tensor(7), **renamed(state, "module.")}}, path
    ),
    "timm.pth.tar": lambda state, path: saved({"state_dict": ZEROS, "state_dict_ema": state, **BESIDE}, path),
    "no weights in its average.pt": lambda state, path: saved({"ema": {"decay": 0.9}, "model": state}, path),
    "wrapped twice.pt": lambda state, path: saved({"model": {"state_dict": state}}, path),
    "partly parallel.pth": lambda state, path: saved(
        {name.replace("body.", "body.module.").replace("stem.", "stem._orig_mod."): t for name, t in state.items()},
        path,
    ),
    "parameters.pth": lambda state, path: saved({name: nn.Parameter(t, False) for name, t in state.items()}, path),
    "old.pth": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False) or path,  # type: ignore[func-returns-value]
    "pytorch_model.bin": lambda state, path: saved(state, path),
    "half.safetensors": lambda state, path: (
        save_file({k: t.half() if t.is_floating_point() else t for k, t in state.items()}, path) or path  # type: ignore[func-returns-value]
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_weights_are_read_from_every_kind_of_file(animals: Index, tmp_path: Path, name: str) -> None:
    network = small()
    path = WRITERS[name](network.state_dict(), tmp_path / name)
    provide(from_file(path), animals, tmp_path)
    images = torch.rand(2, 3, 16, 16)
    expected = Classifier(network, HALF, HALF).eval()(images).detach()
    torch.testing.assert_close(logits(tmp_path, images), expected, atol=2e-2 if "half" in name else 1e-6, rtol=0)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("evil"),)


class Worse:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch evil",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("evil", [Evil(), Worse()])
@pytest.mark.parametrize("beside", [{}, {"model": {"fc.weight": torch.zeros(1)}}])
def test_code_in_a_file_is_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool, evil: object, beside: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": evil, **beside}, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"^teacher.weights=.*evil.pth: it holds more than weights[^\n]*state_dict"):
        read_weights(tmp_path / "evil.pth")
    assert not Path("evil").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.pth", None, "no such file"),
        ("empty.bin", b"", "it is damaged, cut short, or neither of torch.save nor of safetensors"),
        ("model.h5", b"\x89HDF\r\n", "it is damaged, cut short, or neither of torch.save nor of safetensors"),
        ("broken.pth", b"abc", "it is damaged, cut short, or neither"),
        ("broken.safetensors", b"abc", "it is damaged, cut short, or neither"),
        ("empty.pt", {}, "it holds no dictionary of tensors"),
        ("list.pt", [torch.zeros(1)], "it holds no dictionary of tensors"),
        ("numbers.pt", {"fc": 3}, "it holds no dictionary of tensors"),
        ("whole.pt", nn.Linear(2, 2), "it holds no dictionary of tensors; save model.state_dict()"),
        ("whole in it.pt", {"model": nn.Linear(2, 2)}, "it holds no dictionary of tensors"),
        ("optimizer.pt", {"optimizer": OPTIMIZER}, "it holds no dictionary of tensors"),
    ],
)
def test_what_is_no_file_of_weights_is_refused(tmp_path: Path, name: str, content: object, said: str) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        torch.save(content, tmp_path / name)
    with pytest.raises(UserError, match=f"^teacher.weights=.*{name}: {said}") as caught:
        read_weights(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", [0.3, 0.9])
@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors"])
def test_a_file_that_is_cut_is_refused(tmp_path: Path, name: str, part: float) -> None:
    (save_file if name.endswith("tensors") else torch.save)(small().state_dict(), tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(part * len(content))])
    with pytest.raises(UserError, match=f"{name}: it is damaged, cut short, or neither"):
        read_weights(tmp_path / name)


def test_a_torchscript_archive_is_refused_as_one(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "w.pt")
    with pytest.raises(UserError, match="it is a TorchScript archive; save model"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("body.0.conv1.weight"), "'body.0.conv1.weight' is missing"),
        (
            lambda s: s.update({"stem.0.weight": torch.zeros(16, 1, 4, 4)}),
            "'stem.0.weight' is 16 x 1 x 4 x 4, not 16 x 3",
        ),
        (lambda s: s.update({"extra": torch.zeros(2)}), "'extra' is unknown"),
        (lambda s: s.pop("fc.weight"), "'fc.weight' is missing"),
    ],
)
def test_the_first_misfit_is_named(animals: Index, tmp_path: Path, change: Callable[..., Any], said: str) -> None:
    state = small().state_dict()
    change(state)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(
        UserError, match=rf"w.pth does not fit 'small_resnet16': {said}[^\n]*; set teacher.architecture$"
    ):
        provide(from_file(tmp_path / "w.pth"), animals, tmp_path / "to")


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("rows", [2, 4, 1000])
def test_another_number_of_classes_is_refused_whatever_check_says(
    animals: Index, tmp_path: Path, rows: int, check: bool
) -> None:
    torch.save(small(rows).state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match=rf"w.pth has {rows} classes, the dataset 3; .* or teacher=trained$"):
        provide(from_file(tmp_path / "w.pth", check=check), animals, tmp_path / "to")


def test_a_file_of_imagenets_classes_takes_the_columns_of_the_folders(animals: Index, tmp_path: Path) -> None:
    index = Index(animals.root, ["n02102040", "n01440764", "n15075141"], ["springer", "tench", "tissue"], animals.table)
    network = small(1000)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    provide(from_file(tmp_path / "w.pth"), index, tmp_path)
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        whole = Classifier(network, HALF, HALF).eval()(images)
    torch.testing.assert_close(logits(tmp_path, images), whole[:, [217, 0, 999]])


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("ant\nbee\n", r"has 2 names, the last layer 3 outputs"),
        ("ant\nbee\ndog\n", r"lacks the class folder 'cow'"),
        ("ant\nbee\nbee\n", r"lacks the class folder 'cow'"),
        (None, "no such file"),
    ],
)
def test_names_that_do_not_match_the_folders_are_refused(
    animals: Index, tmp_path: Path, names: str | None, said: str
) -> None:
    torch.save(small().state_dict(), tmp_path / "w.pth")
    if names is not None:
        (tmp_path / "names.txt").write_text(names)
    teacher = from_file(tmp_path / "w.pth", classes=str(tmp_path / "names.txt"))
    with pytest.raises(UserError, match=rf"^teacher.classes=.*names.txt:? {said}"):
        provide(teacher, animals, tmp_path / "to")


def test_another_order_is_refused_near_chance_and_accepted_with_its_names(tmp_path: Path) -> None:
    """The embedded teacher, its outputs moved by one: as published codes do with other class orders."""
    state = load_file(StoredTeacherConfig("embedded").source / "teacher.safetensors")
    for name in ("network.fc.weight", "network.fc.bias"):
        state[name] = state[name].roll(1, 0)
    save_file(state, tmp_path / "w.safetensors")
    (tmp_path / "index").mkdir()
    scenes = scene_index(tmp_path / "index")
    moved = from_file(tmp_path / "w.safetensors")
    provide(moved, scenes.split("train"), tmp_path / "moved", 32)
    with pytest.raises(
        UserError, match=r"teacher mine has \d.\d % top-1 on the real test images, near chance \(10.0 %\)"
    ):
        check_on(tmp_path / "index", moved, tmp_path / "moved", 10, 32)
    let_through = check_on(tmp_path / "index", replace(moved, check=False), tmp_path / "moved", 10, 32)
    assert let_through["top1"] < 19
    (tmp_path / "names.txt").write_text("\n".join("9012345678"))
    named = replace(moved, classes=str(tmp_path / "names.txt"))
    provide(named, scenes.split("train"), tmp_path / "named", 32)
    assert check_on(tmp_path / "index", named, tmp_path / "named", 10, 32)["top1"] > 80


def test_the_form_for_small_images_is_found_by_its_shapes(animals: Index, tmp_path: Path) -> None:
    for form, kernel in ((16, 3), (None, 7)):
        torch.save(build_network("resnet18", 3, form).state_dict(), tmp_path / "w.pth")
        provide(from_file(tmp_path / "w.pth", "resnet18"), animals, tmp_path / "to")
        assert load_teacher(tmp_path / "to").network.conv1.kernel_size == (kernel, kernel)


def test_images_are_resized_and_normalised_as_the_file_expects(animals: Index, tmp_path: Path) -> None:
    network = small()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    teacher = PretrainedTeacherConfig("mine", "small_resnet16", str(tmp_path / "w.pth"), side=24)
    provide(teacher, animals, tmp_path)
    expected = Classifier(network, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]).eval()
    expected.side = 24
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(logits(tmp_path, images), expected(images))
    assert expected.side != 16


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "shufflenet_v2_x0_5"])
def test_a_torchvision_model_from_a_file_gives_its_own_logits(animals: Index, tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    model = torchvision_model(f"torchvision/{name}", 3).eval()
    torch.save(model.state_dict(), tmp_path / "w.pth")
    images, mean, std = torch.rand(2, 3, 64, 64), torch.tensor(HALF), torch.tensor(HALF)
    with torch.no_grad():
        expected = model((images - mean[:, None, None]) / std[:, None, None])
    provide(from_file(tmp_path / "w.pth", f"torchvision/{name}"), animals, tmp_path)
    teacher = load_teacher(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(teacher(images), expected, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(teacher.head(teacher.features(images)), teacher(images))


def test_published_torchvision_weights_bring_their_normalisation(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    real, asked = models.get_model, []

    def get_model(name: str, weights: Any, **options: Any) -> nn.Module:
        asked.append(weights)
        return real(name, weights=None, **options)

    monkeypatch.setattr(models, "get_model", get_model)
    network, mean, std = pretrained_torchvision("torchvision/resnet18.IMAGENET1K_V1")
    assert isinstance(network, TorchvisionNetwork)
    assert asked == [models.ResNet18_Weights.IMAGENET1K_V1]
    assert (mean, std) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert pretrained_torchvision("torchvision/shufflenet_v2_x0_5")[0].get_classifier().out_features == 1000  # type: ignore[operator]
    assert asked[1] == models.ShuffleNet_V2_X0_5_Weights.DEFAULT


def test_torchvision_weights_that_cannot_be_had_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no\nnetwork")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    from torchvision.models import _api

    monkeypatch.setattr(_api, "load_state_dict_from_url", offline)
    with pytest.raises(
        UserError, match=r"^pretrained weights of 'torchvision/resnet18' are not in the local cache .*no network"
    ):
        pretrained_torchvision("torchvision/resnet18")


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ("torchvision/resnet19", r"unknown architecture 'torchvision/resnet19'; did you mean one of resnet101, "),
        ("torchvision/googlenet", "unknown architecture 'torchvision/googlenet'"),
        (
            "torchvision/resnet18.V9",
            "torchvision has no weights 'V9' of 'resnet18'; choose from IMAGENET1K_V1, DEFAULT",
        ),
    ],
)
def test_unknown_names_of_torchvision(architecture: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        pretrained_torchvision(architecture)


def test_a_torchvision_model_without_a_linear_last_layer_is_refused() -> None:
    with pytest.raises(UserError, match="SqueezeNet of torchvision has no linear last layer"):
        TorchvisionNetwork(torchvision_model("torchvision/squeezenet1_1", 3))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"classes": "names.txt"}, "teacher.classes=names.txt: it says the order of teacher.weights"),
        ({"mean": [0.5]}, r"teacher.mean=\[0.5\]: three numbers are needed"),
        ({"std": [0.5, 0.0, 0.5]}, "teacher.std=.*: three numbers above 0 are needed"),
        ({"side": -1}, "teacher.side=-1: 0 or more is needed"),
    ],
)
def test_bad_values_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=f"^{said}"):
        PretrainedTeacherConfig("t", **options)


def test_another_file_is_another_teacher(tmp_path: Path) -> None:
    torch.save(small().state_dict(), tmp_path / "w.pth")
    before = from_file(tmp_path / "w.pth").signature()
    torch.save(small(4).state_dict(), tmp_path / "w.pth")
    assert before != from_file(tmp_path / "w.pth").signature()
