// SPDX-License-Identifier: Apache-2.0
// Makes the page of `mallard report --format html` and `mallard compare --html`: one file with everything in it, and a mark where the report goes.
//   build.mjs --fetch SOURCE WORK         fetches the npm packages of package-lock.json into WORK
//   build.mjs SOURCE WORK OUTPUT          the same if need be, and writes the page
// The source tree is only read. Packages are kept until the lock file changes; npm asks its own cache first.
import { createHash } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const sha256 = (text, encoding) => createHash('sha256').update(text).digest(encoding);

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

/** npm, without scripts of packages, first without a network. */
function fetchPackages(source, work) {
  const lock = readFileSync(join(source, 'package-lock.json'));
  const stamp = join(work, 'fetched');
  const wanted = sha256(lock, 'hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  rmSync(stamp, { force: true });
  mkdirSync(work, { recursive: true });
  for (const file of ['package.json', 'package-lock.json']) copyFileSync(join(source, file), join(work, file));
  let said = '';
  for (const mode of ['--offline', '--prefer-offline']) {
    const npm = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--fetch-retries=1', mode],
      { cwd: work, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 180_000 });
    if (npm.status === 0) return writeFileSync(stamp, wanted);
    said = npm.error ? String(npm.error) : npm.stderr.split('\n').filter((l) => /err(or|!)/i.test(l)).slice(0, 6).join('\n');
  }
  fail(`npm could not fetch the packages of the HTML page:\n${said}`);
}

/** name, version and licence of each npm package that has a part in the bundle. */
function licences(metafile, work) {
  const packages = new Set();
  for (const input of Object.keys(metafile.inputs)) {
    const found = /(?:^|\/)node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (found) packages.add(found[1]);
  }
  return [...packages].sort().map((name) => {
    const folder = join(work, 'node_modules', name);
    const about = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const file = readdirSync(folder).find((f) => /^licen[cs]e/i.test(f));
    if (!file) fail(`the package ${name} brings no licence text`);
    return { name, version: about.version, licence: about.license, text: readFileSync(join(folder, file), 'utf8').trim() };
  });
}

const escaped = (text) => text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]);

async function bundle(source, work, output) {
  const require = createRequire(pathToFileURL(join(work, 'package.json')));
  const esbuild = require('esbuild');
  const common = { bundle: true, minify: true, write: false, metafile: true, legalComments: 'none', charset: 'utf8',
    target: ['chrome103', 'firefox102', 'safari15.4'], nodePaths: [join(work, 'node_modules')], absWorkingDir: source };
  const js = await esbuild.build({ ...common, entryPoints: [join(source, 'main.js')], format: 'iife' });
  const css = await esbuild.build({ ...common, entryPoints: [join(source, 'page.css')] });
  const script = js.outputFiles[0].text.trim();
  const style = css.outputFiles[0].text.trim();
  const hash = (text) => `'sha256-${sha256(text, 'base64')}'`;
  const policy = `default-src 'none'; script-src ${hash(script)}; style-src ${hash(style)}; img-src data:; ` +
    "base-uri 'none'; form-action 'none'";
  const list = licences(js.metafile, work)
    .map((p) => `<h3>${escaped(`${p.name} ${p.version}: ${p.licence}`)}</h3>\n<pre>${escaped(p.text)}</pre>`).join('\n');
  const parts = { POLICY: policy, STYLE: style, LICENCES: list, SCRIPT: script };
  const page = readFileSync(join(source, 'page.html'), 'utf8').replace(/@([A-Z]+)@/g, (all, name) => parts[name] ?? all);
  if (page.split('@MALLARD_REPORT@').length !== 2) fail('the page must have one place for the report');
  writeFileSync(output, page);
}

const words = process.argv.slice(2);
if (words[0] === '--fetch' && words.length === 3) {
  fetchPackages(resolve(words[1]), resolve(words[2]));
} else if (words.length === 3) {
  const [source, work, output] = words.map((w) => resolve(w));
  fetchPackages(source, work);
  await bundle(source, work, output);
} else {
  fail('usage: build.mjs --fetch SOURCE WORK | build.mjs SOURCE WORK OUTPUT');
}
