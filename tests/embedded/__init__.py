# SPDX-License-Identifier: Apache-2.0
"""Programs with an allocator inside their executable, with ALLOC_EMBEDDED=redirect."""
