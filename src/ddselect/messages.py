"""What to tell a user about a mistake of theirs, in one line, whichever library found it."""

import errno
import shlex
import sys
from traceback import walk_tb

from ddselect.options import options
from ddselect.runtime.errors import UserError, choose, disk_full, one_line
from ddselect.runtime.overrides import setting

_PLUGINS = ("hydra/launcher", "hydra/sweeper")  # groups that packages add options to
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)  # a place that a user chose badly


def mistake(error: Exception) -> str | None:
    """What to tell the user about something that they can mend; None for a bug."""
    if isinstance(error, UserError):
        return str(error)
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if type(error).__module__.startswith("yaml."):
        return f"a file of settings cannot be read: {one_line(error)}"
    if isinstance(error, UnicodeDecodeError):
        return _undecoded(error)
    if isinstance(error, HydraException | OmegaConfBaseException):  # some of them are ValueErrors or OSErrors too
        return _hydra_message(error)
    if isinstance(error, ValueError | TypeError):
        return _argument_message(str(error))
    place = getattr(error, "filename", None) or "the store, the run folder or what is printed"
    if disk_full(error):
        return f"no space left on the disk for {place}; make room and run the same command again"
    if isinstance(error, OSError) and error.errno in _REFUSED:
        return f"{place}: {error.strerror}; check dataset.root, store, hydra.run.dir and --to"
    if isinstance(error, OSError) and "temporary directory" in str(error):  # Python's word for finding none
        return f"{error.strerror}; set TMPDIR to a folder that can be written"
    return None


def _undecoded(error: UnicodeDecodeError) -> str | None:
    """What to say about a file of settings in another encoding, of which Hydra tells no name."""
    for frame, _ in walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").startswith("hydra.") and "full_path" in frame.f_locals:
            return f"{frame.f_locals['full_path']}: it is not UTF-8; save the file as UTF-8"
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

    from ddselect.schema import unknown_key

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
        key, equals, value = cause.override.partition("=")
        as_text = f"settings are written key=value, one text {shlex.quote(setting(key, value))}"
        return f"cannot read '{cause.override}'; {as_text if equals else 'settings are written key=value'}"
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return f"{cause.full_key}: {text}"
    return one_line(cause)


def _argument_message(text: str) -> str | None:
    """What to say about the two mistakes of users to which Hydra gives no type of its own, nor says where they are."""
    from ddselect.schema import GROUPS, below_a_list

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
