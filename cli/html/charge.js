// SPDX-License-Identifier: Apache-2.0
// What the process costs whoever pays for its memory: alone, with others, and what its cgroup is charged.
import { causeWords } from './data.js';
import { element, section } from './dom.js';
import { bytes, counted } from './format.js';

const row = (words, value, meaning, part) => element('tr', {},
  element(part ? 'th.part' : 'th', { scope: 'row' }, words),
  element('td.number', {}, value == null ? 'not known' : bytes(value)), element('td.soft', {}, meaning));

function meaningOf(memory) {
  if (memory.locked_file_bytes == null) return 'without what mlock keeps of files, which nobody looked for';
  if (!memory.lazily_freed_known) return 'at most: nobody looked for lazily freed pages';
  return 'what a container is charged for and cannot shed';
}

function sharingRows({ only_ours_bytes: ours, with_others_bytes: others, sharing_why_not: why }) {
  const known = ours + others > 0;
  return [
    ...(known ? [row('only ours', ours, 'resident, and mapped by no other process'),
      row('with others', others, 'resident, and mapped by others, too')] : []),
    ...(why ? [row(known ? 'the rest' : 'only ours', null, why)] : []),
  ];
}

function proportionalRows({ proportional_bytes: value, proportional_why_not: why }) {
  if (why) return [row('proportional (PSS)', null, why)];
  return value > 0 ? [row('proportional (PSS)', value, 'a page of n processes counts 1/n')] : [];
}

function cgroupRows(c) {
  if (!c) return [];
  const others = c.processes - 1;
  const alone = c.anonymous_bytes != null;
  let about = c.version === 2 ? 'memory.current' : 'memory.usage_in_bytes';
  if (c.limit_bytes != null) about += ` of ${bytes(c.limit_bytes)}`;
  if (others > 0) about += `, with ${counted(others, 'other process', 'other processes')}`;
  else about += alone ? ', which it has alone' : ', with the cgroups below it';
  const rows = [row('charged to its cgroup', c.charged_bytes, about)];
  if (!alone) return rows;
  const parts = [
    ['anonymous', c.anonymous_bytes, ''],
    ['page cache', c.page_cache_bytes, 'of files that were read or written here, mapped or not'],
    [causeWords('shared'), c.shared_memory_bytes, 'tmpfs included'],
    ['page tables', c.page_table_bytes, ''],
    ['kernel stacks', c.kernel_stack_bytes, ''],
    ['other of the kernel', c.other_kernel_bytes, c.version === 2 ? 'open files, sockets' : 'open files, sockets, kernel stacks'],
  ].filter(([, value]) => value != null);
  const ahead = c.charged_bytes - parts.reduce((sum, [, value]) => sum + value, 0);
  if (ahead > 0) parts.push(['charged ahead', ahead, 'processors take pages in batches']);
  return [...rows, ...parts.map(([words, value, meaning]) => row(words, value, meaning, true))];
}

export function showCharge({ report }) {
  const memory = report.memory;
  if (!memory?.known) return;
  const made = section('charge', 'Who pays for it');
  made.append(element('table.charge', {}, element('tbody', {},
    row('memory that counts', memory.counts_bytes, meaningOf(memory)), ...sharingRows(memory), ...proportionalRows(memory),
    ...cgroupRows(memory.cgroup))));
}
