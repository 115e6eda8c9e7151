"""The dataset card that travels with a distilled set."""

from ddselect.dataset.index import Index


def dataset_card(title: str, index: Index, factor: int, whole: float, ipc: int | None, view: int, images: int) -> str:
    """Markdown with the metadata block that dataset hubs read."""
    per_class = "all" if ipc is None else str(ipc)
    stitched = f"{1 - whole:.0%} of them stitched from {factor} x {factor} crops" if ipc is not None else "all whole"
    return f"""---
task_categories: [image-classification]
size_categories: [{"n<1K" if images < 1000 else "1K<n<10K" if images < 10000 else "n>10K"}]
---
# Distilled set: {title}

{images} images of {view} x {view} pixels, {per_class} per class, {len(index.class_names)} classes; {stitched}.
Every pixel comes from a real training image: `metadata.jsonl` names, for each patch, the source file, the box in its
pixels, the cell of the distilled image, and the score, cluster and rank that it was selected by.
"""
