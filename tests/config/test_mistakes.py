"""Mistakes in values: one line that names the key."""

from math import inf, nan

import pytest
from omegaconf import DictConfig, OmegaConf, open_dict

from ddselect.config import build_experiment
from ddselect.pipeline import graph_of
from ddselect.runtime.errors import UserError
from ddselect.schema import GROUPS, build, check_options
from tests.helpers.configs import composed

# option that has the key, key, a value of a wrong type, values out of range
VALUES: list[tuple[str, str, object, list[object]]] = [
    ("dataset=cluttered_digits", "image_size", "big", [4, 64, 32_000]),
    ("dataset=cluttered_digits", "sizes", 5, [{"train": 5, "val": 10, "test": 10}, {"train": 50, "test": 50}]),
    ("dataset=imagefolder", "image_size", [32], [0, 7]),
    ("dataset=imagefolder", "holdout", "some", [-0.1, 1.0]),
    ("dataset=imagefolder", "names", ["folder"], ["wordnet"]),
    ("dataset=imagefolder", "broken", {"a": 1}, ["ignore"]),
    ("backbone=embedded", "image_size", "32px", []),
    ("backbone=dit_xl_2_256", "dtype", [16], ["int8"]),
    ("scoring=default", "draws", "many", [0, -2, 80_000]),
    ("scoring=default", "antithetic", "perhaps", []),
    ("scoring=default", "band", 0.5, [[0.2], [0.8, 0.2], [0.2, 1.2], [-0.1, 0.5]]),
    ("scoring=default", "cross_draw_weight", "half", [-0.1, 1.5]),
    ("scoring=default", "shard_size", "all", [0]),
    ("scoring=default", "batch_size", None, [0]),
    ("scoring=default", "workers", "two", [-2]),
    ("selection=diffusion", "whole", "half", [-0.1, 1.1]),
    ("selection=ddselect", "whole", "half", [-0.1, 1.1]),
    ("selection=ddselect", "teacher_weight", "half", [-0.1, 1.1]),
    ("selection=ddselect", "crop_pick", [0], ["worst"]),
    ("selection=ddselect", "image_pick", [0], ["worst"]),
    ("selection=kcenter", "crops", "five", [0]),
    ("selection=moderate", "size", "half", [-0.1]),
    ("selection=ccs", "pruned", "some", [-0.1, 1.0]),
    ("selection=ccs", "strata", "few", [0]),
    ("selection=bps", "tail", "some", [-0.1, 1.1]),
    ("selection=given", "root", ["a"], []),
    ("selection=given", "normalisation", ["a"], ["cifar", "teacher"]),
    ("embed=timm", "size", "big", [-1]),
    ("embed=timm", "architecture", None, []),
    ("embed=backbone", "size", "big", [0]),
    ("embed=backbone", "level", "high", [-0.1, 1.1]),
    ("embed=backbone", "seed", "none", []),
    ("evaluation=default", "quality", "good", []),
    ("selection=rded", "crops", "five", [0]),
    ("selection=rded", "size", "half", [-0.1, 2.0]),
    ("selection=rded", "area", 0.25, [[0.25], [0.5, 0.25], [0.0, 1.0], [0.5, 1.5]]),
    ("selection=random_crop", "area", "small", [[0.25], [0.5, 0.25]]),
    ("composition=stitched", "factor", "two", [0]),
    ("composition=stitched", "whole", "half", [-0.1, 1.1]),
    ("boxes=scales", "sizes", 0.5, [[], [0.0], [0.5, 1.5]]),
    ("boxes=scales", "per_image", "all", [0]),
    ("boxes=scales", "overlap", "some", [-0.1, 1.0]),
    ("boxes=scales", "exponent", "half", [-0.1, 1.1]),
    ("boxes=scales", "sigma", "wide", [-1.0]),
    ("boxes=single", "prediction_shift_weight", "most", [-0.1, 1.1]),
    ("teacher=trained", "recipe.steps", "few", []),
    ("teacher=trained", "student.learning_rate", "fast", []),
    ("teacher=trained", "seed", "none", []),
    ("teacher=embedded", "check", "maybe", []),
    ("teacher=resnet18", "side", "big", [-1]),
    ("teacher=resnet18", "mean", "dark", [[0.5]]),
    ("teacher=resnet18", "std", "some", [[0.5, 0.5], [0.5, 0.0, 0.5]]),
    ("pool=generated", "kind", [1], ["dreamt"]),
    ("pool=generated", "per_class", "many", [0, 10**8]),
    ("pool=generated", "guidance", "strong", [0.5]),
    ("pool=generated", "steps", "few", [0, 50_000]),
    ("backbone=embedded", "adapt.steps", "few", [0, 10**9]),
    ("pool=prototypes", "strength", "weak", [0.0, 1.5]),
    ("pool=mixed", "batch_size", None, [0]),
    ("student=small_resnet16", "learning_rate", "fast", [0.0, -1.0]),
    ("student=small_resnet16", "precision", [16], ["fp8"]),
    ("protocol=digits", "labels", [1], ["fuzzy"]),
    ("protocol=digits", "steps", "few", [0, -1, 10**9]),
    (
        "protocol=hard",
        "cases",
        [1],
        [[{"ipc": 0}], [{"epochs": 1.5}], [{"lr": 1}], [{"classes": [9, 2]}], [{"zeta": inf}]],
    ),
    ("protocol=edc", "ema", "most", [1.0, -0.1]),
    ("protocol=edc", "class_share", "some", [-0.1]),
    ("protocol=edc", "augment", [1], ["autoaugment"]),
    ("protocol=fadrm", "halves", "some", []),
    ("protocol=hard", "optimizer", [1], ["lamb"]),
    ("protocol=hard", "normalisation", [1], ["mean"]),
    ("protocol=hard", "momentum", "some", [-0.1, 1.0]),
    ("protocol=hard", "schedule", [1], ["constant"]),
    ("protocol=hard", "milestones", 0.5, [[0.9, 0.5], [1.0], [0.0]]),
    ("protocol=hard", "gamma", "some", [0.0]),
    ("protocol=hard", "jitter", "some", [-0.1]),
    ("protocol=hard", "lighting", "some", [-0.1]),
    ("protocol=rded", "epochs", "few", [0, -1, 10**6]),
    ("protocol=digits", "batch_size", 1.5, [-1]),
    ("protocol=digits", "learning_rate", "fast", [-0.1]),
    ("protocol=digits", "weight_decay", "some", [-0.1]),
    ("protocol=digits", "decay_vectors", "some", []),
    ("protocol=digits", "warmup", "long", [-1]),
    ("protocol=digits", "zeta", "two", [0.5]),
    ("protocol=digits", "loss", [1], ["hinge"]),
    ("protocol=digits", "temperature", "hot", [0.0]),
    ("protocol=digits", "mixing", [1], ["blend"]),
    ("protocol=digits", "alpha", "one", [0.0]),
    ("protocol=digits", "area", 1.0, [[1.0], [1.0, 0.5], [0.0, 0.0], [-0.5, 1.0]]),
    ("protocol=digits", "ratio", 1.0, [[1.0], [1.0, 0.5], [0.0, 1.0]]),
    ("protocol=digits", "shift", "far", [-0.1]),
    ("protocol=digits", "test_margin", "wide", [0.9]),
    ("protocol=digits", "evaluate_from", "late", [-0.1, 1.0]),
    ("protocol=digits", "evaluations", "often", [0]),
    ("evaluation=default", "split", [1], ["train"]),
    ("evaluation=default", "batch_size", "all", [0]),
    ("report=default", "images_per_class", "all", [0]),
    ("report=default", "maps_per_class", "all", [-1]),
    ("report=default", "megabytes", "small", [0.1]),
    ("trainer=cpu", "accelerator", [1], ["tpu"]),
    ("trainer=cpu", "devices", "all", [0]),
    ("trainer=cpu", "nodes", "all", [0]),
    ("trainer=cpu", "threads", "all", [-1]),
    ("trainer=cpu", "student_devices", "all", [0, 2]),
    ("logger=csv", "kinds", "csv", [["paper"], ["csv", "paper"]]),
    ("logger=wandb", "artifacts", "student", [["teacher"]]),
    ("logger=wandb", "mode", [1], ["later"]),
]
TOP: list[tuple[str, object]] = [
    ("ipc", 0),
    ("ipc", "ten"),
    ("ipc", 1.5),
    ("seeds", []),
    ("seeds", 3),
    ("seeds", [0, 0]),
    ("seeds", ["a"]),
    ("compare", "rded"),
    ("compare", ["best"]),
    ("students", "convnet3"),
    ("students", ["best"]),
    ("protocols", "hard"),
    ("protocols", ["best"]),
    ("objective", "loss"),
    ("store", ["a"]),
    ("stages", "scoring"),
    ("stages", []),
    ("dry_run", "perhaps"),
]
FOREIGN = [
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "system",
    "",
    "ddselect_evil.Thing",
    "ddselect.pipeline.os.system",
    "ddselect.cli.main",
    "ddselect.selection.base.np",
    "ddselect.student.settings.StudentConfig",
    "ddselect.selection..os.system",
    "ddselect.__main__.main",
]
# option that has the key, key, value with a number in it that is none
ENDLESS: list[tuple[str, str, object]] = [
    ("protocol=digits", "alpha", nan),
    ("protocol=digits", "temperature", inf),
    ("protocol=digits", "learning_rate", "nan"),
    ("protocol=digits", "area", [nan, 1.0]),
    ("protocol=hard", "milestones", [0.5, -inf]),
    ("teacher=trained", "recipe.weight_decay", nan),
    ("teacher=resnet18", "mean", [0.5, 0.5, nan]),
    ("student=small_resnet16", "learning_rate", nan),
    ("boxes=scales", "sigma", inf),
    ("boxes=scales", "sizes", [0.5, nan]),
    ("selection=ddselect", "teacher_weight", "inf"),
    ("selection=ddselect", "whole", nan),
    ("report=default", "megabytes", inf),
    ("backbone=embedded", "adapt.learning_rate", nan),
    ("pool=generated", "guidance", inf),
    ("dataset=cluttered_digits", "broken_ceiling", nan),
]
NAMES = [
    "../../../evil",
    "a/b",
    "a\\b",
    "",
    " ",
    ".",
    "..",
    ".hidden",
    "-flag",
    "a\nb",
    "a\tb",
    "a:b",
    "a|b",
    "x" * 101,
]


class Composed(dict[str, DictConfig]):
    """Each composed when a test asks for it."""

    def __missing__(self, override: str) -> DictConfig:
        return composed(override)


@pytest.fixture(scope="module")
def configs() -> Composed:
    """Composed configs by the option that was chosen."""
    return Composed()


def changed(cfg: DictConfig, key: str, value: object) -> DictConfig:
    """A copy with one value set, whether or not there is such a key."""
    copy = cfg.copy()
    with open_dict(copy):
        OmegaConf.update(copy, key, value, merge=False)
    return copy


def one_line(cfg: DictConfig, key: str, group: str | None = None) -> str:
    """The message of the UserError that building must raise."""
    with pytest.raises(UserError) as caught:
        build(cfg, group) if group else build_experiment(cfg)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert key in message
    return message


@pytest.mark.parametrize(("override", "key", "wrong"), [value[:3] for value in VALUES])
def test_wrong_type(configs: dict[str, DictConfig], override: str, key: str, wrong: object) -> None:
    group = override.partition("=")[0]
    message = one_line(changed(configs[override], f"{group}.{key}", wrong), key, group)
    assert message.startswith(f"{group}.{key}")


@pytest.mark.parametrize(
    ("override", "key", "value"), [(override, key, value) for override, key, _, bad in VALUES for value in bad]
)
def test_value_out_of_range(configs: dict[str, DictConfig], override: str, key: str, value: object) -> None:
    group = override.partition("=")[0]
    assert one_line(changed(configs[override], f"{group}.{key}", value), key, group).startswith(group)


@pytest.mark.parametrize(("override", "key", "value"), ENDLESS)
def test_a_number_that_is_not_finite(configs: dict[str, DictConfig], override: str, key: str, value: object) -> None:
    group = override.partition("=")[0]
    message = one_line(changed(configs[override], f"{group}.{key}", value), key, group)
    assert message.startswith(f"{group}.{key}")
    assert message.endswith(": a finite number is needed")


def test_a_number_that_is_not_finite_in_a_rival(configs: dict[str, DictConfig]) -> None:
    cfg = changed(configs["trainer=cpu"], "compare", [{"rded": {"size": nan}}])
    assert one_line(cfg, "selection.size") == "selection.size=nan: a finite number is needed"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "group", ["dataset", "backbone", "selection", "student", "teacher", "protocol", "embed", "pool"]
)
def test_a_name_that_is_no_name_of_a_file(configs: dict[str, DictConfig], group: str, name: str) -> None:
    one_line(changed(configs["trainer=cpu"], f"{group}.name", name), f"{group}.name=", group)


@pytest.mark.parametrize("name", ["mine", "été 2", "rded whole=0.5", "rded area=[0.2, 1.0]", "v1.2-b_3"])
def test_a_plain_name(configs: dict[str, DictConfig], name: str) -> None:
    assert build(changed(configs["trainer=cpu"], "selection.name", name), "selection").name == name


@pytest.mark.parametrize("group", GROUPS)
def test_unknown_key(configs: dict[str, DictConfig], group: str) -> None:
    message = one_line(changed(configs["trainer=cpu"], f"{group}.xyzzy", 1), "xyzzy", group)
    keys = [key for key in configs["trainer=cpu"][group] if key != "_target_"]
    rest = "choose from " if keys else f"there is nothing below {group}, write {group}=..."
    assert message.startswith(f"unknown key '{group}.xyzzy'; {rest}")


def test_unknown_key_in_a_nested_schema(configs: dict[str, DictConfig]) -> None:
    cfg = changed(configs["teacher=trained"], "teacher.recipe.stepz", 1)
    assert "'teacher.recipe.stepz'" in one_line(cfg, "stepz", "teacher")


def test_a_value_in_place_of_a_nested_schema(configs: dict[str, DictConfig]) -> None:
    message = one_line(changed(configs["teacher=trained"], "teacher.recipe", 5), "teacher", "teacher")
    assert message == "teacher.recipe=5: it has keys of its own, teacher.recipe.<key>=..."


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("recipe.batch_size", -1, "teacher.recipe.batch_size=-1: 0 or more is needed"),
        ("recipe.area", [1.0], "teacher.recipe.area=[1.0]: two rising numbers above 0 are needed"),
        ("recipe.labels", "fuzzy", "teacher.recipe.labels=fuzzy: choose one of soft, hard"),
        ("recipe.steps", -1, "teacher.recipe.steps=-1: 0 or more is needed"),
        ("recipe.steps", 0, "teacher.recipe: give either epochs or steps, not epochs=0 and steps=0"),
        ("student.learning_rate", -1.0, "teacher.student.learning_rate=-1.0: a positive number is needed"),
        ("student.precision", "fp8", "teacher.student.precision=fp8: choose auto, bf16 or fp32"),
    ],
)
def test_a_bad_value_in_a_nested_schema_has_the_key_it_has_there(
    configs: dict[str, DictConfig], key: str, value: object, message: str
) -> None:
    assert one_line(changed(configs["teacher=trained"], f"teacher.{key}", value), "teacher", "teacher") == message


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ipc", None, "ipc=null: a value is needed"),
        ("ipc", [1], "ipc=[1]: a single value is needed"),
        ("ipc", {"x": 1}, "ipc={'x': 1}: a single value is needed"),
        ("seeds", None, "seeds=null: a value is needed"),
        ("seeds", 3, "seeds=3: a list is needed, seeds=[3]"),
        ("seeds", {"x": 1}, "seeds={'x': 1}: a list is needed, seeds=[...]"),
        ("seeds", [0, None], "seeds[1]=null: a value is needed"),
        ("compare", "rded", "compare=rded: a list is needed, compare=[rded]"),
        ("compare", [["rded"]], "compare: ['rded'] is neither a selection nor one with settings"),
        ("protocol.area", 0.5, "protocol.area=0.5: a list is needed, protocol.area=[0.5]"),
        ("protocol.area", ["a"], "protocol.area[0]: Value 'a' of type 'str' could not be converted to Float"),
        ("dataset.sizes", 5, "dataset.sizes=5: it has keys of its own, dataset.sizes.<key>=..."),
        ("dataset.sizes", [5], "dataset.sizes=[5]: it has keys of its own, dataset.sizes.<key>=..."),
        ("dataset.sizes.train", None, "dataset.sizes.train=null: a value is needed"),
        ("dataset.sizes.train", "abc", "dataset.sizes.train: Value 'abc' of type 'str' could not be converted to Int"),
        ("protocol.area", ["${nowhere}", 1.0], "protocol.area[0]: Interpolation key 'nowhere' not found"),
        ("seeds", ["${nowhere}"], "seeds[0]: Interpolation key 'nowhere' not found"),
    ],
)
def test_a_value_of_another_shape(configs: dict[str, DictConfig], key: str, value: object, message: str) -> None:
    assert one_line(changed(configs["trainer=cpu"], key, value), key).startswith(message)


def test_several_options_for_a_group() -> None:
    check_options(["ipc=[1]", "~selection", "selection=rded", "+protocol.area=[1,2]"])
    with pytest.raises(
        UserError, match=r"^selection=\[rded,all\]: a group has one option; choose one of all, bps, ccs"
    ):
        check_options(["ipc=1", "selection=[rded,all]"])


def test_unknown_key_outside_the_groups(configs: dict[str, DictConfig]) -> None:
    message = one_line(changed(configs["trainer=cpu"], "ipcs", 3), "ipcs")
    assert message.startswith(
        "unknown key 'ipcs'; did you mean ipc? choose from ipc, seeds, compare, students, protocols, objective"
    )


@pytest.mark.parametrize(("key", "value"), TOP)
def test_mistakes_outside_the_groups(configs: dict[str, DictConfig], key: str, value: object) -> None:
    assert one_line(changed(configs["trainer=cpu"], key, value), key).startswith(key)


def test_an_unknown_stage_is_refused_before_any_work(configs: dict[str, DictConfig]) -> None:
    experiment = build_experiment(changed(configs["trainer=cpu"], "stages", ["scorng"]))
    with pytest.raises(UserError, match=r"^stages=\[scorng\]: no such stage; did you mean scoring[^\n]*$"):
        graph_of(experiment, None)


def test_comparing_with_an_unknown_selection_names_the_known(configs: dict[str, DictConfig]) -> None:
    message = one_line(changed(configs["trainer=cpu"], "compare", ["rded", "best"]), "best")
    assert "rded_published" in message


@pytest.mark.parametrize("target", FOREIGN)
def test_only_own_classes_of_the_right_kind_are_built(configs: dict[str, DictConfig], target: str) -> None:
    one_line(changed(configs["trainer=cpu"], "selection._target_", target), "selection._target_", "selection")


def test_a_group_without_option(configs: dict[str, DictConfig]) -> None:
    cfg = configs["trainer=cpu"].copy()
    with open_dict(cfg):
        del cfg["selection"]
    assert "choose one of" in one_line(cfg, "selection")


def test_an_interpolation_that_leads_nowhere(configs: dict[str, DictConfig]) -> None:
    message = one_line(changed(configs["trainer=cpu"], "backbone.image_size", "${nowhere}"), "backbone", "backbone")
    assert message.startswith("backbone.image_size: ")
