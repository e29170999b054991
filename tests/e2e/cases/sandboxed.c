// SPDX-License-Identifier: Apache-2.0
// Under a filter that ends the process for what systemd's @system-service leaves out, as services are started:
// recording, a report, exact mode and the report at exit do without.
// BACKENDS: all
// ENV: ALLOC_MODE=exact
// ENV: ALLOC_AT_EXIT=1
// REPORTS: 2
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include "reports.h"

static const int kLeftOut[] = {
    SYS_mincore,     SYS_ptrace,        SYS_perf_event_open, SYS_kcmp,          SYS_bpf,           SYS_userfaultfd,
    SYS_mount,       SYS_umount2,       SYS_pivot_root,      SYS_swapon,        SYS_swapoff,       SYS_reboot,
    SYS_init_module, SYS_delete_module, SYS_finit_module,    SYS_clock_settime, SYS_settimeofday,  SYS_adjtimex,
    SYS_iopl,        SYS_ioperm,        SYS_modify_ldt,      SYS_syslog,        SYS_acct,          SYS_quotactl,
    SYS_uselib,      SYS_ustat,         SYS_sysfs,           SYS_personality,   SYS_pkey_alloc,    SYS_pkey_free,
    SYS_pkey_mprotect, SYS_fanotify_init, SYS_lookup_dcookie, SYS_kexec_load,   SYS_vhangup,       SYS_nfsservctl,
};

static int sandbox(void) {
  enum { kCount = sizeof kLeftOut / sizeof *kLeftOut };
  static struct sock_filter code[1 + 2 * kCount + 1];
  int n = 0;
  code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (int i = 0; i < kCount; i++) {
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)kLeftOut[i], 0, 1);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  }
  code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog program = {.len = (unsigned short)n, .filter = code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

int main(void) {
  if (!sandbox()) {
    fprintf(stderr, "note: this kernel takes no seccomp filter\n");
    if (!getenv("E2E_DIR")) return check_done();
  }
  char* blocks[4000];
  for (int i = 0; i < 4000; i++) memset(blocks[i] = malloc(2000), 1, 2000);
  raise(SIGUSR2);
  CHECK(wait_for_reports(1) == 1, "%d reports", count_reports());
  for (int i = 0; i < 4000; i++) free(blocks[i]);
  return check_done();
}
