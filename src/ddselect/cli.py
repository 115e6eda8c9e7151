"""The command line: Hydra composes, each job of a sweep runs in a process of its own, a mistake is one line."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from ddselect.config import build_experiment, conf_dir, unknown_key
from ddselect.runtime.errors import UserError, disk_full, one_line
from ddselect.runtime.ranks import rank

_failed: list[str] = []
_INTERRUPTED = 130  # exit code: 128 + SIGINT
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)  # a place that a user chose badly


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the process with one line for everything that a user can mend; the rest are bugs and show a trace."""
    try:
        with _interruptions():
            yield
    except UserError as error:
        _leave(str(error), 2)
    except (HydraException, OmegaConfBaseException) as error:
        _leave(_hydra_message(error), 2)
    except ValueError as error:
        if "Config group override" not in str(error):  # Hydra's only mistake of a user without a type of its own
            raise
        _leave(f"a group takes the name of one of its options: {error}", 2)
    except KeyboardInterrupt:
        if rank() > 0:
            sys.exit(_INTERRUPTED)  # the first rank says it
        _leave("interrupted; finished stages and shards are kept, the same command goes on from them", _INTERRUPTED)
    except OSError as error:
        place = error.filename or "the store or the run folder"
        if disk_full(error):
            _leave(f"no space left on the disk for {place}; make room and run the same command again", 2)
        if error.errno not in _REFUSED:
            raise
        _leave(f"{place}: {error.strerror}; check dataset.root, store and hydra.run.dir", 2)


@contextmanager
def _interruptions() -> Iterator[None]:
    """Gives Ctrl-C back: Lightning makes an exit of its own from it, or stumbles over its own clearing up."""
    try:
        yield
    except BaseException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, KeyboardInterrupt):
            cause = cause.__context__
        is_over = isinstance(error, SystemExit) and error.code == _INTERRUPTED
        if cause is not None and not is_over:
            raise KeyboardInterrupt from None
        raise


def _hydra_message(error: Exception) -> str:
    """What Hydra or OmegaConf found wrong, where, and what there is to choose from."""
    cause = error.__cause__ or error
    if isinstance(cause, MissingConfigException) and cause.missing_cfg_file and cause.options:
        group, _, option = cause.missing_cfg_file.rpartition("/")
        return f"no option '{option}' in group '{group}'; choose from {', '.join(sorted(cause.options))}"
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.parent_node is not None:
        return unknown_key(cause)
    if isinstance(cause, OverrideParseException):
        return f"cannot read '{cause.override}'; settings are written key=value"
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return f"{cause.full_key}: {one_line(str(cause).splitlines()[0])}"
    return one_line(cause)


def _leave(message: str, code: int) -> None:
    print(f"ddselect: {message}", file=sys.stderr, flush=True)
    sys.exit(code)


@hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")
def _job(cfg: DictConfig) -> None:
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    with one_line_errors():
        if hydra_config.mode == RunMode.MULTIRUN:
            _start_process(list(hydra_config.overrides.task), folder)
            return
        from ddselect.pipeline import run

        results = run(build_experiment(cfg), folder)
        if results is not None:
            print(f"results: {results}", flush=True)


def _start_process(overrides: list[str], folder: Path) -> None:
    """Runs one job of a sweep as a single run in a fresh process; a failed one does not stop the others."""
    print(f"[{folder.name}] {' '.join(overrides)}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "ddselect", *overrides, f"hydra.run.dir={folder}"]
    code = subprocess.run(command).returncode
    if code == 130:
        raise KeyboardInterrupt
    if code:
        _failed.append(f"{folder.name} ({' '.join(overrides)}: exit code {code})")


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 jobs of a sweep failed, 2 a user's mistake, 130 interrupted."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors while composing reach this function instead of being printed by Hydra
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Lightning would ignore a scheduler's stop
    _failed.clear()
    with one_line_errors():
        _job()
    if _failed:
        _leave(f"{len(_failed)} jobs of the sweep failed: {', '.join(_failed)}", 1)
