# SPDX-License-Identifier: BSD-3-Clause
"""Which module files a guest must load, and in which order, from the modules.dep of its kernel."""
import functools

from guestlab.errors import LabError


def load_order(kernel, names):
    """The module files for names, relative to kernel.modules, each after those it needs.

    A name that is built into the kernel needs no file. A soft dependency (kvm_amd's ccp, crc-t10dif's
    generic implementation) is not in modules.dep and must be named.
    """
    dependencies, builtin = _index(kernel)
    order = []
    for name in map(_canonical, names):
        if name in builtin:
            continue
        if name not in dependencies:
            raise LabError(f"kernel {kernel.release} has no module '{name}'")
        # modules.dep lists what is needed first at the end.
        for path in reversed(dependencies[name]):
            if path not in order:
                order.append(path)
    return order


@functools.cache
def _index(kernel):
    dependencies = {}
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        dependencies[_name(path)] = [path, *needed.split()]
    builtin = {_name(path) for path in (kernel.modules / "modules.builtin").read_text().split()}
    return dependencies, builtin


def _name(path):
    return _canonical(path.rpartition("/")[2].partition(".")[0])


def _canonical(name):
    return name.replace("-", "_")
