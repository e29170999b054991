// SPDX-License-Identifier: Apache-2.0
// libc knows the program's name and arguments, whatever was loaded before its constructors ran: messages carry the
// name, and constructors of objects that are opened later get the arguments.
// BACKENDS: all
// BUILD: arguments_library.c
// STDERR: ^arguments_known: a message$
#include <dlfcn.h>
#include <errno.h>
#include <error.h>
#include "check.h"

int main(int count, char** arguments) {
  CHECK(strcmp(program_invocation_name, arguments[0]) == 0, "libc takes the program for '%s'", program_invocation_name);
  CHECK(strcmp(program_invocation_short_name, "arguments_known") == 0, "or '%s'", program_invocation_short_name);
  program_invocation_name = program_invocation_short_name;
  error(0, 0, "a message");
  void* library = dlopen("arguments_library.so", RTLD_NOW);
  CHECK(library, "dlopen: %s", dlerror());
  if (!library) return check_done();
  int* seen = dlsym(library, "arguments_count");
  const char** first = dlsym(library, "arguments_first");
  CHECK(*seen == count, "a constructor got %d arguments", *seen);
  CHECK(*first && strcmp(*first, arguments[0]) == 0, "a constructor got '%s'", *first ? *first : "nothing");
  return check_done();
}
