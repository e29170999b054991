// SPDX-License-Identifier: Apache-2.0
// How long the allocator's calls took, by operation and size, and who waited longest.
import { title } from './data.js';
import { element, section } from './dom.js';
import { bytes, count, duration } from './format.js';

const QUANTILES = [['p50', 'p50_ns', ''], ['p90', 'p90_ns', '.medium'], ['p99', 'p99_ns', ''], ['p99.9', 'p99_9_ns', ''],
  ['p99.99', 'p99_99_ns', '.medium'], ['max', 'max_ns', '']];
const SPACE = '\u00a0';

/** "19.0 ns", "2.10 µs": three digits, and none that was not measured. */
export function time(ns) {
  if (ns == null) return '–';
  let shown = ns, unit = 0;
  for (; unit < 3 && shown >= 999.5; ++unit) shown /= 1000;
  const digits = shown < 9.995 ? 2 : shown < 99.95 ? 1 : 0;
  return `${shown.toFixed(unit === 0 ? Math.min(digits, 1) : digits)}${SPACE}${['ns', 'µs', 'ms', 's'][unit]}`;
}

const groupOf = (row) => (row.all_sizes ? row.operation : row.up_to_bytes == null ? 'larger' : `to ${bytes(row.up_to_bytes)}`);

/** From p50 to p99 and on to the longest, by powers of ten. */
function range(row, least, most) {
  const at = (ns) => 100 * Math.log(Math.max(ns, least) / least) / Math.log(most / least);
  const box = element('div.range', { 'aria-hidden': 'true' });
  const part = (from, to, name) => {
    if (from == null || to == null) return;
    const made = element(`span.${name}`);
    made.style.left = `${at(from)}%`;
    made.style.width = `${Math.max(at(to) - at(from), 0.7)}%`;
    box.append(made);
  };
  part(row.p50_ns, row.max_ns, 'tail');
  part(row.p50_ns, row.p99_ns ?? row.p90_ns ?? row.p50_ns, 'most');
  return box;
}

function callTable(calls) {
  const times = calls.flatMap((r) => [r.p50_ns, r.max_ns]).filter((ns) => ns > 0);
  const least = 10 ** Math.floor(Math.log10(Math.max(1, Math.min(...times))));
  const most = Math.max(10 * least, 10 ** Math.ceil(Math.log10(Math.max(...times))));
  const heads = [['operation', ''], ['timed', '.number.medium'], ...QUANTILES.map(([w, , c]) => [w, `.number${c}`]),
    [`p50 to p99, and to max; ${time(least)} to ${time(most)}, by powers of ten`, '.wide']];
  const rowOf = (row, hidden) => element(row.all_sizes ? 'tr' : 'tr.detail', { hidden },
    element(row.all_sizes ? 'th' : 'td', { scope: row.all_sizes ? 'row' : null }, groupOf(row)),
    element('td.number.medium', {}, count(row.timed)),
    ...QUANTILES.map(([, field, c]) => element(`td.number${c}`, {}, time(row[field]))),
    element('td.wide', {}, range(row, least, most)));
  const rows = [];
  for (const total of calls.filter((r) => r.all_sizes)) {
    const groups = calls.filter((r) => !r.all_sizes && r.operation === total.operation).map((r) => rowOf(r, true));
    const made = rowOf(total, false);
    made.firstChild.replaceChildren(element('button.expand', { type: 'button', 'aria-expanded': 'false', click: (e) => {
      const open = e.currentTarget.getAttribute('aria-expanded') !== 'true';
      e.currentTarget.setAttribute('aria-expanded', String(open));
      for (const row of groups) row.hidden = !open;
    } }, total.operation));
    rows.push(made, ...groups);
  }
  return element('table.latency', {}, element('thead', {}, element('tr', {}, ...heads.map(([words, classes]) =>
    element(`th${classes}`, { scope: 'col' }, words)))), element('tbody', {}, ...rows));
}

function slowTable(sites, frames) {
  const heads = [['slow calls', ''], ['timed', '.number'], ['1 ms+', '.number.medium'], ['together', '.number'], ['longest', '.number']];
  return element('table.latency', {}, element('thead', {}, element('tr', {}, ...heads.map(([w, c]) => element(`th${c}`, { scope: 'col' }, w)))),
    element('tbody', {}, ...sites.map((site) => {
      const stack = site.stack.map((i) => frames[i]).filter((f) => f);
      const { leaf, caller } = stack.length ? title({ ...site, stack }) : { leaf: 'call site not known', caller: '' };
      const name = stack.length ? element('details', {}, element('summary', {}, `${site.operation} from ${leaf}`, caller ? element('small', {}, ` ← ${caller}`) : null),
        element('ol.frames', {}, ...stack.map((f) => element('li', {}, element('span.function', {}, f.label),
          element('span.place', {}, [f.place, f.module && `[${f.module}]`].filter((w) => w).join('  ')))))) : `${site.operation}, ${leaf}`;
      return element('tr', {}, element('td', {}, name), element('td.number', {}, count(site.calls)),
        element('td.number.medium', {}, count(site.from_1_ms)), element('td.number', {}, time(site.sum_ns)),
        element('td.number', {}, time(site.max_ns)));
    })));
}

export function showLatency({ report, frames }) {
  const l = report.latency;
  if (!l) return;
  const seen = l.every > 1 ? Math.floor(Math.log(0.05) / Math.log(1 - 1 / l.every) + 1) : 1;
  const made = section('latency', 'Latency of the allocator’s calls',
    `${l.every === 1 ? 'Each call was' : `One call of ${count(l.every)}, drawn at random, was`} timed, for ${duration(l.since_ns)}. ` +
    `The clock’s own ${time(l.own_ns)} are subtracted.` +
    (l.every > 1 ? ` A stall that came fewer than ${count(seen)} times may be missing (95 % confidence).` : ''));
  if (!l.calls.length) {
    made.append(element('p.note', {}, 'No call has been timed yet.'));
    return;
  }
  made.append(element('div.scroll', {}, callTable(l.calls)));
  if (l.calls.some((r) => r.operation === 'free' && !r.all_sizes))
    made.append(element('p.soft', {}, 'Frees by size are others than those of all sizes: the block’s size was asked first, which brings its header into the cache.'));
  if (!l.slow.sites.length) return;
  made.append(element('h3.also', {}, 'Slow calls, by call site'), element('p.soft', {},
    `${count(l.slow.calls)} of the timed calls took ${time(l.slow.from_ns)} or longer, ${time(l.slow.sum_ns)} together. What they waited for is not measured: ` +
    'page faults, the kernel, a lock, or a processor that others had.'), element('div.scroll', {}, slowTable(l.slow.sites, frames)));
}
