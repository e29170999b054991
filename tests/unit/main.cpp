// SPDX-License-Identifier: Apache-2.0
// main() for Catch2 version 2. Version 3 brings its own in Catch2WithMain, and this file is then empty.
#if !__has_include(<catch2/catch_test_macros.hpp>)
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
#endif
