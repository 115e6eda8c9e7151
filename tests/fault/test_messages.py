"""What a user sees when something is wrong: one line, an exit code that is not zero, no traceback."""

import errno
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ddselect import pipeline
from ddselect.messages import mistake
from ddselect.sweep import process
from tests.fault.runs import SMALL, Started, only, run_here
from tests.helpers.data import picture, write_folder

ROOT = Path(__file__).parents[2]
# A prior is checked before the images are: here is none to check.
FOLDER = ("dataset=imagefolder", "dataset.root=data", "selection=random_image", "compare=[]", "teacher=trained")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["selection=foo"],
            "no option 'foo' in group 'selection'; choose from all, bps, ccs, clusters, ddselect, diffusion, given",
        ),
        (["dataset=imagenet1k", "student=resnet"], "no option 'resnet' in group 'student'; did you mean resnet50?"),
        (["-m", "ipc=1,2", "selection=rded,foo"], "no option 'foo' in group 'selection'; choose from all"),
        (["selectoin=rded"], "unknown key 'selectoin'; did you mean selection? choose from ipc, seeds"),
        (["experimnt=rded"], "unknown key 'experimnt'; did you mean experiment? choose from ipc, seeds"),
        (
            ["selection=difusion"],
            "no option 'difusion' in group 'selection'; did you mean diffusion? choose from all, bps, ccs",
        ),
        (["student.foo=1"], "unknown key 'student.foo'; choose from name, architecture, learning_rate"),
        (["scoring.drawz=4"], "unknown key 'scoring.drawz'; did you mean draws? choose from draws, antithetic"),
        (["+scoring.drawz=4"], "unknown key 'scoring.drawz'; did you mean draws? choose from draws, antithetic"),
        (
            ["teacher=trained", "teacher.recipe.stepz=4"],
            "unknown key 'teacher.recipe.stepz'; did you mean steps? choose from epochs",
        ),
        (["experiment=nope"], "no option 'nope' in group 'experiment'; choose from cifar100_rded"),
        (["stages=scoring"], "stages=scoring: a list is needed, stages=[scoring]"),
        (["stages=[scorng]"], "stages=[scorng]: no such stage; did you mean scoring? choose from index, teacher"),
        (["stages=[relabel]"], "stages=[relabel]: this run has no such stage; choose relabel=logits or features"),
        (["stages=[backbone]"], "stages=[backbone]: this run has no such stage; choose backbone/adapt=full"),
        (["scoring.draws=many"], "scoring.draws: Value 'many' of type 'str' could not be converted to Integer"),
        (["ipc=ten"], "ipc: Value 'ten' of type 'str' could not be converted to Integer"),
        (["ipc=${nothing}"], "ipc: Interpolation key 'nothing' not found"),
        (["student=18"], "no option '18' in group 'student'; choose from convnet3"),
        (["ipc=3", "student=null"], "no option 'null' in group 'student'; choose from convnet3"),
        (
            ["-m", "ipc=1,2", "hydra/launcher=dask"],
            "no option 'dask' in group 'hydra/launcher'; choose from basic",
        ),
        (["-m", "student=18,19"], "no option '18' in group 'student'; choose from convnet3"),
        (["protocol=[a]"], "no option 'a' in group 'protocol'; choose from bps"),
        (["selection=[rded,all]"], "selection=[rded,all]: a group has one option; choose one of all, bps, ccs"),
        (["hydra/launcher=3"], "a group takes the name of one of its options: "),
        (["~student"], "student: no option chosen; choose one of convnet3"),
        (["ipc"], "cannot read 'ipc'; settings are written key=value"),
        (["ipc=1,2"], "Ambiguous value for argument 'ipc=1,2' "),
        (
            ["protocol.area.foo=3"],
            "protocol.area.foo: protocol.area is a list; write all of it, protocol.area=[...], or",
        ),
        (["protocol.area.foo.bar=3"], "protocol.area.foo: protocol.area is a list; write all of it, "),
        (["+protocol.area.foo=3"], "protocol.area.foo: protocol.area is a list; write all of it, "),
        (["++protocol.area.foo=3"], "protocol.area.foo: protocol.area is a list; write all of it, "),
        (["~protocol.area.foo"], "protocol.area.foo: protocol.area is a list; write all of it, "),
        (["protocol.area.5=3"], "protocol.area.5: protocol.area is a list; write all of it, "),
        (["seeds.foo=1"], "seeds.foo: seeds is a list; write all of it, seeds=[...], or one of its items, seeds.0=..."),
        (["-m", "seeds.foo=1,2"], "seeds.foo: seeds is a list; write all of it, "),
        (["teacher=trained", "teacher.recipe.area.x=1"], "teacher.recipe.area.x: teacher.recipe.area is a list; "),
        (["ipc.x=1"], "unknown key 'ipc.x'; there is nothing below ipc, write ipc=..."),
        (["protocol.foo.bar=1"], "unknown key 'protocol.foo'; choose from name, labels"),
        (["+foo=1"], "unknown key 'foo'; choose from ipc, seeds, compare, students, protocols, objective, store"),
        (["~evaluation"], "evaluation: no option chosen; choose one of default"),
        (
            ["dataset.sizes.train=abc"],
            "dataset.sizes.train: Value 'abc' of type 'str' could not be converted to Integer",
        ),
        (["dataset.sizes.foo=1"], "unknown key 'dataset.sizes.foo'; choose from train, val, test"),
        (["dataset.sizes=[1]"], "dataset.sizes: a list cannot take the place of keys, nor keys that of a list"),
        (["compare=rded"], "compare=rded: a list is needed, compare=[rded]"),
        (["seeds=3"], "seeds=3: a list is needed, seeds=[3]"),
        (["ipc=null"], "ipc=null: a value is needed"),
        (["teacher=trained", "teacher.recipe.batch_size=-1"], "teacher.recipe.batch_size=-1: 0 or more is needed"),
        (
            ["ipc=100000000", "selection=random_crop"],
            "ipc=100000000: 1,000,000,000 distilled images of 100 in 10 classes; up to ipc=1000 is taken here",
        ),
        (["ipc=0"], "ipc=0: at least 1 image per class is needed"),
        (
            ["scoring.antithetic=true", "scoring.draws=3"],
            "scoring.draws=3: a positive number is needed, an even one if antithetic",
        ),
        (["compare=[rded,best]"], "compare=best: no such selection; choose from all, bps, ccs"),
        (["selection._target_=os.system"], "selection._target_=os.system: only classes of ddselect are built"),
        (
            ["dataset._target_=ddselect.dataset..os.system"],
            "dataset._target_=ddselect.dataset..os.system: only classes",
        ),
        (["teacher._target_=ddselect.__main__.main"], "teacher._target_=ddselect.__main__.main: only classes of ddsel"),
        (["-m", "ipc=1,2", "hydra.sweeper._target_=io.open"], "hydra.sweeper._target_=io.open: only classes of hydra"),
        (["hydra.launcher._target_=os.system", "-m", "ipc=1,2"], "hydra.launcher._target_=os.system: only classes of"),
        (
            ["+hydra.callbacks.x._target_=io.open", "+hydra.callbacks.x.file=made", "+hydra.callbacks.x.mode=w"],
            "hydra.callbacks.x._target_=io.open: only classes of hydra",
        ),
        (["selection.name=../../../evil"], "selection.name=../../../evil: it becomes the name of files"),
        (["protocol.alpha=nan"], "protocol.alpha=nan: a finite number is needed"),
        (["backbone=class_unet", "backbone.path=nowhere"], "backbone class_unet: "),
        (
            ["teacher.path=nowhere"],
            "teacher embedded: nowhere/teacher.safetensors is missing; set teacher.path=<folder>",
        ),
        (["student=resnet18", "student.architecture=resnet81"], "unknown architecture 'resnet81'"),
        (["composition.factor=3"], "composition.factor=3 does not divide the image size 32"),
    ],
)
def test_mistakes_on_the_command_line(arguments: list[str], message: str, tmp_path: Path, store: Path) -> None:
    small = [] if "dataset=imagefolder" in arguments else SMALL
    ended = run_here(tmp_path, *small, f"store={store}", *arguments)
    assert not (tmp_path / "made").exists()
    assert ended.assert_one_line(2).startswith(f"ddselect: {message}")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that go wrong late share what comes before."""
    return tmp_path_factory.mktemp("store")


@pytest.mark.parametrize(("root", "shown"), [("", "(no folder given)"), ("nowhere", "nowhere")])
def test_a_folder_that_is_missing(root: str, shown: str, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    ended = run_here(tmp_path, "dataset=imagefolder", f"dataset.root={root}")
    wanted = f"ddselect: dataset imagefolder: no images found in '{shown}'; give its place with dataset.root=<folder>"
    assert ended.assert_first_line(2) == wanted
    assert "    here/" in ended.err.splitlines()


def test_imagenet_without_its_images_says_how_to_provide_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGENET_DIR", raising=False)
    line = run_here(tmp_path, "dataset=imagenet1k", "student=resnet101", "ipc=50").assert_first_line(2)
    assert line.startswith("ddselect: dataset imagenet1k: no images found in 'data/imagenet1k'; put the class folders")
    assert "IMAGENET_DIR" in line
    assert "dataset.root" in line


def test_imagenet_dir_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGENET_DIR", str(tmp_path / "there"))
    line = run_here(tmp_path, "dataset=imagenet1k").assert_first_line(2)
    assert f"no images found in '{tmp_path / 'there'}'" in line


class TestFolders:
    """Image folders that are not as they should be."""

    @pytest.fixture(autouse=True)
    def _data(self, tmp_path: Path) -> None:
        write_folder(tmp_path / "data", per_class=2, kinds=((".png", "RGB"),))

    def fails(self, folder: Path, *arguments: str) -> str:
        return run_here(folder, *FOLDER, *arguments).assert_first_line(2)

    def test_a_prior_of_other_classes_does_not_keep_from_looking_at_the_images(self, tmp_path: Path) -> None:
        looked = run_here(tmp_path, "dataset=imagefolder", f"dataset.root={tmp_path / 'data'}", "stages=[index]")
        assert looked.code == 0, looked.err
        assert "index: " in looked.out

    def test_missing_split(self, tmp_path: Path) -> None:
        (tmp_path / "data" / "val").rename(tmp_path / "data" / "validation")
        line = self.fails(tmp_path)
        assert f"folder {tmp_path / 'data' / 'val'} (test images) is missing" in line
        assert "dataset.test=<subfolder>" in line

    def test_no_class_folders(self, tmp_path: Path) -> None:
        (tmp_path / "data" / "empty").mkdir()
        line = self.fails(tmp_path, "dataset.train=empty")
        assert "data/empty has no class folders; put <class>/<image> below it" in line

    def test_empty_class(self, tmp_path: Path) -> None:
        for file in (tmp_path / "data" / "train" / "bee").iterdir():
            file.unlink()
        assert "class 'bee' has no train images in " in self.fails(tmp_path)

    def test_class_in_one_split_only(self, tmp_path: Path) -> None:
        (tmp_path / "data" / "train" / "dog").mkdir()
        picture(32, 32).save(tmp_path / "data" / "train" / "dog" / "0.png")
        assert "class folder 'dog' is in one split only" in self.fails(tmp_path)

    @pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
    def test_unreadable_image(self, tmp_path: Path, damage: str) -> None:
        file = sorted((tmp_path / "data" / "train" / "cow").iterdir())[0]
        content = {"truncated": file.read_bytes()[:200], "text": b"not an image", "empty": b""}[damage]
        file.write_bytes(content)
        line = self.fails(tmp_path)
        assert line.startswith(f"ddselect: {file}: unreadable image (")
        assert line.endswith("; repair or remove it, or set dataset.broken=skip")

    def test_a_class_of_unreadable_images_only(self, tmp_path: Path) -> None:
        for file in (tmp_path / "data" / "train" / "cow").iterdir():
            file.write_bytes(b"not an image")
        assert "class 'cow' has no readable train images" in self.fails(
            tmp_path, "dataset.broken=skip", "dataset.broken_ceiling=1"
        )

    def test_teacher_that_does_not_know_the_classes(self, tmp_path: Path) -> None:
        line = self.fails(tmp_path, "teacher=embedded")
        assert "teacher embedded knows the classes 0, 1, 2" in line
        assert "use teacher=trained" in line


def test_a_damaged_manifest(tmp_path: Path) -> None:
    settings = (*SMALL, "selection=random_crop")
    folder = tmp_path / "store"
    assert run_here(tmp_path, *settings).code == 0
    manifest = only(folder / "teacher") / "manifest.json"
    manifest.write_text("{")
    line = run_here(tmp_path, *settings).assert_one_line(2)
    assert f"{manifest.relative_to(tmp_path)} is damaged" in line


@pytest.mark.parametrize("key", ["store", "hydra.run.dir"])
def test_a_file_where_a_folder_should_be(key: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "file" in run_here(tmp_path, *SMALL, f"{key}=file").assert_one_line(2)


class TestDiskFull:
    """No space left on the disk."""

    @pytest.mark.parametrize("name", ["images.parquet", "teacher.safetensors", "metadata.jsonl", "manifest.json"])
    def test_a_refused_file(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        replace = os.replace

        def refuse(source: Path, target: Path) -> None:
            if Path(target).name == name:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
            replace(source, target)

        monkeypatch.setattr(os, "replace", refuse)
        settings = (*SMALL, "selection=random_crop")
        line = run_here(tmp_path, *settings).assert_one_line(2)
        assert line.startswith("ddselect: no space left on the disk for ")
        assert name in line
        assert not list(tmp_path.rglob(name))
        assert not list(tmp_path.rglob("*.tmp"))

    @pytest.mark.parametrize("full", ["store", "run"])
    def test_a_write_that_does_not_say_where(self, full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As pictures and training curves are written: the place with less room is named."""

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def usage(place: Path) -> SimpleNamespace:
            return SimpleNamespace(free=0 if place.name == full else 10**12)

        monkeypatch.setattr("ddselect.composition.compose.Image.Image.save", refuse)
        monkeypatch.setattr("ddselect.runtime.errors.shutil.disk_usage", usage)
        line = run_here(tmp_path, *SMALL, "selection=random_crop", "hydra.run.dir=run").assert_one_line(2)
        assert f"for {'the store' if full == 'store' else 'the run folder'} (" in line

    def test_a_library_that_says_it_in_words(self) -> None:
        assert mistake(RuntimeError("I/O error: No space left on device (os error 28)")) is not None
        assert mistake(RuntimeError("I/O error")) is None

    @pytest.fixture
    def small_disk(self, tmp_path: Path) -> Iterator[Path]:
        """A file system of its own with 16 MiB."""
        folder = tmp_path / "disk"
        folder.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", folder], capture_output=True)
        if mounted.returncode:
            pytest.skip("only root may mount a file system")
        yield folder
        subprocess.run(["umount", "--lazy", folder], check=True)

    @pytest.mark.slow
    def test_a_full_disk_at_any_stage(self, tmp_path: Path, small_disk: Path) -> None:
        """Room is made little by little, and the same command goes on each time."""
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(16 * 2**20 - 100_000))
        stopped = []
        settings = (*SMALL, "store=disk/store", "hydra.run.dir=run")
        while (ended := run_here(tmp_path, *settings)).code:
            assert ended.assert_one_line(2).startswith("ddselect: no space left on the disk for ")
            stopped.append(next(line for line in ended.err.splitlines() if line.endswith(" ...")))
            assert not list(small_disk.rglob("*.tmp"))
            room = ballast.stat().st_size - 450_000
            assert room > 0, stopped
            os.truncate(ballast, room)
        assert len(set(stopped)) >= 3, stopped
        assert (tmp_path / "run" / "results.json").exists()


def interrupted() -> None:
    raise KeyboardInterrupt


def interrupted_as_lightning_does() -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        sys.exit(1)


def interrupted_where_clearing_up_fails() -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        len(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", [interrupted, interrupted_as_lightning_does, interrupted_where_clearing_up_fails])
def test_an_interruption_is_one_line_wherever_it_falls(
    ending: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "run", lambda *_: ending())
    line = run_here(tmp_path, "seeds=[0, 1]").assert_one_line(130)
    assert line.endswith("go on with: ddselect 'seeds=[0, 1]'")


def test_a_bug_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "run", lambda *_: len(None))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="has no len"):
        run_here(tmp_path)


# A module that Ctrl-C falls into while it is imported, and that may do what it likes with the exception.
INTERRUPTED_IMPORT = """
import os, signal
try:
    os.kill(os.getpid(), signal.{name})
    [0 for _ in range(1000)]
except BaseException:
    {then}
"""


@pytest.mark.parametrize("command", [["run.py"], ["-m", "ddselect"]])
@pytest.mark.parametrize("module", ["hydra", "torch", "pyarrow"])
@pytest.mark.parametrize(("name", "then"), [("SIGINT", "raise"), ("SIGTERM", "raise"), ("SIGINT", "pass")])
def test_an_interruption_while_modules_are_imported(
    command: list[str], module: str, name: str, then: str, tmp_path: Path
) -> None:
    (tmp_path / f"{module}.py").write_text(INTERRUPTED_IMPORT.format(name=name, then=then))
    ended = subprocess.run(
        [sys.executable, *(str(ROOT / word) if word == "run.py" else word for word in command)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background has it ignored
    )
    assert ended.returncode == 130, ended.stderr
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("ddselect: interrupted; finished stages and shards are kept, go on with: ")
    typed = [sys.executable, *(str(ROOT / word) if word == "run.py" else word for word in command)]
    assert shlex.split(line.partition("go on with: ")[2]) == typed


# Stands in for the Python of a sweep's job: says and does what a job would.
JOB = """#!/bin/sh
trap 'echo "ddselect: interrupted; by the job" >&2; exit 130' INT TERM
{then}
"""


class TestSweepInterrupted:
    """Ctrl-C in a sweep reaches this process, the job's or both, and is told once."""

    @pytest.fixture(autouse=True)
    def _job(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "job"))
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background has it ignored
        yield
        signal.signal(signal.SIGINT, before)

    def sweep(self, folder: Path, then: str, capfd: pytest.CaptureFixture[str]) -> list[str]:
        """All messages, the job's too."""
        (folder / "job").write_text(JOB.format(then=then))
        (folder / "job").chmod(0o755)
        ended = run_here(folder, "-m", "ipc=1,2")
        assert ended.code == 130, ended.err
        assert "[0] ipc=1" in ended.err
        assert "[1] ipc=2" not in ended.err
        return ended.messages + capfd.readouterr().err.splitlines()

    def test_the_job_alone(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        assert self.sweep(tmp_path, "kill -INT $$", capfd) == ["ddselect: interrupted; by the job"]

    def test_both(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        then = "sleep 0.3; kill -INT $PPID; sleep 0.6; kill -INT $$"  # slower to end than the sweep, as a real job is
        assert self.sweep(tmp_path, then, capfd) == ["ddselect: interrupted; by the job"]

    def test_the_sweep_alone(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(process, "_GRACE", 0.2)
        then = "sleep 0.3; kill -INT $PPID; while :; do sleep 0.1; done"
        assert self.sweep(tmp_path, then, capfd) == ["ddselect: interrupted; by the job"]

    def test_a_job_that_is_killed_says_nothing(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        (line,) = self.sweep(tmp_path, "sleep 0.3; kill -INT $PPID; sleep 0.3; kill -KILL $$", capfd)
        assert line.startswith("ddselect: interrupted; finished stages and shards are kept")


@pytest.mark.slow
def test_interruptions(longer: tuple[str, ...], undisturbed: Path, tmp_path: Path) -> None:
    """Ctrl-C or a scheduler's stop in scoring and training; the run after them ends as if nothing had happened."""
    for file, number in (
        ("store/scoring/*/shard-00000-*", signal.SIGINT),
        ("store/scoring/*/shard-00004-*", signal.SIGTERM),
        ("store/student/*/last.ckpt", signal.SIGINT),
    ):
        run = Started(tmp_path, *longer)
        run.wait_for(file)
        line = run.end(number).assert_one_line(130)
        assert line.startswith("ddselect: interrupted; finished stages and shards are kept")
        assert not list(tmp_path.rglob("*.tmp"))
    assert run_here(tmp_path, *longer).code == 0
    for stage, name in (("boxes", "scores.parquet"), ("student", "metrics.jsonl")):
        mine, other = (only(folder / "store" / stage) for folder in (tmp_path, undisturbed))
        assert (mine / name).read_bytes() == (other / name).read_bytes()
