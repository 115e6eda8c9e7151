"""Distilled sets on a hub: exported to it, and read back beside ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from ddselect.composition.card import README
from ddselect.export.pushing import push
from ddselect.runtime.errors import UserError
from ddselect.selection.given import GivenConfig
from tests.export.conftest import distilled, entry, work  # noqa: F401  (fixtures)
from tests.fault.runs import run_here
from tests.helpers.hub import FakeHub, Repo

CARD = b"---\ntags:\n- ddselect\n---\n"
CHOSEN = ("export", "run", "--selection", "random_crop", "--push-to-hub", "ann/digits")


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def a_set(folder: Path) -> Path:
    """An export of two classes."""
    for name in ("ant", "bee"):
        (folder / name).mkdir(parents=True)
        (folder / name / "0.png").write_bytes(name.encode())
    (folder / README).write_bytes(CARD)
    return folder


@pytest.mark.slow
def test_the_command_pushes_what_it_exports(hub: FakeHub, work: Path, distilled: Path) -> None:  # noqa: F811
    """Through HF_ENDPOINT; private, with card and labels, and nothing left on this machine."""
    dry = run_here(work, *CHOSEN, "--dry-run")
    assert (dry.code, hub.asked) == (0, []), dry.err
    assert f"{hub.url}/datasets/ann/digits (private)" in dry.err
    before = set(work.iterdir())
    command = [sys.executable, "-m", "ddselect", *CHOSEN]
    there = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_of_ann"}
    done = subprocess.run(command, cwd=work, env=there, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, f"exported: {hub.url}/datasets/ann/digits\n"), done.stderr
    assert set(work.iterdir()) == before
    assert run_here(work, *CHOSEN[:4], "--to", "local").code == 0
    assert hub.repos["ann/digits"] == Repo(private=True, files=content(work / "local"))
    assert {"labels.json", README, "metadata.jsonl"} < hub.repos["ann/digits"].files.keys()

    ours, theirs = (GivenConfig("theirs", 1.0, root=place) for place in (str(distilled), "hub:ann/digits"))
    assert theirs.content() == ours.content()
    names = sorted(path.name for path in distilled.iterdir() if path.is_dir())
    mine, other = ours.open(names, names), theirs.open(names, names)
    assert mine.sources == other.sources
    assert all(mine.read(row).tobytes() == other.read(row).tobytes() for row in range(len(mine.sources)))
    assert not [line for line in hub.asked if line.startswith("GET") and line.endswith(".safetensors")]


def test_an_earlier_export_is_replaced_whole_and_nothing_else(hub: FakeHub, tmp_path: Path) -> None:
    folder = a_set(tmp_path / "set")
    old = {README: CARD, "cow/0.png": b"old", ".gitattributes": b""}
    hub.repos["ann/set"] = Repo(private=True, files=dict(old))
    with pytest.raises(UserError, match="holds an earlier export; add --overwrite"):
        push(folder, "ann/set", public=False, overwrite=False)
    assert hub.repos["ann/set"].files == old
    push(folder, "ann/set", public=False, overwrite=True)
    assert hub.repos["ann/set"].files == {**content(folder), ".gitattributes": b""}
    hub.repos["ann/set"].files[README] = b"my own work"
    with pytest.raises(UserError, match="is no earlier export"):
        push(folder, "ann/set", public=False, overwrite=True)
    hub.repos["ann/set"] = Repo(files={".gitattributes": b""})
    with pytest.raises(UserError, match="is public; add --public"):
        push(folder, "ann/set", public=False, overwrite=False)
    push(folder, "ann/set", public=True, overwrite=False)
    push(folder, "ann/new", public=True, overwrite=False)
    assert (hub.repos["ann/new"].private, hub.repos["ann/new"].files) == (False, content(folder))


def test_what_the_hub_refuses_is_one_line(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = a_set(tmp_path / "set")
    hub.forbids = True
    with pytest.raises(UserError, match=r"does not allow it \(403\).*hf auth login"):
        push(folder, "ann/set", public=False, overwrite=False)
    with pytest.raises(UserError, match="given set 'g': the hub has no dataset ann/set"):
        GivenConfig("g", 1.0, root="hub:ann/set").content()
    hub.repos["ann/set"] = Repo(files=content(folder))
    with pytest.raises(UserError, match="no such revision"):
        GivenConfig("g", 1.0, root="hub:ann/set@v2").content()
    with pytest.raises(UserError, match="write <user>/<name>"):
        GivenConfig("g", 1.0, root="hub:set").content()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE keeps it from being fetched; unset that, or fetch it with `hf"):
        GivenConfig("g", 1.0, root="hub:ann/set").content()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(UserError, match=r"http://127.0.0.1:9 is not reached .*; try again, or fetch it with `hf"):
        GivenConfig("g", 1.0, root="hub:ann/set").content()


def test_a_file_of_tensors_on_the_hub_is_fetched_alone(hub: FakeHub) -> None:
    hub.repos["ann/sets"] = Repo(files={"ipc10/dm.pt": b"of torch", "ipc50/dm.pt": b"larger"})
    place = GivenConfig("dm", 1.0, root="hub:ann/sets/ipc10/dm.pt").place
    assert place.read_bytes() == b"of torch"
    assert not [line for line in hub.asked if "ipc50" in line]


@pytest.mark.parametrize("arguments", [("run",), ("run", "--push-to-hub", "digits")])
def test_a_place_is_needed(arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert "<user>/<name>" in run_here(tmp_path, "export", *arguments).assert_one_line(2)
