// SPDX-License-Identifier: Apache-2.0
// How the report was made, and what could not be seen.
import { element, section } from './dom.js';
import { bytes, count, counted, duration } from './format.js';

export function showAbout({ report, command }) {
  const { recording: r, process: p, backend: b, ledger_about: l } = report;
  const rows = [
    ['Program', p.executable], ['Threads', count(p.threads)],
    ['Allocator', [b.name, b.version, b.path].filter((w) => w).join(', ') +
      (b.served === false ? `; but ${b.bypassed_by ?? 'another allocator'} serves the program` : '')],
    ['Recording', r.mode === 'off' ? `off: ${r.why_off ?? 'no call sites'}`
      : r.mode === 'exact' ? `exact: every block is booked, for ${duration(r.since_ns)}${r.since_start ?? r.exact?.since_start ? ', since the start' : ''}`
      : `${r.mode}; one sample for each ${bytes(r.sample_bytes)} allocated, on average, for ${duration(r.since_ns)}`],
    ['Samples', r.mode === 'off' ? null : `${count(r.samples)} taken, ${count(r.samples_live)} live, ${counted(r.sites, 'call site')}`],
    ['Lost', [[r.dropped_table_full, 'samples: live table full'], [r.overflow_sites, `without a site of their own: ${r.stacks?.addresses_dropped ? 'table of code addresses' : 'site table'} full`],
      [r.missed_frees, 'frees not seen'], [r.skipped_in_snapshot, 'came while the report was taken']]
      .filter(([n]) => n > 0).map(([n, words]) => `${count(n)} ${words}`).join('; ') || 'nothing'],
    ['Given back', r.given_back_bytes > 0
      ? `${bytes(r.given_back_bytes)} of address space: the program met its limit (ulimit -v), and the tables grow no more` : null],
    ['Not seen by exact books', r.exact ? [[r.exact.unknown_frees, 'frees of blocks that were not booked'], [r.exact.missed_frees, 'missed frees'],
      [r.exact.unbooked, 'blocks without room in the books'], [r.exact.raced_units, 'pieces of the heap changed while they were read']]
      .filter(([n]) => n > 0).map(([n, words]) => `${count(n)} ${words}`).join('; ') || 'nothing' : null],
    ['Heap looked at', l?.divided && l.examined != null ? `${(100 * l.examined).toFixed(1)} % of it, by ${l.unit}` : null],
    ['Freed by other threads', l?.free_memory?.uncollected_bytes >= 4096
      ? `${bytes(l.free_memory.uncollected_bytes)} of the free memory: blocks that the threads which own them have not taken back yet` : null],
    ['mallard’s own memory', bytes(report.ledger?.find((line) => line.cause === 'own')?.bytes ?? r.own_bytes)],
    ['Stacks of one frame', r.stacks?.one_frame_sites > 0
      ? `${counted(r.stacks.one_frame_sites, 'call site')}: called from code without unwind tables` : null],
    ['Time to take the report', duration(report.duration_ns)],
  ];
  section('about', 'About this report').append(element('dl.about', {}, ...rows.filter(([, value]) => value)
    .map(([name, value]) => element('div', {}, element('dt', {}, name), element('dd', {}, value)))));
  document.getElementById('made-by').textContent =
    `Written by mallard ${report.mallard_version}; this page by mallard ${command}. It loads nothing from elsewhere.`;
}
