# SPDX-License-Identifier: Apache-2.0
"""Programs that know why their memory is resident, and the checks that hold a report against what they know."""
