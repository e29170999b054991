// SPDX-License-Identifier: Apache-2.0
// The memory cgroup of a process, read from folders that stand in for those of the kernel.
#include "report/facts/cgroup.hpp"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <string>

#include "tests/unit/catch.hpp"
#include "tests/unit/made_up_process.hpp"

using namespace mallard;
using namespace mallard::report;

namespace {

namespace fs = std::filesystem;

struct Kernel {
  fs::path folder = fs::temp_directory_path() / ("mallard-cgroup-" + std::to_string(getpid()));
  Arena arena;

  Kernel() { put("proc/status", "Name:\tx\nPid:\t77\nVmPTE:\t     100 kB\n"); }
  ~Kernel() { fs::remove_all(folder); }

  void put(const std::string& file, const std::string& text) const {
    fs::create_directories((folder / file).parent_path());
    std::ofstream(folder / file) << text;
  }
  CgroupCharge read() {
    const MadeUpProcess process((folder / "proc").string());
    return read_cgroup(arena, process, (folder / "sys").string());
  }
  void put_2(const std::string& at) const {
    put(at + "/memory.current", "100000000\n");
    put(at + "/memory.max", "max\n");
    put(at + "/cgroup.procs", "77\n");
    put(at + "/cgroup.stat", "nr_descendants 0\nnr_dying_descendants 3\n");
    put(at + "/memory.stat",
        "anon 60000000\nfile 30000000\nkernel 9000000\nkernel_stack 1000000\npagetables 2000000\n"
        "sec_pagetables 0\nsock 500000\nshmem 4000000\nanon_thp 1\n");
  }
};

}  // namespace

TEST_CASE("cgroup: version 2, alone") {
  Kernel kernel;
  kernel.put("proc/cgroup", "0::/box/one\n");
  kernel.put_2("sys/box/one");
  const CgroupCharge c = kernel.read();
  REQUIRE(c.known);
  REQUIRE(c.is_alone);
  REQUIRE(c.path == "/box/one");
  REQUIRE(c.charged == 100000000);
  REQUIRE(!c.has_limit);
  REQUIRE(c.limit == 0);
  REQUIRE(c.anonymous == 60000000);
  REQUIRE(c.page_cache == 26000000);
  REQUIRE(c.shared_memory == 4000000);
  REQUIRE(c.page_tables == 2000000);
  REQUIRE(c.kernel_stacks == 1000000);
  REQUIRE(c.other_kernel == 6500000);
}

TEST_CASE("cgroup: a container's mount has the cgroup as its root") {
  Kernel kernel;
  kernel.put("proc/cgroup", "0::/docker/0123\n");
  kernel.put_2("sys");
  kernel.put("sys/memory.max", "200000000\n");
  const CgroupCharge c = kernel.read();
  REQUIRE(c.is_alone);
  REQUIRE(c.has_limit);
  REQUIRE(c.limit == 200000000);
  kernel.put("sys/cgroup.procs", "78\n");  // another's: this one's is not to be seen
  REQUIRE(!kernel.read().known);
}

TEST_CASE("cgroup: others in it, or below it, leave one sum") {
  Kernel kernel;
  kernel.put("proc/cgroup", "0::/box\n");
  kernel.put_2("sys/box");
  kernel.put("sys/box/cgroup.procs", "5\n77\n789\n");
  CgroupCharge c = kernel.read();
  REQUIRE(c.known);
  REQUIRE(c.processes == 3);
  REQUIRE(!c.is_alone);
  REQUIRE(c.charged == 100000000);
  kernel.put("sys/box/cgroup.procs", "77\n");
  kernel.put("sys/box/cgroup.stat", "nr_descendants 1\n");
  c = kernel.read();
  REQUIRE(c.processes == 1);
  REQUIRE(!c.is_alone);
}

TEST_CASE("cgroup: version 1 beside version 2") {
  Kernel kernel;
  kernel.put("proc/cgroup", "9:name=systemd:/x\n4:memory:/box\n0::/y\n");
  kernel.put("sys/memory/box/memory.usage_in_bytes", "90000000\n");
  kernel.put("sys/memory/box/memory.limit_in_bytes", "9223372036854771712\n");
  kernel.put("sys/memory/box/memory.kmem.usage_in_bytes", "1000000\n");
  kernel.put("sys/memory/box/cgroup.procs", "77\n");
  kernel.put("sys/memory/box/memory.stat",
             "cache 30000000\nrss 50000000\nshmem 1000000\ntotal_cache 30000000\ntotal_rss 50000000\n");
  CgroupCharge c = kernel.read();
  REQUIRE(c.is_alone);
  REQUIRE(c.version == 1);
  REQUIRE(!c.has_limit);
  REQUIRE(c.limit == 0);
  REQUIRE(c.anonymous == 50000000);
  REQUIRE(c.page_cache == 29000000);
  REQUIRE(c.page_tables == 100 * 1024);
  REQUIRE(c.other_kernel == 1000000 - 100 * 1024);
  kernel.put("sys/memory/box/memory.stat",
             "cache 30000000\nrss 50000000\nshmem 1000000\ntotal_cache 30000000\ntotal_rss 50004096\n");
  c = kernel.read();
  REQUIRE(c.known);
  REQUIRE(!c.is_alone);
}

TEST_CASE("cgroup: lines that mean nothing") {
  Kernel kernel;
  kernel.put_2("sys");
  for (const char* lines : {"", "\n", ":", "0:", "4:memory:/../x\n", "4:memory\n", "x"}) {
    kernel.put("proc/cgroup", lines);
    INFO(lines);
    REQUIRE(!kernel.read().known);
  }
  // A path above the own root is no folder; that the process is in what is mounted decides.
  kernel.put("proc/cgroup", "0::/../..\n");
  REQUIRE(kernel.read().known);
}
