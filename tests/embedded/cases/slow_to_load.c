// SPDX-License-Identifier: Apache-2.0
// A library whose loading takes longer than `mallard attach` waits for the loader's lock.
#include <unistd.h>

__attribute__((constructor)) static void start(void) { sleep(12); }
