/**
 * Finds songs by words of their names, albums, artists and genres, in any order.
 *
 *     node examples/find.mts http://127.0.0.1:8000/avalon limon corazon
 *
 * A client in TypeScript, with nothing but fetch: all but `main` runs in a browser, too. Node.js takes the types away by
 * itself from 22.18 on; for an older one `tsc --strict --target es2022 --module nodenext --lib es2022,dom` makes
 * find.mjs. It reads page by page, as any client should that does not know how much it will find, and begins again if a
 * scan changes the collection meanwhile.
 */

const PAGE = 100;
const SECONDS = 10;
const TRIES = 5;
const CHANGED = 7;

interface Song {
  id: string;
  name: string | null;
  length: number | null;
  track: number | null;
  year: number | null;
  album: string;
  album_id: string;
  artist: string;
  artist_id: string;
  genre: string;
  genre_id: string;
}

interface Problem {
  code: number;
  message: string;
  message_key: string;
  payload: Record<string, unknown>;
}

/** What each answer is: `success` is null where there are errors. */
interface Envelope<T> {
  errors: Problem[];
  success: T | null;
  warnings: Problem[];
}

/** The server refuses a request. */
class Refused extends Error {
  readonly problem: Problem;

  constructor(url: URL, problem: Problem) {
    super(`${url}: ${problem.message}`);
    this.problem = problem;
  }
}

/** The head of the answer at url, and what it has. */
async function ask<T>(url: URL): Promise<{ headers: Headers; success: T }> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(SECONDS * 1000) });
  if (answer.headers.get('content-type')?.split(';')[0] !== 'application/json') {
    throw new Error(`${url}: status ${answer.status}, and no JSON`);
  }
  const { errors, success, warnings } = (await answer.json()) as Envelope<T>;
  for (const { message } of warnings) console.error(message);
  const [problem] = errors;
  if (problem) throw new Refused(url, problem);
  if (success === null) throw new Error(`${url}: neither an answer nor an error`);
  return { headers: answer.headers, success };
}

/** All entities of the list at url, of one collection. */
async function pages<T>(url: URL): Promise<T[]> {
  const { headers, success: found } = await ask<T[]>(url);
  const snapshot = headers.get('x-avalon-snapshot') ?? '';
  const following = (head: Headers) => head.get('link')?.match(/<([^>]*)>; rel="next"/)?.[1];
  for (let next = following(headers); next !== undefined; ) {
    url = new URL(next, url);
    url.searchParams.set('snapshot', snapshot);
    const { headers: head, success: more } = await ask<T[]>(url);
    for (const entity of more) found.push(entity);
    next = following(head);
  }
  return found;
}

/** All songs that have a name with a word that begins so, for each of the words. */
async function find(server: string, words: string): Promise<Song[]> {
  const url = new URL(`${server.replace(/\/+$/, '')}/songs`);
  url.search = new URLSearchParams({ words, limit: `${PAGE}`, total: 'true' }).toString();
  for (let tries = 0; tries < TRIES; tries++) {
    try {
      return await pages<Song>(url);
    } catch (error) {
      if (!(error instanceof Refused && error.problem.code === CHANGED)) throw error;
    }
  }
  throw new Error('the collection changes again and again');
}

/** What of Node.js is used, for a compiler without @types/node. */
declare const process: { argv: string[]; exitCode?: number };

async function main(program: string, server?: string, ...words: string[]): Promise<void> {
  if (server === undefined || words.length === 0) throw new Error(`usage: node ${program} URL WORD...`);
  const songs = await find(server, words.join(' ')).catch((error: Error) => {
    // Only the cause tells why fetch has failed.
    throw error.cause instanceof Error ? new Error(`${server}: ${error.cause.message || error.message}`) : error;
  });
  for (const { artist, album, name } of songs) console.log(`${artist} - ${album} - ${name ?? '(no name)'}`);
}

main(...(process.argv.slice(1) as [string, ...string[]])).catch((error: Error) => {
  console.error(error.message);
  process.exitCode = 1;
});
