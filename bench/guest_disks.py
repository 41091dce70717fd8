# SPDX-License-Identifier: BSD-3-Clause
"""Disks in one guest that take turns under fio(1)."""
import json
import pathlib
import shutil
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools"))
from guestlab.initramfs import with_libraries  # noqa: E402

FIO = shutil.which("fio")
PATTERNS = [("randread", 1), ("randwrite", 1), ("randread", 32), ("randwrite", 32)]


def files():
    """Those that a guest needs for measure()."""
    return with_libraries(FIO)


def make_image(path, mib):
    with open("/dev/urandom", "rb") as source, open(path, "wb") as image:
        for _ in range(mib):
            image.write(source.read(1 << 20))


def operations(guest, disk, pattern, depth, seconds):
    """Operations a second, by fio."""
    report = guest.run(
        f"{FIO} --name=bench --filename={disk} --direct=1 --ioengine=libaio --bs=4k --rw={pattern}"
        f" --iodepth={depth} --time_based --runtime={seconds} --norandommap --thread --output-format=json",
        timeout=120 + seconds,
    )
    job = json.loads(report[report.index("{") :])["jobs"][0]
    return job["read" if "read" in pattern else "write"]["iops"]


def measure(guest, disks, rounds, seconds):
    """disks: {name: device}. {(pattern, depth): [{name: operations a second} of each round]}, in alternating order."""
    results = {}
    for turn in range(rounds):
        for pattern, depth in PATTERNS:
            order = list(disks) if turn % 2 else list(reversed(disks))
            done = {name: operations(guest, disks[name], pattern, depth, seconds) for name in order}
            results.setdefault((pattern, depth), []).append(done)
    return results


def report(results, name, base, limits):
    """Lines for people on stderr; {pattern_depth: the median of the rounds' ratios of a disk to the base}.

    limits: {depth: least ratio, or None: it is printed without a verdict}."""
    ratios = {}
    for (pattern, depth), rounds in results.items():
        ratio = statistics.median(done[name] / done[base] for done in rounds)
        ours, theirs = (statistics.median(done[disk] for done in rounds) for disk in (name, base))
        limit = limits.get(depth)
        verdict = f"at least {limit:.2f}  {'met' if ratio >= limit else 'MISSED':6}" if limit else " " * 22
        print(
            f"  {name}: {pattern}, 4 KiB, depth {depth:<3} {ratio:6.2f} of {base}'s  {verdict}"
            f"  ({ours:.0f} against {theirs:.0f} a second)",
            file=sys.stderr,
        )
        ratios[f"{pattern}_{depth}"] = round(ratio, 3)
    sys.stderr.flush()
    return ratios
