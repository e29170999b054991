// SPDX-License-Identifier: Apache-2.0
// Where the resident memory is: every byte under one cause, as a bar and as a table.
import { CAUSES, causeColour, causeWords } from './data.js';
import { element, hideTip, section, showTip, swatch } from './dom.js';
import { bytes, count, error, share } from './format.js';

const SHOWN_DETAILS = 12;

/** What the line is called in this ledger. */
function wordsOf(line, about) {
  if (line.cause === 'retained' && about.by_pages) return 'retained or metadata';
  return line.cause === 'unexplained' && line.bytes < 0 ? 'beyond RSS' : causeWords(line.cause);
}

/** Why RSS and the lines differ, as far as the report knows. */
function whyUnexplained(rest, about) {
  const much = about.rss_bytes / 200, plain = rest < 0 ? 'the lines above less RSS' : 'RSS less the lines above';
  const { rss_before_bytes: before, rss_after_bytes: after } = about;
  if (Math.abs(after - before) > much) return `memory moved: RSS was ${bytes(before)}, then ${bytes(after)}`;
  if (Math.abs(rest) <= much) return plain;
  if (about.residency === 'mincore') return 'the lines are by the page cache, not by page tables';
  if (rest < 0 && about.residency === 'pagemap') return 'pages of zeros, only read, count above';
  return rest > 0 && about.unread_bytes > 0 ? 'not all address space was looked at' : `${plain}; no reason is known`;
}

/** What the line means in this ledger, where it is not all that the table of causes says; as the text has it. */
function meaningOf(cause, about) {
  if (cause === 'live' && !about.rounding_known && !about.by_pages) return 'not freed, rounding included';
  if (cause === 'holes' && !about.rounding_known && about.by_pages) return 'free, rounding, headers; live blocks keep it';
  if (cause === 'retained' && about.by_pages) return 'pages without a live block';
  if (cause === 'anonymous' && !about.heapKnown) return 'mapped; the heap may be in it';
  if (cause === 'unexplained') return whyUnexplained(about.unexplained, about);
  return CAUSES[cause]?.[1] ?? '';
}

function bar(lines, whole, about) {
  const made = element('div.bar', { 'aria-hidden': 'true' });
  for (const line of lines) {
    if (line.bytes <= 0) continue;
    const part = element('div', {
      pointermove: (e) => showTip([wordsOf(line, about), `${bytes(line.bytes)}, ${share(line.bytes, whole)} ${about.of}`,
        meaningOf(line.cause, about)], e.clientX, e.clientY),
      pointerleave: hideTip });
    part.style.flexGrow = String(line.bytes);
    part.style.background = causeColour(line.cause);
    made.append(part);
  }
  return made;
}

/** Threads of one name are one; the main thread is called "main" whatever its name is. */
function whose({ name, mappings }) {
  if (name === 'main' && mappings === 1) return 'main thread';
  if (name === 'main') return `main thread and threads 'main', ${count(mappings)}`;
  const several = mappings > 1;
  if (!name) return several ? `other threads, ${count(mappings)}` : 'another thread';
  return several ? `threads '${name}', ${count(mappings)}` : `thread '${name}'`;
}

function nameOf(detail, cause, fromOutside) {
  if (cause === 'stacks') return whose(detail);
  const anonymous = cause === 'anonymous' || cause === 'lazily_freed';
  let name = anonymous ? detail.name.split('/').pop() : detail.name;
  if (cause === 'lazily_freed' && detail.name === 'heap' && !detail.function) name = 'in the heap of the allocator that serves';
  if (!name && !anonymous) name = 'no name';
  if (!name) name = fromOutside ? 'mapped by the program or its libraries' : 'mapped by the loader, libc or a bare system call';
  if (detail.function) name += `, ${detail.function}`;
  if (detail.allocator) name += `, which has ${detail.allocator} inside`;
  if (detail.mappings > 1) name += `, in ${count(detail.mappings)} mappings`;
  return name;
}

function detailRows(line, whole, fromOutside) {
  const rows = line.details.slice(0, SHOWN_DETAILS).map((d) => element('tr.detail', { hidden: true },
    element('td', {}, nameOf(d, line.cause, fromOutside)), element('td.number', {}, bytes(d.bytes)),
    element('td.number', {}, share(d.bytes, whole)), element('td'), element('td.wide')));
  const left = line.details.slice(SHOWN_DETAILS);
  if (left.length)
    rows.push(element('tr.detail', { hidden: true }, element('td', {}, `${left.length} more`),
      element('td.number', {}, bytes(left.reduce((sum, d) => sum + d.bytes, 0))), element('td.number'),
      element('td'), element('td.wide')));
  return rows;
}

function lineRows(line, whole, about) {
  const details = line.details?.length ? detailRows(line, whole, about.fromOutside) : [];
  const words = details.length
    ? element('button.expand', { type: 'button', 'aria-expanded': 'false', click: (e) => {
      const open = e.currentTarget.getAttribute('aria-expanded') !== 'true';
      e.currentTarget.setAttribute('aria-expanded', String(open));
      for (const row of details) row.hidden = !open;
    } }, wordsOf(line, about))
    : wordsOf(line, about);
  return [element('tr', { 'data-cause': line.cause },
    element('th', { scope: 'row' }, swatch(causeColour(line.cause)), words),
    element('td.number', {}, bytes(Math.abs(line.bytes))), element('td.number', {}, share(Math.abs(line.bytes), whole)),
    element('td.number.soft', {}, line.cause === 'unexplained' ? '' : error(line, 'bytes')), element('td.wide.soft', {}, meaningOf(line.cause, about))),
  ...details];
}

function coreNotes({ path, left_out_bytes: leftOut, missing_bytes: missing }) {
  return [`Core file ${path}: sizes are what it holds, pages of zeros left out. It does not tell what was in memory or swapped out, nor who shared it.`,
    ...(leftOut > 0 ? [`Not in it: ${bytes(leftOut)} of mappings, such as code and other pages of files.`] : []),
    ...(missing > 0 ? [`CUT SHORT: ${bytes(missing)} are missing at its end: all figures are too low.`] : [])];
}

export function showLedger({ report }) {
  const made = section('ledger', 'Where the resident memory is');
  const ofCore = report.core != null, fromOutside = report.reason === 'inspection' || report.recording.attached;
  const heapKnown = report.ledger_about?.divided || !(fromOutside || !report.backend.served || report.backend.takeover?.state === 'observed');
  const about = { ...report.ledger_about, of: ofCore ? 'of core' : 'of RSS', fromOutside, heapKnown, unexplained: report.unexplained_bytes ?? 0 };
  if (!report.ledger?.length) {
    made.append(element('p.note', {}, `There is no ledger: ${about?.why_not ?? 'the report does not say why'}.`));
    return;
  }
  const whole = about.rss_bytes;
  const lines = report.ledger.filter((l) => Math.round(l.bytes) !== 0);
  if (about.unexplained) lines.push({ cause: 'unexplained', bytes: about.unexplained });
  made.append(bar(lines, whole, about));
  const head = element('tr', {}, ...[['cause', ''], ['resident', '.number'], [about.of, '.number'], ['error', '.number'],
    ['', '.wide']].map(([words, classes]) => element(`th${classes}`, { scope: 'col' }, words)));
  const foot = element('tr.total', {}, element('th', { scope: 'row' }, ofCore ? 'in the core' : 'resident (RSS)'), element('td.number', {}, bytes(whole)),
    element('td.number', {}, '100.0 %'), element('td.number.soft', {}, 'exact'),
    element('td.wide.soft', {}, ofCore ? 'pages that hold anything but zeros' : "the kernel's own figure, around the scan"));
  made.append(element('table.ledger', {}, element('thead', {}, head),
    element('tbody', {}, ...lines.flatMap((l) => lineRows(l, whole, about))), element('tfoot', {}, foot)));
  if (ofCore) made.append(...coreNotes(report.core).map((words) => element('p.note', {}, words)));
  if (!about.divided && about.not_divided_why)
    made.append(element('p.note', {}, `The heap is one line: ${about.not_divided_why}.`));
}
