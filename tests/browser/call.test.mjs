// A call through the page: three Chromium windows and a Firefox one in one room, each with a
// colour and a tone of its own, so that the right picture is told from a wrong one.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Browsers, screenshot } from './support/browsers.mjs';
import { Person } from './support/person.mjs';
import { Server } from './support/server.mjs';
import { never, until } from './support/wait.mjs';

const TIMEOUT = { timeout: 120_000 };
const browsers = new Browsers();
const everybody = [];
let server, ada, bob, cleo, finn, four;

const seconds = (began) => ((performance.now() - began) / 1000).toFixed(2);
const pairs = (people) => people.flatMap((a) => people.filter((b) => b !== a).map((b) => [a, b]));
const names = (people) => people.map((person) => person.name);

/** Opens the page of a room; `join` enters it. */
async function arrive(kind, room, role) {
  const browser = await browsers.get(kind);
  const person = await Person.open(browser, `${server.url}/r/${room}`, role);
  everybody.push(person);
  return person;
}

before(async () => {
  server = await Server.start('call');
  ada = await arrive('chromium', 'kite', { name: 'Ada', colour: 'red', screen: 'white' });
  bob = await arrive('chromium', 'kite', { name: 'Bob', colour: 'green' });
  cleo = await arrive('chromium', 'kite', { name: 'Cleo', colour: 'blue' });
  finn = await arrive('firefox', 'kite', { name: 'Finn', colour: 'yellow' });
  four = [ada, bob, cleo, finn];
  for (const person of four) await person.join();
}, { timeout: 120_000 });

after(async () => {
  for (const person of everybody) await person.close();
  await browsers.close();
  if (server) assert.equal(await server.stop(), 0, 'the server ends in good order');
});

test('each of four sees every other in the right colour, and frames keep coming', TIMEOUT, async (t) => {
  for (const [viewer, other] of pairs(four)) {
    await viewer.sees(other);
    const { frames, width } = await viewer.decodes(other);
    t.diagnostic(`${viewer.name} has ${frames} frames of ${other.name}, ${width} wide`);
  }
  for (const person of four) await screenshot(person.page, `call-of-four-${person.name}`);
});

test('each of four hears every other in the voice that belongs to the picture', TIMEOUT, async () => {
  for (const [listener, other] of pairs(four)) await listener.hears(other);
});

test('a message in any direction is read by everybody exactly once', TIMEOUT, async () => {
  for (const person of four) await person.press('Chat');
  for (const person of four) await person.say(`a word from ${person.name}`);
  const count = async (reader, writer) => {
    const words = await reader.words();
    return words.split(`a word from ${writer.name}`).length - 1;
  };
  for (const reader of four) {
    for (const writer of four) {
      await until(`${reader.name} reads ${writer.name}`, () => count(reader, writer));
    }
  }
  await never('a message is read twice', async () => {
    for (const reader of four) {
      for (const writer of four) {
        if ((await count(reader, writer)) !== 1) return `${reader.name} of ${writer.name}`;
      }
    }
    return undefined;
  });
  await screenshot(ada.page, 'chat');
  for (const person of four) await person.press('Chat');
});

for (const kind of ['Chromium', 'Firefox']) {
  const cast = () => (kind === 'Chromium' ? [ada, [bob, finn]] : [finn, [ada, bob]]);

  test(`a microphone muted in ${kind} is marked as silent and sends nobody a packet until unmuted`, TIMEOUT, async () => {
    const [speaker, others] = cast();
    const speaks = async (listener) => /speaking/.test((await listener.look(speaker.name)).words);
    for (const listener of others) {
      await until(`${listener.name} sees who speaks`, () => speaks(listener));
    }
    await speaker.press('Mute');
    for (const listener of others) {
      await until(`${listener.name} sees who is silent`, async () => !(await speaks(listener)));
      await until(`${listener.name} sees the mark`, async () => {
        const { labels, words } = await listener.look(speaker.name);
        return /muted/i.test([...labels, words].join(' ')) || undefined;
      });
      await listener.receivesNothingFrom(speaker, 'audio');
    }
    await speaker.press('Unmute');
    for (const listener of others) await listener.hears(speaker);
  });

  test(`a camera off in ${kind} leaves initials, closes the device, and comes back`, TIMEOUT, async () => {
    const [actor, others] = cast();
    await actor.press('Camera');
    for (const viewer of others) {
      await viewer.seesInitialsOf(actor, actor.name[0]);
      await viewer.receivesNothingFrom(actor, 'video');
    }
    assert.deepEqual(await actor.ask(() => window.__test.devices()), ['microphone']);
    await actor.press('Camera');
    for (const viewer of others) {
      await viewer.sees(actor);
      await viewer.decodes(actor);
    }
  });
}

test('a shared screen has a tile of its own beside the camera', TIMEOUT, async () => {
  const before = await bob.tiles();
  await ada.press('Share');
  for (const viewer of [bob, finn]) {
    const tile = await until(`${viewer.name} has a tile more`, async () => {
      const more = (await viewer.tiles()).filter((name) => !before.includes(name) && /Ada/.test(name));
      return more[0];
    });
    const screen = { name: tile, channels: 'rgb' };
    await viewer.sees(screen);
    await viewer.decodes(screen);
    await viewer.sees(ada);
  }
  await screenshot(bob.page, 'screen-share');
  await ada.press('Share');
  for (const viewer of [bob, finn]) {
    await until('the tile is gone', async () => {
      return !(await viewer.tiles()).some((name) => name !== 'Ada' && /Ada/.test(name));
    });
  }
});

test('a member of another room sees, hears and reads nothing of this one', TIMEOUT, async () => {
  const stranger = await arrive('chromium', 'elsewhere', { name: 'Stranger', colour: 'cyan' });
  await stranger.join();
  await stranger.press('Chat');
  await ada.press('Chat');
  await ada.say('only for the kite');
  await bob.press('Chat');
  await bob.reads(/only for the kite/);
  await never('something of the kite is elsewhere', async () => {
    const words = await stranger.words();
    const told = ['kite', ...names(four)].find((word) => words.includes(word));
    const tiles = (await stranger.tiles()).length > 1;
    const bytes = await stranger.ask(() => Promise.all(['audio', 'video'].map(window.__test.arrived)));
    return told ?? (tiles || bytes[0] + bytes[1] > 0 ? { tiles, bytes } : undefined);
  });
  assert.deepEqual(await stranger.tones(), []);
  assert.ok(!(await ada.words()).includes('Stranger'));
  await stranger.close();
  for (const person of [ada, bob]) await person.press('Chat');
});

test('a late joiner sees everybody, and whoever follows in the seat is shown there', TIMEOUT, async (t) => {
  const dana = await arrive('chromium', 'kite', { name: 'Dana', colour: 'cyan' });
  const began = performance.now();
  await dana.join();
  for (const other of four) await dana.sees(other);
  t.diagnostic(`the late joiner saw four others ${seconds(began)} s after pressing Enter`);
  for (const viewer of four) await viewer.sees(dana);
  for (const other of four) await dana.hears(other);
  const seats = (person) => person.ask(
    () => window.__test.connections.at(-1).getTransceivers().length,
  );
  const before = await seats(ada);

  const left = performance.now();
  await dana.leave();
  await ada.isWith(names([bob, cleo, finn]).concat(await ownTile(ada)));
  t.diagnostic(`leaving was seen after ${seconds(left)} s`);
  await finn.isWith(names([ada, bob, cleo]).concat(await ownTile(finn)));

  const eve = await arrive('chromium', 'kite', { name: 'Eve', colour: 'magenta' });
  await eve.join();
  for (const viewer of four) {
    await viewer.sees(eve);
    await viewer.decodes(eve);
    await viewer.hears(eve);
  }
  assert.equal(await seats(ada), before, 'the seat is used again');

  const closed = performance.now();
  await eve.close();
  await ada.isWith(names([bob, cleo, finn]).concat(await ownTile(ada)));
  t.diagnostic(`a closed window was seen after ${seconds(closed)} s`);
});

test('nobody lost anybody over all this, and no console complains', TIMEOUT, async () => {
  for (const [viewer, other] of pairs(four)) {
    await viewer.sees(other);
    await viewer.decodes(other, 5);
  }
  for (const person of everybody) assert.deepEqual(person.errors, [], `${person.name}'s console`);
});

/** The name on one's own tile. */
async function ownTile(person) {
  const tiles = await person.tiles();
  return tiles.filter((name) => name.startsWith(person.name));
}
