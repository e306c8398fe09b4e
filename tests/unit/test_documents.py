"""The documents name only what exists: links, paths, tests, make targets, settings, metrics, imports, messages."""

import hashlib
import re
import tomllib
from pathlib import Path
from typing import Final

import pytest

from common.settings import Settings
from tests.documents import PAGES, ROOT, code

TEXTS: Final = {page: page.read_text(encoding="utf-8") for page in PAGES}
MAKEFILE: Final = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ROOMS: Final = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
SOURCES: Final = "\n".join(
    path.read_text(encoding="utf-8")
    for room in sorted(ROOMS - {"tests", "docs"})
    for path in (ROOT / room).rglob("*")
    if path.suffix in {".py", ".sql", ".sh"}
)
TESTS: Final = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")
}
INSTALLED: Final = {"pip", "pytest"}  # programs of packages
SPARKS_OWN: Final = {"spark.authenticate"}  # an option of Spark, named like a setting of ours

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def exists(page: Path, name: str) -> bool:
    return any((folder / name).exists() for folder in (ROOT, page.parent))


@every_page
def test_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    lost = []
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", TEXTS[page]):
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            lost.append(f"{target}#{anchor}")

    assert lost == []


@every_page
def test_paths_exist(page: Path) -> None:
    """A path in a page is the reader's way into the source."""
    named = [
        span for span in code(TEXTS[page]) if re.fullmatch(r"(\w+/)[\w./-]*", span) and span.split("/")[0] in ROOMS
    ]

    assert [name for name in named if not exists(page, name)] == []


@every_page
def test_tests_exist(page: Path) -> None:
    """`file.py::test` and `::test` (of the file before it) name a test; a file without a folder is in tests/fault."""
    lost, file = [], ""
    for span in code(TEXTS[page]):
        if not (found := re.fullmatch(r"((?:tests/)?[\w/]*test_\w+\.py)?(?:::)?(test_\w+)?", span)) or not span:
            continue
        if found[1]:
            file = found[1] if found[1].startswith("tests/") else f"tests/fault/{found[1]}"
        where = TESTS.get(file, "") if "::" in span or not found[2] else "\n".join(TESTS.values())
        if (found[1] and file not in TESTS) or (found[2] and f"def {found[2]}(" not in where):
            lost.append(span)

    assert lost == []


@every_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"(?:`|^\$ |^|[A-Z_]+=\S+ )make ([a-z][a-z0-9-]*)", TEXTS[page], re.MULTILINE))
    variables = set(re.findall(r"\bmake [a-z-]+ ([A-Z_]+)=", TEXTS[page]))

    assert named - targets == set()
    assert {name for name in variables if f"$({name})" not in MAKEFILE and f"{name}," not in MAKEFILE} == set()


def test_contributing_says_what_the_make_targets_run() -> None:
    """A contributor who runs `make check` must know what was checked."""
    table = re.findall(r"^\| `make ([a-z0-9-]+)` \| (.+) \|$", TEXTS[ROOT / "CONTRIBUTING.md"], re.MULTILINE)
    missing = []
    for target, runs in table:
        recipe = re.search(rf"^{target}:(?:.*\n)(?:\t.*\n)*", MAKEFILE, re.MULTILINE)
        assert recipe, target
        missing += [(target, name) for name in code(runs) if name.removeprefix("tests/") not in recipe[0]]

    assert len(table) >= 6
    assert missing == []


@every_page
def test_settings_exist(page: Path) -> None:
    """A setting by either of its names: `HEARTBEAT_CONSUMER__MAX_BATCH`, `consumer.max_batch`."""
    fields = {section: set(field.annotation.model_fields) for section, field in Settings.model_fields.items()}  # type: ignore[union-attr]  # each section is a model
    named = [tuple(name.lower().split("__")) for name in re.findall(r"HEARTBEAT_([A-Z]+__[A-Z_]+)", TEXTS[page])]
    named += [
        (found[1], found[2])
        for span in code(TEXTS[page])
        if (found := re.fullmatch(r"(\w+)\.([a-z_]+)(?:[: ].*)?", span))
        and found[1] in fields
        and found[0] not in SPARKS_OWN
        and not (ROOT / found[1] / f"{found[2]}.py").exists()  # a module
    ]

    assert [name for name in named if name[1].removesuffix("_file") not in fields.get(name[0], ())] == []


@every_page
def test_metrics_exist(page: Path) -> None:
    named = set(re.findall(r"\bheartbeat_(?:consumer|producer)_[a-z_]+[a-z]", TEXTS[page]))

    assert {name for name in named if f'"{name}"' not in SOURCES} == set()


@every_page
def test_programs_and_their_options_exist(page: Path) -> None:
    """`python -m X` names a module, and each option after it stands in that module or one that it imports."""
    lost = []
    for name, rest in re.findall(r"python -m ([\w.]+)((?: [\w.'=-]+)*)", TEXTS[page]):
        file = ROOT / name.replace(".", "/")
        if name in INSTALLED:
            continue
        if not (file.with_suffix(".py").exists() or (file / "__main__.py").exists()):
            lost.append(name)
        else:
            files = (path for room in (name.split(".")[0], "common") for path in (ROOT / room).rglob("*.py"))
            room = "\n".join(path.read_text(encoding="utf-8") for path in files)
            lost += [option for option in re.findall(r"--[a-z-]+", rest) if f'"{option}"' not in room]

    assert lost == []


def test_architecture_names_the_doors_of_the_contracts() -> None:
    """`make lint` enforces pyproject.toml; the page must say the same."""
    page = TEXTS[ROOT / "docs" / "architecture.md"]
    contracts = {
        module: set(contract["allowed_importers"])
        for contract in PROJECT["tool"]["importlinter"]["contracts"]
        for module in contract.get("protected_modules", ())
        if module not in ROOMS
    }
    doors = {}
    for module in contracts:
        line = re.search(rf"^- {module}: (.+(?:\n  .+)*)", page, re.MULTILINE)
        assert line, f"docs/architecture.md lists no importers of {module}"
        doors[module] = {name.strip("/").replace("/", ".") for name in code(line[1])}

    assert doors == contracts


def test_architecture_lists_which_room_imports_which() -> None:
    """The table of rooms is the first thing that a contributor reads."""
    page = TEXTS[ROOT / "docs" / "architecture.md"].split("## Rooms")[1].split("\n## ")[0]
    listed = {
        room: {name.strip("/") for name in code(imports)}
        for room, imports in re.findall(r"^\| `(\w+)/` \|.*\|([^|]*)\|$", page, re.MULTILINE)
        if room != "tests"
    }
    imported: dict[str, set[str]] = {}
    for room in listed:
        texts = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / room).rglob("*.py"))
        found = set(re.findall(r"^\s*(?:from|import) (\w+)", texts, re.MULTILINE))
        imported[room] = (found & ROOMS) - {room, "tests"}

    assert {room for room in ROOMS if (ROOT / room / "__init__.py").exists()} - {"tests"} <= listed.keys()
    assert listed == imported


def test_requirements_are_explained_where_they_are_listed() -> None:
    """Each direct dependency has its reason beside it; CONTRIBUTING.md promises so."""
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("[dependency-groups]")[1].split("[tool.")[0]

    assert [line for line in re.findall(r'^  "[^"]+",.*$', lines, re.MULTILINE) if "# " not in line] == []


def test_readme_compares_by_the_measured_figures() -> None:
    """The table at the top repeats rows of docs/performance.md, which `make bench PEERS=1` writes."""
    peers = TEXTS[ROOT / "docs" / "performance.md"].split("<!-- begin peers -->")[1].split("<!-- end peers -->")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in peers.splitlines() if line.startswith("|")
    ]
    names = ("our consumer", "Kafka Connect, Debezium's JDBC sink", "Flink SQL")
    measured = [next(row for row in rows if row[0] == name) for name in names]
    bad = [next(row for row in rows if row[:2] == [name, "999"]) for name in names]
    shown = re.search(r"^\| rows per second .*\n(?:\|.*\n)+", TEXTS[ROOT / "README.md"], re.MULTILINE)

    assert shown
    table = [[cell.strip() for cell in line.strip("|").split("|")][1:] for line in shown[0].splitlines()]
    assert table == [
        *([row[column] for row in measured] for column in (1, 6, 7, 8)),
        *([row[column] for row in bad] for column in (2, 4)),
    ]


def test_page_about_exit_code_3_quotes_the_messages_of_the_code() -> None:
    """A person searches the page for the line that the consumer logged."""
    page = TEXTS[ROOT / "docs" / "reliability.md"].split("## When the consumer stops with code 3")[1]
    headings = re.findall(r"^### `(.+)`$", page, re.MULTILINE)
    words = [part.strip(" ,") for heading in headings for part in re.split(r"…", heading)]
    spoken = re.sub(r'"\s*\n\s*f?"', "", SOURCES)

    assert len(headings) >= 5
    assert [part for part in words if part and part not in spoken] == []


def test_readme_shows_the_output_of_verify() -> None:
    """The header and the summary are what a person compares with."""
    spoken = re.sub(r'"\s*\n\s*f?"', "", SOURCES)

    for words in ("checking the ", "offsets passed", "in Kafka beyond", "(counted row by row)"):
        assert words in TEXTS[ROOT / "README.md"], words
        assert words.strip("()") in spoken, words


@pytest.mark.parametrize("source", sorted((ROOT / "docs" / "images").glob("*.d2")), ids=lambda path: path.stem)
def test_picture_is_drawn_from_its_source(source: Path) -> None:
    """A source that was changed without `make pictures` leaves an old picture beside a new text."""
    drawn = source.with_suffix(".svg").read_text(encoding="utf-8").splitlines()[-1]
    shown = [page.name for page in PAGES if f"images/{source.stem}.svg)" in TEXTS[page]]

    assert drawn == f"<!-- source: {hashlib.sha256(source.read_bytes()).hexdigest()} -->"
    assert shown
