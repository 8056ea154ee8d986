# SPDX-License-Identifier: GPL-2.0-only
"""Real-kernel test harness for patch series that change how Linux boots.

The road, one module an arrow (see README.md, "The layers"):

    SPEC -> Kernel -> initramfs -> machine -> guest -> check -> verdict -> report
"""

__version__ = "0.1.0"
