// SPDX-License-Identifier: Apache-2.0
// Why the process is as large as it is, and what to do: the next step first.
import { nameOf } from './data.js';
import { element, section } from './dom.js';
import { error, bytes } from './format.js';

const capital = (words) => words[0].toUpperCase() + words.slice(1);

/** Title, next step, reason and call sites of the verdict or of another finding. */
function finding(found, sites, verdicts, openSite) {
  const box = element(`div.verdict.cause-${found.harmless ? 'none' : found.cause}`, {},
    element('h3', {}, capital(found.title ?? new Map(verdicts).get(found.cause) ?? found.cause.replaceAll('_', ' '))));
  if (found.next_step) box.append(element('p.next', {}, element('strong', {}, 'Next step '), found.next_step));
  box.append(element('p', {}, element('strong', {}, 'Because '), found.text));
  const named = (found.sites ?? []).map((id) => sites.find((s) => s.id === id)).filter((s) => s).slice(0, 5);
  if (named.length) {
    box.append(element('p', {}, element('strong', {}, 'Call sites to look at')), element('ul.look-at', {}, ...named.map((s) =>
      element('li', {}, element('button.link', { type: 'button', click: () => openSite(s.id) }, nameOf(s)),
        `${bytes(s.live_bytes)} live ${error(s, 'live_bytes')}` +
          (s.hole_bytes > 0 ? `, ${bytes(s.hole_bytes)} holes around it` : '')))));
  }
  return box;
}

/** What can be done, with what it is predicted to save and the line to set. */
function remedyList(remedies) {
  return element('ol.remedies', {}, ...remedies.map((r) => element('li', {},
    element('p', {}, capital(r.title), r.predicted
      ? `: saves about ${bytes(r.saving_bytes)} (${bytes(r.saving_bytes_low)} to ${bytes(r.saving_bytes_high)})`
      : ': try it'),
    element('p', {}, element('code', {}, r.line)),
    element('p.note', {}, `${r.why} Costs: ${r.costs}.`))));
}

export function showVerdict({ report, sites, verdicts }, openSite) {
  const verdict = report.verdict;
  if (!verdict) return;
  const made = section('verdict', 'Verdict');
  const box = finding({ ...verdict, harmless: report.findings?.[0]?.harmless }, sites, verdicts, openSite);
  if (report.history?.growth_text)
    box.append(element('p', {}, element('strong', {}, 'Growth '), capital(report.history.growth_text)));
  if (report.history?.judged_text)
    box.append(element('p', {}, element('strong', {}, 'Judged '), capital(report.history.judged_text)));
  if (report.peak?.text)
    box.append(element('p', {}, element('strong', {}, 'Peak '), capital(report.peak.text)));
  if (report.probe?.conclusion)
    box.append(element('p', {}, element('strong', {}, 'Purge probe '), report.probe.conclusion));
  made.append(box);
  if (report.remedies?.length)
    made.append(element('h3.also', {}, 'Remedies'),
      element('p.note', {}, 'Predicted from the figures of this report; savings overlap and do not add up.'),
      remedyList(report.remedies));
  const others = (report.findings ?? []).slice(1);
  if (others.length)
    made.append(element('h3.also', {}, 'Also found'), ...others.map((f) => finding(f, sites, verdicts, openSite)));
}
