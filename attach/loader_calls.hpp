// SPDX-License-Identifier: Apache-2.0
// What stands in the place of dlopen and dlsym. After a thread has opened an object, its next call of either
// looks whether there are slots to redirect in objects that came since: their constructors are over then, and
// what they are wanted for has not begun. The real functions tell their caller by the return address: they
// are jumped to (attached_loader.S of arch).
#pragma once

extern "C" {
__attribute__((visibility("hidden"))) void* mallard_attached_dlopen(const char* file, int mode);
__attribute__((visibility("hidden"))) void* mallard_attached_dlsym(void* handle, const char* name);
using RealDlopen = void*(const char*, int);
using RealDlsym = void*(void*, const char*);
__attribute__((visibility("hidden"))) extern RealDlopen* mallard_attached_real_dlopen;
__attribute__((visibility("hidden"))) extern RealDlsym* mallard_attached_real_dlsym;
}
