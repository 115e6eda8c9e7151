"""What is typed, and what a process hands to another, is read by Hydra as it is meant."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from ddselect.config import build_experiment
from ddselect.runtime.errors import UserError
from ddselect.runtime.overrides import as_meant, search_path, setting
from tests.helpers.configs import composed

PLACES = [
    "été", "photos (1)", "a=b", "it's", "x{y}", "a[1]", "a#b", "a&b", "日本", "a!b", "a;b", "<a>", "a`b", "^", "a~b",
    "x(1)", '"q', "'q'", "[a]", "{a}", "é\\", "é\\'", "a,b", " a ", "2024_01", "1e3", "choice(a,b)", "a\\,b", "$é",
]  # fmt: skip


def read(word: str) -> object:
    """The value that Hydra reads in a setting."""
    return OverridesParser.create().parse_overrides([word])[0].value()


@pytest.mark.parametrize("place", [*PLACES, "null", "true"])
def test_what_a_process_hands_on_is_read_as_it_is(place: str) -> None:
    assert read(setting("hydra.run.dir", place)) == place


def test_what_needs_no_quotes_has_none() -> None:
    assert setting("hydra.run.dir", "/a/b-1.c d") == "hydra.run.dir=/a/b-1.c d"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_a_place_that_is_there_is_taken_as_it_was_typed(
    place: str, sweep: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(place).mkdir()
    assert read(as_meant([*sweep, f"dataset.root=./{place}"])[-1]) == f"./{place}"


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("store=/x/été", "/x/été"),
        ("store=2024_01", "2024_01"),
        ("store=a=b", "a=b"),
        ("+store=it's", "it's"),
        ("store=${oc.env:HOME}/é", "${oc.env:HOME}/é"),
        ("seeds=[0,1]", [0, 1]),
        ("teacher.members=[/x/été,resnet18]", ["/x/été", "resnet18"]),
        ("prompt.templates=[a photo of a {label},it's]", ["a photo of a {label}", "it's"]),
    ],
)
def test_what_hydra_refuses_is_one_text_and_the_rest_keeps_its_meaning(word: str, value: object) -> None:
    assert read(as_meant([word])[0]) == value


@pytest.mark.parametrize(
    "word",
    ["ipc=10", "dataset=imagefolder", "~student", "ipc", "x={a:1}", "x='a,b'", "compare=[{rded:{whole:0.5}}]",
     "compare=[{a:é}]", "compare=[é", "x=null", "lr=1e-3", "x=${y}", "x=1,2", "x=interval(0,1)"],
)  # fmt: skip
def test_what_hydra_can_read_or_nobody_can_is_left_alone(word: str) -> None:
    assert as_meant([word]) == [word]
    assert as_meant(["-m", word]) == ["-m", word]


def test_alternatives_of_a_sweep_are_quoted_one_by_one() -> None:
    assert as_meant(["-m", "dataset.root=/x/é,/y/b"]) == ["-m", "dataset.root='/x/é',/y/b"]
    assert as_meant(["-m", "x='a,b',é"]) == ["-m", "x='a,b',é"]


def test_options_of_hydra_may_stand_anywhere() -> None:
    meant = as_meant(["ipc=1", "--config-dir", "x", "store=é", "-m"])
    assert meant == ["--config-dir", "x", "-m", "ipc=1", "store='é'"]


def test_home_is_the_home_folder_in_every_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere/é")
    assert read(as_meant(["hydra.run.dir=~/x"])[0]) == "/somewhere/é/x"
    built = build_experiment(composed("dataset=imagefolder", "dataset.root='~/photos'", "store='~/s'"))
    assert (built.dataset.root, built.store) == ("/somewhere/é/photos", Path("/somewhere/é/s"))  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", ["1.10", "1e3", "true"])
def test_a_text_that_reads_as_a_number_is_refused_with_what_works(value: str) -> None:
    with pytest.raises(UserError, match="a text is needed; one that reads as a number is written 'store=\""):
        build_experiment(composed(f"store={value}"))


def test_a_word_that_is_not_unicode_is_one_line() -> None:
    with pytest.raises(UserError, match=r"caf.xe9.*is not Unicode"):
        as_meant([os.fsdecode(b"dataset.root=caf\xe9")])


def test_configs_from_elsewhere_are_handed_on() -> None:
    sources = [
        ("pkg", "hydra.conf", "hydra"),
        ("file", "/mine", "main"),
        ("file", "/é", "command-line"),
        ("file", "/a,b", "hydra.searchpath in command-line"),
    ]
    found = [SimpleNamespace(schema=schema, path=path, provider=provider) for schema, path, provider in sources]
    hydra = SimpleNamespace(runtime=SimpleNamespace(config_sources=found), job=SimpleNamespace(config_name="other"))
    others = ["--config-dir", "/é", "--config-name", "other", "hydra.searchpath=['file:///a,b']"]
    assert search_path(hydra, Path("/mine")) == others
    assert search_path(hydra, Path("/conf")) == ["--config-path", "/mine", *others]
