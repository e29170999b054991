// SPDX-License-Identifier: Apache-2.0
// The heap in address order, one square for each cell of it: how full it is, or which call site pins it.
import { interpolateRgb } from 'd3-interpolate';
import { scaleLinear } from 'd3-scale';
import { nameOf } from './data.js';
import { choice, colourOf, element, hideTip, onChange, section, showTip, sizeCanvas, swatch } from './dom.js';
import { bytes, counted, share } from './format.js';

const SITE_COLOURS = 10;

/** Cells of all ranges; between two ranges one place stays empty. */
function cellsOf(map) {
  const cells = [];
  for (const range of map.ranges) {
    if (cells.length) cells.push(null);
    const begin = BigInt(range.begin);
    range.resident_bytes.forEach((resident, i) => cells.push({ address: begin + BigInt(i) * BigInt(map.cell_bytes), bytes: map.cell_bytes, resident,
      live: range.live_bytes[i], holes: range.hole_bytes[i], site: range.site[i] }));
  }
  return cells;
}

/** Cells of the same `size` bytes made one: its site is the one that most of their memory is pinned by. */
function grouped(cells, size) {
  const groups = [];
  let last = null, all = [];
  const close = () => {
    if (!all.length) return;
    const sum = (f) => all.reduce((n, c) => n + f(c), 0);
    const weight = new Map();
    for (const c of all) if (c.site != null) weight.set(c.site, (weight.get(c.site) ?? 0) + c.resident);
    const best = [...weight].sort((a, b) => b[1] - a[1])[0];
    const known = all.every((c) => c.live != null);
    groups.push({ address: last * BigInt(size), bytes: size, resident: sum((c) => c.resident), site: best ? best[0] : null,
      live: known ? sum((c) => c.live) : null, holes: known ? sum((c) => c.holes) : null });
    all = [];
  };
  for (const cell of cells) {
    if (!cell) continue;
    const key = cell.address / BigInt(size);
    if (key !== last) {
      close();
      if (last != null && key !== last + 1n) groups.push(null);
      last = key;
    }
    all.push(cell);
  }
  close();
  return groups;
}

/** The part of the memory in cells of which a site is known, 0 to 1. */
function partWithSite(cells) {
  const sum = (f) => cells.reduce((n, c) => n + (c && f(c) ? c.resident : 0), 0);
  return sum((c) => c.site != null) / Math.max(1, sum(() => true));
}

class HeapMap {
  constructor(data, openSite) {
    this.map = data.report.heap_map;
    this.all = cellsOf(this.map);
    // Samples are sparse: squares as large as it takes for many of them to have one.
    this.coarse = this.all;
    this.coarseBytes = this.map.cell_bytes;
    while (partWithSite(this.coarse) < 0.4 && this.coarseBytes < 256 * this.map.cell_bytes)
      this.coarse = grouped(this.all, (this.coarseBytes *= 2));
    this.cells = this.all;
    this.data = data;
    this.known = this.all.some((c) => c && c.live != null);
    const weight = new Map();
    for (const c of this.coarse) if (c && c.site != null) weight.set(c.site, (weight.get(c.site) ?? 0) + c.resident);
    this.top = [...weight].sort((a, b) => b[1] - a[1]).slice(0, SITE_COLOURS);
    this.rank = new Map(this.top.map(([id], i) => [id, i]));
    this.show(this.known || !this.top.length ? 'occupancy' : 'sites');
    this.canvas = element('canvas.map', { role: 'img', 'aria-label': this.summary(),
      pointermove: (e) => this.point(e), pointerdown: (e) => this.point(e), pointerleave: hideTip,
      click: (e) => e.pointerType === 'mouse' && this.cellAt(e)?.site != null && openSite(this.cellAt(e).site) });
    this.legend = element('div.legend');
    this.openSite = openSite;
  }

  show(mode) {
    this.mode = mode;
    this.cells = mode === 'sites' ? this.coarse : this.all;
  }

  summary() {
    const sum = (f) => this.all.reduce((n, c) => n + (c ? f(c) : 0), 0);
    const resident = sum((c) => c.resident), cells = this.all.filter((c) => c).length;
    const live = sum((c) => c.live ?? 0), holes = sum((c) => c.holes ?? 0);
    const empty = sum((c) => (c.live === 0 && c.holes === 0 ? c.resident : 0));
    return `${counted(cells, 'cell')} of ${bytes(this.map.cell_bytes)} with ${bytes(resident)} in memory` + (this.known
      ? `: ${share(live, resident)} under live blocks, ${share(holes, resident)} holes; cells without any live block hold ${bytes(empty)}`
      : '');
  }

  colours() {
    const ramp = scaleLinear().domain([0, 1]).range([colourOf('--map-sparse'), colourOf('--map-full')]).interpolate(interpolateRgb).clamp(true);
    const free = colourOf('--map-free'), unknown = colourOf('--map-unknown'), other = colourOf('--map-other');
    const sites = this.top.map((_, i) => colourOf(`--site-${i}`));
    if (this.mode === 'occupancy')
      return (c) => (c.live == null ? unknown : c.live === 0 && c.holes === 0 ? free : ramp(c.resident > 0 ? c.live / c.resident : 0));
    return (c) => (c.site == null ? unknown : sites[this.rank.get(c.site)] ?? other);
  }

  draw() {
    const width = this.canvas.parentElement?.clientWidth;
    if (!width) return;
    // As large as lets all of it stand on about one screen.
    let side = 14;
    while (side > 4 && Math.ceil(this.cells.length / Math.floor(width / side)) * side > 460) --side;
    this.side = side;
    this.columns = Math.max(1, Math.floor(width / side));
    const c = sizeCanvas(this.canvas, width, Math.ceil(this.cells.length / this.columns) * side);
    const colour = this.colours();
    const gap = side > 5 ? 1 : 0.5;
    this.cells.forEach((cell, i) => {
      if (!cell) return;
      c.fillStyle = colour(cell);
      c.fillRect((i % this.columns) * side, Math.floor(i / this.columns) * side, side - gap, side - gap);
    });
    this.drawLegend();
  }

  drawLegend() {
    const item = (colour, words) => element('span.item', {}, swatch(colour), words);
    if (this.mode === 'occupancy') {
      const ramp = element('span.ramp', { 'aria-hidden': 'true' });
      this.legend.replaceChildren(element('span.item', {}, 'live part of what is in memory: 0 %', ramp, '100 %'),
        item('var(--map-free)', 'no live block: free, or the allocator’s books'), item('var(--map-unknown)', 'not looked at'));
      return;
    }
    this.legend.replaceChildren(...this.top.map(([id], i) => element('button.item', { type: 'button', click: () => this.openSite(id) },
      swatch(`var(--site-${i})`), this.nameOf(id))),
    item('var(--map-other)', 'other sites'), item('var(--map-unknown)', 'no site known'));
  }

  nameOf(id) {
    const site = this.data.sites.find((s) => s.id === id);
    return site ? nameOf(site) : `site ${id}`;
  }

  cellAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / this.side), row = Math.floor((event.clientY - box.top) / this.side);
    return column < this.columns ? this.cells[row * this.columns + column] : null;
  }

  point(event) {
    const cell = this.cellAt(event);
    if (!cell) return hideTip();
    const hex = (n) => `0x${n.toString(16)}`;
    const site = this.data.sites.find((s) => s.id === cell.site);
    showTip([`${hex(cell.address)} – ${hex(cell.address + BigInt(cell.bytes))}`, `${bytes(cell.resident)} of ${bytes(cell.bytes)} in memory`,
      cell.live == null ? 'its blocks were not looked at'
        : `${bytes(cell.live)} live, ${bytes(cell.holes)} holes, ${bytes(Math.max(0, cell.resident - cell.live - cell.holes))} free or books`,
      cell.site == null ? 'no block with a known site lies here' : `pinned most by ${site ? nameOf(site) : `site ${cell.site}, which is not on this page`}`],
    event.clientX, event.clientY);
  }
}

export function showHeapMap(data, openSite) {
  const found = data.report.heap_map;
  if (!found?.ranges?.length) return;
  const made = section('map', 'Heap map', 'The heap in address order, row by row; what is not in memory is left out. ' +
    'A hole between live blocks cannot go back to the kernel; a stretch without live blocks can.');
  const map = new HeapMap(data, openSite);
  const choices = [...(map.known ? [['occupancy', 'how full']] : []), ...(map.top.length ? [['sites', 'who pins it']] : [])];
  const sparse = element('p.soft', { hidden: true }, `A square is ${bytes(map.coarseBytes)} here, in the colour of the site that pins most of it, ` +
    (data.report.recording.mode === 'exact' ? `by the books of exact mode: ${share(partWithSite(map.coarse), 1)} of the memory is in squares with a booked block.`
      : `as far as samples tell: ${share(partWithSite(map.coarse), 1)} of the memory is in squares with a sampled block. ${data.report.recording.attached ? 'mallard attach --mode exact' : 'A smaller ALLOC_SAMPLE_BYTES'} tells more.`));
  made.append(element('div.tools', {}, choices.length > 1 ? choice('What the map shows', choices, map.mode, (mode) => {
    map.show(mode);
    sparse.hidden = mode !== 'sites';
    map.draw();
  }) : null, element('p.soft', {}, map.summary())), element('div.canvas-box', {}, map.canvas), map.legend, sparse);
  onChange(map.canvas.parentElement, () => map.draw());
  map.draw();
}
