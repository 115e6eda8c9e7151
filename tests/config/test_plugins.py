"""Packages that are named under ``plugins``: their classes, options and stages, and that nothing else is built."""

import os
import sys
from pathlib import Path

import pytest
from hydra import compose
from omegaconf import DictConfig

from ddselect.composing import composing
from ddselect.config import build_experiment
from ddselect.experiment import Experiment
from ddselect.options import options, searching
from ddselect.pipeline import graph_of
from ddselect.plugins import folders, named_by
from ddselect.runtime.errors import UserError
from ddselect.runtime.store import describe
from tests.fault.runs import run_here
from tests.helpers.configs import composed
from tests.helpers.data import write_folder

# group: the class that its own class derives from, and the option of ours that its option builds on
KINDS = {
    "dataset": ("ddselect.dataset.folders.ClutteredDigitsConfig", "cluttered_digits"),
    "backbone": ("ddselect.backbone.choice.ClassUNetConfig", "embedded"),
    "selection": ("ddselect.selection.uninformed.RandomConfig", "random_crop"),
    "student": ("ddselect.student.settings.StudentConfig", "convnet3"),
    "protocol": ("ddselect.protocol.recipe.ProtocolConfig", "digits"),
    "teacher": ("ddselect.teacher.choice.StoredTeacherConfig", "embedded"),
}
STAGES = """
from ddselect.runtime.stage import Stage

def stage(name, *reads):
    return Stage(name=name, version=1, reads=reads, key=lambda trial: {}, run="mine:run")

STAGES = (stage("late", "early"), stage("early", "scoring"))
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that can be imported, with a class and an option ``own`` for each group, and two stages."""
    lines = ["from dataclasses import dataclass", STAGES]
    for group, (base, option) in KINDS.items():
        module, _, name = base.rpartition(".")
        lines += [f"from {module} import {name}", f"@dataclass\nclass Own{group}({name}):\n    extra: int = 3\n"]
        file = tmp_path / "mine" / "conf" / group / "own.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(f"defaults: [{option}, _self_]\n_target_: mine.Own{group}\nname: own\nextra: ${{ipc}}\n")
    preset = tmp_path / "mine" / "conf" / "experiment" / "preset" / "own.yaml"
    preset.parent.mkdir(parents=True)
    preset.write_text("# @package _global_\ndefaults: [cluttered_digits, _self_]\ncompare: [own]\n")
    (tmp_path / "mine" / "__init__.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    return "mine"


def config(*words: str) -> DictConfig:
    with searching(folders(named_by(words))), composing():
        return compose("config", list(words))


def built(*words: str) -> Experiment:
    return build_experiment(config(*words))


@pytest.mark.parametrize("group", KINDS)
def test_its_option_of_a_group_is_chosen_and_its_class_is_built(group: str, mine: str) -> None:
    experiment = built("plugins=[mine]", f"{group}=own", "ipc=7")
    found = {"selection": experiment.methods[0].selection}.get(group) or getattr(experiment, group)
    assert (type(found).__module__, found.name, found.extra) == ("mine", "own", 7)
    assert describe(found)["kind"] == f"mine.Own{group}"  # so that it is taken for none of ours


def test_its_options_stand_beside_the_chosen_ones(mine: str) -> None:
    rivals = "compare=[own,{own: {extra: 5}}]"
    experiment = built("plugins=[mine]", rivals, "students=[own]", "protocols=[own]", "teacher=ensemble", "ipc=7",
                       "teacher.members=[embedded,own]")  # fmt: skip
    selections = [method.selection for method in experiment.methods[1:]]
    assert [(one.name, one.extra) for one in selections] == [("own", 7), ("own extra=5", 5)]  # type: ignore[attr-defined]
    beside = [experiment.students[1], experiment.protocols[1], experiment.teacher.teachers[1]]  # type: ignore[attr-defined]
    assert [(type(one).__module__, one.extra) for one in beside] == [("mine", 7)] * 3
    assert experiment.presets.keys() == {"digits", "own"}


def test_a_dataset_of_its_own_brings_what_goes_with_it(mine: str) -> None:
    assert [one.selection.name for one in built("plugins=[mine]", "dataset=own").methods] == ["ddselect", "own"]


def test_an_option_that_is_nowhere_is_told_with_all_that_there_are(mine: str) -> None:
    with pytest.raises(UserError, match=r"^students=owm: no such student; did you mean own\?.* resnet18, "):
        built("plugins=[mine]", "students=[owm]")


def test_a_class_of_a_package_that_is_not_named_is_refused_unimported(mine: str) -> None:
    cfg = composed("selection=random_crop").copy()
    cfg.selection._target_ = "mine.Ownselection"
    with pytest.raises(UserError, match=r"^selection\._target_=mine\.Ownselection: only classes of ddselect"):
        build_experiment(cfg)
    assert "mine" not in sys.modules
    assert "own" not in options("selection")


@pytest.mark.parametrize(
    "target", ["mine.Stage", "mine.stage", "mine.Ownstudent", "mine.nothing", "mine.a.b", "minefield.A"]
)
def test_of_a_named_package_only_classes_of_the_right_kind_are_built(target: str, mine: str) -> None:
    with pytest.raises(UserError, match=rf"^selection\._target_={target}: "):
        built("plugins=[mine]", f"selection._target_={target}")


def test_where_its_stages_come_is_decided_by_what_they_read(mine: str) -> None:
    graph, trials = graph_of(built("plugins=[mine]", "stages=[late,report]", "selection=top_score", "compare=[]"), None)
    assert graph.needed(trials[0]).keys() >= {"early", "late", "student"}
    places = [graph.order.index(name) for name in ("scoring", "early", "late")]
    assert places == sorted(places)
    with pytest.raises(UserError, match="no such stage"):
        graph_of(built("stages=[late]"), None)


def test_a_stage_that_has_the_name_of_another_is_refused(mine: str, tmp_path: Path) -> None:
    file = tmp_path / "mine" / "__init__.py"
    file.write_text(file.read_text().replace('"late"', '"scoring"'))
    with pytest.raises(UserError, match=r"plugins=\[mine\]: its stage 'scoring' has the name of another"):
        graph_of(built("plugins=[mine]"), None)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.below", "../mine", "a..b", ""])
def test_a_package_that_is_not_there_is_one_line(name: str) -> None:
    with pytest.raises(UserError, match=r"^plugins=\[.*\]: no such package; install it"):
        folders([name])


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], []),
        (["plugins=[]"], []),
        (["ipc=1", "plugins=[a, b.c]"], ["a", "b.c"]),
        (["plugins=[a]", "++plugins=[b]"], ["b"]),
        (["plugins=a"], []),  # which is refused when the config is read
        (["my.plugins=[a]"], []),
    ],
)
def test_names_on_the_command_line(words: list[str], names: list[str]) -> None:
    assert named_by(words) == names


def test_a_folder_of_ones_own_holds_options_to_compare_with(tmp_path: Path) -> None:
    """By Hydra's own ``--config-dir`` and ``hydra.searchpath``."""
    (tmp_path / "conf" / "selection").mkdir(parents=True)
    own = "defaults: [random_crop, _self_]\nname: own\narea: [0.1, 0.2]\n"
    (tmp_path / "conf" / "selection" / "own.yaml").write_text(own)
    for word in ("--config-dir=conf", f"hydra.searchpath=[{tmp_path / 'conf'}]"):
        ended = run_here(tmp_path, word, "compare=[own]", "selection=random_image", "dry_run=true")
        assert ended.code == 0, ended.err
        assert "students: random_image (seed 0), own (seed 0)" in ended.out
    refused = run_here(tmp_path, "compare=[own]", "dry_run=true")
    assert refused.assert_one_line(2).startswith("ddselect: compare=own: no such selection")


def test_composing_leaves_what_the_process_had(tmp_path: Path) -> None:
    """An application of somebody else's goes on with its own configs."""
    from hydra import initialize_config_dir, version
    from hydra.core.global_hydra import GlobalHydra

    (tmp_path / "theirs.yaml").write_text("a: 1\n")
    with initialize_config_dir(str(tmp_path), version_base="1.2"):
        built("compare=[rded]")
        assert compose("theirs") == {"a": 1}
        assert version.base_at_least("1.2")
        assert not version.base_at_least("1.3")
    assert not GlobalHydra.instance().is_initialized()


@pytest.mark.slow
def test_jobs_of_a_sweep_find_its_options_and_those_of_other_folders(
    mine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    for place in ("near's", "far (2)"):
        (tmp_path / place / "selection").mkdir(parents=True)
        (tmp_path / place / "selection" / f"{place[:3]}.yaml").write_text(
            f"defaults: [random_image, _self_]\nname: {place[:3]}\n"
        )
    write_folder(tmp_path / "data", per_class=2)
    words = ("-m", "--config-dir=near's", "plugins=[mine]", "selection=own", "compare=[nea,far]", "stages=[selection]")
    places = (f"hydra.searchpath=[file://{tmp_path}/far (2)]", "dataset=imagefolder", "dataset.root=data", "ipc=1")
    ended = run_here(tmp_path, *words, *places)
    assert ended.code == 0, ended.err
    assert len(list((tmp_path / "store" / "selection").glob("*/manifest.json"))) == 3
