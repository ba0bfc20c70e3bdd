// Plays one scenario with the page: node run.mjs SCENARIO ADDRESS [ADDRESS...]
//
// The other addresses are those of servers that the page may ask, too. AVALON_PEERS is the folder whose node_modules has playwright-core and axe-core, AVALON_SHOTS that of the
// screenshots. Whatever the scenario is: an exception, an error on the console, a violation of the
// Content-Security-Policy or a request to another server fails it.
import { createRequire } from 'node:module';
import { mkdirSync } from 'node:fs';
import * as scenarios from './scenarios.mjs';
import { timing } from './timing.mjs';

const [name, address, ...others] = process.argv.slice(2);
const require = createRequire(`${process.env.AVALON_PEERS}/`);
const { chromium } = require('playwright-core');
const shots = process.env.AVALON_SHOTS;
mkdirSync(shots, { recursive: true });

const browser = await chromium.launch({ executablePath: process.env.AVALON_CHROMIUM ?? '/usr/bin/chromium' });
const problems = [];
const expected = [];

// A page of its own, of `width` by `height` pixels.
async function open(options = {}) {
  const { width = 1280, height = 800, ...rest } = options;
  const context = await browser.newContext({ viewport: { width, height }, ...rest });
  const page = await context.newPage();
  page.setDefaultTimeout(Number(process.env.AVALON_PATIENCE_MS ?? 60e3));
  page.on('pageerror', (error) => problems.push(`exception: ${error.stack}`));
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) problems.push(`console: ${message.text()} ${message.location().url}`);
  });
  page.on('request', (request) => {
    const url = request.url();
    const isKnown = [address, ...others].some((known) => url.startsWith(`${known}/`));
    if (!isKnown && !url.startsWith('data:')) problems.push(`request to ${url}`);
  });
  await page.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) =>
      console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  return page;
}

const world = {
  address, others, shots, open,
  // Messages on the console that the scenario provokes.
  expect: (pattern) => expected.push(pattern),
  axe: require('node:fs').readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8'),
};

let failed = false;
try {
  await { ...scenarios, timing }[name](world);
} catch (error) {
  failed = true;
  console.error(error);
}
await browser.close();
const unexpected = problems.filter((problem) => !expected.some((pattern) => pattern.test(problem)));
unexpected.forEach((problem) => console.error(problem));
process.exit(failed || unexpected.length ? 1 : 0);
