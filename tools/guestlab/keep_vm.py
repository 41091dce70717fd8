#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs a command while a virtual machine exists that does nothing.

usage: keep_vm.py COMMAND [ARGUMENT...]

The kernel rewrites its own code whenever the first virtual machine comes or the last one goes, and whenever no
virtual processor has its interrupt controller off any more (the static keys of its scheduler and of its KVM). QEMU
7.2, emulating that kernel's machine with a thread for each processor, can keep a breakpoint of such a change in what
it has translated: then the processor takes it for ever, and the machine hangs. With a machine that stays there is
nothing to rewrite.
"""
import fcntl
import os
import sys

# Documentation/virt/kvm/api.rst in Linux: sections 4.2, 4.24, 4.7.
KVM_CREATE_VM = 0xAE01
KVM_CREATE_IRQCHIP = 0xAE60
KVM_CREATE_VCPU = 0xAE41

# Out of the way of what shell scripts use.
FIRST_FD = 100


def main(command):
    kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    vm = fcntl.ioctl(kvm, KVM_CREATE_VM, 0)
    fcntl.ioctl(vm, KVM_CREATE_IRQCHIP)
    vcpu = fcntl.ioctl(vm, KVM_CREATE_VCPU, 0)
    for fd in (vm, vcpu):
        fcntl.fcntl(fd, fcntl.F_DUPFD, FIRST_FD)  # without close-on-exec
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
