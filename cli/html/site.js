// SPDX-License-Identifier: Apache-2.0
// One call site in full: its stack with files and lines, and every figure that the report has of it.
import { FIGURES } from './data.js';
import { element } from './dom.js';
import { bytes, change, count, duration, error } from './format.js';

const COUNTED = [
  ['largest_bytes', 'largest request', bytes],
  ['samples', 'samples', count], ['live_samples', 'live samples', count],
];

function figures(site) {
  const list = element('dl.figures');
  const add = (words, ...value) => list.append(element('div', {}, element('dt', {}, words), element('dd', {}, ...value)));
  const stated = [...FIGURES, { field: 'born_in_last_half_bytes', words: 'live bytes born in the last half', bytes: true }];
  for (const f of stated)
    if (site[f.field] != null)
      add(f.words, (f.bytes ? bytes : count)(site[f.field]), element('small', {}, f.exact_only ? '' : error(site, f.field)));
  for (const [field, words, show] of COUNTED)
    if (site[field] != null) add(words, show(site[field]));
  if (site.live_samples > 0)
    for (const [field, words] of [['mean_age_ns', 'mean age'], ['oldest_ns', 'oldest'], ['youngest_ns', 'youngest']])
      add(words, duration(site[field]));
  for (const [field, words] of [['since_first', 'since the first report'], ['since_previous', 'since the latest report']]) {
    const growth = site.growth?.[field];
    if (growth) add(`live, ${words}`, change(growth.change),
      element('small', {}, growth.low == null ? '' : `${change(growth.low)} to ${change(growth.high)}`));
  }
  return list;
}

/** How many blocks of which sizes, where the report has counted them. */
function sizes(site) {
  if (!Array.isArray(site.sizes) || !site.sizes.length) return null;
  const most = Math.max(...site.sizes.map((s) => s.allocated_count), 1);
  return element('table.sizes', {}, element('thead', {}, element('tr', {},
    ...['size of request', 'allocated', 'live', ''].map((w, i) => element(i ? 'th.number' : 'th', { scope: 'col' }, w)))),
  element('tbody', {}, ...site.sizes.map((s) => {
    const part = element('span.part');
    part.style.width = `${(100 * s.allocated_count) / most}%`;
    const range = s.from === s.to ? bytes(s.from) : `${bytes(s.from)} to ${bytes(s.to)}`;
    return element('tr', {}, element('th', { scope: 'row' }, range), element('td.number', {}, count(s.allocated_count)),
      element('td.number', {}, count(s.live_count)), element('td.parts', {}, part));
  })));
}

export function siteDetails(site) {
  const named = site.named_by ?? 0;
  const classOf = (f, i) => `li${f.inlined ? '.inlined' : ''}${i < named ? '.folded' : ''}`;
  const stack = element('ol.frames', {}, ...site.stack.map((f, i) => element(classOf(f, i), {},
    element('span.function', {}, f.label), f.inlined ? element('small', {}, 'inlined') : null,
    element('span.place', {}, [f.place, f.module && `[${f.module}]`].filter((w) => w).join('  ')))));
  return element('div.site-details', {}, element('p.soft', {}, `Site ${site.id}, innermost call first` +
    (named > 0 ? `; it is named by ${site.stack[named].label}, for which the ${named > 1 ? `${named} above` : 'one above'} ` +
      'allocate' : '')),
    site.stack.length ? stack : element('p.note', {}, 'No stack: this site takes what found the table of sites full.'),
    figures(site), sizes(site));
}
