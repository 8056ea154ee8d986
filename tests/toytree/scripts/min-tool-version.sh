#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The oldest program of a kind that will do.
case "$1" in
gcc) echo 8.1.0 ;;
llvm) echo 15.0.0 ;;
binutils) echo 2.30.0 ;;
*) exit 1 ;;
esac
