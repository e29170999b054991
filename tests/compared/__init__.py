# SPDX-License-Identifier: Apache-2.0
"""Programs that `mallard compare` is run on for docs/compare.md."""
