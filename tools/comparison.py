# SPDX-License-Identifier: BSD-3-Clause
"""What pytest says of two long values that differ: one line, where its own difference of two texts can take minutes."""
import _pytest.assertion.util

# Longer ones are told in a line; pytest's own explanation of shorter ones takes no time.
BYTES, TEXT, OTHER = 64, 2000, 4000
SHOWN = 16
PIECE = 65536


def _of_sequences(name, left, right, shown):
    shorter = min(len(left), len(right))
    piece = next((i for i in range(0, shorter, PIECE) if left[i : i + PIECE] != right[i : i + PIECE]), shorter)
    at = next((i for i in range(piece, shorter) if left[i] != right[i]), shorter)
    length = f"{len(left)} {name}" if len(left) == len(right) else f"{len(left)} and {len(right)} {name}"
    return f"{length}, which differ from {at:#x} on: {shown(left[at:])} and {shown(right[at:])}"


def _some_bytes(rest):
    return (rest[:SHOWN].hex(" ") or "nothing") + (" ..." if len(rest) > SHOWN else "")


def _some_text(rest):
    return repr(rest[: 4 * SHOWN]) + (" ..." if len(rest) > 4 * SHOWN else "")


def _is_bytes(value):
    return isinstance(value, (bytes, bytearray, memoryview))


def _shortened(value):
    text = repr(value)
    return text if len(text) <= 8 * SHOWN else f"{text[: 8 * SHOWN]} ... ({len(text)} characters)"


def in_a_line(op, left, right):
    """The line for `assert left op right`, which is false; None where the values are short enough for pytest's own."""
    if op == "==" and _is_bytes(left) and _is_bytes(right):
        if max(len(left), len(right)) > BYTES:
            return _of_sequences("bytes", bytes(left), bytes(right), _some_bytes)
    elif op == "==" and isinstance(left, str) and isinstance(right, str):
        if max(len(left), len(right)) > TEXT:
            return _of_sequences("characters", left, right, _some_text)
    elif max(len(repr(left)), len(repr(right))) > OTHER:
        return f"{_shortened(left)} {op} {_shortened(right)}"
    return None


def install():
    """Has pytest ask in_a_line() first. Its hook for such lines would be asked besides the slow explanation, not instead."""
    usual = _pytest.assertion.util.assertrepr_compare

    def explain(config, op, left, right, **options):
        line = in_a_line(op, left, right)
        return usual(config=config, op=op, left=left, right=right, **options) if line is None else [line]

    _pytest.assertion.util.assertrepr_compare = explain
