"""Diagrams of the concepts, as SVG: `python docs/pictures/diagrams.py` writes them beside this file.

Colours are readable on white and on dark pages.
"""

from html import escape
from pathlib import Path

HERE = Path(__file__).parent
INK, FAINT = "#7d8590", "#7d859055"
BLUE, ORANGE, GREEN, VIOLET = "#3b76c4", "#d9642a", "#3f8f5b", "#8257b8"
CLASSES = (BLUE, ORANGE, GREEN, VIOLET)


class Drawing:
    """Shapes on a canvas."""

    def __init__(self, width: int, height: int) -> None:
        self.size, self.parts = (width, height), list[str]()

    def box(self, x: float, y: float, w: float, h: float, text: str = "", fill: str = BLUE, size: int = 15) -> None:
        """A filled box with lines of text in its middle."""
        self.parts.append(f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="6" fill="{fill}"/>')
        lines = text.split("\n") if text else []
        for number, line in enumerate(lines):
            self.text(
                x + w / 2,
                y + h / 2 + (number - (len(lines) - 1) / 2) * size * 1.25,
                line,
                "#fff",
                size if number == 0 else size - 2,
            )

    def text(self, x: float, y: float, text: str, fill: str = INK, size: int = 14, anchor: str = "middle") -> None:
        """A line of text."""
        self.parts.append(
            f'<text x="{x}" y="{y}" fill="{fill}" font-size="{size}" text-anchor="{anchor}" '
            f'dominant-baseline="central">{escape(text)}</text>'
        )

    def arrow(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """An arrow; bent where it is neither level nor upright."""
        middle = (x1 + x2) / 2
        path = (
            f"M{x1},{y1} L{x2},{y2}" if x1 == x2 or y1 == y2 else f"M{x1},{y1} C{middle},{y1} {middle},{y2} {x2},{y2}"
        )
        self.parts.append(f'<path d="{path}" fill="none" stroke="{INK}" stroke-width="1.6" marker-end="url(#tip)"/>')

    def tile(self, x: float, y: float, side: float, fill: str, opacity: float = 1.0) -> None:
        """A small picture: a square with hills and a sun."""
        hills = ((0.08, 0.9), (0.42, 0.42), (0.6, 0.66), (0.72, 0.54), (0.92, 0.9))
        path = " ".join(f"{x + side * right:.1f},{y + side * down:.1f}" for right, down in hills)
        sun = f'cx="{x + side * 0.72}" cy="{y + side * 0.27}" r="{side * 0.1:.1f}"'
        self.parts += [
            f'<g opacity="{opacity:.2f}"><rect x="{x}" y="{y}" width="{side}" height="{side}" rx="3" fill="{fill}"/>',
            f'<polygon points="{path}" fill="#fff" opacity="0.75"/>',
            f'<circle {sun} fill="#fff" opacity="0.85"/></g>',
        ]

    def write(self, name: str, title: str) -> None:
        """Writes the file."""
        w, h = self.size
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" '
            f'font-family="system-ui, -apple-system, Segoe UI, Arial, sans-serif"><title>{escape(title)}</title>'
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            'orient="auto">'
            f'<path d="M0,0 L10,5 L0,10 Z" fill="{INK}"/></marker></defs>'
        )
        (HERE / f"{name}.svg").write_text("\n".join([head, *self.parts, "</svg>"]) + "\n")


def selection() -> None:
    """Candidates by score, the best share, and the order."""
    d = Drawing(860, 270)
    for column, (x, title) in enumerate(
        ((20, "candidates of a class"), (310, "the better share"), (600, "in order: the first k are IPC k"))
    ):
        d.text(x + 110, 24, title)
        for number in range(20):
            row, place = divmod(number, 5)
            left, top = x + place * 45, 50 + row * 45
            if column == 0:
                d.tile(left, top, 38, BLUE, 1 - 0.042 * number)
            elif column == 1:
                d.tile(left, top, 38, BLUE if number < 10 else INK, 1 - 0.042 * number if number < 10 else 0.15)
            elif number < 6:
                order = (0, 3, 7, 4, 9, 6)[number]
                d.tile(x + (number % 3) * 70, 50 + (number // 3) * 92, 60, BLUE, 1 - 0.042 * order)
                d.text(x + (number % 3) * 70 + 30, 50 + (number // 3) * 92 + 74, str(number + 1))
    d.arrow(250, 140, 298, 140)
    d.arrow(540, 140, 588, 140)
    d.text(140, 250, "ranked by score, or with teacher loss", size=13)
    d.text(420, 250, "the hardest images are left out", size=13)
    d.text(700, 250, "picked by clusters or herding", size=13)
    d.write("selection", "Candidates of a class are ranked, the better share is kept, and picked in order")


def composition() -> None:
    """A stitched image, one of mixed classes, and a whole one."""
    d = Drawing(860, 250)
    for x, title, colours in (
        (20, "stitched", (BLUE,) * 4),
        (320, "stitched, mixed classes", CLASSES),
        (620, "whole", ()),
    ):
        d.text(x + 110, 20, title, size=15)
        if colours:
            for number, fill in enumerate(colours):
                row, place = divmod(number, 2)
                d.tile(x + place * 44, 60 + row * 62, 36, fill)
                d.tile(x + 130 + place * 52, 62 + row * 52, 50, fill)
            d.arrow(x + 92, 115, x + 122, 115)
        else:
            d.tile(x + 10, 84, 60, ORANGE)
            d.tile(x + 130, 62, 102, ORANGE)
            d.arrow(x + 80, 115, x + 122, 115)
        d.text(x + 110, 195, "2 x 2 crops, each resized" if colours else "one image as it is", size=13)
    d.text(430, 232, "metadata.jsonl: the source, box, score and rank of every patch", size=13)
    d.write("composition", "Crops fill a stitched image of one class or of several; a whole image stays as it is")


def labels() -> None:
    """Views, teacher, labels, student."""
    d = Drawing(860, 250)
    d.tile(30, 90, 70, BLUE)
    d.text(65, 180, "distilled image")
    for number, y in enumerate((40, 105, 170)):
        d.tile(190 + 6 * number, y, 44, (BLUE, GREEN, BLUE)[number])
        d.arrow(108, 125, 182, y + 22)
        d.arrow(250, y + 22, 318, 125)
    d.text(218, 232, "views: crop, flip, CutMix")
    d.box(326, 95, 110, 60, "teacher", ORANGE)
    for number, height in enumerate((18, 64, 30, 10)):
        d.box(510 + 24 * number, 157 - height, 18, height, "", CLASSES[number])
    d.text(556, 180, "soft label of each view")
    d.arrow(440, 125, 500, 125)
    d.box(690, 95, 110, 60, "student", BLUE)
    d.arrow(612, 125, 682, 125)
    d.text(556, 208, "live, or stored first: logits, features", size=13)
    d.text(745, 180, "KL divergence at T")
    d.write("labels", "Views of a distilled image go to the teacher, whose soft labels train the student")


def protocols() -> None:
    """What a protocol fixes."""
    d = Drawing(860, 230)
    steps = (
        ("distilled set", "images of the\nselection", BLUE),
        ("views", "window, flip,\nCutMix, shuffle", ORANGE),
        ("labels", "soft at T,\nor class", ORANGE),
        ("training", "epochs, batch,\nrate, decay", ORANGE),
        ("test", "crop, when,\nlast and best", ORANGE),
        ("accuracy", "on all real\ntest images", GREEN),
    )
    for number, (name, text, fill) in enumerate(steps):
        x = 12 + number * 142
        d.box(x, 60, 118, 44, name, fill)
        for line, told in enumerate(text.split("\n")):
            d.text(x + 59, 128 + 19 * line, told, size=13)
        if number:
            d.arrow(x - 22, 82, x - 4, 82)
    d.parts.append(
        f'<rect x="142" y="36" width="560" height="140" rx="10" fill="none" stroke="{INK}" stroke-dasharray="6 5"/>'
    )
    d.text(422, 20, "protocol: the same for every selection", size=15)
    d.text(430, 206, "what a run changes of it is listed with its results", size=13)
    d.write("protocols", "A protocol fixes views, labels, training and test, from the distilled set to the accuracy")


def stages() -> None:
    """The stages of an ordinary run."""
    d = Drawing(860, 330)
    places = {
        "index": (20, 130, BLUE),
        "teacher": (160, 220, ORANGE),
        "prompt": (160, 40, BLUE),
        "scoring": (300, 40, BLUE),
        "boxes": (440, 40, BLUE),
        "embed": (440, 130, BLUE),
        "selection": (580, 85, BLUE),
        "composition": (720, 85, GREEN),
        "relabel": (580, 220, ORANGE),
        "student": (720, 220, GREEN),
    }
    reads = {
        "teacher": ["index"],
        "prompt": ["index"],
        "scoring": ["prompt"],
        "boxes": ["scoring"],
        "embed": ["boxes", "teacher"],
        "selection": ["boxes", "embed"],
        "composition": ["selection"],
        "relabel": ["teacher"],
    }
    for name, (x, y, fill) in places.items():
        d.box(x, y, 112, 46, name, fill)
        for other in reads.get(name, ()):
            left, top, _ = places[other]
            if left == x:
                d.arrow(x + 56, top + 46, x + 56, y - 2)
            else:
                d.arrow(left + 112, top + 23, x - 2, y + 23)
    d.arrow(776, 131, 776, 218)
    d.arrow(692, 243, 718, 243)
    d.arrow(740, 131, 660, 218)
    d.box(720, 284, 112, 34, "report", VIOLET)
    d.arrow(776, 266, 776, 282)
    d.text(20, 290, "store/<stage>/<fingerprint>/manifest.json", anchor="start", size=13)
    d.text(20, 310, "blue: made once for every IPC, student and protocol", anchor="start", size=13)
    d.write("stages", "Stages of a run: each reads others, and is made once")


if __name__ == "__main__":
    for draw in (selection, composition, labels, protocols, stages):
        draw()
