// SPDX-License-Identifier: Apache-2.0
// The call sites: a table to sort and search, with the stack of each behind a click.
import { FIGURES, title } from './data.js';
import { breakable, element, section } from './dom.js';
import { bytes, count, counted, error } from './format.js';
import { siteDetails } from './site.js';

const FIRST_ROWS = 25, MORE_ROWS = 200;
/** Samples tell of few sites what they hold alone. */
const told = (value) => (value == null ? '–' : bytes(value));
const COLUMNS = [
  { field: 'resident_bytes', words: 'resident', show: bytes, error: true },
  { field: 'alone_bytes', words: 'alone', show: told, classes: '.medium' },
  { field: 'hole_bytes', words: 'holes', show: bytes, classes: '.medium' },
  { field: 'live_bytes', words: 'live', show: bytes, error: true },
  { field: 'live_count', words: 'blocks', show: count, classes: '.wide' },
  { field: 'allocated_bytes', words: 'allocated', show: bytes, classes: '.medium' },
];
/** Where every block was booked. */
const EXACT_COLUMNS = [
  { field: 'peak_bytes', words: 'peak', show: bytes, classes: '.wide' },
  { field: 'temporary_count', words: 'temporary', show: count, classes: '.wide' },
];

/** Where the process has come down from its peak, or was asked for it. */
const AT_PEAK = { name: 'at-peak', field: 'at_peak_bytes', words: 'at peak', show: bytes };

class Table {
  constructor(data) {
    this.sites = data.sites;
    const peak = data.report.peak;
    this.columns = [...COLUMNS, ...(peak?.judged || data.ranked_by === AT_PEAK.name ? [AT_PEAK] : []),
      ...EXACT_COLUMNS.filter((c) => data.sites.some((s) => s[c.field] != null))];
    const by = FIGURES.find((f) => f.name === data.ranked_by)?.field ?? 'live_bytes';
    this.by = by;
    this.falling = true;
    this.shown = FIRST_ROWS;
    this.opened = new Set();
    this.search = new Map(data.sites.map((s) =>
      [s, s.stack.map((f) => `${f.label} ${f.place} ${f.module}`).join('\n').toLowerCase() + `\nsite ${s.id}`]));
    this.heads = this.columns.map((c) => element(`th.number${c.classes ?? ''}`, { scope: 'col' },
      element('button.sort', { type: 'button', click: () => this.sortBy(c.field) }, c.words)));
    this.body = element('tbody');
    this.more = element('button.more', { type: 'button', click: () => {
      this.shown += MORE_ROWS;
      this.draw();
    } });
    this.said = element('p.soft', { role: 'status' });
    this.input = element('input', { type: 'search', placeholder: 'Function, file or module', 'aria-label': 'Search call sites',
      input: () => {
        this.shown = FIRST_ROWS;
        this.find();
      } });
    this.find();
  }

  sortBy(field) {
    this.falling = this.by === field ? !this.falling : true;
    this.by = field;
    this.find();
  }

  find() {
    const wanted = this.input.value.trim().toLowerCase();
    this.found = this.sites.filter((s) => !wanted || this.search.get(s).includes(wanted));
    this.found.sort((a, b) => ((b[this.by] ?? 0) - (a[this.by] ?? 0)) * (this.falling ? 1 : -1) || a.id - b.id);
    this.draw();
  }

  row(site) {
    const { leaf, caller } = title(site);
    const open = this.opened.has(site);
    const button = element('button.expand', { type: 'button', 'aria-expanded': String(open), click: () => {
      if (!this.opened.delete(site)) this.opened.add(site);
      this.draw();
      this.body.querySelector(`#site-${site.id} button`)?.focus();
    } }, ...breakable(leaf));
    const name = element('th.name', { scope: 'row' }, button,
      element('span.caller', {}, ...(caller ? breakable(`← ${caller}`) : [])));
    // The whole row opens, unless somebody marks text in it.
    const click = (event) => {
      if (!event.target.closest('button') && getSelection().isCollapsed) button.click();
    };
    const rows = [element('tr.site', { id: `site-${site.id}`, click }, name, ...this.columns.map((c) =>
      element(`td.number${c.classes ?? ''}`, {}, c.show(site[c.field] ?? (c.show === told ? null : 0)),
        c.error ? element('small', {}, error(site, c.field)) : null)))];
    if (open) rows.push(element('tr.stack', {}, element('td', { colspan: this.columns.length + 1 }, siteDetails(site))));
    return rows;
  }

  draw() {
    this.heads.forEach((head, i) => head.setAttribute('aria-sort',
      this.columns[i].field !== this.by ? 'none' : this.falling ? 'descending' : 'ascending'));
    const nothing = element('tr.nothing', {}, element('td', { colspan: this.columns.length + 1 },
      `Nothing matches “${this.input.value.trim()}”: functions, files, modules and “site N” are searched.`));
    this.body.replaceChildren(...(this.found.length ? this.found.slice(0, this.shown).flatMap((s) => this.row(s)) : [nothing]));
    const left = this.found.length - this.shown;
    this.more.hidden = left <= 0;
    this.more.textContent = `Show ${count(Math.min(left, MORE_ROWS))} more of ${count(left)}`;
    this.said.textContent = this.found.length === this.sites.length ? counted(this.sites.length, 'call site')
      : `${count(this.found.length)} of ${counted(this.sites.length, 'call site')}`;
  }

  /** Shows a site with its stack, wherever it is ranked. */
  open(id) {
    const site = this.sites.find((s) => s.id === id);
    if (!site) return;
    if (!this.found.includes(site)) {
      this.input.value = '';
      this.find();
    }
    this.opened.add(site);
    this.shown = Math.max(this.shown, this.found.indexOf(site) + 1);
    this.draw();
    const row = this.body.querySelector(`#site-${id}`);
    row.scrollIntoView({ block: 'center' });
    row.querySelector('button').focus({ preventScroll: true });
  }
}

/** @returns what opens a site by its id */
export function showSites(data) {
  const made = section('sites', 'Call sites', 'Who holds the memory. Resident is a site’s share of the pages under its blocks, ' +
    'holes included: no promise. Alone is what goes back if the blocks of this site leave and nobody else’s.');
  if (!data.sites.length) {
    made.append(element('p.note', {}, data.report.recording.mode === 'off'
      ? data.report.reason === 'inspection'
        ? 'Nothing was recorded: the process was looked at from outside. Start the program with mallard run, or mallard attach, for call sites.'
        : 'Nothing was recorded: ALLOC_MODE=off. Start the program with ALLOC_MODE=sample for call sites.'
      : data.sites_unfocused ? `No call site matches --focus; ${count(data.sites_unfocused)} do not.`
        : `No allocation has been sampled yet. ${data.report.recording.attached ? 'mallard attach --mode exact books each' : 'A smaller ALLOC_SAMPLE_BYTES takes samples sooner'}.`));
    return () => {};
  }
  const table = new Table(data);
  made.append(element('div.tools', {}, table.input, table.said),
    element('table.sites', {}, element('thead', {}, element('tr', {}, element('th', { scope: 'col' }, 'call site'), ...table.heads)),
      table.body), table.more);
  const left = [[data.sites_left_out, 'more were left out by --limit'], [data.sites_unfocused, 'do not match --focus']]
    .filter(([n]) => n > 0).map(([n, words]) => `${count(n)} ${words}`);
  const { other_sites: others, before_recording: before, recording } = data.report;
  if (others?.sites > 0)
    left.push(`${counted(others.sites, 'small one is', 'small ones are')} not in the report: ${bytes(others.live_bytes)} live, ${bytes(others.allocated_bytes)} allocated`);
  if (before?.live_bytes > 0) left.push(`${bytes(before.live_bytes)} were allocated before recording began`);
  made.append(element('p.soft', {}, (recording.mode === 'exact' ? 'Every block was booked.'
    : 'Errors are half of the 95 % confidence interval; ±? where there are too few samples for one.') +
    (left.length ? ` ${left.join('; ')}.` : '')));
  return (id) => table.open(id);
}
