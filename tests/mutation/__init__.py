# SPDX-License-Identifier: Apache-2.0
"""What scripts/mutate does: mutants, the tests that are asked about them, end to end as well."""
