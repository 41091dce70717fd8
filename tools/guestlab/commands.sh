#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Runs what the host sends over the second serial line; shell.py has the other end, and tells the protocol. Started by
# init.sh, or as a service where systemd is process 1. GUESTLAB_FOLDER: a folder for commands and their output.
#
# Never process 1 itself: orphans become children of that, and the end of a child interrupts the shell's read, which then
# forgets what it has of a line.

fail() {
    echo "guestlab: $*"
    exit 1
}

folder=${GUESTLAB_FOLDER:-/tmp}
exec 3<>/dev/ttyS1 || fail "no second serial line"
stty -F /dev/ttyS1 raw -echo
echo READY >&3
while read -r word id encoded <&3; do
    [ "$word" = RUN ] || fail "expected RUN, an id and a command, got '$word'"
    echo "$encoded" | base64 -d >"$folder/.command-$id"
    sh "$folder/.command-$id" </dev/null >"$folder/.output-$id" 2>&1 3>&-
    status=$?
    {
        echo "BEGIN $id"
        gzip -c "$folder/.output-$id" | base64
        echo "END $id $status"
    } >&3
    rm "$folder/.command-$id" "$folder/.output-$id"
done
fail "the host closed the second serial line"
