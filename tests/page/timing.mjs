// How long the page takes at a collection of any size: `scripts/bench --page` shows it.

// What is typed, key by key: words that are frequent, rare, and exclude each other, in tests/bench/words.txt.
const TYPED = ['the love', 'midnight blue', 'rock jazz', 'nacht day', 'xylographica', 'night of love', 'a'];

// Tells on the console, as JSON, the milliseconds until rows are painted: from the opening of the page, from each key,
// and from the key End until the last rows.
export async function timing(world) {
  const page = await world.open();
  const opened = performance.now();
  await page.goto(`${world.address}/avalon/`);
  await page.waitForFunction(() => document.querySelector('#rows .name')?.textContent);
  const times = { open: [performance.now() - opened], key: [], end: [] };
  await page.evaluate(() => {
    // From an event until the paint after the page has drawn what it asks for.
    window.painted = (type, isDrawn) => { window.paint = new Promise((resolve) => {
      document.addEventListener(type, () => {
        const begin = performance.now();
        const look = () => {
          if (!isDrawn()) return;
          observer.disconnect();
          requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - begin)));
        };
        const observer = new MutationObserver(look);
        observer.observe(document.body, { attributes: true, childList: true, subtree: true });
      }, { capture: true, once: true });
    }); };
  });
  for (const words of TYPED) {
    for (let length = 1; length <= words.length; length++) {
      const typed = words.slice(0, length);
      // A space alone changes nothing.
      if (typed.endsWith(' ')) { await page.keyboard.type(' '); continue; }
      await page.focus('#search');
      await page.evaluate((typed) => window.painted('input', () => {
        const asked = new URL(document.getElementById('json').href).searchParams.get('words');
        return asked === typed;
      }), typed);
      await page.keyboard.type(typed.at(-1));
      times.key.push(await page.evaluate(() => window.paint));
    }
    await page.fill('#search', '');
    await page.waitForFunction(() => !new URL(document.getElementById('json').href).searchParams.has('words'));
  }
  for (let round = 0; round < 5; round++) {
    await page.focus('#grid');
    await page.keyboard.press('Home');
    await page.evaluate(() => window.painted('keydown', () => {
      const grid = document.getElementById('grid');
      const last = grid.querySelector(`#rows > div:not([hidden])[aria-rowindex="${grid.getAttribute('aria-rowcount')}"]`);
      return last && last.firstChild.textContent !== '\u2026';
    }));
    await page.keyboard.press('End');
    times.end.push(await page.evaluate(() => window.paint));
  }
  console.log(JSON.stringify(times));
}
