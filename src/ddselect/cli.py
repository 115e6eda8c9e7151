"""The command line: Hydra composes, each job of a sweep runs in a process of its own, a mistake is one line.

What takes seconds to import is imported where it is used, so that Ctrl-C is answered from the first moment on.
"""

import errno
import gc
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, cast

from ddselect.options import conf_dir, options
from ddselect.runtime import interruption
from ddselect.runtime.errors import UserError, choose, disk_full, is_interruption, one_line
from ddselect.runtime.ranks import rank

if TYPE_CHECKING:
    from omegaconf import DictConfig

_INTERRUPTED = 130  # exit code: 128 + SIGINT
_UNREAD = 141  # 128 + SIGPIPE
_COMMAND = "DDSELECT_COMMAND"  # in the environment: what the user typed, for processes that a run starts
_LEAD = 10.0  # seconds that the first rank has to say what is wrong
_SWEEP_REPORT = "sweep-report"  # the one command beside a run or a sweep
_PLUGINS = ("hydra/launcher", "hydra/sweeper")  # groups that packages add options to
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)  # a place that a user chose badly


class Leaving(SystemExit):
    """Ends the process; ``message`` has been said."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(code)
        self.message = message


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the process with one line for everything that a user can mend; the rest are bugs and show a trace."""
    try:
        with _interruptions():
            yield
    except KeyboardInterrupt:
        gc.freeze()  # Python would look through all that was imported once more, for a second, before it ends
        if rank() > 0:
            sys.exit(_INTERRUPTED)  # the first rank says it
        _leave(_stopped(), _INTERRUPTED)
    except BrokenPipeError:
        _leave_quietly()
        raise
    except Exception as error:
        if rank() > 0:
            time.sleep(_LEAD)  # where the first rank failed too, or first, it says why and ends this one meanwhile
        message = _mistake(error)
        if message is None:
            raise
        _leave(message, 2)


def _leave_quietly() -> None:
    """Ends the process if it is standard output that nobody reads any more, as with ``--help | head``."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        sys.exit(_UNREAD)


@contextmanager
def _interruptions() -> Iterator[None]:
    """Gives Ctrl-C back: Lightning makes an exit of its own from it, or stumbles over its own clearing up."""
    try:
        yield
    except BaseException as error:
        is_over = isinstance(error, SystemExit) and error.code == _INTERRUPTED
        if is_interruption(error) and not is_over:
            raise KeyboardInterrupt from None
        raise


@contextmanager
def _nothing_begun() -> Iterator[None]:
    """While modules are imported, Ctrl-C ends the process at once: an import can lose an exception or change it."""
    before = {n: signal.signal(n, _leave_at_once) for n in (signal.SIGINT, signal.SIGTERM) if interruption.is_heard(n)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stopped() -> str:
    """What to say about an interruption: what is kept, and the command that goes on from it."""
    return f"interrupted; finished stages and shards are kept, go on with: {os.environ.get(_COMMAND) or _command()}"


def _command() -> str:
    """This process's command line, quoted for a shell."""
    typed = Path(sys.argv[0])
    words = [typed.name, *sys.argv[1:]] if typed.name == "ddselect" else sys.orig_argv
    return shlex.join(words)


def _leave_at_once(_number: int, _frame: FrameType | None) -> None:
    if rank() == 0:
        os.write(2, f"ddselect: {_stopped()}\n".encode())
    os._exit(_INTERRUPTED)


def _mistake(error: Exception) -> str | None:
    """What to tell the user about something that they can mend; None for a bug."""
    if isinstance(error, UserError):
        return str(error)
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, HydraException | OmegaConfBaseException):  # some of them are ValueErrors or OSErrors too
        return _hydra_message(error)
    if isinstance(error, ValueError | TypeError):
        return _argument_message(str(error))
    if isinstance(error, OSError):
        place = error.filename or "the store or the run folder"
        if disk_full(error):
            return f"no space left on the disk for {place}; make room and run the same command again"
        if error.errno in _REFUSED:
            return f"{place}: {error.strerror}; check dataset.root, store, hydra.run.dir and --to"
    return None


def _hydra_message(error: Exception) -> str:
    """What Hydra or OmegaConf found wrong, where, and what there is to choose from."""
    from hydra.errors import MissingConfigException, OverrideParseException
    from omegaconf.errors import (
        ConfigAttributeError,
        ConfigIndexError,
        ConfigKeyError,
        ConfigTypeError,
        KeyValidationError,
        OmegaConfBaseException,
    )

    from ddselect.config import unknown_key

    cause = error.__cause__ or error
    text = one_line(str(cause).partition("\n")[0])  # OmegaConf adds lines about its nodes
    if isinstance(cause, MissingConfigException) and cause.missing_cfg_file:
        group, _, option = cause.missing_cfg_file.rpartition("/")
        known = cause.options or options(group)
        if known:
            more = "; others come with pip install 'ddselect[sweep]'" if group in _PLUGINS else ""
            return f"no option '{option}' in group '{group}'; {choose(option, sorted(known))}{more}"
    if (
        isinstance(cause, ConfigKeyError | ConfigAttributeError | ConfigIndexError | KeyValidationError)
        and cause.parent_node is not None
    ):
        return unknown_key(cause)
    if isinstance(cause, ConfigTypeError):
        if text.startswith("Cannot merge"):
            return f"{cause.full_key}: a list cannot take the place of keys, nor keys that of a list"
        if found := _argument_message(text):
            return found
    if isinstance(cause, OverrideParseException):
        return f"cannot read '{cause.override}'; settings are written key=value"
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return f"{cause.full_key}: {text}"
    return one_line(cause)


def _argument_message(text: str) -> str | None:
    """What to say about the two mistakes of users to which Hydra gives no type of its own, nor says where they are."""
    from ddselect.config import GROUPS, below_a_list

    settings = [word.lstrip("+~").partition("=") for word in sys.argv[1:]]
    if "Config group override" in text:
        for group, _, names in settings:
            for name in names.split(","):
                if group in GROUPS and name not in options(group):
                    return f"no option '{name}' in group '{group}'; {choose(name, options(group))}"
        return f"a group takes the name of one of its options: {text}"
    for key, _, _ in settings:
        parts = key.split(".")
        for place, part in enumerate(parts):
            if text in (f"invalid literal for int() with base 10: {part!r}", f"Index {part!r} (str) is not an int"):
                return below_a_list(".".join(parts[:place]), part)
    return None


def _leave(message: str, code: int) -> NoReturn:
    print(f"ddselect: {message}", file=sys.stderr, flush=True)
    raise Leaving(message, code)


def _job(cfg: "DictConfig") -> float | None:
    """A run; or of a sweep one job, which returns what a tuner is told."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    hydra_config = HydraConfig.get()
    settings = cast(list[str], OmegaConf.to_container(hydra_config.overrides.task))  # as given, ${...} and all
    folder = Path(hydra_config.runtime.output_dir)
    with one_line_errors():
        if hydra_config.mode == RunMode.MULTIRUN:
            from ddselect.sweep.process import jobs_at_once, run_job

            return run_job(settings, folder, Path(hydra_config.sweep.dir).absolute(), jobs_at_once(hydra_config))
        with _nothing_begun():
            from ddselect.config import build_experiment, check_options
            from ddselect.pipeline import run

        check_options(settings)
        experiment = build_experiment(cfg)
        if experiment.dry_run:
            from ddselect.plan import print_plan

            print_plan(experiment)
            return None
        for name, place in run(experiment, folder):
            print(f"{name}: {place}", flush=True)
    return None


@contextmanager
def _folders() -> Iterator[None]:
    """Lets Hydra make the run's folder before the run; that of a dry run is gone when it ends."""
    if not any(word.lower() in ("dry_run=true", "++dry_run=true") for word in sys.argv[1:]):
        yield
        return
    with TemporaryDirectory(prefix="ddselect-") as folder:
        arguments = list(sys.argv)
        sys.argv += [f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}"]
        try:
            yield
        finally:
            sys.argv = arguments


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 jobs of a sweep failed, 2 a user's mistake, 130 interrupted."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors while composing reach this function instead of being printed by Hydra
    interruption.listen()
    os.environ.setdefault(_COMMAND, _command())
    if sys.argv[1:2] == ["export"]:
        with one_line_errors():
            with _nothing_begun():
                from ddselect.export.command import export
            print(f"exported: {export(sys.argv[2:])}", flush=True)
        return
    with one_line_errors():
        with _nothing_begun():
            import hydra

            from ddselect.sweep.report import report_again, reported
        if sys.argv[1:2] == [_SWEEP_REPORT]:
            report_again(sys.argv[2:])
            return
        with _folders(), reported() as failed:
            hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")(_job)()
    if failed:
        _leave(failed[0], 1)
