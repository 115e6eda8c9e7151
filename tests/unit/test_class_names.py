"""Names and descriptions of ImageNet's classes."""

import re
from functools import cache
from pathlib import Path

import pytest

from ddselect.dataset.classes import better_names, class_names, imagenet_classes, imagenet_descriptions
from ddselect.dataset.folders import ImageFolderConfig
from ddselect.runtime.errors import UserError

# classes that WordNet's first lemma does not tell apart, or hardly
ALIKE = {
    "crane": ("n02012849", "n03126707"),
    "cardigan": ("n02113186", "n02963159"),
    "maillot": ("n03710637", "n03710721"),
    "missile": ("n03773504", "n04008634"),
    "sunglasses": ("n04355933", "n04356056"),
    "screen": ("n03782006", "n04152593"),
    "computer": ("n03642806", "n03832673"),
    "corn": ("n12144580", "n13133613"),
    "sheep": ("n02412080", "n02415577"),
    "polecat": ("n02443114", "n02445715"),
}


@cache
def wnids() -> list[str]:
    return imagenet_classes()


@cache
def names(kind: str) -> dict[str, str]:
    return dict(zip(wnids(), class_names(wnids(), kind), strict=True))


def test_short_names_are_1000_clean_and_different_ones() -> None:
    short = list(names("imagenet").values())
    assert len(short) == 1000
    assert len({name.lower() for name in short}) == 1000
    for name in short:
        assert name
        assert name == " ".join(name.split())
        assert not set(name) & set(",;:()_"), name
        assert len(name.split()) <= 5, name


@pytest.mark.parametrize("word", ALIKE)
def test_classes_that_are_alike_have_names_that_are_not(word: str) -> None:
    one, other = (names("imagenet")[wnid].lower() for wnid in ALIKE[word])
    assert one != other
    assert one != word or other != word


@pytest.mark.parametrize(
    ("wnid", "name"),
    [
        ("n02012849", "crane bird"),
        ("n03126707", "construction crane"),
        ("n02113186", "Cardigan Welsh corgi"),
        ("n02108089", "boxer dog"),
        ("n02134084", "polar bear"),
        ("n02747177", "trash can"),
        ("n01440764", "tench"),
        ("n02099601", "golden retriever"),
    ],
)
def test_short_name(wnid: str, name: str) -> None:
    assert class_names([wnid], "imagenet") == [name]


def test_the_table_names_real_classes_and_changes_every_one_of_them() -> None:
    assert 40 <= len(better_names()) <= 120
    assert set(better_names()) <= set(wnids())
    first = {wnid: long.split(",")[0] for wnid, long in names("imagenet_long").items()}
    assert not [wnid for wnid, name in better_names().items() if name == first[wnid]]
    kept = {wnid: name for wnid, name in names("imagenet").items() if wnid not in better_names()}
    assert kept == {wnid: first[wnid] for wnid in kept}


def test_no_short_name_of_the_table_is_another_class_by_its_other_names() -> None:
    owners: dict[str, set[str]] = {}
    for wnid, long in names("imagenet_long").items():
        for lemma in long.lower().split(", "):
            owners.setdefault(lemma, set()).add(wnid)
    assert not {wnid: name for wnid, name in better_names().items() if owners.get(name.lower(), {wnid}) != {wnid}}


def test_long_names_are_all_lemmas_in_wordnet_s_order() -> None:
    long = names("imagenet_long")
    assert long["n01440764"] == "tench, Tinca tinca"
    assert long["n02012849"] == long["n03126707"] == "crane"
    assert sum("," in name for name in long.values()) > 400


def test_descriptions_are_short_name_and_definition() -> None:
    sentences = dict(zip(wnids(), imagenet_descriptions(wnids()), strict=True))
    assert len(set(sentences.values())) == 1000
    for wnid, sentence in sentences.items():
        name, _, definition = sentence.partition(", ")
        assert name == names("imagenet")[wnid]
        assert len(definition) >= 10, sentence
        assert definition[0] not in "( ", sentence
        assert "\n" not in sentence
    assert sentences["n01514859"] == "hen, adult female bird"
    assert sentences["n03788195"].startswith("mosque, a Muslim place of worship")
    assert "nut in a woody cup-shaped base" in sentences["n12267677"]  # its definition has a colon


@pytest.mark.parametrize("kind", ["imagenet", "imagenet_long"])
def test_folders_that_are_no_wordnet_ids(kind: str) -> None:
    with pytest.raises(
        UserError, match=r"class folder 'cat' is not an ImageNet-1K WordNet ID; use dataset.names=folder"
    ):
        class_names(["n01440764", "cat"], kind)


def test_descriptions_of_other_folders() -> None:
    with pytest.raises(UserError, match=r"class folder 'cat' is not an ImageNet-1K WordNet ID; only these have "):
        imagenet_descriptions(["n01440764", "cat"])


def test_order_and_repetition_are_the_folders() -> None:
    folders = ["n02108089", "n01440764", "n02108089"]
    assert class_names(folders, "imagenet") == ["boxer dog", "tench", "boxer dog"]
    assert class_names(folders, "folder") == folders
    assert class_names([], "imagenet") == imagenet_descriptions([]) == []


def test_a_dataset_takes_every_kind_and_no_other() -> None:
    for kind, name in (("folder", "n02108089"), ("imagenet", "boxer dog"), ("imagenet_long", "boxer")):
        assert ImageFolderConfig("mine", 32, names=kind).class_names(["n02108089"]) == [name]
    with pytest.raises(UserError, match=r"dataset.names=wordnet: choose folder or imagenet or imagenet_long"):
        ImageFolderConfig("mine", 32, names="wordnet")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("names.csv", "class,name\nb,bee\na,worker ant\n"),
        ("names.CSV", '\ufeffclass,name,more\nb,"bee, insect",x\na,worker ant,y\n'),
        ("names.json", '{"a": "worker ant", "b": "bee, insect", "c": "cow"}'),
        ("names.txt", "b bee\na worker ant\n\n"),
        ("words.txt", "a\tworker ant, emmet\nb\tbee\nz\tzebra\n"),
    ],
)
def test_names_from_a_file(file: str, content: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(content)
    assert class_names(["a", "b"], str(tmp_path / file)) == ["worker ant", "bee"]


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("names.csv", "folder,name\na,ant\n", "its heading is 'folder,name'"),
        ("names.json", "[1]", "not a JSON object of names"),
        ("names.json", '{"a": 1}', "not a JSON object of names"),
        ("names.json", "{", "Expecting property name"),
        ("names.txt", "a ant\nb\n", "no name of class folder 'b'"),
        ("names.txt", "a ant\n", "no name of class folder 'b'"),
        ("none.txt", None, "No such file or directory; a JSON object"),
    ],
)
def test_files_of_names_that_do_not_fit(file: str, content: str | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises(
        UserError, match=f"dataset.names={re.escape(str(tmp_path / file))}: {re.escape(words)}"
    ) as caught:
        class_names(["a", "b"], str(tmp_path / file))
    assert "\n" not in str(caught.value)
