"""Pages on the settings, from the YAML files, their comments and the dataclasses; nothing is written by hand."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import griffe

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
_KEY = re.compile(r"(?P<indent> *)(?P<key>[\w./-]+):(?: (?P<value>.*))?$")


@dataclass
class Key:
    """A key of a YAML file with what its comment says."""

    name: str
    value: str
    text: str


@dataclass
class Option:
    """A YAML file: an option of a group."""

    name: str
    text: str  # the comment at its head
    target: str  # the dataclass, empty for presets and experiments
    keys: list[Key] = field(default_factory=list)
    source: str = ""


def sentence(lines: list[str]) -> str:
    """Comment lines as one text."""
    return " ".join(line.strip().lstrip("#").strip() for line in lines).strip()


def read(file: Path) -> Option:
    """Head, keys and comments of a YAML file. A key without a comment shares that of the one above."""
    source = file.read_text()
    head, above, keys, target, stack, block = [], [], [], "", [], False
    lines = [line for line in source.splitlines() if not line.startswith("# @package")]
    while lines and lines[0].startswith("#"):
        head.append(lines.pop(0))
    for line in lines:
        if line.lstrip().startswith("#"):
            above.append(line)
            continue
        found = _KEY.match(line.split(" #")[0].rstrip())
        if not found:
            if block and line.strip() and keys:
                keys[-1].value = f"{keys[-1].value} {line.strip()}".strip("> -")
            continue
        level = len(found["indent"]) // 2
        stack = [*stack[:level], found["key"]]
        value, block = (found["value"] or "").strip(), (found["value"] or "").startswith((">", "|"))
        if found["key"] == "_target_":
            target, above = value or target, []
            continue
        if " #" in line:
            above = [line.split(" #", 1)[1]]
        text = sentence(above) or (keys[-1].text if keys and _beside(keys[-1].name, stack) else "")
        text = text or ("Name in results and reports." if stack == ["name"] else "")
        keys.append(Key(".".join(stack), value.strip(">- ") if block else value, text))
        above = []
    return Option(file.stem, sentence(head), target, keys, source)


def _beside(name: str, stack: list[str]) -> bool:
    """Whether a key is the one above or that of which it is a part."""
    return name.split(".")[:-1] == stack[:-1] or name.split(".") == stack[:-1]


class Settings:
    """All groups, with the dataclasses read from the source without importing it."""

    def __init__(self) -> None:
        self.package = griffe.load("ddselect", search_paths=[ROOT / "src"], resolve_aliases=False)
        defaults = (CONF / "config.yaml").read_text()
        self.defaults = dict(re.findall(r"^  - (\w+): (\w+)", defaults, re.MULTILINE))
        self.groups = [
            folder.relative_to(CONF).as_posix()
            for folder in sorted([*CONF.iterdir(), CONF / "backbone" / "adapt"])
            if folder.is_dir() and folder.name not in ("hydra", "experiment")
        ]

    def field(self, target: str, key: str) -> tuple[str, bool]:
        """Type of a field of a dataclass, or of a dataclass in it, and whether it is for the execution alone."""
        name, _, inner = key.partition(".")
        for kind in self._ancestry(target):
            if name in kind.attributes:
                annotation, value = str(kind.attributes[name].annotation or ""), str(kind.attributes[name].value or "")
                return (
                    self.field(kind.resolve(annotation), inner) if inner else (annotation, value[:10] == "execution(")
                )
        return "", False

    def part(self, group: str) -> str:
        """The dataclass of a group below a group: that of the field of its name."""
        above, _, name = group.partition("/")
        target = self._base([read(file) for file in sorted((CONF / above).glob("*.yaml"))])
        kind = self._class(target)
        return kind.resolve(self.field(target, name)[0]) if kind else ""

    def about(self, target: str) -> str:
        """First line of a dataclass's docstring."""
        kind = self._class(target)
        return kind.docstring.value.splitlines()[0] if kind and kind.docstring else ""

    def _class(self, target: str) -> griffe.Class | None:
        name = target.removeprefix("ddselect.")
        return self.package[name] if target.startswith("ddselect.") and "." in name else None  # type: ignore[return-value]

    def _ancestry(self, target: str) -> Iterator[griffe.Class]:
        kind = self._class(target)
        while kind is not None:
            yield kind
            base = next((str(each) for each in kind.bases), "")
            kind = self._class(kind.resolve(base)) if base else None

    def page(self, group: str) -> str:
        """The page of a group: its options, every key, and the files as they stand."""
        options = [read(file) for file in sorted((CONF / group).glob("*.yaml"))]
        for option in options:
            option.target = option.target or (self.part(group) if "/" in group else "")
        base = self._base(options)
        lines = [
            f"# {group}",
            "",
            self.about(base) if base else "",
            "",
            "## Options",
            "",
            "| option | what it is |",
            "|---|---|",
        ]
        for option in options:
            mark = " (default)" if self.defaults.get(group) == option.name else ""
            lines.append(f"| [`{group}={option.name}`](#{option.name}){mark} | {cell(option.text)} |")
        lines += [
            "",
            "## Keys",
            "",
            "| key | type | value | what it does |",
            "|---|---|---|---|",
            *self._rows(group, options),
            "",
        ]
        for option in options:
            lines += [
                f"### {option.name}",
                "",
                f"`conf/{group}/{option.name}.yaml`",
                "",
                "```yaml",
                option.source.rstrip(),
                "```",
                "",
            ]
        return "\n".join(lines)

    def _base(self, options: list[Option]) -> str:
        """The class that those of all options have in common."""
        chains = [[kind.path for kind in self._ancestry(option.target)] for option in options if option.target]
        return next((path for path in chains[0] if all(path in chain for chain in chains)), "") if chains else ""

    def _rows(self, group: str, options: list[Option]) -> Iterator[str]:
        """One row for each key; a value that differs between options is told for each."""
        by_key: dict[str, list[tuple[str, Key]]] = {}
        prefix = group.replace("/", ".")
        for option in options:
            for key in option.keys:
                if not key.name.startswith("defaults"):
                    by_key.setdefault(key.name, []).append((option.name, key))
        for name, found in by_key.items():
            kinds = (self.field(option.target, name) for option in options if option.target)
            kind, execution = next((kind for kind in kinds if kind[0]), ("", False))
            values = {key.value for _, key in found}
            if name == "name":
                told = "the option's"
            elif len(values) == 1:
                told = f"`{found[0][1].value}`" if found[0][1].value else ""
            else:
                told = "<br>".join(f"{option}: `{key.value}`" for option, key in found if key.value)
            text = max((key.text for _, key in found), key=len)
            mark = " *Does not change the result.*" if execution else ""
            yield f"| `{prefix}.{name}` | {cell(f'`{kind}`' if kind else '')} | {cell(told)} | {cell(text)}{mark} |"


def cell(text: str) -> str:
    """A text that may stand in a cell of a table."""
    return (
        re.sub(r"(?<![`\\])<(\w[\w .|=-]*)>", r"`<\1>`", text).replace("|", "\\|")
        if "<br>" not in text
        else text.replace("|", "\\|")
    )


def top_level() -> str:
    """The page of `conf/config.yaml`."""
    option = read(CONF / "config.yaml")
    lines = [
        "# A run",
        "",
        "Keys outside the groups, `conf/config.yaml`.",
        "",
        "| key | value | what it does |",
        "|---|---|---|",
    ]
    for key in option.keys:
        if key.name.split(".")[0] not in ("defaults", "hydra"):
            lines.append(f"| `{key.name}` | `{key.value}` | {cell(key.text)} |")
    return "\n".join([*lines, "", "## conf/config.yaml", "", "```yaml", option.source.rstrip(), "```", ""])


def files(folder: str, title: str, about: str) -> str:
    """A page of YAML files as they stand, each with its head as text."""
    lines = [f"# {title}", "", about, ""]
    for file in sorted((CONF / folder).glob("*.yaml")):
        option = read(file)
        lines += [f"## {option.name}", "", option.text, "", "```yaml", option.source.rstrip(), "```", ""]
    return "\n".join(lines)


def stages() -> str:
    """The table of the stages, from `pipeline.py` and every `stage.py`."""
    declared: dict[str, str] = {}
    for file in sorted((ROOT / "src" / "ddselect").glob("*/stage.py")):
        declared |= dict(re.findall(r"^(\w+) = Stage\((.*?)^\)", file.read_text(), re.MULTILINE | re.DOTALL))
    listed = (ROOT / "src" / "ddselect" / "pipeline.py").read_text().split("STAGES = (")[1].split("\n)")[0]
    rows = ["| stage | makes | reads | one for each |", "|---|---|---|---|"]
    for constant, text in re.findall(r"^    (\w+),  # (.*)$", listed, re.MULTILINE):
        body = declared[constant]
        name = re.search(r'name="(\w+)"', body)
        reads = re.search(r"reads=(\([^)]*\)|\w+)", body)
        scope = re.search(r'scope="(\w+)"', body)
        names = re.findall(r'"([\w?]+)"', reads[1]) if reads else []
        told = ", ".join(each.replace("?", " (if made)") for each in names) or (
            "depends on the run" if reads and reads[1].isidentifier() else ""
        )
        rows.append(f"| `{name[1] if name else constant}` | {text} | {told} | {scope[1] if scope else 'run'} |")
    return "\n".join(rows)
