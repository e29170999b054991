// SPDX-License-Identifier: Apache-2.0
// The page of `mallard compare --html`: which candidate does best, resident memory of all over time, their ledgers.
import { axisBottom, axisLeft } from 'd3-axis';
import { scaleLinear } from 'd3-scale';
import { select } from 'd3-selection';
import { line } from 'd3-shape';
import { CAUSES, causeColour, causeWords } from './data.js';
import { element, hideTip, onChange, section, showTip, swatch } from './dom.js';
import { bytes, byteTicks, count } from './format.js';
import { time } from './latency.js';

const HEIGHT = 340, MARGIN = { top: 12, right: 14, bottom: 34, left: 74 }, COLOURS = 10;
const TEXTS = { bytes, count, time, seconds: (s) => `${s.toFixed(2)}\u00a0s` };

const colourOfRow = (i) => `var(--site-${i % COLOURS})`;
const goneThrough = (candidate) => candidate.runs.filter((r) => !r.failure);

/** The run that stands for a candidate: the one in the middle by what it has at its end. */
function typicalRun(candidate, field) {
  const runs = goneThrough(candidate).sort((a, b) => a[field] - b[field]);
  return runs[Math.floor((runs.length - 1) / 2)];
}

function showHead({ comparison: c }) {
  const name = c.command[0].split('/').at(-1);
  document.title = `${name}: allocators and settings compared`;
  const runs = c.rounds === 1 ? 'one run each' : `${c.rounds} runs each, in turns`;
  document.getElementById('main').append(element('div.hero', {}, element('h1', {}, name),
    element('p.lead', {}, `${c.candidates.length} candidates, ${runs}`), element('p.command', {}, c.command.join(' '))));
  const changed = c.best_change < 0;
  section('advice', 'Which one').append(element(`div.verdict.cause-${changed ? 'best' : 'none'}`, {}, element('p.next', {}, c.advice)));
}

function cell(candidate, [field, , unit]) {
  const figure = candidate[field];
  if (!figure) return element('td.number', {}, '–');
  const range = figure.least === figure.most ? null : `${TEXTS[unit](figure.least)} to ${TEXTS[unit](figure.most)}`;
  return element(`td.number.${figure.than_first ?? 'equal'}`, {}, `${TEXTS[unit](figure.median)}${figure.than_first === 'equal' ? ' =' : ''}`,
    range ? element('small', {}, range) : null);
}

function showFigures({ comparison: c, columns }) {
  const head = element('tr', {}, element('th', { scope: 'col' }, 'candidate'),
    ...columns.map(([, words]) => element('th.number', { scope: 'col' }, words)));
  const rows = c.candidates.map((candidate, i) => element('tr', {},
    element('th', { scope: 'row' }, swatch(colourOfRow(i)), candidate.name,
      element('span.caller', {}, [candidate.serves || 'nobody knows who serves', ...candidate.variables.map((v) => v.join('='))].join(', ')),
      candidate.remark ? element('span.caller', {}, candidate.remark) : null),
    ...columns.map((column) => cell(candidate, column))));
  section('figures', 'Figures', `Medians, and below them the least and the most. = ${c.noise}.`).append(
    element('div.scroll', {}, element('table.compared', {}, element('thead', {}, head), element('tbody', {}, ...rows))));
}

/** How long calls took, a table for each operation. */
function showTimes({ comparison: c }) {
  const told = (operation) => c.candidates.some((r) => Object.values(r.latency?.[operation] ?? {}).some((figure) => figure));
  const operations = Object.keys(c.candidates[0].latency ?? {}).filter(told);
  if (!operations.length) return;
  const made = section('latency', 'How long calls take', `Of the calls ${c.timed}; medians over the runs, and below them the least and the most.`);
  for (const operation of operations) {
    const columns = Object.keys(c.candidates[0].latency[operation]).map((field) =>
      [field, field.replace('_ns', '').replace('_', '.'), 'time']);
    const head = element('tr', {}, element('th', { scope: 'col' }, operation),
      ...columns.map(([, words]) => element('th.number', { scope: 'col' }, words)));
    const rows = c.candidates.map((candidate, i) => element('tr', {}, element('th', { scope: 'row' }, swatch(colourOfRow(i)), candidate.name),
      ...columns.map((column) => cell(candidate.latency[operation], column))));
    made.append(element('div.scroll', {}, element('table.compared', {}, element('thead', {}, head), element('tbody', {}, ...rows))));
  }
}

class Curves {
  constructor(lines) {
    this.lines = lines;
    this.mostBytes = Math.max(...lines.flatMap((l) => l.run.curve.map((p) => p[1])), 1);
    this.mostSeconds = Math.max(...lines.flatMap((l) => l.run.curve.map((p) => p[0])), 0.1);
    this.svg = select(document.createElementNS('http://www.w3.org/2000/svg', 'svg')).attr('class', 'series').attr('role', 'img')
      .attr('aria-label', 'Resident memory of each candidate over time; the table of figures has the same');
    this.svg.on('pointermove', (e) => this.point(e)).on('pointerdown', (e) => this.point(e)).on('pointerleave', () => {
      this.svg.select('.cursor').attr('visibility', 'hidden');
      hideTip();
    });
  }

  draw(width) {
    const inner = width - MARGIN.left - MARGIN.right, bottom = HEIGHT - MARGIN.top - MARGIN.bottom;
    const x = (this.x = scaleLinear([0, this.mostSeconds], [0, inner]));
    const y = scaleLinear([0, this.mostBytes], [bottom, 0]);
    this.svg.attr('viewBox', `0 0 ${width} ${HEIGHT}`).attr('width', width).attr('height', HEIGHT).selectAll('*').remove();
    const g = this.svg.append('g').attr('transform', `translate(${MARGIN.left},${MARGIN.top})`);
    for (const { run, colour } of this.lines) {
      g.append('path').attr('class', 'curve').attr('d', line().x((p) => x(p[0])).y((p) => y(p[1]))(run.curve)).style('stroke', colour);
      const ended = run.load_ended_seconds && run.curve.find((p) => p[0] >= run.load_ended_seconds);
      if (ended) g.append('circle').attr('r', 4).attr('cx', x(ended[0])).attr('cy', y(ended[1])).style('fill', colour);
    }
    g.append('g').attr('class', 'axis').attr('transform', `translate(0,${bottom})`)
      .call(axisBottom(x).ticks(Math.max(2, Math.floor(inner / 90))).tickFormat((s) => `${s} s`).tickSizeOuter(0));
    g.append('g').attr('class', 'axis').call(axisLeft(y).tickValues(byteTicks(this.mostBytes, 5)).tickFormat(bytes).tickSizeOuter(0));
    g.append('line').attr('class', 'cursor').attr('y2', bottom).attr('visibility', 'hidden');
  }

  point(event) {
    const box = this.svg.node().getBoundingClientRect();
    const at = Math.max(0, this.x.invert(event.clientX - box.left - MARGIN.left));
    this.svg.select('.cursor').attr('visibility', 'visible').attr('x1', this.x(at)).attr('x2', this.x(at));
    const near = ({ run }) => run.curve.reduce((best, p) => (Math.abs(p[0] - at) < Math.abs(best[0] - at) ? p : best));
    showTip([`${at.toFixed(1)} s after the start`, ...this.lines.filter((l) => l.run.curve.at(-1)[0] >= at - 0.5)
      .map((l) => `${l.name}: ${bytes(near(l)[1])}`)], event.clientX, event.clientY);
  }
}

function showCurves({ comparison: c }) {
  const field = c.server ? 'after_idle_bytes' : 'peak_bytes';
  const lines = c.candidates.map((candidate, i) => ({ name: candidate.name, colour: colourOfRow(i), run: typicalRun(candidate, field) }))
    .filter((l) => l.run?.curve.length > 1);
  if (!lines.length) return;
  const made = section('time', 'Resident memory over time',
    `Of each candidate the run in the middle.${c.server ? ' A dot is where the load ended; what follows is idling.' : ''}`);
  const curves = new Curves(lines);
  const box = element('div.canvas-box', {}, curves.svg.node());
  made.append(box, element('div.legend', {}, ...lines.map((l) => element('span.item', {}, swatch(l.colour), l.name))));
  const redraw = () => box.clientWidth && curves.draw(box.clientWidth);
  onChange(box, redraw);
  redraw();
}

/** The ledgers as bars of one scale, and as a table. */
function showLedgers({ comparison: c }) {
  const when = c.server ? 'after_idle' : 'after_load';
  const all = c.candidates.map((candidate) => ({ name: candidate.name,
    run: typicalRun(candidate, c.server ? 'after_idle_bytes' : 'peak_bytes')?.[when] })).filter((r) => r.run);
  const total = (run) => Object.values(run.ledger).reduce((sum, b) => sum + b, 0);
  const most = Math.max(...all.map((r) => total(r.run)), 0);
  if (!most) return;
  const made = section('ledgers', 'Where the resident memory is', `${c.server ? 'After idling' : 'At the end'}, of the same runs.`);
  const causes = Object.keys(CAUSES).filter((cause) => all.some((r) => (r.run.ledger[cause] ?? 0) >= most / 200));
  for (const { name, run } of all) {
    const bar = element('div.bar', { 'aria-hidden': 'true' });
    for (const cause of causes) {
      if (!run.ledger[cause]) continue;
      const part = element('div', { pointermove: (e) => showTip([causeWords(cause), bytes(run.ledger[cause]), name], e.clientX, e.clientY),
        pointerleave: hideTip });
      part.style.flexGrow = String(run.ledger[cause]);
      part.style.background = causeColour(cause);
      bar.append(part);
    }
    bar.style.width = `${(100 * total(run)) / most}%`;
    made.append(element('p.bar-name', {}, name), bar);
  }
  const head = element('tr', {}, element('th', { scope: 'col' }, 'cause'), ...all.map((r) => element('th.number', { scope: 'col' }, r.name)));
  const rows = causes.map((cause) => element('tr', {}, element('th', { scope: 'row' }, swatch(causeColour(cause)), causeWords(cause)),
    ...all.map((r) => element('td.number', {}, bytes(r.run.ledger[cause] ?? 0)))));
  const others = [...new Set(all.flatMap((r) => Object.keys(r.run.other_allocators ?? {})))];
  const held = others.map((name) => element('tr', {}, element('th', { scope: 'row' }, `of these, held by ${name}`),
    ...all.map((r) => element('td.number', {}, bytes(r.run.other_allocators?.[name] ?? 0)))));
  made.append(element('div.scroll', {}, element('table.compared', {}, element('thead', {}, head), element('tbody', {}, ...rows, ...held))));
}

export const comparisonParts = [showHead, showFigures, showTimes, showCurves, showLedgers, ({ command }) => {
  document.getElementById('made-by').textContent = `Written by mallard ${command}. It loads nothing from elsewhere.`;
}];
