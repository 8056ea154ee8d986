#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# merge_config.sh -m BASE FRAGMENT …: in what is read by conf, the last word on a symbol counts.
set -e
[ "$1" = -m ] && shift
cat "$@" >"$KCONFIG_CONFIG.merged"
mv "$KCONFIG_CONFIG.merged" "$KCONFIG_CONFIG"
