// SPDX-License-Identifier: Apache-2.0
// Elements made of text, never of markup: names in a report are whatever a program chose to be called.

/**
 * @param {string} tag         "td", or "td.number" with classes
 * @param {object} attributes  attributes; functions become listeners
 * @param {...(Node|string|null)} children
 */
export function element(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split('.');
  const made = document.createElement(name);
  if (classes.length) made.className = classes.join(' ');
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') made.addEventListener(key, value);
    else if (value === true) made.setAttribute(key, '');
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((c) => c != null));
  return made;
}

/** A name as children that may be broken between its words, and nowhere inside them: "store::", "make_", "entry". */
export function breakable(name) {
  const words = name.split(/(?<=::|[_/,<(])(?=[^\s_])/u);
  return words.flatMap((word, i) => (i ? [element('wbr'), word] : [word]));
}

/** A section of the page with its heading; it appears in the list of contents, too. */
export function section(id, title, lead) {
  document.getElementById('contents').append(element('a', { href: `#${id}` }, title));
  const made = element('section', { id, 'aria-labelledby': `${id}-title` }, element('h2', { id: `${id}-title` }, title));
  if (lead) made.append(element('p.lead', {}, lead));
  document.getElementById('main').append(made);
  return made;
}

/** Buttons of which one is on. @param {[string, string][]} choices  value, words */
export function choice(label, choices, chosen, onChange) {
  const group = element('div.choice', { role: 'group', 'aria-label': label });
  for (const [value, words] of choices) {
    group.append(element('button', { type: 'button', 'aria-pressed': String(value === chosen), click: (event) => {
      for (const b of group.children) b.setAttribute('aria-pressed', String(b === event.currentTarget));
      onChange(value);
    } }, words));
  }
  return group;
}

/** A small square in the colour of a CSS variable. */
export function swatch(colour) {
  const made = element('span.swatch', { 'aria-hidden': 'true' });
  made.style.background = colour;
  return made;
}

/** What a CSS variable is now, for canvases. */
export const colourOf = (variable) => getComputedStyle(document.documentElement).getPropertyValue(variable).trim();

const tip = () => document.getElementById('tip');

/** Shows `lines` near a point of the window; the first one stands out. */
export function showTip(lines, x, y) {
  const box = tip();
  box.replaceChildren(...lines.filter((l) => l).map((line, i) => element(i === 0 ? 'strong' : 'span', {}, line)));
  box.hidden = false;
  const { width, height } = box.getBoundingClientRect();
  const right = document.documentElement.clientWidth;
  box.style.left = `${Math.max(8, Math.min(x + 14, right - width - 8))}px`;
  box.style.top = `${y + height + 20 > window.innerHeight ? Math.max(8, y - height - 12) : y + 14}px`;
}
export function hideTip() {
  tip().hidden = true;
}

/** Makes a canvas sharp on every screen. @returns its context, cleared, in CSS pixels */
export function sizeCanvas(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** Calls `redraw` when the width of `what` or the theme changes, and before and after printing. */
export function onChange(what, redraw) {
  let width = 0;
  new ResizeObserver(() => {
    if (what.clientWidth === width) return;
    width = what.clientWidth;
    redraw();
  }).observe(what);
  document.addEventListener('themechange', redraw);
}
