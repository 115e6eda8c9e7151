"""Tar shards below a URL: read in place, as those in a folder."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from torch.utils.data import DataLoader, Dataset

from ddselect.dataset import remote
from ddselect.dataset.index import Index, build_index, read_index
from ddselect.dataset.remote import RemotePath
from ddselect.dataset.shards import TarShardsConfig, expanded
from ddselect.runtime.errors import UserError
from tests.fault.runs import run_here
from tests.helpers.layouts import write_shards, write_training
from tests.helpers.ranges import Served, serving

NAMED = {"train": "train-{00000..00001}.tar", "test": "val-{00000..00001}.tar"}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        write_training(tmp_path / "images" / split, ["ant", "bee", "cow"], per_class=3)
        write_shards(tmp_path / "shards", tmp_path / "images" / split, split, "number")
    (tmp_path / "shards" / "classes.txt").write_text("cow\nant\nbee\n")
    return tmp_path / "shards"


@pytest.fixture
def web(shards: Path) -> Iterator[Served]:
    with serving(shards) as served:
        yield served


@pytest.fixture
def memory(shards: Path) -> Iterator[str]:
    store = fsspec.filesystem("memory")
    store.put(str(shards), "/bucket/data", recursive=True)
    yield "memory://bucket/data"
    store.rm("/bucket", recursive=True)


def dataset(root: object, **named: str) -> TarShardsConfig:
    return TarShardsConfig("shards", 16, root=str(root), **named)


def indexed(config: TarShardsConfig, work: Path) -> Index:
    work.mkdir(parents=True)
    build_index(config, work)
    return read_index(work, config.place)


def same(index: Index, wanted: Index) -> bool:
    tables = [one.table.drop(["mtime"]) for one in (index, wanted)]
    rows = all((index.read(row, 16) == wanted.read(row, 16)).all() for row in range(len(wanted)))
    return rows and tables[0] == tables[1] and index.class_folders == wanted.class_folders


def test_a_web_server_has_the_images_of_the_folder(web: Served, shards: Path, tmp_path: Path) -> None:
    here = indexed(dataset(shards), tmp_path / "here")
    there = indexed(dataset(web.url, **NAMED), tmp_path / "there")
    web.asked.clear()
    image = there.source(4)
    there.decode(4)
    assert web.asked == [
        f"GET {image.path.name} {image.offset}-{image.offset + image.bytes - 1}"
    ]  # of it all and no more
    assert same(there, here)
    assert not list((tmp_path / "there").rglob("*.tar"))
    assert str(image) == f"{web.url}/{there.ids[4]}"


def test_an_object_store_is_looked_through_by_pattern(memory: str, shards: Path, tmp_path: Path) -> None:
    assert same(indexed(dataset(memory), tmp_path / "there"), indexed(dataset(shards), tmp_path / "here"))
    below = indexed(dataset("memory://bucket", train="data/train-*.tar", test="data/val-*.tar"), tmp_path / "below")
    assert len(below) == 18
    assert below.ids[0].startswith("data/train-0000")


def test_reading_processes_read_it_too(web: Served, tmp_path: Path) -> None:
    index = indexed(dataset(web.url, **NAMED), tmp_path / "there")

    class Views(Dataset):
        def __len__(self) -> int:
            return len(index)

        def __getitem__(self, row: int) -> object:
            return index.read(row, 16)

    found = [views for batch in DataLoader(Views(), batch_size=4, num_workers=2) for views in batch]
    assert all((views == index.read(row, 16)).all() for row, views in enumerate(found))


def test_a_change_is_noticed_by_its_tag(web: Served, memory: str, shards: Path) -> None:
    there, stored = dataset(web.url, **NAMED), dataset(memory)
    before = there.signature(), stored.signature()
    assert before == (there.signature(), stored.signature())
    data = (shards / "train-00001.tar").read_bytes()
    (shards / "train-00001.tar").write_bytes(data)
    fsspec.filesystem("memory").pipe("/bucket/data/train-00001.tar", data)
    assert before[0] != there.signature()
    assert before[1] != stored.signature()


def test_a_server_that_fails_for_a_while_is_asked_again(
    web: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote.time, "sleep", lambda _: None)
    index = indexed(dataset(web.url, **NAMED), tmp_path / "there")
    wanted = index.read(0, 16)
    web.failures = 2
    assert (index.read(0, 16) == wanted).all()
    web.failures = 99
    with pytest.raises(
        UserError, match=r"train-00000.tar: it is not to be had \(503"
    ):  # no broken image, to be skipped
        index.read(0, 16)
    with pytest.raises(UserError, match="it is not to be had"):
        dataset(web.url, **NAMED).signature()


def test_what_is_wrong_is_one_line(web: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_TRIES", 1)
    cases = {
        "no train shards train-00002.tar in http": dataset(
            web.url, train="train-{00000..00002}.tar", test=NAMED["test"]
        ),
        "no train shards train-.*set dataset.train=": dataset("memory://nothing/there"),
        "127.0.0.1:9/.*is not to be had": dataset("http://127.0.0.1:9", **NAMED),
        "odd://.*Protocol not known": dataset("odd://bucket"),
    }
    for said, config in cases.items():
        with pytest.raises(UserError, match=said):
            config.signature()
    index = indexed(dataset(web.url, **NAMED), tmp_path / "there")
    web.ranges = False
    with pytest.raises(UserError, match="answers no range requests"):
        index.read(0, 16)
    with pytest.raises(UserError, match="answers no range requests"):
        indexed(dataset(web.url, **NAMED), tmp_path / "elsewhere" / "again")  # beside which is no earlier index


def test_numbers_in_braces(shards: Path, tmp_path: Path) -> None:
    assert expanded("a-{8..11}.tar") == ["a-8.tar", "a-9.tar", "a-10.tar", "a-11.tar"]
    assert expanded("{0..1}/{08..09}") == ["0/08", "0/09", "1/08", "1/09"]
    assert expanded("a-*.tar") == ["a-*.tar"]
    assert same(indexed(dataset(shards, **NAMED), tmp_path / "named"), indexed(dataset(shards), tmp_path / "all"))


def test_a_place_stays_what_it_is() -> None:
    place = RemotePath("https://host/data") / "sub" / "a.tar"
    assert [str(one) for one in (place, place.absolute(), pickle.loads(pickle.dumps(place)))] == [
        "https://host/data/sub/a.tar"
    ] * 3
    assert place.relative_to(RemotePath("https://host/data")).as_posix() == "sub/a.tar"
    assert not place.is_relative_to(Path("/store"))


def test_the_command_line_composes_from_it(web: Served, tmp_path: Path) -> None:
    """Braces are quoted for Hydra; nothing but the chosen images is copied."""
    named = [f'dataset.{split}="{names}"' for split, names in NAMED.items()]
    chosen = ["dataset=shards", f"dataset.root={web.url}", *named, "selection=random_image", "compare=[]", "ipc=1"]
    ended = run_here(tmp_path, *chosen, "composition.whole=1", "stages=[composition]")
    assert ended.code == 0, ended.err
    assert len(list(tmp_path.glob("store/composition/*/distilled/*/*.png"))) == 3
