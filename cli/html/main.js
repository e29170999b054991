// SPDX-License-Identifier: Apache-2.0
// The page of a report, or of a comparison, top to bottom.
import { showAbout } from './about.js';
import { showCharge } from './charge.js';
import { comparisonParts } from './comparison.js';
import { given, read } from './data.js';
import { element, hideTip } from './dom.js';
import { showFlames } from './flame.js';
import { showHeader } from './header.js';
import { showHeapMap } from './heapmap.js';
import { showLatency } from './latency.js';
import { showLedger } from './ledger.js';
import { showSeries } from './series.js';
import { showSites } from './sites.js';
import { startTheme } from './theme.js';
import { showVerdict } from './verdict.js';

const page = given();
const data = page.comparison ? page : read(page);
const sites = { open: () => {} }; // other sections lead to a site
const openSite = (id) => sites.open(id);

/** A report that nobody vouches for may break a section, never the page. */
function show(part, ...more) {
  try {
    return part(data, ...more);
  } catch (problem) {
    document.getElementById('main').append(element('p.note', { role: 'alert' },
      `A part of this page could not be shown: ${problem.message}`));
    return undefined;
  }
}

startTheme();
if (page.comparison) {
  comparisonParts.forEach((part) => show(part));
} else {
  show(showHeader);
  show(showVerdict, openSite);
  show(showLedger);
  show(showCharge);
  show(showSeries);
  sites.open = show(showSites) ?? sites.open;
  show(showLatency);
  show(showFlames);
  show(showHeapMap, openSite);
  show(showAbout);
}
window.addEventListener('scroll', hideTip, { passive: true });
document.addEventListener('keydown', (event) => event.key === 'Escape' && hideTip());
