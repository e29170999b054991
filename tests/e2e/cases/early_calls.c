// SPDX-License-Identifier: Apache-2.0
// Blocks from an IFUNC resolver and from a library's constructor can be used, grown and freed later.
// BACKENDS: all
// LINK: early_library.c
#include <malloc.h>
#include "check.h"

extern void* early_from_resolver[8];
extern void* early_from_constructor[64];
int early_answer(void);

int main(void) {
  CHECK(early_answer() == 42, "the IFUNC does not work");
  CHECK(early_from_resolver[7], "malloc in a resolver gave NULL");
  for (size_t i = 0; i < 700; i++)
    CHECK(((unsigned char*)early_from_resolver[7])[i] == 8, "byte %zu of the resolver's block", i);
  CHECK(malloc_usable_size(early_from_resolver[7]) >= 5000, "usable size of the resolver's block");
  early_from_resolver[7] = realloc(early_from_resolver[7], 90000);
  CHECK(((unsigned char*)early_from_resolver[7])[699] == 8, "realloc of the resolver's block lost its contents");
  for (int i = 0; i < 8; i++) free(early_from_resolver[i]);
  for (int i = 0; i < 64; i++) {
    CHECK(early_from_constructor[i], "calloc in a constructor gave NULL");
    free(early_from_constructor[i]);
  }
  return check_done();
}
