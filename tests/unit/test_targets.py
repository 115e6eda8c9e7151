"""What a config may have called: own classes alone, and of Hydra's settings Hydra's."""

from typing import Any

import pytest

from ddselect.runtime.errors import UserError
from ddselect.runtime.targets import check_hydra, own_class
from ddselect.selection.base import SelectionConfig

OWN = "ddselect.selection.base.SelectionConfig"


def test_a_class_of_a_named_package_is_found() -> None:
    assert own_class("k", OWN, ["ddselect"]) is SelectionConfig
    assert own_class("k", OWN, ["others", "ddselect.selection"]) is SelectionConfig


@pytest.mark.parametrize(
    ("target", "packages"),
    [
        (OWN, []),
        (OWN, ["ddselect.sel", "select"]),
        ("ddselect.dataset..os.system", ["ddselect"]),
        ("ddselect.", ["ddselect"]),
        (".ddselect.x", ["ddselect"]),
        ("ddselect.selection.base.SelectionConfig ", ["ddselect"]),
        ("ddselect.__main__.main", ["ddselect"]),  # would start a run when it is imported
        ("ddselect.selection.base.SelectionConfig.__init__", ["ddselect"]),
        ("ddselect.selection.base.np", ["ddselect"]),
        ("ddselect.selection.base.Path", ["ddselect"]),  # a class, but not of the package
        ("ddselect.selection.base.rows_by_class", ["ddselect"]),
        ("ddselect.pipeline.os.system", ["ddselect"]),
        ("ddselect.nowhere.at.all.X", ["ddselect"]),
        ("builtins.eval", ["ddselect"]),
    ],
)
def test_anything_else_is_one_line(target: str, packages: list[str]) -> None:
    with pytest.raises(UserError, match=r"^group\._target_=") as caught:
        own_class("group._target_", target, packages)
    assert "\n" not in str(caught.value)


def test_a_module_that_lacks_something_says_what(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "needy.py").write_text("import not_installed_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"k=needy.X: needy cannot be imported: No module named 'not_installed_at_all'"):
        own_class("k", "needy.X", ["needy"])


@pytest.mark.parametrize(
    "settings",
    [
        {"sweeper": {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper", "params": None}},
        {"sweeper": {"sampler": {"_target_": "optuna.samplers.TPESampler"}, "custom_search_space": None}},
        {"launcher": {"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"}},
        {"callbacks": {"a": {"_target_": "hydra.experimental.callbacks.LogJobReturnCallback"}}},
        {"callbacks": {"sweep": {"_target_": "ddselect.sweep.callback.MarkSweep"}}},
        {"job_logging": {"handlers": {"a": {"class": "logging.StreamHandler"}}, "formatters": {"b": {"format": "()"}}}},
    ],
)
def test_hydras_own_classes_are_left_to_it(settings: dict[str, Any]) -> None:
    check_hydra(settings)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"callbacks": {"x": {"_target_": "torch.load", "f": "evil.pt"}}}, "callbacks.x._target_=torch.load"),
        ({"callbacks": {"x": {"a": [{"_target_": "io.open"}]}}}, "callbacks.x.a.0._target_=io.open"),
        ({"callbacks": {"x": {"_target_": "hydra.utils.get_method"}}}, "callbacks.x._target_"),
        ({"callbacks": {"x": {"_target_": "hydra.experimental.callbacks.pickle.load"}}}, "callbacks.x._target_"),
        ({"callbacks": {"x": {"_target_": "logging.FileHandler"}}}, "callbacks.x._target_"),
        ({"callbacks": {"x": {"_target_": "ddselect.pipeline.run"}}}, "callbacks.x._target_"),
        ({"callbacks": {"x": {"_target_": "${oc.env:X}"}}}, "callbacks.x._target_"),
        ({"sweeper": {"_target_": "io.open"}}, "sweeper._target_"),
        ({"launcher": {"_target_": "os.system"}}, "launcher._target_"),
        ({"sweeper": {"custom_search_space": "os.abort"}}, "sweeper.custom_search_space=os.abort"),
        ({"job_logging": {"handlers": {"x": {"class": "subprocess.Popen"}}}}, "job_logging.handlers.x.class"),
        ({"job_logging": {"handlers": {"x": {"class": "logging.os.system"}}}}, "job_logging.handlers.x.class"),
        ({"hydra_logging": {"formatters": {"x": {"()": "io.open"}}}}, r"hydra_logging.formatters.x.\(\)=io.open"),
    ],
)
def test_other_targets_of_hydra_are_refused(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=rf"^hydra\.{key}") as caught:
        check_hydra(settings)
    assert "\n" not in str(caught.value)
