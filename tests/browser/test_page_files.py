"""The page's files as they stand: how large they are, what is in none of them, and that their types are right."""

import re
import subprocess

from support.node import FOLDER, node
from support.program import ROOT

PAGE = ROOT / "proxy" / "page"
SERVED = [path for path in PAGE.iterdir() if path.suffix in {".html", ".js", ".css", ".svg"}]
MOST_BYTES = 150_000
COMMENT = re.compile(r"/\*.*?\*/|^\s*//.*?$", re.DOTALL | re.MULTILINE)
OTHER_ORIGIN = re.compile(r"""(?:https?:)?//(?!www\.w3\.org/)[a-z0-9.-]+\.[a-z]{2,}""")
TSC_FLAGS = (
    "--noEmit", "--allowJs", "--checkJs", "--strict",
    "--target", "es2023", "--module", "esnext", "--moduleResolution", "bundler",
    "--lib", "es2024,dom,dom.iterable,dom.asynciterable", "--types", "",
)  # fmt: skip


def test_the_page_is_small() -> None:
    """All that a browser may load of the page, its comments and types left out, is under 150 kB, not compressed."""
    sizes = {path.name: len(COMMENT.sub("", path.read_text()).encode()) for path in SERVED}
    assert sum(sizes.values()) < MOST_BYTES, sizes


def test_nothing_inline_and_nothing_from_elsewhere() -> None:
    """No file has a script or a style inline, makes markup of text, or names another origin."""
    for path in SERVED:
        text = path.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            path
        )
        assert not OTHER_ORIGIN.search(COMMENT.sub("", text)), path
        if path.suffix == ".html":
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", text), path


def test_types() -> None:
    """The modules pass TypeScript's strict check."""
    node()
    files = sorted(str(path) for path in PAGE.iterdir() if path.suffix == ".js" or path.name.endswith(".d.ts"))
    compiler = FOLDER / "node_modules" / ".bin" / "tsc"
    done = subprocess.run([compiler, *TSC_FLAGS, *files], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
