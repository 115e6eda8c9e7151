"""What MkDocs runs while it builds: pages made from the source, the studies and the files at the root."""

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
import settings

ROOT = Path(__file__).parents[2]


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are made."""
    found = settings.Settings()
    pages = {f"reference/{group.replace('/', '-')}.md": found.page(group) for group in found.groups}
    pages["reference/run.md"] = settings.top_level()
    pages["reference/presets.md"] = settings.files(
        "experiment/preset",
        "What a dataset brings",
        "`dataset=<name>` brings these options; the command line overrides them.",
    )
    pages["reference/experiments.md"] = settings.files(
        "experiment", "Published settings", "`experiment=<name>` chooses all of these; the command line overrides them."
    )
    for study in sorted((ROOT / "experiments").glob("*/README.md")):
        pages[f"results/{study.parent.name}.md"] = _of_a_study(study.read_text())
    pages["contributing/index.md"] = _at_the_root((ROOT / "CONTRIBUTING.md").read_text(), "../")
    pages["changelog.md"] = _at_the_root((ROOT / "CHANGELOG.md").read_text(), "")
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Puts the table of the stages where a page asks for it."""
    return markdown.replace("<!-- stages -->", settings.stages()) if "<!-- stages -->" in markdown else markdown


def on_page_content(html: str, **_: Any) -> str:
    """Roles of Sphinx in docstrings are code here, and a spread stays beside its mean."""
    return re.sub(r":(?:func|meth|class|data|mod|attr):(<code)", r"\1", html).replace(" ± ", "&nbsp;±&nbsp;")


def _of_a_study(text: str) -> str:
    """Links of a study's page, as they are on the site."""
    text = re.sub(r"\]\(\.\./(\w+)/README\.md", r"](\1.md", text)
    text = re.sub(r"\[([^]]*)\]\([\w.]+\.(?:py|json)\)", r"\1", text)  # files beside the page
    return re.sub(r"\]\(\.\./\.\./docs/", "](../", text)


def _at_the_root(text: str, up: str) -> str:
    """Links of a page at the root of the repository, as they are on the site."""
    text = re.sub(r"\]\(docs/", f"]({up}", text)
    text = re.sub(r"\]\(experiments/(\w+)/README\.md", rf"]({up}results/\1.md", text)
    return re.sub(r"\]\(experiments/README\.md", f"]({up}results/index.md", text)
