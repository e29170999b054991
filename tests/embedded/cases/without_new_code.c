// SPDX-License-Identifier: Apache-2.0
// Runs a program in which memory that was writable never becomes executable, as under systemd's
// MemoryDenyWriteExecute. Status 77: this kernel cannot do that.
#include <sys/prctl.h>
#include <unistd.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif

int main(int argc, char** argv) {
  if (argc < 2 || prctl(PR_SET_MDWE, 1, 0, 0, 0) != 0) return 77;
  execv(argv[1], argv + 1);
  return 78;
}
