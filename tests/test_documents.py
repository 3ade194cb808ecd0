"""What the documents say is there: files, headings, and commands; and tables that render."""

import re
from collections.abc import Iterator
from pathlib import Path

from withanyone_pack.tests.pack import ROOT

README = ROOT / "README.md"
LONGEST_README = 120
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benchmarks/FIGURES.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "miniature").glob("*.md")),
]
# What a run or the test bed makes, and what a user names.
MADE = re.compile(r"(\.testbed|\.venv|runs|cache|photos|models|ComfyUI|demo_output)\b")


def lines(documents: list[Path] = DOCUMENTS) -> Iterator[tuple[str, str]]:
    """Every line of the documents, with the place it stands at."""
    for path in documents:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield f"{path.relative_to(ROOT)}:{number}", line


def anchors(path: Path) -> set[str]:
    """What a page's headings are called in links."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_one_screen_with_its_two_commands():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_README
    assert re.search(r"^bash demo\.sh\b", text, re.MULTILINE)
    assert re.search(r"^bash test\.sh\b", text, re.MULTILINE)
    assert re.search(r"^!\[[^\]]+\]\(docs/images/miniature_people\.jpg\)$", text, re.MULTILINE)


def test_every_page_is_reached_from_the_readme():
    linked = set(re.findall(r"\]\((docs/[\w.-]+\.md)", README.read_text(encoding="utf-8")))
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")} - linked == set()


def test_links_lead_somewhere():
    broken = []
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
            name, _, anchor = target.partition("#")
            if name.startswith(("http://", "https://")):
                continue
            file = (path.parent / name).resolve() if name else path
            if not file.exists() or (anchor and anchor not in anchors(file)):
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert broken == []


def test_commands_name_scripts_and_modules_that_exist():
    missing = []
    for place, line in lines():
        for name in re.findall(r"(?:python|pytest|bash|launch)\b[^`#|]*?\s((?:[\w.-]+/)*[\w-]+\.(?:py|sh))", line):
            if not (ROOT / name).is_file() and not MADE.match(name):
                missing.append(f"{place}: {name}")
        for name in re.findall(r"python -m ((?:withanyone_core|training|miniature|tests)[\w.]*\w)", line):
            module = ROOT.joinpath(*name.split("."))
            if not module.with_suffix(".py").is_file() and not (module / "__main__.py").is_file():
                missing.append(f"{place}: {name}")
    assert missing == []


def test_named_files_of_the_repository_exist():
    rooms = "nodes|withanyone_core|training|miniature|tests|benchmarks|docs|locales|example_workflows|subgraphs"
    missing = []
    for place, line in lines():
        for name in re.findall(rf"(?<![\w/.-])((?:{rooms})/[\w./-]*\w)", line):
            if not (ROOT / name).exists() and not (ROOT / name).with_suffix(".py").exists():
                missing.append(f"{place}: {name}")
    assert missing == []


def test_tables_are_not_cut_by_a_blank_line():
    """A row that follows a blank line is the head of a new table, or the table is broken."""
    cut = []
    for path in DOCUMENTS:
        rows = ["", *path.read_text(encoding="utf-8").splitlines(), ""]
        for above, row, below in zip(rows, rows[1:], rows[2:], strict=False):
            if row.startswith("|") and not above.startswith("|") and not re.match(r"\|[ :|-]+\|$", below):
                cut.append(f"{path.relative_to(ROOT)}: {row[:60]}")
    assert cut == []
