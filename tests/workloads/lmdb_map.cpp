// SPDX-License-Identifier: Apache-2.0
// lmdb_map MEGABYTES SEED FOLDER: loads an LMDB database in sorted batches and reads all of it through the
// map.
#include <lmdb.h>

#include "workload.hpp"

using namespace workload;

SITE_FUNCTION(site_ordinary, malloc(size))

namespace {

void check(int status) {
  if (status == MDB_SUCCESS) return;
  fprintf(stderr, "lmdb: %s\n", mdb_strerror(status));
  _exit(3);
}

void load(MDB_env* environment, MDB_dbi database, std::uint64_t bytes, Random& random) {
  char value[1000];
  std::uint64_t number = 0;
  for (std::uint64_t done = 0; done < bytes;) {
    MDB_txn* transaction;
    check(mdb_txn_begin(environment, nullptr, 0, &transaction));
    for (int i = 0; i < 10000; i++) {
      char key[24];
      MDB_val k = {static_cast<std::size_t>(snprintf(key, sizeof key, "%016" PRIu64, number++)), key};
      MDB_val v = {random.between(100, sizeof value), value};
      memset(value, static_cast<int>(number & 127), v.mv_size);
      check(mdb_put(transaction, database, &k, &v, MDB_APPEND));
      done += v.mv_size;
    }
    check(mdb_txn_commit(transaction));
  }
}

std::uint64_t read_all(MDB_env* environment, MDB_dbi database) {
  MDB_txn* transaction;
  MDB_cursor* cursor;
  check(mdb_txn_begin(environment, nullptr, MDB_RDONLY, &transaction));
  check(mdb_cursor_open(transaction, database, &cursor));
  std::uint64_t sum = 0;
  for (MDB_val key, value; mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == MDB_SUCCESS;)
    sum += static_cast<unsigned char*>(value.mv_data)[value.mv_size - 1];
  mdb_cursor_close(cursor);
  mdb_txn_abort(transaction);
  return sum;
}

std::uint64_t resident_of_file(const char* part_of_name) {
  PageTables pages;
  std::uint64_t sum = 0;
  FILE* maps = fopen("/proc/self/maps", "re");
  char line[4400];
  while (maps && fgets(line, sizeof line, maps)) {
    std::uintptr_t begin, end;
    if (strstr(line, part_of_name) && sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &begin, &end) == 2)
      for (std::uintptr_t at = begin; at < end; at += kPage) sum += pages.in_memory(at / kPage) ? kPage : 0;
  }
  if (maps) fclose(maps);
  return sum;
}

}  // namespace

int main(int count, char** words) {
  const std::uint64_t bytes = argument(count, words, 1, 200) * kMega;
  Random random(argument(count, words, 2, 1));
  MDB_env* environment;
  MDB_dbi database;
  MDB_txn* transaction;
  check(mdb_env_create(&environment));
  check(mdb_env_set_mapsize(environment, bytes * 2));
  check(mdb_env_open(environment, count > 3 ? words[3] : ".", MDB_NOSYNC, 0600));
  check(mdb_txn_begin(environment, nullptr, 0, &transaction));
  check(mdb_dbi_open(transaction, nullptr, 0, &database));
  check(mdb_txn_commit(transaction));
  load(environment, database, bytes, random);
  const std::uint64_t sum = read_all(environment, database);
  for (int i = 0; i < 20000; i++) touch(site_ordinary(500), 500);

  Truth truth;
  truth.cause("files", resident_of_file("data.mdb"), kMega, "data.mdb");
  truth.verdict("mapped_files");
  truth.rss();
  ask_for_report();
  truth.print();
  mdb_env_close(environment);
  return sum == 0;
}
