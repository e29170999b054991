# SPDX-License-Identifier: Apache-2.0
"""End-to-end tests of libmallard.so: real programs and tiny cases under the preload."""
