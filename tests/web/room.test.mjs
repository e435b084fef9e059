// A whole Room against a server and a browser that are made up here.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { afterEach, beforeEach, mock, test } from 'node:test';

const fixtures = Object.fromEntries(readdirSync('tests/fixtures/protocol').map((file) => [
  file.replace('.json', ''),
  JSON.parse(readFileSync(`tests/fixtures/protocol/${file}`, 'utf8')),
]));
const fixture = (name) => structuredClone(fixtures[name].message);

/** Every socket that was opened, with what the client said on it. */
const sockets = [];

class FakeSocket {
  said = [];
  closedWith = null;

  constructor(url, protocol) {
    Object.assign(this, { url, protocol });
    sockets.push(this);
    queueMicrotask(() => (FakeSocket.refuses ? this.onerror?.() : this.onopen?.()));
  }

  send(text) {
    const message = JSON.parse(text);
    this.said.push(message);
    queueMicrotask(() => this.onsaid?.(message));
    FakeSocket.server?.(this, message);
  }

  hear(message) { this.onmessage?.({ data: JSON.stringify(message) }); }
  close(code) { this.closedWith = code ?? 1005; }
}

class FakePeerConnection {
  static all = [];
  transceivers = [];
  connectionState = 'new';
  signalingState = 'stable';

  constructor() { FakePeerConnection.all.push(this); }
  createDataChannel(label) { return { label, readyState: 'connecting' }; }
  getTransceivers() { return this.transceivers; }

  addTransceiver(what, { direction, sendEncodings }) {
    const kind = typeof what === 'string' ? what : what.kind;
    const transceiver = {
      mid: null, direction,
      receiver: { track: { kind } },
      sender: fakeSender(sendEncodings),
    };
    this.transceivers.push(transceiver);
    return transceiver;
  }

  async createOffer() { return { type: 'offer', sdp: 'offer' }; }

  async setLocalDescription(description) {
    if (description.type === 'rollback') { this.signalingState = 'stable'; return; }
    this.signalingState = 'have-local-offer';
    this.localDescription = description;
    this.transceivers.forEach((transceiver, n) => { transceiver.mid ??= String(n); });
  }

  async setRemoteDescription(description) {
    this.signalingState = 'stable';
    this.remoteDescription = description;
  }

  close() { this.closed = true; }
}

/** Remembers which encodings are on after each change. */
const fakeSender = (list = [{}]) => ({
  replaced: [], active: [],
  async replaceTrack(track) { this.replaced.push(track); },
  getParameters: () => ({ encodings: structuredClone(list) }),
  async setParameters({ encodings }) {
    list = encodings;
    this.active.push(encodings.filter(({ active }) => active).map(({ rid }) => rid));
  },
});

class FakeStream {
  constructor(tracks) { this.tracks = tracks; }
}

const track = (kind) => ({
  kind, enabled: true, stopped: false, stop() { this.stopped = true; }, addEventListener() {}, getSettings: () => ({ width: 640, height: 360 }),
});

/** Answers as the server would. */
function serve(socket, { type, id, data }) {
  const tracks = (offer) => Object.fromEntries(offer.tracks.map(({ cid }, n) => [cid, `t0-${30 + n}`]));
  if (type === 'hello') {
    const welcome = fixture('welcome');
    welcome.id = id;
    welcome.data.answer = { nid: data.offer.nid, sdp: 'answer', tracks: tracks(data.offer) };
    queueMicrotask(() => socket.hear(welcome));
  } else if (type === 'offer') {
    queueMicrotask(() => {
      socket.hear({ type: 'answer', data: { nid: data.nid, sdp: 'answer', tracks: tracks(data) } });
      socket.hear({ type: 'ok', id });
    });
  } else if (id !== undefined) {
    queueMicrotask(() => socket.hear({ type: 'ok', id }));
  }
}

let room;

beforeEach(async () => {
  Object.assign(globalThis, { WebSocket: FakeSocket, RTCPeerConnection: FakePeerConnection, MediaStream: FakeStream });
  sockets.length = 0;
  FakePeerConnection.all.length = 0;
  FakeSocket.server = serve;
  FakeSocket.refuses = false;
  const { Room } = await import('../../web/sdk/fanlight.js');
  room = new Room();
});

afterEach(() => room.disconnect());

const event = (target, type) => new Promise((resolve) => { target.addEventListener(type, ({ detail }) => resolve(detail), { once: true }); });
const connect = () => room.connect('http://localhost:1', { room: 'blue-otter', name: 'Sam' });

test('one round trip: the offer goes with hello and the answer comes with welcome', async () => {
  await room.localParticipant.publishTrack(track('audio'), { source: 'microphone' });
  await room.localParticipant.publishTrack(track('video'), { source: 'camera' });
  await connect();
  assert.equal(room.state, 'connected');
  const [{ type, data }] = sockets[0].said;
  const expected = fixture('hello').data;
  assert.equal(type, 'hello');
  assert.deepEqual(Object.keys(data).sort(), Object.keys(expected).sort());
  assert.deepEqual(data.offer.tracks.map(({ source }) => source), ['microphone', 'camera']);
  assert.deepEqual([data.offer.tracks[1].width, data.offer.tracks[1].height], [640, 360]);
  assert.equal(sockets[0].protocol, 'fanlight.v1');
  assert.equal(room.localParticipant.identity, 'sam-81b2');
  assert.equal(room.remoteParticipants.get('ada-3f9c').publication('camera').id, 't0-2');
  assert.equal(room.localPublication('camera').id, 't0-31');
});

test('every message of the server is understood', async () => {
  await connect();
  const seen = [];
  for (const type of ['participantConnected', 'participantLeaving', 'participantDisconnected', 'trackPublished', 'trackUnpublished',
    'trackMuted', 'activeSpeakersChanged', 'trackStreamStateChanged', 'connectionQualityChanged', 'trackSubscribed', 'disconnected']) {
    room.on(type, () => seen.push(type));
  }
  const order = ['seats', 'speakers', 'streamState', 'quality', 'layers', 'stats', 'trackUpdated', 'leaving', 'unpublished', 'published', 'left', 'joined', 'pong', 'error-retry'];
  for (const name of order) sockets[0].hear(fixture(name));
  const end = event(room, 'disconnected');
  sockets[0].hear({ ...fixture('goodbye'), data: { reason: 'removed', retry: 'none', afterMs: 0 } });
  assert.deepEqual(await end, { reason: 'removed' });
  for (const type of ['participantConnected', 'participantLeaving', 'participantDisconnected', 'trackPublished', 'trackUnpublished',
    'trackMuted', 'activeSpeakersChanged', 'trackStreamStateChanged', 'connectionQualityChanged', 'trackSubscribed']) {
    assert.ok(seen.includes(type), `${type} was emitted`);
  }
  const seated = sockets[0].said.find(({ type }) => type === 'seated');
  assert.deepEqual(seated.data, fixture('seated').data);
});

test('seats grow by pairs when the server asks, in one further offer', async () => {
  await connect();
  const [pc] = FakePeerConnection.all;
  assert.equal(pc.transceivers.length, 8);
  const offered = new Promise((resolve) => { sockets[0].onsaid = (message) => { if (message.type === 'offer') resolve(message); }; });
  sockets[0].hear(fixture('seats'));
  const { data } = await offered;
  assert.equal(pc.transceivers.length, 16);
  assert.equal(data.nid, 2);
});

test('muting is asked of the server and survives a lost connection', async () => {
  const mic = track('audio');
  await room.localParticipant.publishTrack(mic, { source: 'microphone' });
  await connect();
  await room.localParticipant.setMicrophoneEnabled(false);
  const mute = sockets[0].said.find(({ type }) => type === 'mute');
  assert.deepEqual(mute.data, { trackId: 't0-30', muted: true });
  assert.equal(mic.enabled, false);
  const back = event(room, 'reconnected');
  sockets[0].onclose();
  assert.equal(room.state, 'reconnecting');
  assert.equal(FakePeerConnection.all[0].closed, true, 'so that the server drops the old entry at once');
  await back;
  assert.equal(sockets[1].said[0].data.offer.tracks[0].muted, true);
  assert.equal(room.remoteParticipants.size, 1, 'nobody is there twice');
});

test('switching the camera off stops the device, and the track stays published', async () => {
  const camera = track('video');
  await room.localParticipant.publishTrack(camera, { source: 'camera' });
  await connect();
  const publication = room.localPublication('camera');
  await room.localParticipant.setCameraEnabled(false);
  assert.equal(camera.stopped, true);
  assert.deepEqual(publication.transceiver.sender.replaced, [null]);
  assert.equal(room.localParticipant.isCameraEnabled, false);
  assert.ok(room.localPublication('camera'));
});

test('a screen that is shared again uses the section of the one before', async () => {
  await connect();
  const first = await room.localParticipant.publishTrack(track('video'), { source: 'screen' });
  await room.localParticipant.unpublishTrack(first);
  const count = FakePeerConnection.all[0].transceivers.length;
  const second = await room.localParticipant.publishTrack(track('video'), { source: 'screen' });
  assert.equal(FakePeerConnection.all[0].transceivers.length, count);
  assert.equal(second.transceiver, first.transceiver);
  assert.equal(second.transceiver.sender.replaced.at(-1), second.track);
  const offer = sockets[0].said.filter(({ type }) => type === 'offer').at(-1);
  assert.deepEqual(offer.data.tracks.map(({ cid }) => cid), [second.cid]);
});

test('a refused hello rejects with the code of the server', async () => {
  FakeSocket.server = (socket, { id }) => queueMicrotask(() => socket.hear({ ...fixture('error'), id, data: { code: 'room-full', message: 'Full.', retryable: true } }));
  await assert.rejects(connect(), { code: 'room-full', retryable: true });
  assert.equal(room.state, 'disconnected');
});

test('a server that is not there, and one that is given up, are told apart', async () => {
  FakeSocket.refuses = true;
  await assert.rejects(connect(), { code: 'server-unreachable' });
  FakeSocket.refuses = false;
  FakeSocket.server = () => {};
  const abort = new AbortController();
  const joining = room.connect('http://localhost:1', { room: 'r', name: 'n', signal: abort.signal });
  abort.abort();
  await assert.rejects(joining, { code: 'aborted' });
  assert.equal(room.state, 'disconnected');
});

test('a refused offer is rolled back and the next one goes on', async () => {
  await connect();
  FakeSocket.server = (socket, message) => {
    if (message.type !== 'offer') return serve(socket, message);
    return queueMicrotask(() => socket.hear({ ...fixture('error'), id: message.id, data: { code: 'negotiation-failed', message: 'No.', retryable: false } }));
  };
  await assert.rejects(room.localParticipant.publishTrack(track('video'), { source: 'screen' }), { code: 'negotiation-failed' });
  assert.equal(FakePeerConnection.all[0].signalingState, 'stable');
  assert.equal(room.localPublications.length, 0);
  FakeSocket.server = serve;
  await room.localParticipant.publishTrack(track('audio'), { source: 'microphone' });
  assert.equal(room.localPublications.length, 1);
});

test('leaving closes the socket in order and the peer connection with it', async () => {
  await connect();
  const end = event(room, 'disconnected');
  await room.disconnect();
  assert.equal((await end).reason, 'client');
  assert.equal(sockets[0].closedWith, 1000);
  assert.equal(FakePeerConnection.all[0].closed, true);
  assert.equal(room.remoteParticipants.size, 0);
});

test('a message over the limit is refused before it is sent', async () => {
  await connect();
  await assert.rejects(room.localParticipant.publishData(new Uint8Array(65_537)), { code: 'too-large' });
});

/** The server says something; resolves once all of it is carried out. */
async function hears(...messages) {
  for (const message of messages) sockets.at(-1).hear(message);
  await new Promise(setImmediate);
}

/** Ada's camera, sitting in a seat of ours whose picture can be seen. */
async function watching() {
  await connect();
  const publication = room.remoteParticipants.get('ada-3f9c').publication('camera');
  const looks = [];
  publication.attach({ srcObject: null, play: async () => {}, requestVideoFrameCallback: (look) => looks.push(look) });
  await hears(fixture('seats'));
  const frame = (after) => {
    mock.method(performance, 'now', () => after);
    for (const look of looks.splice(0)) look();
    performance.now.mock.restore();
  };
  frame(Infinity);
  assert.equal(publication.streamState, 'active');
  return { publication, frame };
}

const streamState = (active, reason, trackId = 't0-2') => ({ type: 'streamState', seq: 9, data: { trackId, active, reason } });

test('a picture that the network does not carry is paused with a reason, and goes on with a frame', async () => {
  const { publication, frame } = await watching();
  const states = [];
  room.on('trackStreamStateChanged', ({ state, reason }) => states.push(`${state} ${reason}`.trim()));
  await hears(streamState(false, 'bandwidth'));
  assert.deepEqual([publication.streamState, publication.streamReason], ['paused', 'bandwidth']);
  await hears({ ...fixture('seats'), data: { ...fixture('seats').data, rev: 4, occupied: [{ mid: '5', trackId: 't0-2' }] } });
  frame(Infinity);
  assert.equal(publication.streamState, 'paused', 'another seat and a late frame change nothing');
  await hears(streamState(true, 'bandwidth'));
  assert.deepEqual([publication.streamState, publication.streamReason], ['waiting', '']);
  frame(Infinity);
  assert.deepEqual(states, ['paused bandwidth', 'waiting bandwidth', 'active']);
});

test('a picture that was never paused does not wait because the server says that it goes on', async () => {
  const { publication } = await watching();
  await hears(streamState(true, 'overload'));
  assert.equal(publication.streamState, 'active');
});

test('a pause and a bad word on a connection do not outlive the session', async () => {
  const { publication } = await watching();
  await hears(streamState(false, 'overload'), fixture('quality'));
  const ada = room.remoteParticipants.get('ada-3f9c');
  assert.deepEqual([ada.connectionQuality, ada.connectionQualityReason], ['poor', fixture('quality').data.participants[0].reason]);
  const back = event(room, 'reconnected');
  sockets[0].onclose();
  await back;
  assert.deepEqual([publication.streamState, publication.streamReason], ['waiting', '']);
  assert.deepEqual([ada.connectionQuality, ada.connectionQualityReason], ['excellent', '']);
});

test('layers that nobody wants are switched off, and on again for the next track of the section', async () => {
  const camera = track('video');
  const publication = await room.localParticipant.publishTrack(camera, { source: 'camera' });
  await connect();
  const { sender } = publication.transceiver;
  const layers = (rids, trackId = publication.id) => ({ type: 'layers', seq: 12, data: { trackId, rids } });
  await hears(layers(['h']));
  await hears(layers([]), layers(['h'], 't9-9'));
  assert.deepEqual(sender.active, [['h'], []]);
  await room.localParticipant.unpublishTrack(publication);
  await room.localParticipant.publishTrack(track('video'), { source: 'camera' });
  assert.deepEqual(sender.active.at(-1), ['h', 'f']);
});

test('a developer’s wish is told, in the words of the document, and again after a lost connection', async () => {
  await connect();
  const publication = room.remoteParticipants.get('ada-3f9c').publication('camera');
  const said = (socket) => new Promise((resolve) => { socket.onsaid = (message) => { if (message.type === 'intents') resolve(message); }; });
  const wish = said(sockets[0]);
  publication.setVideoDimensions({ width: 1280, height: 720 });
  publication.setPriority(128);
  publication.setPinned(true);
  const [{ height, priority, pinned }] = fixture('intents').data.tracks;
  const expected = { type: 'intents', data: { tracks: [{ trackId: 't0-2', height, priority, pinned }] } };
  assert.deepEqual(await wish, expected);
  const back = event(room, 'reconnected');
  sockets[0].onclose();
  await back;
  assert.deepEqual(await said(sockets[1]), expected);
});

/** What the browser counts, for any track. */
const count = async () => new Map([
  ['a', { id: 'a', type: 'codec', mimeType: 'video/VP8' }],
  ['b', { id: 'b', type: 'inbound-rtp', kind: 'video', framesDecoded: 90, freezeCount: 1, jitter: 0.01, frameHeight: 180 }],
]);

test('statistics hold the browser’s figures and the server’s word on each seat', async () => {
  const { publication } = await watching();
  FakePeerConnection.all[0].getStats = count;
  FakeSocket.server = (socket, { type, id }) => {
    if (type === 'stats') queueMicrotask(() => socket.hear({ ...fixture('stats'), id }));
  };
  const stats = await room.getStats();
  assert.equal(stats.get(publication.id).get('b').framesDecoded, 90);
  assert.deepEqual(stats.server, { estimate: 1_200_000, loss: 0.25, rtt: 25 });
  const request = sockets[0].said.find(({ type }) => type === 'stats');
  assert.deepEqual({ ...request, id: 9 }, fixture('stats-request'));
  const seat = stats.seats.find(({ trackId }) => trackId === publication.id);
  const [word] = fixture('stats').data.seats;
  for (const [name, value] of Object.entries(word)) assert.deepEqual(seat[name], value, name);
  assert.deepEqual([seat.identity, seat.source, seat.framesDecoded, seat.freezeCount, seat.frameHeight], ['ada-3f9c', 'camera', 90, 1, 180]);
  assert.deepEqual(stats.seats.map(({ source }) => source), ['microphone', 'camera']);
});

test('a server that knows no statistics is asked once', async () => {
  await watching();
  FakePeerConnection.all[0].getStats = count;
  FakeSocket.server = (socket, { id }) => {
    queueMicrotask(() => socket.hear({ ...fixture('error'), id, data: { code: 'bad-message', message: 'Unknown.', retryable: false } }));
  };
  for (let n = 0; n < 3; n += 1) {
    const stats = await room.getStats();
    assert.deepEqual([stats.server, stats.seats.length, stats.seats[1].framesDecoded], [null, 2, 90]);
  }
  assert.equal(sockets[0].said.filter(({ type }) => type === 'stats').length, 1);
});
