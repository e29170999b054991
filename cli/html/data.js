// SPDX-License-Identifier: Apache-2.0
// What the command put into the page (cli/report/profile_html.cpp, cli/compare/tables.cpp), made handy.

/** The figures of call sites: name, field (the report's), column, words, meaning. read() takes them from the page. */
export const FIGURES = [];
/** What a flame graph may be by: bytes, of reports of every mode. */
export const measures = () => FIGURES.filter((f) => f.name && f.bytes && !f.exact_only);

/** The causes of the ledger by name: [words, meaning]. given() takes them from the page. */
export const CAUSES = {};
export const causeWords = (cause) => CAUSES[cause]?.[0] ?? cause;
export const causeColour = (cause) => `var(--cause-${CAUSES[cause] ? cause.replace('_', '-') : 'unexplained'})`;

/** @returns what was put into the page: of a report, or `comparison` and its `columns` */
export function given() {
  const data = JSON.parse(document.getElementById('report').textContent);
  for (const [name, words, meaning] of data.causes) CAUSES[name] = [words, meaning];
  CAUSES.unexplained = ['unexplained', 'RSS less the lines above'];
  return data;
}

/** @returns {{report, sites, series, ...}} sites as objects with `stack` of frames, leaf first */
export function read(data) {
  FIGURES.push(...data.figures);
  const frames = data.frames.map(([label, file, line, module, inlined]) => ({
    label, file, line, module, inlined, place: file ? (line ? `${file}:${line}` : file) : '' }));
  const stack = data.site_fields.indexOf('stack');
  const sites = data.sites.map((row) => {
    const site = {};
    data.site_fields.forEach((field, i) => (site[field] = row[i]));
    site.stack = row[stack].map((i) => frames[i]);
    return site;
  });
  return { ...data, frames, sites, series: seriesOf(data) };
}

/** Points over time: the reports that were given; of a single one, what it remembers of earlier ones. */
function seriesOf({ report, series }) {
  const points = series.map((p) => ({ ...p, at: p.taken_at_ns / 1e6 }));
  if (points.length === 1)
    for (const past of report.history?.past ?? []) points.push({ ...past, at: (report.taken_at_ns - past.ago_ns) / 1e6 });
  return points.sort((a, b) => a.at - b.at);
}

/** What people call a site: its first function that is the program's own, and who called that. */
export function title(site) {
  const named = site.stack[site.named_by ?? 0];
  if (!named) return { leaf: 'no stack', caller: 'the table of sites was full' };
  const caller = site.stack.slice((site.named_by ?? 0) + 1).find((f) => !f.inlined || !named.inlined);
  return { leaf: named.label, caller: caller?.label ?? '' };
}

/** The same in one line. */
export function nameOf(site) {
  const { leaf, caller } = title(site);
  return `${leaf}${caller ? ` ← ${caller}` : ''} (site ${site.id})`;
}
