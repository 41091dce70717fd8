# SPDX-License-Identifier: BSD-3-Clause
"""Limits of a device's control group, on a kernel that has their controllers."""
from guestlab import paths
from guestlab.initramfs import with_libraries

OUTBOARD = paths.BUILD / "root/bin/outboard"
LED = paths.BUILD / "release/examples/led"
CONFIGURATION = """
[machine]
  program = "/bin/vmm"
  arguments = "%fd:lamp%"
[device "lamp"]
  program = "/bin/led"
  cgroup = "/sys/fs/cgroup/machine/lamp"
  cgroup.memory.max = "8M"
  cgroup.pids.max = "7"
"""
VMM = """#!/bin/sh
cd /sys/fs/cgroup/machine/lamp && cat memory.max pids.max && wc -l <cgroup.procs
"""


def test_a_kernel_limits_a_device(boot):
    files = {"/bin/outboard": OUTBOARD, "/bin/led": LED, "/etc/vm.conf": CONFIGURATION.encode(), "/bin/vmm": VMM.encode()}
    files |= {path: file for path, file in with_libraries(str(OUTBOARD), str(LED)).items() if ".so" in path}
    guest = boot(files=files)
    guest.run("chmod 755 /bin/vmm; mkdir -p /run -p /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; mkdir /sys/fs/cgroup/machine")
    guest.run("echo +memory +pids >/sys/fs/cgroup/cgroup.subtree_control")
    limits = guest.run("outboard run /etc/vm.conf 2>/tmp/log || cat /tmp/log").split()
    assert limits[:2] == [str(8 << 20), "7"]
    assert int(limits[2]) >= 1
    assert guest.run("ls /sys/fs/cgroup/machine | grep -c lamp || true").strip() == "0"
