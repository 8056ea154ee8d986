# SPDX-License-Identifier: GPL-2.0-only
# PID 1 of a guest of `nullfs-harness shell`, run by busybox. Its environment comes from the kernel's command line.
export PATH=/usr/sbin:/usr/bin:/bin HOME=/
busybox=/bin/busybox
$busybox mount -t proc proc /proc
$busybox --install -s /bin
# Where modprobe looks for modules; with Debian's programs it is a link already.
[ -e /lib ] || ln -s usr/lib /lib
mount -t sysfs sys /sys
# A kernel without devtmpfs can still have a shell.
mount -t devtmpfs dev /dev 2>/dev/null || { mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/tty c 5 0; }

if [ -e /command ]; then
    sh /command
    # Only harness/shell.py reads this; no text has such bytes on its own.
    printf '\036%d\036\n' $?
else
    [ -z "$COLUMNS" ] || stty cols "$COLUMNS" rows "$LINES"
    echo "Linux $(uname -r) on $(uname -m)"
    echo "To leave: exit, reboot -f, or Ctrl-A X"
    # A serial line in place of /dev/console, which cannot control a session: Ctrl-C and jobs work.
    setsid cttyhack sh
fi
# Not poweroff: a small kernel has nothing to do that with, and QEMU ends at a reset.
reboot -f
