// SPDX-License-Identifier: Apache-2.0
// Why the process is as large as it is, and what to do: the next step first.
import { nameOf } from './data.js';
import { element, section } from './dom.js';
import { error, bytes } from './format.js';

const capital = (words) => words[0].toUpperCase() + words.slice(1);

export function showVerdict({ report, sites, verdicts }, openSite) {
  const verdict = report.verdict;
  if (!verdict) return;
  const made = section('verdict', 'Verdict');
  const box = element(`div.verdict.cause-${verdict.cause}`, {},
    element('h3', {}, capital(new Map(verdicts).get(verdict.cause) ?? verdict.cause.replaceAll('_', ' '))));
  if (verdict.next_step) box.append(element('p.next', {}, element('strong', {}, 'Next step '), verdict.next_step));
  box.append(element('p', {}, element('strong', {}, 'Because '), verdict.text));
  const named = (verdict.sites ?? []).map((id) => sites.find((s) => s.id === id)).filter((s) => s).slice(0, 5);
  if (named.length) {
    box.append(element('p', {}, element('strong', {}, 'Call sites to look at')), element('ul.look-at', {}, ...named.map((s) =>
      element('li', {}, element('button.link', { type: 'button', click: () => openSite(s.id) }, nameOf(s)),
        `${bytes(s.live_bytes)} live ${error(s, 'live_bytes')}` +
          (s.hole_bytes > 0 ? `, ${bytes(s.hole_bytes)} holes around it` : '')))));
  }
  if (report.probe?.conclusion)
    box.append(element('p', {}, element('strong', {}, 'Purge probe '), report.probe.conclusion));
  made.append(box);
}
