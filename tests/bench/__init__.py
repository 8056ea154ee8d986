# SPDX-License-Identifier: GPL-2.0-only
"""What the harness costs, as ratios: ``python3 -m tests.bench``. README.md says what each one means."""
