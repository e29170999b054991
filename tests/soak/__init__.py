# SPDX-License-Identifier: Apache-2.0
"""Hosts that run for long under mallard while everything is asked of it: scripts/soak."""
