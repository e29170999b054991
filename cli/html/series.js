// SPDX-License-Identifier: Apache-2.0
// Resident memory over time: the causes stacked, RSS and live bytes as lines. Only where there are two points.
import { axisBottom, axisLeft } from 'd3-axis';
import { scaleLinear, scaleUtc } from 'd3-scale';
import { select } from 'd3-selection';
import { area, line, stack } from 'd3-shape';
import { CAUSES, causeColour, causeWords } from './data.js';
import { element, hideTip, onChange, section, showTip, swatch } from './dom.js';
import { bytes, byteTicks, change, duration } from './format.js';

const HEIGHT = 300, MARGIN = { top: 12, right: 14, bottom: 26, left: 74 };

/** Points by time, with the cause's bytes; those that no ledger tells are 0. */
class Chart {
  constructor(points) {
    this.points = points;
    this.keys = Object.keys(CAUSES).filter((k) => points.some((p) => (p.ledger?.[k] ?? 0) > 0));
    this.stacked = stack().keys(this.keys).value((p, k) => Math.max(0, p.ledger?.[k] ?? 0))(points);
    this.most = Math.max(...points.map((p) => p.rss_bytes), ...(this.stacked.at(-1) ?? []).map((s) => s[1]), 1);
    this.svg = select(document.createElementNS('http://www.w3.org/2000/svg', 'svg')).attr('class', 'series').attr('role', 'img')
      .attr('aria-label', `Resident memory from ${bytes(points[0].rss_bytes)} to ${bytes(points.at(-1).rss_bytes)}`);
    this.svg.on('pointermove', (e) => this.point(e)).on('pointerdown', (e) => this.point(e)).on('pointerleave', () => {
      this.svg.select('.cursor').attr('visibility', 'hidden');
      hideTip();
    });
  }

  draw(width) {
    const inner = width - MARGIN.left - MARGIN.right;
    const x = (this.x = scaleUtc([this.points[0].at, this.points.at(-1).at], [0, inner]));
    const y = scaleLinear([0, this.most], [HEIGHT - MARGIN.top - MARGIN.bottom, 0]);
    this.svg.attr('viewBox', `0 0 ${width} ${HEIGHT}`).attr('width', width).attr('height', HEIGHT).selectAll('*').remove();
    const g = this.svg.append('g').attr('transform', `translate(${MARGIN.left},${MARGIN.top})`);
    const shape = area().x((s) => x(s.data.at)).y0((s) => y(s[0])).y1((s) => y(s[1]));
    for (const layer of this.stacked)
      g.append('path').attr('class', 'layer').attr('d', shape(layer)).style('fill', causeColour(layer.key));
    for (const [field, name] of [['rss_bytes', 'rss'], ['live_bytes', 'live']]) {
      const has = this.points.filter((p) => p[field] != null);
      g.append('path').attr('class', `line ${name}`).attr('d', line().x((p) => x(p.at)).y((p) => y(p[field]))(has));
      if (this.points.length <= 60)
        g.selectAll(null).data(has).join('circle').attr('class', `dot ${name}`).attr('r', 2.5).attr('cx', (p) => x(p.at)).attr('cy', (p) => y(p[field]));
    }
    g.append('g').attr('class', 'axis').attr('transform', `translate(0,${HEIGHT - MARGIN.top - MARGIN.bottom})`)
      .call(axisBottom(x).ticks(Math.max(2, Math.floor(inner / 90))).tickSizeOuter(0));
    g.append('g').attr('class', 'axis').call(axisLeft(y).tickValues(byteTicks(this.most, 5)).tickFormat(bytes).tickSizeOuter(0));
    g.append('line').attr('class', 'cursor').attr('y2', HEIGHT - MARGIN.top - MARGIN.bottom).attr('visibility', 'hidden');
  }

  point(event) {
    const box = this.svg.node().getBoundingClientRect();
    const at = this.x.invert(event.clientX - box.left - MARGIN.left).getTime();
    const p = this.points.reduce((best, q) => (Math.abs(q.at - at) < Math.abs(best.at - at) ? q : best));
    this.svg.select('.cursor').attr('visibility', 'visible').attr('x1', this.x(p.at)).attr('x2', this.x(p.at));
    showTip([`${new Date(p.at).toISOString().slice(0, 19).replace('T', ' ')} UTC`, `RSS ${bytes(p.rss_bytes)}`,
      p.counts_bytes == null ? null : `memory that counts ${bytes(p.counts_bytes)}`,
      p.live_bytes == null ? null : `live blocks ${bytes(p.live_bytes)}`,
      ...this.keys.filter((k) => p.ledger?.[k] > 0).map((k) => `${causeWords(k)} ${bytes(p.ledger[k])}`)], event.clientX, event.clientY);
  }
}

function table(points, keys) {
  const head = element('tr', {}, ...['time (UTC)', 'RSS', 'that counts', causeWords('live'), ...keys.map(causeWords)].map((w, i) =>
    element(i ? 'th.number' : 'th', { scope: 'col' }, w)));
  const rows = points.map((p) => element('tr', {}, element('th', { scope: 'row' }, new Date(p.at).toISOString().slice(0, 19).replace('T', ' ')),
    ...[p.rss_bytes, p.counts_bytes, p.live_bytes, ...keys.map((k) => p.ledger?.[k])].map((v) => element('td.number', {}, v == null ? '?' : bytes(v)))));
  return element('details', {}, element('summary', {}, `The ${points.length} points as a table`),
    element('div.scroll', {}, element('table', {}, element('thead', {}, head), element('tbody', {}, ...rows))));
}

export function showSeries({ series }) {
  if (series.length < 2) return;
  const first = series[0], last = series.at(-1);
  const made = section('time', 'Over time', `${series.length} reports of this process in ${duration((last.at - first.at) * 1e6)}: ` +
    `resident memory went from ${bytes(first.rss_bytes)} to ${bytes(last.rss_bytes)} (${change(last.rss_bytes - first.rss_bytes)}).`);
  const chart = new Chart(series);
  const box = element('div.canvas-box', {}, chart.svg.node());
  made.append(box, element('div.legend', {}, ...chart.keys.map((k) => element('span.item', {}, swatch(causeColour(k)), causeWords(k))),
    element('span.item', {}, element('span.stroke.rss', { 'aria-hidden': 'true' }), 'RSS'),
    element('span.item', {}, element('span.stroke.live', { 'aria-hidden': 'true' }), causeWords('live'))), table(series, chart.keys));
  const redraw = () => box.clientWidth && chart.draw(box.clientWidth);
  onChange(box, redraw);
  redraw();
}
