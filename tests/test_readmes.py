"""The README files name what is there: files, tests, links with their anchors."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
FOLDERS = ("", "jobs", "configs", "pipeline", "cluster", "cluster/storage", "tests/benchmarks", "tests/gpu")
PAGES = {folder or ".": (REPOSITORY / folder / "README.md").read_text(encoding="utf-8") for folder in FOLDERS}
LINK = re.compile(r"\]\(([^()\s]+)\)")
CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_first_page_is_short() -> None:
    assert PAGES["."].count("\n") <= 150


@pytest.mark.parametrize("folder", PAGES)
def test_links_lead_to_what_is_there(folder: str) -> None:
    for link in LINK.findall(CODE.sub("", PAGES[folder])):
        path, _, anchor = link.partition("#")
        if ":" in path:
            continue  # of another site
        file = REPOSITORY / folder / (path or "README.md")
        assert file.exists(), link
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("folder", PAGES)
def test_files_and_tests_that_are_named_are_there(folder: str) -> None:
    words = CODE.sub("", PAGES[folder])
    paths = set(re.findall(r"(?<![\w/.-])(?:tests|jobs|pipeline|cluster|configs)/[\w/.-]*\w(?!\w*[*{])", words))
    names = set(re.findall(r"(?<![\w/.-])test_\w+\.py", words))
    roots = (REPOSITORY, REPOSITORY / "tests")  # the runbook names tests without their folder
    assert {path for path in paths if not any((root / path).exists() for root in roots)} == set()
    assert names - {file.name for file in (REPOSITORY / "tests").rglob("test_*.py")} == set()
