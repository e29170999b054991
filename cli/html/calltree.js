// SPDX-License-Identifier: Apache-2.0
// The stacks of all sites as one tree, outermost call at the top: what a flame graph is drawn from.
import { hierarchy, partition } from 'd3-hierarchy';

/** @returns the root; each node has name, module, place, sites, children and `own`: site figures that end there */
export function callTree(sites, words) {
  const root = { name: words, module: '', place: '', children: [], byKey: new Map(), sites: [] };
  for (const site of sites) {
    let at = root;
    for (let i = site.stack.length - 1; i >= 0; --i) {
      const f = site.stack[i];
      const key = `${f.label}\n${f.module}`;
      let next = at.byKey.get(key);
      if (!next) {
        next = { name: f.label, module: f.module, place: f.place, children: [], byKey: new Map(), sites: [] };
        at.byKey.set(key, next);
        at.children.push(next);
      }
      at = next;
    }
    if (at === root) {
      at = root.byKey.get('') ?? { name: 'no stack', module: '', place: '', children: [], byKey: new Map(), sites: [] };
      if (!root.byKey.has('')) root.children.push(at);
      root.byKey.set('', at);
    }
    at.sites.push(site);
  }
  return root;
}

/** Places for one figure: x0 to x1 in 0..1, largest first. @returns d3's nodes with `value` */
export function layOut(tree, field) {
  const placed = hierarchy(tree).sum((n) => n.sites.reduce((sum, s) => sum + Math.max(0, s[field] ?? 0), 0))
    .sort((a, b) => b.value - a.value || (a.data.name < b.data.name ? -1 : 1));
  return partition()(placed);
}
