# SPDX-License-Identifier: Apache-2.0
"""Programs of others with and without mallard: scripts/matrix programs."""
