// SPDX-License-Identifier: Apache-2.0
// Where the resident memory is: every byte under one cause, as a bar and as a table.
import { CAUSES, causeColour, causeWords } from './data.js';
import { element, hideTip, section, showTip, swatch } from './dom.js';
import { bytes, error, share } from './format.js';

const SHOWN_DETAILS = 12;

/** What the line means in this ledger, where it is not all that the table of causes says; as the text has it. */
function meaningOf(cause, about) {
  if (cause === 'live' && !about.rounding_known && !about.by_pages) return 'not freed, rounding included';
  if (cause === 'holes' && !about.rounding_known && about.by_pages) return 'free, rounding, headers; live blocks keep it';
  if (cause === 'retained' && about.by_pages) return 'pages without a live block';
  return CAUSES[cause]?.[1] ?? '';
}

function bar(lines, whole, about) {
  const made = element('div.bar', { 'aria-hidden': 'true' });
  for (const line of lines) {
    if (line.bytes <= 0) continue;
    const part = element('div', {
      pointermove: (e) => showTip([causeWords(line.cause), `${bytes(line.bytes)}, ${share(line.bytes, whole)} of RSS`,
        meaningOf(line.cause, about)], e.clientX, e.clientY),
      pointerleave: hideTip });
    part.style.flexGrow = String(line.bytes);
    part.style.background = causeColour(line.cause);
    made.append(part);
  }
  return made;
}

function nameOf(detail) {
  let name = detail.name || 'nobody saw who mapped it';
  if (detail.function) name += `, ${detail.function}`;
  if (detail.allocator) name += `, which has ${detail.allocator} inside`;
  if (detail.mappings > 1) name += `, in ${detail.mappings} mappings`;
  return name;
}

function detailRows(line, whole) {
  const rows = line.details.slice(0, SHOWN_DETAILS).map((d) => element('tr.detail', { hidden: true },
    element('td', {}, nameOf(d)), element('td.number', {}, bytes(d.bytes)),
    element('td.number', {}, share(d.bytes, whole)), element('td'), element('td.wide')));
  const left = line.details.slice(SHOWN_DETAILS);
  if (left.length)
    rows.push(element('tr.detail', { hidden: true }, element('td', {}, `${left.length} more`),
      element('td.number', {}, bytes(left.reduce((sum, d) => sum + d.bytes, 0))), element('td.number'),
      element('td'), element('td.wide')));
  return rows;
}

function lineRows(line, whole, about) {
  const details = line.details?.length ? detailRows(line, whole) : [];
  const words = details.length
    ? element('button.expand', { type: 'button', 'aria-expanded': 'false', click: (e) => {
      const open = e.currentTarget.getAttribute('aria-expanded') !== 'true';
      e.currentTarget.setAttribute('aria-expanded', String(open));
      for (const row of details) row.hidden = !open;
    } }, causeWords(line.cause))
    : causeWords(line.cause);
  return [element('tr', { 'data-cause': line.cause },
    element('th', { scope: 'row' }, swatch(causeColour(line.cause)), words),
    element('td.number', {}, bytes(line.bytes)), element('td.number', {}, share(line.bytes, whole)),
    element('td.number.soft', {}, line.cause === 'unexplained' ? '' : error(line, 'bytes')), element('td.wide.soft', {}, meaningOf(line.cause, about))),
  ...details];
}

export function showLedger({ report }) {
  const made = section('ledger', 'Where the resident memory is');
  const about = report.ledger_about;
  if (!report.ledger?.length) {
    made.append(element('p.note', {}, `There is no ledger: ${about?.why_not ?? 'the report does not say why'}.`));
    return;
  }
  const whole = about.rss_bytes;
  const lines = report.ledger.filter((l) => Math.round(l.bytes) !== 0);
  const rest = report.unexplained_bytes ?? 0;
  if (rest !== 0) lines.push({ cause: 'unexplained', bytes: rest });
  made.append(bar(lines, whole, about));
  const head = element('tr', {}, ...[['cause', ''], ['resident', '.number'], ['of RSS', '.number'], ['error', '.number'],
    ['', '.wide']].map(([words, classes]) => element(`th${classes}`, { scope: 'col' }, words)));
  const foot = element('tr.total', {}, element('th', { scope: 'row' }, 'resident (RSS)'), element('td.number', {}, bytes(whole)),
    element('td.number', {}, '100.0 %'), element('td.number.soft', {}, 'exact'),
    element('td.wide.soft', {}, 'the kernel’s own figure, around the scan'));
  made.append(element('table.ledger', {}, element('thead', {}, head),
    element('tbody', {}, ...lines.flatMap((l) => lineRows(l, whole, about))), element('tfoot', {}, foot)));
  if (rest < 0) made.append(element('p.note', {}, 'More was found than RSS says: the memory of the process moved meanwhile.'));
  if (!about.divided && about.not_divided_why)
    made.append(element('p.note', {}, `The heap is one line: ${about.not_divided_why}.`));
}
