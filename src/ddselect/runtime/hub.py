"""Datasets of the Hugging Face hub, through its own client: what it refuses is one line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from ddselect.runtime.errors import UserError, brief, disk_full

HUB = "hub:"  # before the id of a dataset where a place is asked for


def address(repo: str) -> str:
    """Where a person looks at a dataset."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/datasets/{repo}"


@contextmanager
def hub_asked(who: str, repo: str, remedy: str) -> Iterator[None]:
    """Around what asks the hub about a dataset; ``who`` stands before what is wrong, ``remedy`` helps where it is away.

    Raises:
        UserError: The hub is not reached, has no such dataset, or does not allow it.
    """
    from huggingface_hub import errors

    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # of the client, or of whichever library it speaks HTTP with
        if disk_full(error):
            raise
        found = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ else error
        raise UserError(f"{who}: {_cause(found, repo, remedy)}") from None


def _cause(error: BaseException, repo: str, remedy: str) -> str:
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return f"{repo} is gated; accept its terms at {address(repo)}, then give a token with `hf auth login`"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repo} has no such revision; see {address(repo)}/tree/main"
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"the hub has no dataset {repo}, or it is private and needs a token (`hf auth login`); see {address(repo)}"
        )
    if isinstance(error, errors.HFValidationError):
        return f"'{repo}' is no id of a dataset; write <user>/<name>"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{repo} is not on this machine, and HF_HUB_OFFLINE keeps it from being fetched; unset that, or {remedy}"
    if status in (401, 403):
        return f"the hub does not allow it ({status}); give a token that may, with `hf auth login` or HF_TOKEN"
    told = f"answers {status}" if status else "is not reached"
    return f"{address('')[: -len('/datasets/')]} {told} ({brief(error)}); try again, or {remedy}"


@cache  # the hub is asked once in a process
def fetched(source: str, who: str, wanted: Sequence[str] | None = None, left: Sequence[str] = ()) -> Path:
    """The files of a dataset, in the client's cache; where the hub is not reached, as they were fetched before.

    Args:
        source: ``<user>/<name>``, if wanted with ``@<revision>``.
        who: Stands before what is wrong.
        wanted: Patterns of the files; None for all.
        left: Patterns of files that are not.

    Raises:
        UserError: As :func:`hub_asked`.
    """
    from huggingface_hub import snapshot_download

    repo, _, revision = source.partition("@")
    remedy = (
        f"fetch it with `hf download --repo-type dataset {repo}` where there is a connection, and carry HF_HOME over"
    )
    with hub_asked(who, repo, remedy):
        found = snapshot_download(
            repo,
            repo_type="dataset",
            revision=revision or None,
            allow_patterns=None if wanted is None else list(wanted),
            ignore_patterns=list(left),
        )
    return Path(found)
