"""The documents as a whole: links lead somewhere, files are there, and what people copy is run by a test."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from support.documents import TYPED, Block, blocks, documents
from support.program import ROOT

IDS = [str(document.relative_to(ROOT)) for document in documents()]
TESTS = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))

every_document = pytest.mark.parametrize("document", documents(), ids=IDS)
every_block = pytest.mark.parametrize(
    "block",
    [each for document in documents() for each in blocks(document) if each.language in TYPED],
    ids=lambda each: f"{each.document.name}:{each.mark}",
)


def prose(document: Path) -> str:
    """A document without its code blocks."""
    return re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def links(document: Path) -> list[str]:
    """Where the links of a document lead, those to other sites left out."""
    found: list[str] = re.findall(r"\]\(([^)\s]+)\)", prose(document))
    return [each for each in found if not re.match(r"https?:", each)]


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#{1,6} (.*)$", prose(document), re.MULTILINE)
    found: dict[str, int] = {}
    made = set()
    for heading in headings:
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        number = found[plain] = found.get(plain, -1) + 1
        made.add(f"{plain}-{number}" if number else plain)
    return made


@every_document
def test_links_lead_somewhere(document: Path) -> None:
    """Every link to a file or a heading of the project leads to one."""
    lost = []
    for link in links(document):
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


@every_document
def test_every_file_that_is_named_exists(document: Path) -> None:
    """Every path of the project that a document names is there."""
    named = set(re.findall(r"`((?:proxy|config|deploy|tests|requirements|\.ci)/[^` ]*)`", document.read_text()))
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@every_document
def test_it_says_what_it_is_for(document: Path) -> None:
    """A document has one title, at its top, and a heading skips no level."""
    levels = [len(each) for each in re.findall(r"^(#{1,6}) ", prose(document), re.MULTILINE)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


@every_block
def test_what_people_copy_is_run(block: Block) -> None:
    """A block that one copies is run by a test that names it, or says why it is not run."""
    kind, _, rest = block.mark.partition(": ")
    assert kind in {"run", "not run"}, block.text
    assert rest, block.text
    if kind == "run":
        assert f'"{rest}"' in TESTS, rest


def test_every_page_is_in_the_index() -> None:
    """A reader finds every page from the index."""
    index = ROOT / "deploy" / "docs" / "index.md"
    reached = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    pages = {document for document in documents() if document != index and document.name != "README.md"}
    assert sorted(pages - reached) == []
