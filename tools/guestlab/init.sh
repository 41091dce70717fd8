#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Process 1 of a guest: loads its modules, then has commands.sh run what the host sends.

fail() {
    echo "guestlab: $*"
    exit 1 # process 1 ends, so the kernel panics and the host reads why on the console
}

export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp

dmesg -n 8 # from here on the console gets everything; the boot was kept short (machine.py)

load_modules() {
    while read -r module; do
        insmod "/lib/modules/$module" || fail "cannot load $module"
    done </etc/modules
}

# enter_root PROGRAM: what is mounted at /mnt becomes the root, and the program process 1.
enter_root() {
    umount /tmp /dev /sys /proc
    exec switch_root /mnt "$1"
}

mount_root() {
    until [ -b "$1" ]; do usleep 10000; done
    mount "$1" /mnt || fail "cannot mount $1"
}

# guestlab.root=DEVICE: a root whose driver is a module, with an install() of a guest; this runs there once more.
# guestlab.debian: the root is debian_disk.py's, and gets the test's files.
root=$(sed -n 's/.*guestlab\.root=\([^ ]*\).*/\1/p' /proc/cmdline)
if grep -q guestlab.debian /proc/cmdline; then
    load_modules
    mount_root /dev/vda
    cp -a /debian/. /mnt || fail "cannot copy to /dev/vda"
    enter_root /lib/systemd/systemd
elif [ -z "$root" ]; then
    load_modules
elif grep -q ' / rootfs ' /proc/mounts; then
    load_modules
    mount_root "$root"
    enter_root /init
fi

cd /tmp || fail "no /tmp"
sh /commands.sh
exit 1 # commands.sh has said why
