// SPDX-License-Identifier: Apache-2.0
#include "interpose/dispatch.hpp"

#include <sys/mman.h>

#include "arch/hot_exports.h"
#include "base/os.hpp"
#include "interpose/first_calls.hpp"

// The slots that hot_exports.S names.
static_assert(offsetof(mallard::backends::Functions, malloc) == MALLARD_SLOT_MALLOC);
static_assert(offsetof(mallard::backends::Functions, free) == MALLARD_SLOT_FREE);
static_assert(offsetof(mallard::backends::Functions, calloc) == MALLARD_SLOT_CALLOC);
static_assert(offsetof(mallard::backends::Functions, realloc) == MALLARD_SLOT_REALLOC);
static_assert(offsetof(mallard::backends::Functions, usable_size) == MALLARD_SLOT_USABLE);

namespace {
union TablePage {
  mallard::backends::Functions functions;
  char page[mallard::kPageBytes];
};
}  // namespace

// A page of its own, so that making it read-only protects nothing else. It follows the loader's read-only
// data (layout.ld), so that the two become one mapping.
extern "C" {
constinit TablePage mallard_table_page
    __attribute__((visibility("hidden"), section("mallard_table_data"), aligned(4096))) = {
        {mallard::interpose::first_malloc, mallard::interpose::first_free, mallard::interpose::first_calloc,
         mallard::interpose::first_realloc, mallard::interpose::first_memalign,
         mallard::interpose::first_usable_size}};
extern __attribute__((alias("mallard_table_page"), visibility("hidden")))
mallard::backends::Functions mallard_table;
}

namespace mallard::interpose {
namespace {

constinit backends::Backend g_backend;
constinit bool g_final = false;

void* table_page() noexcept { return &mallard_table; }

}  // namespace

const backends::Backend& backend() noexcept { return g_backend; }
bool is_final() noexcept { return g_final; }

void install_temporary(const backends::Functions& functions) noexcept { mallard_table = functions; }

void install_final(const backends::Backend& backend) noexcept {
  g_backend = backend;
  mallard_table = backend.functions;
  g_final = true;
  os::protect(table_page(), sizeof(TablePage), PROT_READ);
}

}  // namespace mallard::interpose
