// SPDX-License-Identifier: Apache-2.0
// Refers to every function of the family, so that LD_DEBUG shows whose they are (test_symbols.py).
#include <dlfcn.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <new>
#include <string>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

extern "C" {
void* volatile bound_functions[] = {
    (void*)malloc, (void*)free, (void*)calloc, (void*)realloc, (void*)reallocarray, (void*)posix_memalign,
    (void*)aligned_alloc, (void*)memalign, (void*)valloc, (void*)pvalloc, (void*)malloc_usable_size,
    (void*)malloc_trim, (void*)mallinfo, (void*)mallinfo2, (void*)mallopt, (void*)malloc_info,
    (void*)malloc_stats,
    (void*)(void* (*)(std::size_t))::operator new,
    (void*)(void* (*)(std::size_t))::operator new[],
    (void*)(void* (*)(std::size_t, const std::nothrow_t&))::operator new,
    (void*)(void* (*)(std::size_t, const std::nothrow_t&))::operator new[],
    (void*)(void* (*)(std::size_t, std::align_val_t))::operator new,
    (void*)(void* (*)(std::size_t, std::align_val_t))::operator new[],
    (void*)(void* (*)(std::size_t, std::align_val_t, const std::nothrow_t&))::operator new,
    (void*)(void* (*)(std::size_t, std::align_val_t, const std::nothrow_t&))::operator new[],
    (void*)(void (*)(void*))::operator delete,
    (void*)(void (*)(void*))::operator delete[],
    (void*)(void (*)(void*, std::size_t))::operator delete,
    (void*)(void (*)(void*, std::size_t))::operator delete[],
    (void*)(void (*)(void*, const std::nothrow_t&))::operator delete,
    (void*)(void (*)(void*, const std::nothrow_t&))::operator delete[],
    (void*)(void (*)(void*, std::align_val_t))::operator delete,
    (void*)(void (*)(void*, std::align_val_t))::operator delete[],
    (void*)(void (*)(void*, std::size_t, std::align_val_t))::operator delete,
    (void*)(void (*)(void*, std::size_t, std::align_val_t))::operator delete[],
    (void*)(void (*)(void*, std::align_val_t, const std::nothrow_t&))::operator delete,
    (void*)(void (*)(void*, std::align_val_t, const std::nothrow_t&))::operator delete[],
};
}

int main(int count, char**) {
  std::string text(static_cast<std::size_t>(count) * 1000, 'x');
  for (const char* name : {"cfree", "free_sized", "free_aligned_sized"}) {
    Dl_info info{};
    void* function = dlsym(RTLD_DEFAULT, name);
    printf("%s %s\n", name, function && dladdr(function, &info) ? info.dli_fname : "(none)");
  }
  return text.size() == 1 || bound_functions[0] == nullptr;
}
