// SPDX-License-Identifier: Apache-2.0
// Light or dark: the system's choice, until the button says otherwise.
const system = matchMedia('(prefers-color-scheme: dark)');
const ORDER = ['system', 'light', 'dark'];
const WORDS = { system: 'Theme: system', light: 'Theme: light', dark: 'Theme: dark' };

let chosen = 'system';
let printing = false;

function apply() {
  const dark = !printing && (chosen === 'dark' || (chosen === 'system' && system.matches));
  document.documentElement.dataset.theme = dark ? 'dark' : 'light';
  document.getElementById('theme').textContent = WORDS[chosen];
  document.dispatchEvent(new Event('themechange'));
}

function remember() {
  try {
    localStorage.setItem('mallard-theme', chosen);
  } catch {
    // Pages from a file may have no storage; then the choice lasts as long as the page.
  }
}

export function startTheme() {
  try {
    const kept = localStorage.getItem('mallard-theme');
    if (ORDER.includes(kept)) chosen = kept;
  } catch {
    // As above.
  }
  document.getElementById('theme').addEventListener('click', () => {
    chosen = ORDER[(ORDER.indexOf(chosen) + 1) % ORDER.length];
    remember();
    apply();
  });
  system.addEventListener('change', apply);
  for (const [event, now] of [['beforeprint', true], ['afterprint', false]])
    window.addEventListener(event, () => {
      printing = now;
      apply();
    });
  apply();
}
