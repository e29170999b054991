// SPDX-License-Identifier: Apache-2.0
// The flame graph (outermost call on top), by any figure of the sites. Click or Enter zooms; arrows walk.
import { callTree, layOut } from './calltree.js';
import { measures } from './data.js';
import { choice, colourOf, element, hideTip, onChange, section, showTip, sizeCanvas } from './dom.js';
import { bytes, share } from './format.js';

const ROW = 20, LEAST_WIDTH = 0.7, LEAST_TEXT = 32;

const HUES = [206, 28, 158, 268, 48, 338, 110, 184, 300, 12];

function hashOf(text) {
  let h = 2166136261;
  for (let i = 0; i < text.length; ++i) h = Math.imul(h ^ text.charCodeAt(i), 16777619);
  return h >>> 0;
}

class Flames {
  constructor(data) {
    this.sites = data.sites;
    this.canvas = element('canvas.flames', { tabindex: 0, role: 'application',
      'aria-label': 'Flame graph: arrow keys walk, Enter zooms, Escape goes back' });
    this.said = element('p.soft', { role: 'status' });
    this.input = element('input', { type: 'search', placeholder: 'Function or module', 'aria-label': 'Search the flame graph',
      input: () => this.find() });
    this.back = element('button', { type: 'button', hidden: true, click: () => this.zoom(this.root) }, 'Show all');
    this.wanted = '';
    this.tree = callTree(data.sites, 'all call sites');
    this.hues = new Map();
    for (const site of data.sites) for (const f of site.stack)
      if (!this.hues.has(f.module)) this.hues.set(f.module, HUES[this.hues.size % HUES.length]);
    this.canvas.addEventListener('pointermove', (e) => this.point(e));
    this.canvas.addEventListener('pointerleave', hideTip);
    this.canvas.addEventListener('click', (e) => {
      const node = this.nodeAt(e);
      if (node) this.zoom(node);
    });
    this.canvas.addEventListener('keydown', (e) => this.key(e));
    this.canvas.addEventListener('blur', () => this.draw());
  }

  by(measure) {
    this.measure = measure;
    this.root = layOut(this.tree, measure.field);
    this.zoom(this.root);
    this.find();
  }

  zoom(node) {
    this.focus = this.at = node;
    this.back.hidden = node === this.root;
    hideTip();
    this.draw();
    this.tell(node);
  }

  find() {
    this.wanted = this.input.value.trim().toLowerCase();
    this.matched = 0;
    const visit = (node) => {
      if (this.matches(node)) this.matched += node.value;
      else node.children?.forEach(visit);
    };
    if (this.wanted) visit(this.root);
    this.draw();
    this.tell(this.at);
  }

  matches(node) {
    return node.data.name.toLowerCase().includes(this.wanted) || node.data.module.toLowerCase().includes(this.wanted);
  }

  tell(node) {
    this.said.textContent = this.wanted
      ? `“${this.wanted}” matches ${bytes(this.matched)}, ${share(this.matched, this.root.value)}`
      : `${node.data.name}: ${bytes(node.value)} ${this.measure.column}, ${share(node.value, this.root.value)}`;
  }

  /** The nodes that are wide enough to be seen, with their places in pixels. */
  layOut(width) {
    const { focus } = this;
    const scale = width / (focus.x1 - focus.x0 || 1);
    const placed = [];
    const above = focus.ancestors();
    above.forEach((node) => placed.push({ node, x: 0, width, y: node.depth * ROW, above: node !== focus }));
    const visit = (node) => {
      for (const child of node.children ?? []) {
        const w = (child.x1 - child.x0) * scale;
        if (w < LEAST_WIDTH) break; // the largest come first
        placed.push({ node: child, x: (child.x0 - focus.x0) * scale, width: w, y: child.depth * ROW });
        visit(child);
      }
    };
    visit(focus);
    return placed;
  }

  draw() {
    const width = this.canvas.parentElement?.clientWidth;
    if (!width || !this.focus) return;
    this.placed = this.layOut(width);
    const height = Math.max(...this.placed.map((p) => p.y)) + ROW + 1;
    const c = sizeCanvas(this.canvas, width, height);
    const dark = document.documentElement.dataset.theme === 'dark';
    c.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    c.textBaseline = 'middle';
    const ink = colourOf('--flame-ink'), faded = colourOf('--flame-faded'), mark = colourOf('--accent');
    for (const p of this.placed) {
      const light = (dark ? 32 : 79) + (hashOf(p.node.data.name) % 7);
      const fades = this.wanted && !this.matches(p.node);
      c.fillStyle = fades ? faded : p.node.depth === 0 ? colourOf('--flame-root') : `hsl(${this.hues.get(p.node.data.module) ?? 0} ${dark ? 30 : 55}% ${light}%)`;
      c.globalAlpha = p.above ? 0.6 : 1;
      c.fillRect(p.x, p.y, Math.max(p.width - 1, LEAST_WIDTH), ROW - 1);
      c.globalAlpha = 1;
      if (p.width > LEAST_TEXT) this.write(c, p, ink);
      if (p.node === this.at && document.activeElement === this.canvas) {
        c.strokeStyle = mark;
        c.lineWidth = 2;
        c.strokeRect(p.x + 1, p.y + 1, Math.max(p.width - 3, 1), ROW - 3);
      }
    }
  }

  write(c, p, ink) {
    const room = p.width - 10;
    let text = p.node.data.name;
    const wide = c.measureText(text).width;
    if (wide > room) {
      const fits = Math.floor((text.length * room) / wide) - 1;
      if (fits < 3) return;
      text = `${text.slice(0, fits)}…`;
    }
    c.fillStyle = ink;
    c.fillText(text, p.x + 5, p.y + ROW / 2);
  }

  nodeAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    return this.placed?.find((p) => y >= p.y && y < p.y + ROW && x >= p.x && x < p.x + p.width)?.node;
  }

  lines(node) {
    const d = node.data;
    const here = d.sites.length ? `${bytes(d.sites.reduce((n, s) => n + (s[this.measure.field] ?? 0), 0))} end here` : null;
    return [d.name, [d.module, d.place].filter((w) => w).join(', '),
      `${bytes(node.value)} ${this.measure.column}, ${share(node.value, this.root.value)} of all`, here];
  }

  point(event) {
    const node = this.nodeAt(event);
    if (node) showTip(this.lines(node), event.clientX, event.clientY);
    else hideTip();
  }

  key(event) {
    const { at } = this;
    const beside = at.parent?.children ?? [at];
    const i = beside.indexOf(at);
    const moves = { ArrowDown: at.children?.[0], ArrowUp: at.parent, ArrowRight: beside[i + 1], ArrowLeft: beside[i - 1] };
    if (event.key in moves) {
      event.preventDefault();
      const to = moves[event.key];
      if (!to || !(to.value > 0)) return;
      if (!to.ancestors().includes(this.focus)) this.focus = to;
      this.at = to;
      this.back.hidden = this.focus === this.root;
      this.draw();
      this.tell(to);
    } else if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      this.zoom(at);
    } else if (event.key === 'Escape') {
      this.zoom(this.root);
    }
  }
}

export function showFlames(data) {
  const known = measures().filter((m) => data.sites.some((s) => s[m.field] > 0));
  if (!known.length) return;
  const made = section('flames', 'Flame graph', 'The same memory by call path, outermost call on top. Colours are modules.');
  const flames = new Flames(data);
  const first = known.find((m) => m.name === data.ranked_by) ?? known[0];
  const lead = element('p.soft', {}, first.meaning);
  made.append(element('div.tools', {}, choice('What the flame graph shows', known.map((m) => [m.name, m.column]), first.name, (name) => {
    const measure = known.find((m) => m.name === name);
    lead.textContent = measure.meaning;
    flames.by(measure);
  }), flames.input, flames.back), lead, element('div.canvas-box', {}, flames.canvas), flames.said);
  flames.by(first);
  onChange(flames.canvas.parentElement, () => flames.draw());
}
