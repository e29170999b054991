// SPDX-License-Identifier: Apache-2.0
// Two shared objects are built from this, the second with -DLARGE_FRAME. Loaded one after the other they
// lie at the same place, with their code at the same addresses: what was learnt of the first is wrong
// for the second.
#ifdef LARGE_FRAME
enum { kFrame = 4096 };
#else
enum { kFrame = 2048 };
#endif

__attribute__((noinline)) void stack_lib_call(void (*f)(void*), void* arg) {
  volatile char frame[kFrame];
  frame[0] = 1;
  f(arg);
  frame[kFrame - 1] = frame[0];
}
