import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceError, within } from '../../web/sdk/errors.js';
import { socketUrl } from '../../web/sdk/protocol.js';
import { delay } from '../../web/sdk/reconnect.js';
import { Seats } from '../../web/sdk/seats.js';

test('waits grow from a third of a second to five seconds and never end', () => {
  const at = (tries, chance) => Math.round(delay(tries, chance));
  assert.equal(at(0, 0), 0);
  assert.equal(at(0, 1), 300);
  assert.equal(at(1, 1), 600);
  assert.equal(at(3, 1), 2400);
  for (const tries of [5, 10, 1000]) {
    assert.equal(at(tries, 1), 5000);
    assert.equal(at(tries, 0), 2500);
  }
});

test('a socket follows its page', () => {
  assert.equal(socketUrl('http://localhost:8443'), 'ws://localhost:8443/v1/ws');
  assert.equal(socketUrl('https://meet.example'), 'wss://meet.example/v1/ws');
});

test('every promise settles', async () => {
  const never = new Promise(() => {});
  await assert.rejects(within(never, 5, 'It'), { code: 'timeout', retryable: true });
  const abort = new AbortController();
  const waiting = within(never, 60_000, 'It', abort.signal);
  abort.abort();
  await assert.rejects(waiting, { code: 'aborted' });
  await assert.rejects(within(never, 60_000, 'It', AbortSignal.abort()), { code: 'aborted' });
  assert.equal(await within(Promise.resolve(7), 1000, 'It'), 7);
});

test('what devices throw has a code of ours', () => {
  const named = (name) => deviceError(Object.assign(new Error(), { name })).code;
  assert.equal(named('NotAllowedError'), 'device-denied');
  assert.equal(named('NotFoundError'), 'device-not-found');
  assert.equal(named('NotReadableError'), 'device-in-use');
  assert.equal(named('Whatever'), 'unsupported');
});

/** A room's view of its seats, with publications that remember what was done to them. */
function seatsOf(ids) {
  const log = [];
  const publications = new Map(ids.map((id) => [id, {
    id, kind: id.startsWith('a') ? 'audio' : 'video', track: null, streamState: '',
    place(track) { this.track = track; },
    onFrame(_ms, done) { this.frame = done; },
  }]));
  const seats = new Seats({
    receiver: (mid) => ({ track: `track of ${mid}` }),
    publication: (id) => publications.get(id),
    subscribed: (publication) => log.push(`+${publication.id}`),
    unsubscribed: (publication) => log.push(`-${publication.id}`),
    changed: (publication) => log.push(`${publication.id} ${publication.streamState}`),
  });
  return { seats, log, publications };
}
const list = (rev, occupied, unseated = []) => ({
  rev, want: { audio: 4, video: 4 }, unseated,
  occupied: Object.entries(occupied).map(([mid, trackId]) => ({ mid, trackId })),
});

test('a seat shows its occupant once a frame was presented', () => {
  const { seats, log, publications } = seatsOf(['a1', 'v1']);
  assert.equal(seats.apply(list(1, { 2: 'a1', 3: 'v1' })), true);
  assert.deepEqual(log, ['+a1', 'a1 active', '+v1', 'v1 waiting']);
  publications.get('v1').frame();
  assert.equal(log.at(-1), 'v1 active');
});

test('a change of occupant lets the old one go first, and a frame of the old one counts for nobody', () => {
  const { seats, log, publications } = seatsOf(['v1', 'v2']);
  seats.apply(list(1, { 3: 'v1' }));
  const old = publications.get('v1').frame;
  log.length = 0;
  seats.apply(list(2, { 3: 'v2' }, ['v1']));
  assert.deepEqual(log, ['-v1', '+v2', 'v2 waiting', 'v1 unseated']);
  old();
  assert.equal(publications.get('v1').streamState, 'unseated');
  assert.equal(publications.get('v2').streamState, 'waiting');
});

test('an older list is dropped, and the newest is carried out when its tracks become known', () => {
  const { seats, log, publications } = seatsOf(['v1']);
  seats.apply(list(5, { 3: 'v9' }));
  assert.equal(seats.apply(list(4, { 3: 'v1' })), false);
  assert.deepEqual(log, []);
  publications.set('v9', { ...publications.get('v1'), id: 'v9' });
  seats.refresh();
  assert.deepEqual(log, ['+v9', 'v9 waiting']);
});
