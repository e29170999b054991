// SPDX-License-Identifier: Apache-2.0
// Opened by arguments_known.c: keeps what its constructor was given.
int arguments_count = -1;
const char* arguments_first;

__attribute__((constructor)) static void opened(int count, char** arguments) {
  arguments_count = count;
  arguments_first = arguments ? arguments[0] : 0;
}
