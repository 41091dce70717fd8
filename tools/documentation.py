# SPDX-License-Identifier: BSD-3-Clause
"""The examples of the documentation: fenced and indented blocks of Markdown, literal ones of man pages."""
import re
import textwrap
from dataclasses import dataclass

from guestlab import paths


@dataclass
class Example:
    page: str  # relative to the tree
    text: str

    @property
    def name(self):
        return f"{self.page}: {self.text.splitlines()[0]}"


def _markdown(text):
    """Fenced blocks, and paragraphs that are indented by four."""
    outside = []
    for number, part in enumerate(re.split(r"^```.*\n?", text, flags=re.MULTILINE)):
        if number % 2:
            yield part
        else:
            outside.append(part)
    text = re.sub(r"^(#.*)$", r"\1\n", "\n".join(outside), flags=re.MULTILINE)
    for block in re.findall(r"(?<=\n\n)(?:(?: {4}.*)?\n)+", text):
        if block.strip():
            yield textwrap.dedent(block).strip("\n") + "\n"


def _plain(roff):
    """Literal text of a man page as it is printed."""
    lines = [line for line in roff.splitlines() if not line.startswith(".")]
    text = textwrap.dedent("\n".join(lines)) + "\n"
    return text.replace(r"\-", "-").replace(r"\e", "\\").replace(r"\(aq", "'")


def _manual(text):
    for block in re.findall(r"^\.(?:Bd -literal[^\n]*|nf|EX)\n(.*?)^\.(?:Ed|fi|EE)$", text, flags=re.MULTILINE | re.DOTALL):
        yield _plain(block)


def pages():
    tree = paths.TREE
    return [*tree.glob("*.md"), *(tree / "docs").glob("*.md"), *(tree / "man").glob("*.[1-8]")]


def examples():
    """All of them, in order."""
    for page in sorted(pages()):
        find = _markdown if page.suffix == ".md" else _manual
        for text in find(page.read_text()):
            if text.strip():
                yield Example(str(page.relative_to(paths.TREE)), text)
