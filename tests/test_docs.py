"""What the docs show is true: commands parse, targets and files exist, settings and names are ours.

Convention: a fenced block marked `sh` holds lines that a reader may type, `yaml` settings of the
configuration, `python` code that imports what it names; output and sketches carry `text`.
"""

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from streamer import config
from streamer.commands import main
from tests.conftest import REPOSITORY, tracked

MARKS = {"sh", "yaml", "python", "json", "text", "mermaid"}

#: Folders whose names in docs are promises.
ROOMS = ("streamer", "engines", "monitoring", "deployment", "docs", "tests", "requirements", ".ci")


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int
    mark: str
    text: str


def pages() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".md"]


def blocks(*marks: str) -> Iterator[Block]:
    for page in pages():
        mark, start, lines = "", 0, list[str]()
        for number, line in enumerate(page.read_text().splitlines(), 1):
            if not line.lstrip().startswith("```"):
                lines.append(line)
            elif start:
                if not marks or mark in marks:
                    name = page.relative_to(REPOSITORY).as_posix()
                    yield Block(name, start, mark, "\n".join(lines))
                start = 0
            else:
                mark, start, lines = line.strip().removeprefix("```"), number, []
        assert not start, f"{page}:{start}: a block that never ends"


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield where and what: each simple command of the `sh` blocks, as words."""
    for block in blocks("sh"):
        joined = block.text.replace("\\\n", " ")
        for line in joined.splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if set(word) <= set("|&;<>()"):
                    if words:
                        yield f"{block.page}:{block.line}: {line.strip()}", words
                    words = []
                else:
                    words.append(word)


def test_every_block_says_what_it_is() -> None:
    found = [f"{b.page}:{b.line} ```{b.mark}" for b in blocks() if b.mark not in MARKS]

    assert found == []


def test_every_make_target_that_docs_name_exists() -> None:
    targets = set(
        re.findall(r"^\.PHONY: (\S+)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    )

    named = {(where, words[1]) for where, words in commands() if words[0] == "make" and words[1:]}
    for page in pages():
        text = re.findall(r"`make ([a-z][a-z-]*)", page.read_text())
        named |= {(page.name, target) for target in text}

    assert {(where, target) for where, target in named if target not in targets} == set()


def test_every_downscaled_command_that_docs_show_parses() -> None:
    parser = main._parser()

    for where, words in commands():
        if Path(words[0]).name == "downscaled":
            try:
                parser.parse_args(words[1:])
            except SystemExit as end:
                if end.code:
                    pytest.fail(f"{where}: does not parse")


def test_every_file_that_docs_name_exists() -> None:
    rooms = "|".join(map(re.escape, ROOMS))
    named = re.compile(rf"[`(\[ ]((?:{rooms})/[\w./-]+)")

    found = [
        f"{page.relative_to(REPOSITORY)}: {path}"
        for page in pages()
        for path in named.findall(page.read_text())
        if not (REPOSITORY / path.rstrip("./")).exists()
    ]

    assert found == []


def test_every_relative_link_leads_somewhere() -> None:
    link = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")

    found = [
        f"{page.relative_to(REPOSITORY)}: {target}"
        for page in pages()
        for target in link.findall(page.read_text())
        if not (page.parent / target).exists()
    ]

    assert found == []


def test_every_configuration_that_docs_show_is_one() -> None:
    for block in blocks("yaml"):
        plain = yaml.safe_load(block.text)
        if isinstance(plain, dict) and {"input", "output", "model"} <= set(plain):
            config.parse(plain, f"{block.page}:{block.line}")


def test_every_import_that_docs_show_works() -> None:
    for block in blocks("python"):
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.Import):
                for name in node.names:
                    importlib.import_module(name.name)
            elif isinstance(node, ast.ImportFrom):
                module = importlib.import_module(str(node.module))
                for name in node.names:
                    assert hasattr(module, name.name), f"{block.page}:{block.line}: {name.name}"
