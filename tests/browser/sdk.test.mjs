// The client library by itself: what a developer builds on it, without the page's code.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Browsers } from './support/browsers.mjs';
import { Person } from './support/person.mjs';
import { Server } from './support/server.mjs';
import { never, until } from './support/wait.mjs';

const TIMEOUT = { timeout: 90_000 };
const browsers = new Browsers();
const everybody = [];
let server, ada, bob, finn;

before(async () => {
  server = await Server.start('sdk');
  ada = await arrive('chromium', 'Ada', 'red');
  bob = await arrive('chromium', 'Bob', 'green');
  finn = await arrive('firefox', 'Finn', 'yellow');
}, { timeout: 90_000 });

after(async () => {
  for (const person of everybody) await person.close();
  await browsers.close();
  if (server) assert.equal(await server.stop(), 0, 'the server ends in good order');
});

/** Somebody in a call with as little as a developer would write. */
async function arrive(kind, name, colour, room = 'workshop') {
  const browser = await browsers.get(kind);
  // Any document of the origin without the page's own code.
  const person = await Person.open(browser, `${server.url}/sdk/v1/fanlight.js`, { name, colour });
  everybody.push(person);
  await person.ask(meet, room, name);
  return person;
}

/** Runs in the page. */
async function meet(room, name) {
  const { Room } = await import('/sdk/v1/fanlight.js');
  const here = new Room();
  Object.assign(window, { room: here, heard: [], happened: [] });
  document.body.replaceChildren();
  const tile = ({ identity, name: label }) => {
    const known = document.querySelector(`article[data-identity="${identity}"]`);
    if (known) return known;
    const made = document.createElement('article');
    made.dataset.identity = identity;
    made.setAttribute('aria-label', label);
    document.body.append(made);
    return made;
  };
  here.on('trackSubscribed', ({ publication, participant }) => {
    const element = document.createElement(publication.kind);
    element.width = 160;
    publication.attach(element);
    tile(participant).append(element);
  });
  here.on('participantDisconnected', ({ participant }) => tile(participant).remove());
  here.on('participantLeaving', ({ participant }) => window.happened.push(`${participant.name} leaves`));
  here.on('dataReceived', ({ payload, topic, reliable, participant }) => {
    const text = typeof payload === 'string' ? payload : `${payload.length}:${payload[0]}`;
    window.heard.push({ text, topic, reliable, from: participant.name });
  });
  await here.connect(location.origin, { room, name });
  await here.localParticipant.setCameraEnabled(true);
  await here.localParticipant.setMicrophoneEnabled(true);
}

const heard = (person) => person.ask(() => window.heard);

test('three browsers see and hear each other through a dozen lines of code', TIMEOUT, async () => {
  const three = [ada, bob, finn];
  for (const viewer of three) {
    for (const other of three.filter((person) => person !== viewer)) {
      await viewer.sees(other);
      await viewer.decodes(other);
      await viewer.hears(other);
    }
  }
});

test('Chromium sends each frame of sound twice, and who loses nothing gets it once', TIMEOUT, async (t) => {
  const from = { sent: await ada.ask(soundSent), bob: await bob.counters(ada, 'audio'), finn: await finn.counters(ada, 'audio') };
  const since = async (before, now) => {
    const { packets, bytes } = await now();
    if (packets < before.packets + 100) throw new Error(`${packets - before.packets} packets`);
    return (bytes - before.bytes) / (packets - before.packets);
  };
  const size = (what, before, now) => until(`${what}: 100 packets`, () => since(before, now));
  const sent = await size('from Ada', from.sent, () => ada.ask(soundSent));
  for (const viewer of [bob, finn]) {
    const before = from[viewer.name.toLowerCase()];
    const got = await size(`at ${viewer.name}`, before, () => viewer.counters(ada, 'audio'));
    t.diagnostic(`${sent.toFixed(0)} bytes a packet from Ada, ${got.toFixed(0)} at ${viewer.name}`);
    assert.ok(sent > got * 1.6, `${sent} bytes a packet from Ada, ${got} at ${viewer.name}`);
  }
});

test('who says nothing sends next to nothing, and is heard again at once', TIMEOUT, async (t) => {
  for (const silent of [ada, finn]) {
    await silent.ask(() => window.__test.speak(false));
    const rate = await until(`${silent.name} sends next to nothing`, async () => {
      const from = await silent.ask(soundSent);
      const began = performance.now();
      await until('some packets are sent', async () => (await silent.ask(soundSent)).packets > from.packets + 2);
      const rate = 3000 / (performance.now() - began);
      if (rate < 15) return rate;
      throw new Error(`${rate} packets a second`);
    });
    t.diagnostic(`${silent.name}: ${rate.toFixed(1)} packets a second`);
    await silent.ask(() => window.__test.speak(true));
    await bob.hears(silent);
  }
});

/** Runs in the page: what was sent of the microphone. Statistics name the codec inside. */
async function soundSent() {
  const sum = { bytes: 0, packets: 0 };
  for (const connection of window.__test.connections) {
    for (const entry of (await connection.getStats()).values()) {
      if (entry.type !== 'outbound-rtp' || entry.kind !== 'audio') continue;
      sum.bytes += entry.bytesSent;
      sum.packets += entry.packetsSent;
    }
  }
  return sum;
}

test('messages of both kinds and both lanes arrive with their true sender', TIMEOUT, async () => {
  await ada.ask(async () => {
    const me = window.room.localParticipant;
    await me.publishData('words', { topic: 'notes' });
    await me.publishData(new Uint8Array([7, 8, 9]), { topic: 'bytes' });
    await me.publishData('soon gone', { topic: 'cursor', reliable: false });
  });
  for (const person of [bob, finn]) {
    await until(`${person.name} has three messages`, async () => (await heard(person)).length === 3);
    const sorted = (await heard(person)).sort((a, b) => a.topic.localeCompare(b.topic));
    assert.deepEqual(sorted, [
      { text: '3:7', topic: 'bytes', reliable: true, from: 'Ada' },
      { text: 'soon gone', topic: 'cursor', reliable: false, from: 'Ada' },
      { text: 'words', topic: 'notes', reliable: true, from: 'Ada' },
    ]);
  }
});

test('a message to one person reaches no other, and an unknown receiver is reported', TIMEOUT, async () => {
  const to = await finn.ask(() => {
    const all = [...window.room.remoteParticipants.values()];
    return all.find(({ name }) => name === 'Bob').identity;
  });
  const taken = await finn.ask(
    (receiver) => window.room.localParticipant.publishData('psst', { to: [receiver, 'nobody-here'] }),
    to,
  );
  assert.deepEqual(taken.unknown, ['nobody-here']);
  await until('Bob has it', async () => (await heard(bob)).some(({ text }) => text === 'psst'));
  await never('Ada has it', async () => (await heard(ada)).find(({ text }) => text === 'psst'), 1000);
});

test('a message of 64 KiB goes through, and one byte more is refused with a reason', TIMEOUT, async () => {
  const outcome = await bob.ask(async () => {
    const me = window.room.localParticipant;
    await me.publishData(new Uint8Array(65_536).fill(5), { topic: 'large' });
    return me.publishData(new Uint8Array(65_537)).then(() => 'taken', ({ code }) => code);
  });
  assert.equal(outcome, 'too-large');
  for (const person of [ada, finn]) {
    await until(`${person.name} has it`, async () => {
      return (await heard(person)).some(({ text }) => text === '65536:5');
    });
  }
});

test('a hundred messages in one breath arrive once each and in order', TIMEOUT, async () => {
  await ada.ask(async () => {
    const me = window.room.localParticipant;
    const sending = Array.from({ length: 100 }, (_, n) => me.publishData(`n${n}`, { topic: 'row' }));
    await Promise.all(sending);
  });
  const wanted = Array.from({ length: 100 }, (_, n) => `n${n}`);
  for (const person of [bob, finn]) {
    const row = async () => (await heard(person)).filter(({ topic }) => topic === 'row');
    await until(`${person.name} has a hundred`, async () => (await row()).length >= 100);
    assert.deepEqual((await row()).map(({ text }) => text), wanted);
  }
});

test('another camera takes over without a new offer', TIMEOUT, async () => {
  const offers = await ada.ask(async () => {
    const connection = window.__test.connections.at(-1);
    let count = 0;
    connection.addEventListener('signalingstatechange', () => (count += 1));
    await window.room.switchActiveDevice('videoinput', 'another');
    return count;
  });
  assert.equal(offers, 0);
  for (const viewer of [bob, finn]) await viewer.sees({ name: 'Ada', channels: 'rb' });
  assert.deepEqual((await ada.ask(() => window.__test.devices())).sort(), ['camera', 'microphone']);
});

test('who leaves is said to leave first and is gone then', TIMEOUT, async () => {
  const eve = await arrive('chromium', 'Eve', 'cyan');
  await ada.sees(eve);
  await eve.ask(() => window.room.disconnect());
  await ada.isWith(['Bob', 'Finn']);
  assert.deepEqual(await ada.ask(() => window.happened), ['Eve leaves']);
});

test('the operator sees who is here and can send somebody away', TIMEOUT, async () => {
  const eve = await arrive('chromium', 'Eve', 'blue');
  const path = '/v1/rooms/workshop';
  const room = await server.get(path);
  const names = room.participants.map(({ name }) => name).sort();
  assert.deepEqual(names, ['Ada', 'Bob', 'Eve', 'Finn']);
  const identity = await eve.ask(() => window.room.localParticipant.identity);
  const answer = await fetch(`${server.url}${path}/participants/${identity}`, { method: 'DELETE' });
  assert.ok(answer.ok, `${answer.status}`);
  await until('Eve is out', () => eve.ask(() => window.room.state === 'disconnected'));
  await ada.isWith(['Bob', 'Finn']);
});

test('no console complains', TIMEOUT, async () => {
  for (const person of everybody) assert.deepEqual(person.errors, [], `${person.name}'s console`);
});
