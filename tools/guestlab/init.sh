#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Process 1 of a guest: loads its modules, then runs what the host sends over the second serial line
# (shell.py has the other end, and tells the protocol).

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

# guestlab.root=DEVICE: a root whose driver is a module, with an install() of a guest; this runs there once more.
root=$(sed -n 's/.*guestlab\.root=\([^ ]*\).*/\1/p' /proc/cmdline)
if [ -z "$root" ]; then
    load_modules
elif grep -q ' / rootfs ' /proc/mounts; then
    load_modules
    until [ -b "$root" ]; do usleep 10000; done
    mount "$root" /mnt || fail "cannot mount $root"
    umount /tmp /dev /sys /proc
    exec switch_root /mnt /init
fi

cd /tmp || fail "no /tmp"
exec 3<>/dev/ttyS1 || fail "no second serial line"
stty -F /dev/ttyS1 raw -echo

# The commands' reader is a process of its own: orphans become children of process 1, and the end of a child interrupts
# the shell's read, which then forgets what it has of a line.
take_commands() {
    echo READY >&3
    while read -r word id encoded <&3; do
        [ "$word" = RUN ] || fail "expected RUN, an id and a command, got '$word'"
        echo "$encoded" | base64 -d >"/tmp/.command-$id"
        sh "/tmp/.command-$id" </dev/null >"/tmp/.output-$id" 2>&1 3>&-
        status=$?
        {
            echo "BEGIN $id"
            gzip -c "/tmp/.output-$id" | base64
            echo "END $id $status"
        } >&3
        rm "/tmp/.command-$id" "/tmp/.output-$id"
    done
    fail "the host closed the second serial line"
}

take_commands &
wait $!
exit 1 # take_commands has said why
