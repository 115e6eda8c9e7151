"""Class names."""

from ddselect.runtime.errors import UserError


def class_names(folders: list[str], kind: str) -> list[str]:
    """Names of classes from their folder names.

    Args:
        folders: Class folder names, in class order.
        kind: ``folder``: the folder's name is the class name; ``imagenet``: the folder's name is a WordNet ID.

    Raises:
        UserError: A folder is not an ImageNet WordNet ID.
    """
    if kind == "folder":
        return list(folders)
    from timm.data import ImageNetInfo  # seconds to import

    info = ImageNetInfo("imagenet-1k")
    known = set(info.label_names())
    for folder in folders:
        if folder not in known:
            raise UserError(f"class folder '{folder}' is not an ImageNet-1K WordNet ID; use dataset.names=folder")
    return [info.label_name_to_description(folder).split(",")[0] for folder in folders]


def imagenet_classes() -> list[str]:
    """The 1000 WordNet IDs in the class order of pretrained models."""
    from timm.data import ImageNetInfo

    return list(ImageNetInfo("imagenet-1k").label_names())
