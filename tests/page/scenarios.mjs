// What the tests do with the page, and what they expect of it.
import assert from 'node:assert/strict';

// The rows that can be seen, each as the texts of its cells.
const rows = (page) => page.$$eval('#rows > div:not([hidden])', (found) => found
  .sort((a, b) => a.getAttribute('aria-rowindex') - b.getAttribute('aria-rowindex'))
  .map((row) => [...row.children].map((cell) => cell.textContent)));

// Waits until a condition in the page holds.
const until = (page, condition, argument) => page.waitForFunction(condition, argument);

// Waits until the rows that can be seen are as wanted: filters and headings change before the answer comes.
const rowsWith = async (page, wanted) => {
  const end = Date.now() + 60e3;
  for (;;) {
    const found = await rows(page);
    if (found.length && wanted(found)) return found;
    assert.ok(Date.now() < end, `the rows stay ${JSON.stringify(found)}`);
    await page.evaluate(() => new Promise(requestAnimationFrame));
  }
};
const isSorted = (numbers) => numbers.every((number, at) => at === 0 || numbers[at - 1] <= number);

// Waits until the count beside the search says this.
const counted = (page, text) =>
  until(page, (text) => document.getElementById('count').textContent === text, text);

// Waits until the first row that can be seen begins with this.
const first = (page, text) => until(page, (text) => {
  const seen = [...document.querySelectorAll('#rows > div:not([hidden])')];
  seen.sort((a, b) => a.getAttribute('aria-rowindex') - b.getAttribute('aria-rowindex'));
  return seen[0]?.firstChild.textContent === text;
}, text);

// Waits until the row of this number, counted from 0, can be seen whole, with its contents.
const seen = (page, row) => until(page, (row) => {
  const element = document.querySelector(`#rows > div:not([hidden])[aria-rowindex="${row + 2}"]`);
  if (!element || element.firstChild.textContent === '\u2026') return false;
  const [inside, around] = [element, document.getElementById('grid')].map((it) => it.getBoundingClientRect());
  return inside.bottom <= around.bottom + 1 && inside.top >= around.top - 1;
}, row);

const at = (world, target = '/avalon/') => world.address + target;

export async function browse(world) {
  const page = await world.open();
  await page.goto(at(world, '/'));
  assert.equal(page.url(), at(world));
  await counted(page, '24 songs');
  const all = await rows(page);
  assert.ok(all.length >= 15 && all.every((row) => row[0] && row[1] && row[2] && row[3]), JSON.stringify(all[0]));
  const artist = all[0][1];
  await page.click('#rows [aria-rowindex="2"] .artist a');
  await until(page, (text) => document.getElementById('filters').textContent.includes(text), artist);
  assert.match(page.url(), /\?artist_id=[0-9a-f-]{36}$/);
  const few = (await rowsWith(page, (found) => found.every((row) => row[1] === artist))).length;
  assert.ok(few < 24);
  await counted(page, `${few} songs`);
  // An address is enough to see the same.
  const other = await world.open();
  await other.goto(page.url());
  await counted(other, `${few} songs`);
  await until(other, (text) => document.getElementById('filters').textContent.includes(text), artist);
  await page.click('#filters a');
  await counted(page, '24 songs');
  await page.goBack();
  await counted(page, `${few} songs`);
  await page.goBack();
  await counted(page, '24 songs');
  await page.click('#lists a:text("Albums")');
  await counted(page, '6 albums');
  await page.click('#rows [aria-rowindex="2"] a');
  await until(page, () => /album_id=/.test(location.search) && /songs?$/.test(document.getElementById('count').textContent));
  await rowsWith(page, (found) => isSorted(found.map((row) => Number(row[5]))));
  await page.goto(at(world));
  await counted(page, '24 songs');
  await page.click('[role=columnheader].name button');
  await until(page, () => document.querySelector('.name[aria-sort=ascending]'));
  await page.click('[role=columnheader].name button');
  await until(page, () => document.querySelector('.name[aria-sort=descending]'));
  assert.match(page.url(), /\?order=name&direction=desc$/);
  await page.selectOption('#field', 'year');
  await until(page, () => document.querySelector('.year[aria-sort=ascending]'));
  await rowsWith(page, (found) => isSorted(found.map((row) => Number(row[4]))));
}

// From an artist to the albums, from a genre to the artists, with numbers that are right.
export async function owners(world) {
  const page = await world.open();
  const { success: artists } = await (await fetch(at(world, '/avalon/artists?counts=true'))).json();
  const { id, name, albums, songs } = artists.find((artist) => artist.albums > 1);
  const filtered = (page) => until(page, (name) => document.getElementById('filters').textContent.includes(`: ${name} `), name);
  await page.goto(at(world, '/avalon/?list=artists'));
  await counted(page, `${artists.length} artists`);
  assert.deepEqual(await rows(page), artists.map((it) => [it.name, `${it.albums}`, `${it.songs}`]));
  // Lists have no order by numbers.
  assert.deepEqual(await page.$$eval('#field option', (options) => options.map((option) => option.value)), ['name']);
  const row = `#rows [aria-rowindex="${artists.findIndex((artist) => artist.id === id) + 2}"]`;
  await page.click(`${row} .albums a`);
  await counted(page, `${albums} albums`);
  await filtered(page);
  assert.equal(new URL(page.url()).search, `?list=albums&artist_id=${id}`);
  const { success: expected } = await (await fetch(at(world, `/avalon/albums?artist_id=${id}&counts=true`))).json();
  assert.deepEqual(await rows(page), expected.map((it) => [it.name, `${it.songs}`]));
  // An address alone tells the name as well, and the filter stays from list to list where there is one.
  const other = await world.open();
  await other.goto(page.url());
  await filtered(other);
  await other.click('#lists a:text("Genres")');
  await until(other, () => /genres?$/.test(document.getElementById('count').textContent));
  await filtered(other);
  await other.click('#lists a:text("Songs")');
  await counted(other, `${songs} songs`);
  await filtered(other);
  await other.click('#lists a:text("Albums")');
  await counted(other, `${albums} albums`);
  await other.click('#filters a');
  await counted(other, '6 albums');
  // By key: the second cell of an artist leads to the albums.
  await page.goto(at(world, '/avalon/?list=artists'));
  await counted(page, `${artists.length} artists`);
  await page.focus('#grid');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('Enter');
  await counted(page, artists[0].albums === 1 ? '1 album' : `${artists[0].albums} albums`);
  // The artists of a genre.
  const { success: genres } = await (await fetch(at(world, '/avalon/genres'))).json();
  await page.goto(at(world, `/avalon/?list=artists&genre_id=${genres[0].id}`));
  await until(page, (name) => document.getElementById('filters').textContent.includes(name), genres[0].name);
  const { success: few } = await (await fetch(at(world, `/avalon/artists?genre_id=${genres[0].id}`))).json();
  assert.ok(few.length && few.length < artists.length);
  const names = few.map((artist) => artist.name).join('\n');
  await rowsWith(page, (found) => found.map((cells) => cells[0]).join('\n') === names);
  // Suggestions tell how many songs each has.
  await page.goto(at(world));
  await page.fill('#search', name);
  await until(page, () => document.querySelectorAll('#found [role=option]').length);
  assert.deepEqual(await page.$$eval('#found [aria-label=Artists] [role=option]', (options) => options.map((it) => it.textContent)),
    [`${name} ${songs} songs`]);
  assert.ok(!/songs?$/.test(await page.textContent('#found [aria-label=Songs] [role=option]')));
  // The API is described for people and for programs; the browser looks for icons of these.
  world.expect(/status of 404.*favicon\.ico$/);
  await page.click('footer a:text("OpenAPI")');
  assert.match(page.url(), /openapi\.json$/);
  await page.goBack();
  await page.click('footer a:text("API"):not(:text("OpenAPI"))');
  await until(page, () => location.pathname.endsWith('/docs') && document.querySelectorAll('h3').length > 10);
}

// The link to the API gives what the view shows.
export async function request(world) {
  const page = await world.open();
  for (const target of ['/avalon/', '/avalon/?query=limon&order=name', '/avalon/?list=genres&order=name&direction=desc']) {
    await page.goto(at(world, target));
    await until(page, () => document.getElementById('count').textContent.match(/\d/));
    await until(page, () => document.querySelectorAll('#rows > div:not([hidden])').length);
    const href = await page.$eval('#json', (link) => link.href);
    assert.ok((await page.textContent('#json')).endsWith(href.slice(world.address.length)), href);
    const { success } = await (await fetch(href)).json();
    assert.deepEqual((await rows(page)).map((row) => row[0]), success.slice(0, (await rows(page)).length).map((it) => it.name));
  }
  await page.fill('#search', 'nothing like this');
  await until(page, () => !document.getElementById('empty').hidden);
  assert.equal(await page.$eval('#json', (link) => new URL(link.href).searchParams.get('words')), 'nothing like this');
}

export async function typing(world) {
  const page = await world.open();
  await page.goto(at(world));
  await counted(page, '5,000 songs');
  await page.click('#search');
  await page.keyboard.type('artist 012', { delay: 30 });
  await first(page, 'Song 01200');
  await counted(page, '100 songs');
  assert.match(page.url(), /\?query=artist\+012$/);
  await until(page, () => document.querySelectorAll('#found [role=option]').length === 8);
  assert.equal(await page.getAttribute('#search', 'aria-expanded'), 'true');
  assert.deepEqual(await page.$$eval('#found [role=group]', (groups) => groups.map((group) => group.ariaLabel)), ['Artists', 'Songs']);
  assert.deepEqual(await page.$$eval('#rows mark', (marks) => [...new Set(marks.map((mark) => mark.textContent))].sort()), ['012', 'Artist']);
  // From a key to the rows.
  const took = await page.evaluate(() => new Promise((resolve) => {
    const begin = performance.now();
    const search = document.getElementById('search');
    new MutationObserver(() => {
      if (document.querySelector('#rows .name')?.textContent === 'Song 01230') resolve(performance.now() - begin);
    }).observe(document.getElementById('rows'), { childList: true, subtree: true });
    search.value += '3';
    search.dispatchEvent(new InputEvent('input'));
  }));
  assert.ok(took < 2000, `rows ${took} ms after a key`);
  await page.click('#found [role=option]');
  await until(page, () => /artist_id=/.test(location.search));
  await counted(page, '10 songs');
  await page.goBack();
  await until(page, () => document.getElementById('search').value === 'artist 0123');
  // One step takes all that was typed.
  await page.goBack();
  await counted(page, '5,000 songs');
  assert.equal(await page.inputValue('#search'), '');
  await page.fill('#search', 'nothing like this');
  await until(page, () => document.getElementById('empty').textContent.includes('Nothing found for \u201cnothing like this\u201d'));
  await page.click('#empty a');
  await counted(page, '5,000 songs');
  // Back returns to the row.
  await page.$eval('#grid', (grid) => {
    grid.scrollTop = 2000 * document.querySelector('#rows > div').getBoundingClientRect().height;
  });
  await seen(page, 2003);
  await until(page, () => history.state?.row > 1900);
  await page.click('#rows > div:not([hidden])[aria-rowindex="2005"] .name a');
  await counted(page, '10 songs');
  await page.goBack();
  await seen(page, 2003);
}

// A view asks once, for words in any order and the total.
export async function totals(world) {
  const page = await world.open();
  const asked = [];
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.pathname.endsWith('/songs')) asked.push(url.search);
  });
  await page.goto(at(world, '/avalon/?query=012+artist'));
  await counted(page, '100 songs');
  assert.deepEqual(asked, ['?words=012+artist&limit=100&total=true']);
  await page.goto(at(world));
  await counted(page, '5,000 songs');
  assert.deepEqual(asked.slice(1), ['?limit=100&total=true']);
}

export async function keyboard(world) {
  const page = await world.open();
  const key = (...keys) => keys.reduce((before, name) => before.then(() => page.keyboard.press(name)), Promise.resolve());
  const active = () => page.$eval('#grid', (grid) => {
    const element = document.getElementById(grid.getAttribute('aria-activedescendant'));
    return [Number(element.closest('[role=row]').getAttribute('aria-rowindex')) - 2, element.className];
  });
  const isActive = (row, name) => until(page, ([row, name]) => {
    const element = document.getElementById(document.getElementById('grid').getAttribute('aria-activedescendant'));
    return element && Number(element.closest('[role=row]').getAttribute('aria-rowindex')) - 2 === row && element.className.startsWith(name);
  }, [row, name]);
  await page.goto(at(world));
  await counted(page, '500 songs');
  await key('/');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'search');
  await page.keyboard.type('album 0007');
  await until(page, () => document.querySelectorAll('#found [role=option]').length === 5);
  await key('ArrowDown');
  assert.equal(await page.getAttribute('#search', 'aria-activedescendant'), 'option-0');
  await key('Enter');
  await counted(page, '10 songs');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'grid');
  assert.match(page.url(), /album_id=/);
  await key('ArrowDown', 'ArrowDown');
  await isActive(2, 'active');
  await key('ArrowRight', 'ArrowRight');
  await isActive(2, 'artist');
  await key('Enter');
  await until(page, () => /artist_id=/.test(location.search));
  await page.goBack();
  await until(page, () => /album_id=/.test(location.search));
  await key('Escape');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'search');
  await page.goBack();
  await until(page, () => document.getElementById('search').value === 'album 0007');
  await page.focus('#search');
  await key('Escape');
  await counted(page, '500 songs');
  assert.equal(await page.inputValue('#search'), '');
  await key('Escape');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'grid');
  await key('End');
  await seen(page, 499);
  await isActive(499, 'active');
  await key('PageUp');
  const [row] = await active();
  assert.ok(row < 495 && row > 450, row);
  await key('Home');
  await isActive(0, 'active');
  await seen(page, 0);
  await key('PageDown', 'PageDown', 'PageDown', 'PageDown', 'PageDown');
  assert.ok((await active())[0] > 60);
  await key('?');
  assert.equal(await page.isVisible('#keys'), true);
  await key('Escape');
  assert.equal(await page.isVisible('#keys'), false);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'grid');
  // Everything else is reached by Tab.
  const reached = new Set();
  await page.focus('h1 a');
  for (let step = 0; step < 15; step++) {
    reached.add(await page.evaluate(() => document.activeElement.id || document.activeElement.textContent));
    await key('Tab');
  }
  for (const name of ['search', 'Songs', 'Genres', 'field', 'direction', 'grid', 'json', 'help']) {
    assert.ok(reached.has(name), `${name} in ${[...reached]}`);
  }
}

// A generated answer of so many rows.
async function generated(page, count) {
  await page.route(/\/songs\?/, (route) => {
    const asked = new URL(route.request().url()).searchParams;
    const [offset, limit] = ['offset', 'limit'].map((name) => Number(asked.get(name) ?? 0));
    const songs = Array.from({ length: Math.max(Math.min(limit, count - offset), 0) }, (_, at) => ({
      id: `${offset + at}`, name: `Row ${offset + at}`, length: 61, track: 1, year: 2000, album: 'A', album_id: 'a',
      artist: 'B', artist_id: 'b', genre: 'C', genre_id: 'c',
    }));
    const headers = { 'x-total-count': String(count) };
    return route.fulfill({ headers, json: { errors: [], success: songs, warnings: [] } });
  });
}

async function reachEnds(page, count) {
  const names = async () => (await rows(page)).map((row) => row[0]);
  const span = await page.$eval('#grid', (grid) => grid.scrollHeight);
  assert.ok(span < 17e6, span);
  // By key.
  await page.focus('#grid');
  await page.keyboard.press('End');
  await seen(page, count - 1);
  await page.keyboard.press('Home');
  await seen(page, 0);
  // By the scroll bar.
  await page.$eval('#grid', (grid) => { grid.scrollTop = grid.scrollHeight; });
  await seen(page, count - 1);
  await page.$eval('#grid', (grid) => { grid.scrollTop = (grid.scrollHeight - grid.clientHeight) / 2; });
  await until(page, (half) => {
    const row = document.querySelector('#rows > div:not([hidden])');
    return Math.abs(row.getAttribute('aria-rowindex') - half) < half / 50;
  }, count / 2);
  // The wheel goes row by row wherever it is, and leaves none out.
  const top = () => page.$$eval('#rows > div:not([hidden])', (found) => Math.min(...found.map((row) => Number(row.getAttribute('aria-rowindex')))));
  await page.hover('#grid');
  const height = await page.$eval('#rows > div', (row) => row.getBoundingClientRect().height);
  for (let turn = 0; turn < 5; turn++) {
    const before = await top();
    await page.mouse.wheel(0, 10 * height);
    await until(page, (before) => Math.min(...[...document.querySelectorAll('#rows > div:not([hidden])')]
      .map((row) => Number(row.getAttribute('aria-rowindex')))) >= before + 9, before);
    const after = await top();
    assert.ok(after - before >= 9 && after - before <= 11, `${before} to ${after}`);
  }
  await page.$eval('#grid', (grid) => { grid.scrollTop = 0; });
  await seen(page, 0);
  return names();
}

export async function million(world) {
  for (const [count, viewport] of [[1e6, {}], [1e7, {}], [1e6, { width: 320, height: 640 }]]) {
    const page = await world.open(viewport);
    await generated(page, count);
    await page.goto(at(world));
    await counted(page, `${count.toLocaleString('en')} songs`);
    assert.equal(await page.getAttribute('#grid', 'aria-rowcount'), `${count + 1}`);
    assert.equal((await reachEnds(page, count))[0], 'Row 0');
    assert.ok(await page.$$eval('#rows > div', (all) => all.length) < 100);
    await page.close();
  }
}

// The same with all songs of a real server.
export async function last(world) {
  const page = await world.open();
  await page.goto(at(world));
  await until(page, () => /^[\d,]+ songs$/.test(document.getElementById('count').textContent));
  const count = Number((await page.textContent('#count')).replace(/\D/g, ''));
  assert.ok(count >= 200000, count);
  await reachEnds(page, count);
  await page.focus('#grid');
  await page.keyboard.press('End');
  await seen(page, count - 1);
  const { success } = await (await fetch(at(world, `/avalon/songs?limit=1&offset=${count - 1}`))).json();
  assert.equal((await rows(page)).at(-1)[0], success[0].name);
}

export async function hostile(world) {
  const page = await world.open();
  const tags = new Set();
  for (const list of ['songs', 'albums', 'artists', 'genres']) {
    const { success } = await (await fetch(at(world, `/avalon/${list}`))).json();
    await page.goto(at(world, `/avalon/?list=${list}`));
    await counted(page, `${success.length.toLocaleString('en')} ${list}`);
    const wanted = success.map((it) => it.name || '\u2014');
    const found = new Map();
    while (found.size < success.length) {
      const before = found.size;
      await until(page, () => !document.querySelector('#grid[aria-busy=true]'));
      const shown = await page.$$eval('#rows > div:not([hidden])', (all) => all.map((row) =>
        [Number(row.getAttribute('aria-rowindex')) - 2, row.firstChild.textContent, [...row.querySelectorAll('*')].map((it) => it.tagName)]));
      for (const [row, text, inside] of shown) {
        found.set(row, text);
        inside.forEach((tag) => tags.add(tag));
      }
      assert.ok(found.size > before || before === 0, `${list}: no row after ${before}`);
      await page.$eval('#grid', (grid) => { grid.scrollTop += grid.clientHeight - 150; });
      await until(page, (row) => document.querySelector(`#rows > div:not([hidden])[aria-rowindex="${row + 2}"]`),
        Math.min(Math.max(...found.keys()) + 1, success.length - 1));
    }
    assert.deepEqual(wanted.map((_, row) => found.get(row)), wanted);
  }
  assert.deepEqual([...tags].sort(), ['A', 'DIV']);
  await page.goto(at(world, '/avalon/?list=genres&query=%3Cb%3Epop'));
  await until(page, () => document.getElementById('rows').textContent.includes('<b>Pop</b>'));
  await page.fill('#search', '<b');
  await until(page, () => document.getElementById('found').textContent.includes('<b>Pop</b>'));
  assert.equal(await page.$$eval('b, img, script', (all) => all.length), 1);
  // The name of an album in a filter, and in the title.
  await page.click('#found [role=option]');
  await until(page, () => document.getElementById('filters').textContent.includes('<b>'));
  assert.equal(await page.$$eval('#filters b', (all) => all.length), 0);
}

async function violations(world, page, what) {
  await page.evaluate(world.axe);
  const found = await page.evaluate(() => axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
  assert.ok(found.passes.length > 15, `${what}: axe looks at ${found.passes.length} rules only`);
  const told = found.violations.map((it) => `${it.id}: ${it.help}\n${it.nodes.map((node) => `  ${node.html}\n  ${node.failureSummary}`).join('\n')}`);
  assert.equal(told.length, 0, `${what}:\n${told.join('\n')}`);
}

export async function accessible(world) {
  for (const colorScheme of ['light', 'dark']) {
    for (const size of [{}, { width: 320, height: 640 }]) {
      const page = await world.open({ colorScheme, reducedMotion: 'reduce', ...size });
      const what = `${colorScheme} ${size.width ?? 1280}`;
      await page.goto(at(world));
      await counted(page, '24 songs');
      await violations(world, page, `songs, ${what}`);
      await page.focus('#grid');
      await page.keyboard.press('ArrowDown');
      await violations(world, page, `an active row, ${what}`);
      await page.fill('#search', 'tr');
      await until(page, () => document.querySelectorAll('#found [role=option]').length);
      await page.keyboard.press('ArrowDown');
      await violations(world, page, `suggestions, ${what}`);
      await page.fill('#search', 'nothing like this');
      await until(page, () => !document.getElementById('empty').hidden);
      await violations(world, page, `nothing found, ${what}`);
      await page.goto(at(world, '/avalon/?list=artists'));
      await until(page, () => document.getElementById('count').textContent.includes('artists'));
      await page.click('#rows a');
      await until(page, () => document.querySelector('#filters a'));
      await violations(world, page, `a filter, ${what}`);
      await page.click('#help');
      await violations(world, page, `help, ${what}`);
      await page.close();
    }
  }
  const page = await world.open({ forcedColors: 'active' });
  await page.goto(at(world));
  await counted(page, '24 songs');
  await page.focus('#grid');
  await page.keyboard.press('ArrowDown');
  const { outlineStyle, outlineWidth } = await page.$eval('.active', (row) => getComputedStyle(row));
  assert.deepEqual([outlineStyle, outlineWidth], ['solid', '2px']);
}

// Nothing is wider than the screen, and no cell than its row.
async function fits(page, what) {
  const wide = await page.evaluate(() => [document.documentElement, document.body, document.getElementById('grid')]
    .map((it) => it.scrollWidth - it.clientWidth));
  assert.deepEqual(wide.map((over) => Math.max(over, 0)), [0, 0, 0], `horizontal scroll: ${what}`);
  const beyond = await page.$$eval('#rows > div:not([hidden]) > *', (cells) => cells
    .filter((cell) => getComputedStyle(cell).display !== 'none')
    .map((cell) => [cell.getBoundingClientRect(), cell.parentElement.getBoundingClientRect()])
    .filter(([cell, row]) => cell.bottom > row.bottom + 1 || cell.top < row.top - 1 || cell.right > row.right + 1).length);
  assert.equal(beyond, 0, `cells beyond their row: ${what}`);
}

export async function looks(world) {
  for (const colorScheme of ['light', 'dark']) {
    for (const width of [320, 1280]) {
      const page = await world.open({ colorScheme, width, height: width === 320 ? 640 : 720 });
      await page.goto(at(world));
      await counted(page, '24 songs');
      await fits(page, `songs at ${width}`);
      const lines = await page.$$eval('#rows > div:first-child > *', (cells) => new Set(cells
        .filter((cell) => getComputedStyle(cell).display !== 'none').map((cell) => Math.round(cell.getBoundingClientRect().bottom / 10))).size);
      if (width === 320) assert.ok(lines >= 2, 'two lines on a phone');
      await page.screenshot({ path: `${world.shots}/songs-${width}-${colorScheme}.png` });
      await page.fill('#search', 'li');
      await until(page, () => document.querySelectorAll('#found [role=option]').length);
      await until(page, () => document.querySelector('#rows mark'));
      await page.screenshot({ path: `${world.shots}/search-${width}-${colorScheme}.png` });
      await page.goto(at(world, '/avalon/?list=artists'));
      await counted(page, '4 artists');
      await fits(page, `artists at ${width}`);
      await page.screenshot({ path: `${world.shots}/artists-${width}-${colorScheme}.png` });
      await page.close();
    }
  }
  // As the README shows it.
  const shown = await world.open({ width: 1100, height: 560 });
  await shown.goto(at(world));
  await counted(shown, '24 songs');
  await shown.click('#search');
  await shown.keyboard.type('c');
  await until(shown, () => document.querySelectorAll('#found [role=option]').length > 4 && document.querySelector('#rows mark'));
  await shown.keyboard.press('ArrowDown');
  await shown.screenshot({ path: `${world.shots}/page.png` });
  // What is written from right to left stands so.
  const page = await world.open();
  await page.goto(at(world));
  await counted(page, '24 songs');
  assert.ok(await page.$$eval('#rows [role=gridcell]', (cells) => cells.every((cell) => cell.dir === 'auto')));
}

export async function empty(world) {
  const page = await world.open();
  await page.goto(at(world));
  await counted(page, '0 songs');
  assert.match(await page.textContent('#empty'), /nothing has been scanned yet.*avalon-scan/s);
  assert.equal(await page.isVisible('#grid'), false);
  await violations(world, page, 'an empty collection');
}

export async function trouble(world) {
  const page = await world.open();
  const look = () => page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  const told = (text) => until(page, (text) => {
    const notice = document.getElementById('notice');
    return text ? !notice.hidden && notice.textContent.includes(text) : notice.hidden;
  }, text);
  await page.goto(at(world));
  await counted(page, '30 songs');
  await told('');
  // Silence: the rows stay, and the page comes back by itself.
  world.expect(/ERR_INTERNET_DISCONNECTED/);
  await page.context().setOffline(true);
  await page.click('[role=columnheader].year button');
  await told('The server does not answer');
  assert.ok((await rows(page)).length > 10);
  await violations(world, page, 'offline');
  await page.context().setOffline(false);
  await told('');
  await until(page, () => document.querySelector('.year[aria-sort=ascending]'));
  // What the API refuses is told in its words.
  world.expect(/status of 400/);
  await page.goto(at(world, '/avalon/?artist_id=x'));
  await told("Invalid field value for UUID field artist_id: 'x'");
  await look();
  await page.evaluate(() => { history.pushState(null, '', '?artist_id=y'); dispatchEvent(new PopStateEvent('popstate')); });
  await told("Invalid field value for UUID field artist_id: 'y'");
  // Rows that the database has not confirmed.
  await page.goto(at(world));
  await counted(page, '30 songs');
  await page.route(at(world), async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, headers: { ...response.headers(), 'x-avalon-stale': '1' } });
  });
  await look();
  await told('has not been able to read its database');
  await page.unroute(at(world));
  await look();
  await told('');
  // Another collection.
  let asked = 0;
  await page.route(/\/avalon\/(songs\?.*)?$/, async (route) => {
    const response = await route.fetch();
    asked += route.request().url().includes('songs');
    await route.fulfill({ response, headers: { ...response.headers(), 'x-avalon-snapshot': 'f'.repeat(32) } });
  });
  await look();
  await told('The collection has changed');
  await until(page, () => document.getElementById('snapshot').textContent === 'collection ffffffff');
  assert.ok(asked > 0);
}

// A page of another origin reads what the first of two servers allows it, and nothing of the second.
export async function origins(world) {
  const [allowing, refusing] = world.others;
  const page = await world.open();
  // The browser looks for an icon of this page.
  world.expect(/status of 404.*favicon\.ico$/);
  await page.goto(at(world, '/avalon/heartbeat'));
  const read = (url, init = {}) => page.evaluate(async ([url, init]) => {
    try {
      const answer = await fetch(url, init);
      return { status: answer.status, headers: Object.fromEntries(answer.headers), text: await answer.text() };
    } catch (error) {
      return { status: 0, headers: {}, text: String(error) };
    }
  }, [url, init]);
  const list = '/avalon/songs?words=song&limit=2&total=true';
  const direct = await fetch(allowing + list);
  const answer = await read(allowing + list);
  assert.deepEqual([answer.status, answer.text], [200, await direct.text()]);
  assert.equal(answer.headers['x-total-count'], '30');
  assert.match(answer.headers.link, /offset=2>; rel="next"/);
  assert.equal(answer.headers['x-avalon-snapshot'], direct.headers.get('x-avalon-snapshot'));
  assert.ok(answer.headers['x-request-id'] && answer.headers.etag);
  // The browser asks before it sends such a field.
  const known = await read(allowing + list, { headers: { 'If-None-Match': answer.headers.etag } });
  assert.deepEqual([known.status, known.text], [304, '']);
  // An error can be read as well.
  world.expect(/status of 400/);
  const wrong = await read(`${allowing}/avalon/songs?limit=x`);
  assert.deepEqual([wrong.status, JSON.parse(wrong.text).errors[0].code], [400, 101]);
  world.expect(/blocked by CORS policy|net::ERR_FAILED/);
  for (const [url, init] of [
    [`${refusing}${list}`, {}],
    [`${refusing}/avalon/openapi.json`, {}],
    [`${allowing}/avalon/status`, {}],
    [allowing + list, { method: 'DELETE' }],
    [allowing + list, { credentials: 'include' }],
  ]) {
    const { status, text } = await read(url, init);
    assert.deepEqual([status, text], [0, 'TypeError: Failed to fetch'], `${url} ${JSON.stringify(init)}`);
  }
}
