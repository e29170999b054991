// SPDX-License-Identifier: Apache-2.0
// A linked library whose IFUNC resolver and constructor call malloc: the resolver runs while the loader
// still relocates, before TLS is set up and before any constructor.
#include <stdlib.h>
#include <string.h>

void* early_from_resolver[8];
void* early_from_constructor[64];

static int answer(void) { return 42; }

static int (*resolve(void))(void) {
  for (int i = 0; i < 8; i++) {
    early_from_resolver[i] = malloc((size_t)(i * 100));
    if (early_from_resolver[i]) memset(early_from_resolver[i], i + 1, (size_t)(i * 100));
  }
  free(malloc(1000));
  early_from_resolver[7] = realloc(early_from_resolver[7], 5000);
  void* zeroed = calloc(10, 100);
  free(zeroed);
  return answer;
}

int early_answer(void) __attribute__((ifunc("resolve")));

__attribute__((constructor)) static void early(void) {
  for (int i = 0; i < 64; i++) {
    early_from_constructor[i] = calloc(1, (size_t)(i * 50));
    if (i % 3 == 0) free(early_from_resolver[i % 7]), early_from_resolver[i % 7] = NULL;
  }
}
