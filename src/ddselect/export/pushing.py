"""A distilled set on the Hugging Face hub, as a dataset of its own."""

from pathlib import Path

from ddselect.composition.card import README, TAG
from ddselect.runtime.errors import UserError
from ddselect.runtime.hub import address, hub_asked


def push(folder: Path, repo: str, public: bool, overwrite: bool) -> str:
    """Uploads an export to ``<user>/<name>``, which is made if it is not there, and returns its address.

    One that is there must be empty, or with ``overwrite`` hold an earlier export, which goes. The card is first: so
    what an interrupted upload leaves is known for an export, and can be replaced.

    Raises:
        UserError: The hub is not reached or does not allow it, or the place is taken or more public than asked for.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    api, who = HfApi(library_name="ddselect"), f"--push-to-hub {repo}"
    with hub_asked(who, repo, "give --to <folder> and upload that later with `hf upload --repo-type dataset`"):
        try:
            there = api.dataset_info(repo)
        except RepositoryNotFoundError:
            api.create_repo(repo, repo_type="dataset", private=not public)
        else:
            taken = any(file.rfilename != ".gitattributes" for file in there.siblings or ())
            if taken and TAG not in (there.tags or ()):
                raise UserError(f"{who}: {address(repo)} exists and is no earlier export; choose another name")
            if taken and not overwrite:
                raise UserError(f"{who}: {address(repo)} holds an earlier export; add --overwrite to replace it")
            if not (there.private or public):
                raise UserError(f"{who}: {address(repo)} is public; add --public if the set may be seen by all")
        api.upload_file(path_or_fileobj=folder / README, path_in_repo=README, repo_id=repo, repo_type="dataset")
        old = "*" if overwrite else None
        api.upload_folder(folder_path=folder, delete_patterns=old, repo_id=repo, repo_type="dataset")
    return address(repo)
