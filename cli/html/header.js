// SPDX-License-Identifier: Apache-2.0
// Which process, when, how large.
import { causeWords } from './data.js';
import { element } from './dom.js';
import { bytes, duration, moment, share } from './format.js';

/** Live bytes as the ledger has them; where it does not divide the heap, as they were requested. */
function liveFact({ core, ledger, ledger_about: about, recording, totals }) {
  const live = about?.divided ? ledger.find((l) => l.cause === 'live')?.bytes : null;
  if (live != null) return [causeWords('live'), bytes(live), `${share(live, about.rss_bytes)} of ${core ? 'core' : 'RSS'}`];
  return ['Live, as requested', recording.mode === 'off' ? '?' : bytes(totals.live_bytes),
    recording.mode === 'off' ? 'nothing was recorded' : 'whether in memory or not'];
}

export function showHeader({ report }) {
  const { process, backend, core } = report;
  const rss = report.ledger?.length ? report.ledger_about.rss_bytes : report.rss.total_bytes;
  document.title = `${process.name}: ${bytes(rss)} ${core ? 'in its core' : 'resident'}, mallard report ${report.report_number}`;
  const facts = [
    [core ? 'In the core' : 'Resident (RSS)', bytes(rss), `of pid ${process.pid}`],
    ['Memory that counts', report.memory?.known ? bytes(report.memory.counts_bytes) : '?',
      'charged to a container, which cannot shed it'],
    liveFact(report),
    ['Heap for each live byte', report.fragmentation_ratio ? report.fragmentation_ratio.toFixed(2) : '?',
      report.fragmentation_ratio ? 'resident heap / live' : 'not known'],
    ['Allocator', backend.name, backend.version],
  ];
  document.getElementById('main').append(element('div.hero', {},
    element('h1', {}, process.name),
    element('p.lead', {}, `Report ${report.report_number} of pid ${process.pid}, ${moment(report.taken_at_ns)}` +
      (process.uptime_ns ? `, ${duration(process.uptime_ns)} after its start` : '')),
    process.command_line ? element('p.command', {}, process.command_line) : null,
    element('dl.facts', {}, ...facts.map(([name, value, more]) =>
      element('div', {}, element('dt', {}, name), element('dd', {}, value, element('small', {}, more)))))));
}
