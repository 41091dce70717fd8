# SPDX-License-Identifier: BSD-3-Clause
"""The sentences of Markdown, of man pages, and of the comments of headers.

Fenced and indented code, literal text, tables and headings are left out. A sentence ends at a full stop or at the end
of its paragraph. An item of a list, a parameter ("@fd: ...") and each errno of a "Returns" are sentences of their own.
A piece of code and a macro line of a man page count as one word.
"""
import re
from dataclasses import dataclass, field

END = re.compile(r"[.!?][\"')*_\]]*$")
NO_END = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf)|\.\.)\.$")
ERRNO = re.compile(r"\(?-E[A-Z0-9]+\b")
ITEM = re.compile(r"\s*(?:[-*]|\d+\.) ")


@dataclass
class Sentence:
    line: int
    words: list = field(default_factory=list)

    @property
    def length(self):
        return sum(1 for word in self.words if any(map(str.isalnum, word)))

    def __str__(self):
        return " ".join(self.words)


class _Collector:
    """Takes words and the ends of paragraphs, and gives the sentences."""

    def __init__(self):
        self.sentences = []
        self.current = None
        self.in_code = False

    def end(self):
        if self.current and self.current.length:
            self.sentences.append(self.current)
        self.current = None
        self.in_code = False

    def word(self, line, word):
        joins = self.in_code
        self.in_code ^= word.count("`") % 2 == 1
        if joins:
            self.current.words[-1] += "_" + word
            word = self.current.words[-1]
        else:
            if ERRNO.match(word):
                self.end()
            self.current = self.current or Sentence(line)
            self.current.words.append(word)
        if not self.in_code and END.search(word) and not NO_END.search(word):
            self.end()

    def text(self, line, text):
        for word in text.split():
            self.word(line, word)


def _markdown(text):
    text = re.sub(r"\[([^\]]*)\]\([^)\s]*\)", r"\1", text)
    collector = _Collector()
    fenced = False
    after_blank = True
    for number, line in enumerate(text.split("\n"), 1):
        fence = line.startswith("```")
        fenced ^= fence
        code = fenced or fence or (after_blank and line.startswith("    "))
        after_blank = not line.strip() or (code and not fence)
        if code or not line.strip() or line.startswith(("|", "#", "<")):
            collector.end()
            continue
        item = ITEM.match(line)
        if item:
            collector.end()
        collector.text(number, line[item.end() :] if item else line)
    collector.end()
    return collector.sentences


# Macros of mdoc that stand within a sentence; all others end it.
INLINE = frozenset(
    "Ar Cm Dq Dv Em Er Ev Fa Fl Fn Ic In Li Nm No Ns Op Pa Pc Po Pq Ql Qq Sq Sx Sy Va Xr".split()
)


def _manual(text):
    collector = _Collector()
    literal = False
    for number, line in enumerate(text.split("\n"), 1):
        macro, _, rest = line.partition(" ")
        if macro in (".Bd", ".Ed"):
            literal = macro == ".Bd"
        if not line.startswith("."):
            if not literal:
                collector.text(number, line)
        elif macro[1:] in INLINE:
            collector.word(number, re.sub(r"\s+([.,:;)]+)$", r"\1", rest or macro[1:]))
        elif macro != '.\\"':
            collector.end()
    collector.end()
    return collector.sentences


def _header(text):
    collector = _Collector()
    for comment in re.finditer(r"/\*.*?\*/", text, re.DOTALL):
        first = text.count("\n", 0, comment.start()) + 1
        listed = False
        for number, line in enumerate(comment[0][2:-2].split("\n"), first):
            line = re.sub(r"^\s*\*+ ?", "", line) if number > first else line.lstrip("*").strip()
            begins = re.match(r"@[\w, @]+:|- ", line)
            listed = bool(begins) or (listed and line.startswith(" "))
            if begins or not line.strip() or (line.startswith(" ") and not listed):
                collector.end()
            if begins or listed or not line.startswith(" "):
                collector.text(number, line)
        collector.end()
    return collector.sentences


def sentences(path):
    read = {".md": _markdown, ".h": _header}.get(path.suffix, _manual)
    return read(path.read_text())
