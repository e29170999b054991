// SPDX-License-Identifier: Apache-2.0
// leak MEGABYTES SEED: serves requests, each of which leaves a record in a list that nobody ever clears.
// Reports between.
#include "workload.hpp"

using namespace workload;

SITE_FUNCTION(site_leaked_record, malloc(size))
SITE_FUNCTION(site_request, malloc(size))
SITE_FUNCTION(site_table, malloc(size))

int main(int count, char** words) {
  const std::uint64_t bytes = argument(count, words, 1, 200) * kMega;
  Random random(argument(count, words, 2, 1));
  const std::size_t table_bytes = bytes / 5;
  for (std::size_t done = 0; done < table_bytes; done += 1000)
    touch(site_table(1000), 1000);  // what a program needs anyway

  constexpr int kReports = 5;
  std::uint64_t leaked = 0;
  for (int report = 1; report <= kReports; report++) {
    while (leaked < bytes * static_cast<std::uint64_t>(report) / kReports) {
      void* request = site_request(random.between(100, 20000));
      const std::size_t size = random.between(100, 500);
      touch(site_leaked_record(size), size);
      leaked += size;
      free(request);
    }
    if (report < kReports) ask_for_report();
    rest_ms(200);
  }
  Truth truth;
  truth.site("site_leaked_record", leaked, 0);
  truth.cause("live", leaked + table_bytes, bytes / 20);
  truth.verdict("leak");
  truth.rss();
  ask_for_report();
  truth.print();
}
