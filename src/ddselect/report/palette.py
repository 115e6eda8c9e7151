"""How the selections look: one colour and one dash pattern each, the same in every figure of the page."""

from collections.abc import Sequence
from dataclasses import dataclass

COLOURS = 6  # --arm-0 ... in style.css: Okabe and Ito's colour-blind-safe palette, tuned for either theme
_DASHES: tuple[tuple[int, ...], ...] = ((), (6, 2), (2, 2), (8, 2, 2, 2), (4, 1, 1, 1), (10, 3))


@dataclass(frozen=True)
class Look:
    """How a selection is drawn.

    Attributes:
        colour: A CSS colour that follows the page's theme.
        dash: Lengths of dashes and gaps in points; empty for a solid line.
    """

    colour: str
    dash: tuple[int, ...]


REFERENCE = Look("var(--reference)", (1, 2))


def looks(names: Sequence[str], references: set[str]) -> dict[str, Look]:
    """The look of each selection, in order; after the last colour they come round again with other dashes."""
    rivals = [name for name in names if name not in references]
    shift = [(i % COLOURS, (i + i // COLOURS) % len(_DASHES)) for i in range(len(rivals))]
    found = {name: Look(f"var(--arm-{c})", _DASHES[d]) for name, (c, d) in zip(rivals, shift, strict=True)}
    return {name: found.get(name, REFERENCE) for name in names}
