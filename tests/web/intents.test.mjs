// What the page shows, and what the server is told of it.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { Intents, View, intentOf } from '../../web/sdk/intents.js';
import { RemoteTrackPublication } from '../../web/sdk/publication.js';

const MINUTE = 60_000;

/** Time goes by in small steps, so that each timer sees the clock of its own moment. */
function pass(ms) {
  for (let left = ms; left > 0; left -= 10) mock.timers.tick(Math.min(left, 10));
}

const video = (id, info = {}) => new RemoteTrackPublication({ id, source: 'camera', kind: 'video', muted: false, height: 720, ...info });

/** An element that shows a picture of this height; undefined: not measured yet. */
const element = (height) => ({ height, srcObject: null, play: async () => {} });
const heightOf = ({ height }) => height;

beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'Date'] }));
afterEach(() => mock.timers.reset());

test('the largest element counts, in steps', () => {
  const one = video('v1');
  for (const height of [90, 356, 0]) one.attach(element(height));
  assert.deepEqual(intentOf(one, heightOf), { trackId: 'v1', height: 360 });
  one.attach(element(3));
  assert.equal(intentOf(one, heightOf).height, 360);
});

test('a picture in no element that can be seen is not wanted', () => {
  const one = video('v1');
  const place = one.attach(element(0));
  assert.equal(intentOf(one, heightOf), null);
  place.height = 1;
  assert.equal(intentOf(one, heightOf).height, 20, 'but the smallest sign of it is');
  one.detach(place);
  assert.equal(intentOf(one, heightOf), null);
});

test('what was never attached or not yet measured, and everything when nothing is measured, is wanted whole', () => {
  const one = video('v1');
  assert.equal(intentOf(one, heightOf).height, 720);
  assert.equal(intentOf(video('v2', { height: undefined }), heightOf).height, 1080);
  one.attach(element(undefined));
  assert.equal(intentOf(one, heightOf).height, 720);
  one.detach();
  assert.equal(intentOf(one, null).height, 720);
});

test('a developer has the last word', () => {
  const one = video('v1');
  one.attach(element(0));
  one.setVideoDimensions({ width: 320, height: 180 });
  one.setPriority(7);
  one.setPinned(true);
  assert.deepEqual(intentOf(one, heightOf), { trackId: 'v1', height: 180, priority: 7, pinned: true });
  one.setSubscribed(false);
  assert.equal(intentOf(one, heightOf), null);
  one.setSubscribed(true);
  one.setPriority(1000);
  assert.equal(intentOf(one, heightOf).priority, 255);
  one.setVideoDimensions(null);
  assert.equal(intentOf(one, heightOf), null, 'the page decides again');
});

test('a shared screen comes first unless it is told otherwise', () => {
  const screen = video('v1', { source: 'screen' });
  assert.equal(intentOf(screen, heightOf).priority, 128);
  screen.setPriority(0);
  assert.equal('priority' in intentOf(screen, heightOf), false);
});

/** Intents of some publications, with what was said and when. */
function scene(publications, { measured = true } = {}) {
  const view = { followed: [], height: heightOf, follow(all) { this.followed = all; }, close() { this.closed = true; } };
  const said = [];
  const began = Date.now();
  const intents = new Intents(() => publications, measured && (() => view));
  for (const publication of publications) publication.onIntent = () => intents.changed();
  const say = (tracks) => said.push([Date.now() - began, tracks.map(({ trackId, height }) => `${trackId} ${height}`).join(', ')]);
  const show = (place, height) => { place.height = height; intents.changed(); };
  return { intents, said, say, show, view, publications };
}

test('what is shown or larger is told within a tenth of a second, all at once', () => {
  const [a, b] = [video('a'), video('b')];
  const { intents, said, say, show, view } = scene([a, b]);
  const places = [a.attach(element(180)), b.attach(element(360))];
  intents.start(say);
  assert.deepEqual(view.followed, places);
  pass(99);
  assert.deepEqual(said, []);
  pass(1);
  assert.deepEqual(said, [[100, 'a 180, b 360']]);
  show(places[0], 360);
  pass(50);
  show(places[1], 720);
  pass(50);
  assert.deepEqual(said.slice(1), [[200, 'a 360, b 720']]);
  pass(MINUTE);
  assert.equal(said.length, 2, 'and nothing more without a change');
});

test('what is hidden or smaller is told after a second, and not at all if it was only for a moment', () => {
  const [a, b] = [video('a'), video('b')];
  const { intents, said, say, show } = scene([a, b]);
  const places = [a.attach(element(720)), b.attach(element(180))];
  intents.start(say);
  pass(100);
  show(places[0], 0);
  pass(900);
  show(places[0], 720);
  pass(MINUTE);
  assert.equal(said.length, 1);
  show(places[0], 360);
  pass(600);
  show(places[0], 180);
  pass(399);
  assert.equal(said.length, 1);
  pass(1);
  assert.equal(said.at(-1)[1], 'a 180, b 180');
  assert.equal(said.length, 2);
});

test('news of one track does not hasten the end of another', () => {
  const [a, b] = [video('a'), video('b')];
  const { intents, said, say, show } = scene([a, b]);
  const places = [a.attach(element(360)), b.attach(element(180))];
  intents.start(say);
  pass(100);
  show(places[0], 0);
  show(places[1], 720);
  pass(1000);
  assert.deepEqual(said.slice(1), [[200, 'a 360, b 720'], [1100, 'b 720']]);
});

test('a change of a few pixels is none', () => {
  const one = video('a');
  const { intents, said, say, show } = scene([one]);
  const place = one.attach(element(360));
  intents.start(say);
  pass(100);
  for (const height of [371, 349, 380, 345, 360]) {
    show(place, height);
    pass(MINUTE);
  }
  assert.equal(said.length, 1);
  show(place, 420);
  pass(100);
  assert.equal(said.at(-1)[1], 'a 420');
});

test('a resize that never rests costs ten messages a second at most', () => {
  const one = video('a');
  const { intents, said, say, show } = scene([one]);
  const place = one.attach(element(100));
  intents.start(say);
  for (let frame = 0; frame < 250; frame += 1) {
    show(place, 100 + frame * 10);
    pass(16);
  }
  assert.ok(said.length > 10 && said.length <= 40, `${said.length} in four seconds`);
});

test('after a session was lost everything is told anew', () => {
  const one = video('a');
  const { intents, said, say, show, view } = scene([one]);
  const place = one.attach(element(360));
  intents.start(say);
  pass(100);
  intents.stop();
  assert.equal(view.closed, true);
  show(place, 720);
  pass(MINUTE);
  assert.equal(said.length, 1, 'nothing is said to nobody');
  intents.start(say);
  pass(100);
  assert.equal(said.at(-1)[1], 'a 720');
});

test('a list of nothing is told when pictures are there, and none when there are no pictures', () => {
  const publications = [new RemoteTrackPublication({ id: 'm', source: 'microphone', kind: 'audio', muted: false })];
  const { intents, said, say } = scene(publications);
  intents.start(say);
  pass(MINUTE);
  assert.deepEqual(said, []);
  const one = video('a');
  one.attach(element(0));
  publications.push(one);
  intents.changed();
  pass(MINUTE);
  assert.deepEqual(said.map(([, list]) => list), ['a 20', '']);
});

test('a track that the page has not laid out yet stays on at its smallest for a second, once', () => {
  const [a, b] = [video('a'), video('b')];
  const { intents, said, say, show } = scene([a, b]);
  const places = [a.attach(element(0)), b.attach(element(0))];
  intents.start(say);
  pass(150);
  show(places[0], 360);
  pass(MINUTE);
  intents.changed();
  pass(MINUTE);
  assert.deepEqual(said, [[100, 'a 20, b 20'], [250, 'a 360, b 20'], [1000, 'a 360']]);
});

test('what a developer does not want or wants smaller waits for nothing', () => {
  const [a, b] = [video('a'), video('b')];
  const { intents, said, say } = scene([a, b]);
  for (const one of [a, b]) one.attach(element(720));
  intents.start(say);
  pass(100);
  a.setSubscribed(false);
  b.setVideoDimensions({ height: 180 });
  pass(100);
  assert.deepEqual(said.slice(1), [[200, 'b 180']]);
});

test('without measuring nothing is said until a developer asks for something', () => {
  const [a, b] = [video('a'), video('b')];
  const { intents, said, say } = scene([a, b], { measured: false });
  a.attach(element(0));
  intents.start(say);
  pass(MINUTE);
  assert.deepEqual(said, []);
  b.setSubscribed(false);
  pass(100);
  assert.equal(said.at(-1)[1], 'a 720');
  b.setSubscribed(true);
  pass(100);
  assert.equal(said.at(-1)[1], 'a 720, b 720');
});

test('a clock that is set back keeps nothing wanted for longer', () => {
  const one = video('a');
  const { intents, said, say, show } = scene([one]);
  mock.timers.setTime(10 * MINUTE);
  const place = one.attach(element(360));
  intents.start(say);
  pass(100);
  show(place, 0);
  pass(500);
  mock.timers.setTime(MINUTE);
  intents.changed();
  pass(1000);
  assert.equal(said.at(-1)[1], '');
});

/** A page with observers that report what the test says. */
function page() {
  const observers = [];
  class Observer {
    watched = new Set();
    constructor(report) { this.report = report; observers.push(this); }
    observe(target) { this.watched.add(target); }
    unobserve(target) { this.watched.delete(target); }
    disconnect() { this.watched.clear(); }
  }
  const document = Object.assign(new EventTarget(), { hidden: false, pictureInPictureElement: null, defaultView: { devicePixelRatio: 1.5 } });
  const window = new EventTarget();
  const addEventListener = window.addEventListener.bind(window);
  Object.assign(globalThis, { document, addEventListener, ResizeObserver: Observer, IntersectionObserver: Observer });
  let changes = 0;
  const view = new View(() => { changes += 1; });
  const target = { ownerDocument: document };
  const [sizes, places] = observers;
  return {
    view, document, window, target, sizes, places,
    changes: () => changes,
    resize: (height) => sizes.report([{ target, contentRect: { height } }]),
    place: (isIntersecting) => places.report([{ target, isIntersecting }]),
  };
}

afterEach(() => {
  for (const name of ['document', 'addEventListener', 'ResizeObserver', 'IntersectionObserver']) delete globalThis[name];
});

test('an element counts once it was looked at, and only while it is in view', () => {
  const { view, window, target, resize, place, changes } = page();
  view.follow([target]);
  assert.equal(view.height(target), undefined);
  place(true);
  resize(200);
  assert.equal(view.height(target), 300, 'in device pixels');
  target.ownerDocument.defaultView.devicePixelRatio = 3;
  window.dispatchEvent(new Event('resize'));
  assert.equal(view.height(target), 400, 'a density over 2 is not seen');
  place(false);
  assert.equal(view.height(target), 0);
  assert.equal(changes(), 4);
});

test('in a hidden tab only a floating picture counts', () => {
  const { view, document, target, resize, place, changes } = page();
  view.follow([target]);
  place(true);
  resize(200);
  document.hidden = true;
  document.dispatchEvent(new Event('visibilitychange'));
  assert.equal(view.height(target), 0);
  document.pictureInPictureElement = target;
  document.dispatchEvent(new Event('enterpictureinpicture'));
  assert.equal(view.height(target), 540);
  assert.equal(changes(), 4);
});

test('elements that are gone are not watched any more, and a view that is closed watches nothing', () => {
  const { view, document, target, sizes, places, changes } = page();
  const other = { ownerDocument: document };
  view.follow([target, other]);
  view.follow([other]);
  for (const { watched } of [sizes, places]) assert.deepEqual([...watched], [other]);
  view.close();
  for (const { watched } of [sizes, places]) assert.equal(watched.size, 0);
  document.dispatchEvent(new Event('visibilitychange'));
  assert.equal(changes(), 0);
});
