# SPDX-License-Identifier: Apache-2.0
"""What scripts/bench is made of. Reading order: subjects, measure, micro, programs, servers, startup, budgets, tables, compare, main."""
