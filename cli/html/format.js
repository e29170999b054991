// SPDX-License-Identifier: Apache-2.0
// Numbers as people read them; the same words as the text report.

const SPACE = '\u00a0'; // a number and its unit stay on one line
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** "1.50 MiB" */
export function bytes(value) {
  let shown = Math.abs(value);
  let unit = 0;
  for (; shown >= 1023.95 && unit < UNITS.length - 1; ++unit) shown /= 1024;
  return `${value < 0 ? '−' : ''}${shown.toFixed(unit === 0 ? 0 : shown < 10 ? 2 : 1)}${SPACE}${UNITS[unit]}`;
}

/** The same with its sign, as a change. */
export const change = (value) => (value > 0 ? '+' : '') + bytes(value);

/** "12.3 %" */
export const share = (part, whole) => (whole > 0 ? `${((100 * part) / whole).toFixed(1)}${SPACE}%` : '');

export const count = (value) => Math.round(value).toLocaleString('en-US');

/** "1 call site", "2,000 call sites" */
export const counted = (value, one, several = `${one}s`) => `${count(value)} ${Math.round(value) === 1 ? one : several}`;

/** "4.6 s", "3 min 12 s" */
export function duration(ns) {
  const s = ns / 1e9;
  if (s < 0.001) return `${Math.round(s * 1e6)} µs`;
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 60) return `${s.toFixed(1)} s`;
  const whole = Math.floor(s);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor(whole / 60) % 60} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor(whole / 3600) % 24} h`;
}

/** "2026-11-21 12:41:25 UTC" */
export const moment = (ns) => `${new Date(ns / 1e6).toISOString().slice(0, 19).replace('T', ' ')} UTC`;

/**
 * Half of the 95 % interval: "exact", "±4.6 %", "±?" where there is none.
 * @param {object} of  what has the fields NAME, NAME_low and NAME_high
 */
export function error(of, name) {
  const value = of[name], low = of[`${name}_low`], high = of[`${name}_high`];
  if (low == null || high == null) return value ? '±?' : '';
  if (high - low <= 1) return 'exact';
  if (!(value > 0)) return '±?';
  const percent = (100 * Math.max(value - low, high - value)) / value;
  return `±${percent < 10 ? percent.toFixed(1) : Math.round(percent)}${SPACE}%`;
}

/** Ticks of an axis of bytes: multiples of 1, 2, 4, 8 ... or 5, 10 ... hundreds of a unit. */
export function byteTicks(most, wanted) {
  const rough = Math.max(most / wanted, 1);
  const unit = 1024 ** Math.min(4, Math.floor(Math.log(rough) / Math.log(1024)));
  const step = unit * [1, 2, 5, 10, 20, 50, 100, 200, 512, 1024].find((s) => s * unit >= rough);
  const ticks = [];
  for (let at = 0; at <= most; at += step) ticks.push(at);
  return ticks;
}
