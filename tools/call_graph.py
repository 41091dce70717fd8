# SPDX-License-Identifier: BSD-3-Clause
"""Which files of a folder call which, read from their text: a file calls another when it names a function or an
object that the other defines for others. The layout that clang-format gives is what this relies on."""
import re

# A definition begins at the first column; one that is static is nobody else's.
DEFINITION = re.compile(
    r"^(?!static\b|extern\b|typedef\b|return\b|else\b)[A-Za-z_][^\n;={}#]*?[ *](\w+)"
    r"(?:\((?:[^;{}#]*?)\)\s*\n\{|(?:\[[^\]\n]*\])* = )",
    re.M,
)
# Neither a type's tag nor a member.
WORD = re.compile(r"(?<!struct )(?<!enum )(?<!union )(?<![.>\w])[A-Za-z_]\w*\b")
COMMENT_OR_TEXT = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.S)


def graph(folder):
    """{file: {file it calls: [names]}} of the C files that lie in a folder."""
    texts = {path.stem: COMMENT_OR_TEXT.sub(" ", path.read_text()) for path in sorted(folder.glob("*.c"))}
    owner = {name: file for file, text in texts.items() for name in DEFINITION.findall(text)}
    calls = {}
    for file, text in texts.items():
        calls[file] = {}
        for name in sorted(set(WORD.findall(text))):
            if owner.get(name, file) != file:
                calls[file].setdefault(owner[name], []).append(name)
    return calls


def circles(calls):
    """The sets of files that call each other in a circle: Tarjan's strongly connected components."""
    number, low, stack, found = {}, {}, [], []

    def visit(file):
        number[file] = low[file] = len(number)
        stack.append(file)
        for other in calls[file]:
            if other not in number:
                visit(other)
                low[file] = min(low[file], low[other])
            elif other in stack:
                low[file] = min(low[file], number[other])
        if low[file] == number[file]:
            component = [stack.pop()]
            while component[-1] != file:
                component.append(stack.pop())
            if len(component) > 1:
                found.append(sorted(component))

    for file in calls:
        if file not in number:
            visit(file)
    return found
