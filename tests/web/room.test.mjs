// A whole Room against a server and a browser that are made up here.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { afterEach, beforeEach, test } from 'node:test';

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

  addTransceiver(what, { direction }) {
    const kind = typeof what === 'string' ? what : what.kind;
    const transceiver = {
      mid: null, direction,
      receiver: { track: { kind } },
      sender: { replaced: [], async replaceTrack(track) { this.replaced.push(track); } },
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
    'trackMuted', 'activeSpeakersChanged', 'trackStreamStateChanged', 'trackSubscribed', 'disconnected']) {
    room.on(type, () => seen.push(type));
  }
  const order = ['seats', 'speakers', 'streamState', 'trackUpdated', 'leaving', 'unpublished', 'published', 'left', 'joined', 'pong', 'error-retry'];
  for (const name of order) sockets[0].hear(fixture(name));
  const end = event(room, 'disconnected');
  sockets[0].hear({ ...fixture('goodbye'), data: { reason: 'removed', retry: 'none', afterMs: 0 } });
  assert.deepEqual(await end, { reason: 'removed' });
  for (const type of ['participantConnected', 'participantLeaving', 'participantDisconnected', 'trackPublished', 'trackUnpublished',
    'trackMuted', 'activeSpeakersChanged', 'trackStreamStateChanged', 'trackSubscribed']) {
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
