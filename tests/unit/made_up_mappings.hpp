// SPDX-License-Identifier: Apache-2.0
// A process that does not exist, with the mappings and loaded objects that a test lists.
#pragma once

#include <elf.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <string>

#include "report/facts/regions.hpp"
#include "tests/unit/made_up_folder.hpp"
#include "tests/unit/made_up_process.hpp"

/// A process whose mappings are listed by hand.
struct Mapped {
  static constexpr std::uintptr_t kPage = mallard::kPageBytes;
  MadeUpFolder folder;
  MadeUpProcess process{folder.of_process()};
  mallard::report::Served served{};
  mallard::backends::Backend backend;
  std::string maps;
  mallard::Arena arena;
  mallard::report::Regions regions{};

  void line(std::uintptr_t begin, std::uintptr_t end, const char* rights, const std::string& what = "0 ",
            std::uintptr_t offset = 0) {
    char text[160];
    snprintf(text, sizeof text, "%lx-%lx %s %08lx 08:01 %s\n", static_cast<unsigned long>(begin),
             static_cast<unsigned long>(end), rights, static_cast<unsigned long>(offset), what.c_str());
    maps += text;
  }

  /// A loaded object of some pages of code and a page of data, of which a second page is .bss.
  void object(std::uintptr_t at, const std::string& file, std::uintptr_t code_pages = 1) {
    const std::uintptr_t code = code_pages * kPage;
    process.map(at, code + kPage);
    Elf64_Ehdr h{};
    const unsigned char ident[] = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT};
    std::copy(std::begin(ident), std::end(ident), h.e_ident);
    h.e_type = ET_DYN;
    h.e_machine = EM_X86_64;
    h.e_version = EV_CURRENT;
    h.e_phoff = h.e_ehsize = sizeof h;
    h.e_phentsize = sizeof(Elf64_Phdr);
    h.e_phnum = 2;
    const Elf64_Phdr segments[] = {{PT_LOAD, PF_R | PF_X, 0, 0, 0, code, code, kPage},
                                   {PT_LOAD, PF_R | PF_W, code, code, code, kPage, 2 * kPage, kPage}};
    process.put(at, h);
    process.put(at + sizeof h, segments);
    line(at, at + code, "r-xp", file);
    line(at + code, at + code + kPage, "rw-p", file, code);
    line(at + code + kPage, at + code + 2 * kPage, "rw-p");
  }

  void read() {
    folder.write("maps", maps);
    served.backend = &backend;
    REQUIRE(mallard::report::read_regions(arena, process, served, &regions));
  }
  const mallard::report::Region& at(std::uintptr_t address) const {
    for (const mallard::report::Region& r : regions.all)
      if (r.begin <= address && address < r.end) return r;
    FAIL("no region has " << std::hex << address);
    return regions.all[0];
  }
};
