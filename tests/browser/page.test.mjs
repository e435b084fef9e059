// The page, walked through by visible words and roles, in light and dark, wide and narrow, and
// through what may go wrong. Leaves its pictures in target/screenshots.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { Browsers, comesToRest, devicesDenied, screenshot } from './support/browsers.mjs';
import { ensureOutsideAddress, outsideAddress } from './support/machine.mjs';
import { Person } from './support/person.mjs';
import { Server } from './support/server.mjs';
import { limited, until } from './support/wait.mjs';

const TIMEOUT = { timeout: 120_000 };
const PHONE = { width: 390, height: 844 };
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const browsers = new Browsers();
let server;
let takeAddressAway = () => {};

before(async () => {
  takeAddressAway = ensureOutsideAddress();
  server = await Server.start('page');
});

after(async () => {
  await browsers.close();
  takeAddressAway();
  if (server) assert.equal(await server.stop(), 0, 'the server ends in good order');
});

async function open(path, role, { kind = 'chromium', flags, at = server } = {}) {
  const browser = await browsers.get(kind, flags);
  return Person.open(browser, path.startsWith('http') ? path : at.url + path, role);
}

async function scheme(person, value) {
  await person.page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value }]);
}

/** No serious fault in the eyes of axe. */
async function isAccessible(person) {
  await comesToRest(person.page);
  await person.ask(axe);
  const found = await person.ask(async () => {
    const { violations } = await window.axe.run(document);
    return violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`);
  });
  assert.deepEqual(found, []);
}

/** Presses Tab until the element with that role and name has the focus. */
async function tabTo(person, role, name) {
  const wanted = await person.find(role, name);
  for (let presses = 0; presses < 40; presses += 1) {
    if (await person.ask((element) => element === document.activeElement, wanted)) return;
    await person.page.keyboard.press('Tab');
  }
  assert.fail(`the ${role} "${name}" cannot be reached by Tab`);
}

test('the lobby is the same welcome in light and dark, wide and narrow', TIMEOUT, async () => {
  const guest = await open('/', { name: 'Ada' });
  await guest.find('textbox', 'Your name');
  await guest.find('textbox', 'Room');
  await guest.find('button', 'Join');
  await until('the preview runs', () => guest.ask(() => document.querySelector('video')?.videoWidth));
  for (const value of ['light', 'dark']) {
    await scheme(guest, value);
    await isAccessible(guest);
    await screenshot(guest.page, `lobby-${value}`);
  }
  await guest.page.setViewport(PHONE);
  const overflow = () => guest.ask(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok((await overflow()) <= 0, 'nothing sticks out at the side of a phone');
  await screenshot(guest.page, 'lobby-phone');
  assert.deepEqual(guest.errors, []);
  await guest.close();
});

test('one enters, mutes and leaves with the keyboard alone', TIMEOUT, async () => {
  const ada = await open('/r/keys', { name: 'Ada' });
  await ada.page.bringToFront();
  await tabTo(ada, 'textbox', 'Your name');
  await ada.page.keyboard.type('Ada');
  await ada.page.keyboard.press('Enter');
  await ada.find('button', 'Leave');
  await tabTo(ada, 'button', 'Mute');
  await ada.page.keyboard.press('Space');
  await tabTo(ada, 'button', 'Unmute');
  await tabTo(ada, 'button', 'Leave');
  await ada.page.keyboard.press('Enter');
  await ada.find('button', /Join/.test(await ada.words()) ? 'Join' : 'Join again');
  assert.deepEqual(ada.errors, []);
  await ada.close();
});

test('a name or a room that cannot be used is said so in words', TIMEOUT, async () => {
  const guest = await open('/', { name: 'Ada' });
  await guest.write('Room', 'a/b c');
  const box = await guest.write('Your name', 'Ada');
  await box.press('Enter');
  await guest.reads(/room/i);
  assert.ok(!(await guest.has('button', 'Leave')), 'nobody is let in');
  await guest.join('another');
  await guest.sees(guest);
  await guest.close();
});

test('who joins before the devices have opened is seen and heard as soon as they have', TIMEOUT, async () => {
  const bob = await open('/r/late', { name: 'Bob', colour: 'green' });
  await bob.join();
  const ada = await open('/r/late', { name: 'Ada', colour: 'red', shut: true });
  await ada.join();
  await bob.seesInitialsOf(ada, 'A');
  assert.deepEqual(await ada.ask(() => window.__test.captured.length), 0);
  await ada.ask(() => window.__test.openDevices());
  await bob.sees(ada);
  await bob.hears(ada);
  assert.deepEqual(ada.errors, []);
  await Promise.all([ada.close(), bob.close()]);
});

test('who joins with everything off leaves no device open', TIMEOUT, async () => {
  const ada = await open('/r/off', { name: 'Ada' });
  const states = () => ada.ask(() => window.__test.captured.map(({ track }) => track.readyState));
  await until('the preview runs', () => ada.ask(() => document.querySelector('video')?.videoWidth));
  assert.deepEqual(await states(), ['live', 'live']);
  await ada.write('Your name', 'Ada');
  await ada.press('Join with everything off');
  await ada.find('button', 'Leave');
  assert.deepEqual(await states(), ['ended', 'ended']);
  await ada.close();
});

test('a call of one, two and four fills the window, in light, dark and on a phone', TIMEOUT, async () => {
  const people = [];
  const colours = ['red', 'green', 'blue', 'yellow'];
  for (const [at, name] of ['Ada', 'Bob', 'Cleo', 'Dan'].entries()) {
    const person = await open('/r/grid', { name, colour: colours[at] });
    await person.join();
    people.push(person);
    const ada = people[0];
    for (const other of people.slice(1)) await ada.sees(other);
    if (at !== 2) await screenshot(ada.page, `call-${people.length}`);
  }
  const [ada, bob] = people;
  await isAccessible(ada);
  await scheme(ada, 'light');
  await isAccessible(ada);
  await screenshot(ada.page, 'call-light');
  await scheme(ada, 'dark');
  await ada.press('Chat');
  await ada.say('Is this on?');
  await ada.reads(/Is this on\?/);
  await bob.press('Chat');
  await bob.say('It is, and I see you.');
  await ada.reads(/It is, and I see you\./);
  await isAccessible(ada);
  await screenshot(ada.page, 'chat-dark');
  await bob.page.setViewport(PHONE);
  await screenshot(bob.page, 'chat-phone');
  await bob.press('Chat');
  await screenshot(bob.page, 'call-phone');
  for (const person of people) {
    assert.deepEqual(person.errors, []);
    await person.close();
  }
});

test('nine fit in one window', { timeout: 240_000 }, async () => {
  const colours = ['red', 'green', 'blue', 'yellow', 'cyan', 'magenta'];
  const people = [];
  for (let number = 0; number < 9; number += 1) {
    const role = { name: `Guest ${number + 1}`, colour: colours[number % 6], size: [160, 90, 5] };
    people.push(await open('/r/nine', role));
    await people[number].join();
  }
  for (const other of people.slice(1)) await people[0].sees(other, { within: 60_000 });
  await screenshot(people[0].page, 'call-9');
  for (const person of people) await person.close();
});

test('who said no to the camera is told what to do, and may join all the same', TIMEOUT, async () => {
  const ada = await open('/r/denied', { name: 'Ada', realDevices: true }, { flags: devicesDenied });
  await ada.reads(/(permission|allow|blocked)/i);
  await screenshot(ada.page, 'error-permission');
  await ada.join();
  await ada.close();
});

test('who has no camera is told so, and may join all the same', TIMEOUT, async () => {
  const ada = await open('/r/none', { name: 'Ada', realDevices: true }, { flags: [] });
  await ada.reads(/no (camera|microphone)|not found|without/i);
  await screenshot(ada.page, 'error-no-device');
  await ada.join();
  await ada.close();
});

test('a browser that keeps the camera for secure addresses is told the address', TIMEOUT, async () => {
  const ada = await open('/r/insecure', { name: 'Ada', insecure: true });
  await ada.reads(/https:\/\//);
  await screenshot(ada.page, 'error-insecure');
  await ada.close();
});

for (const kind of ['chromium', 'firefox']) {
  test(`plain HTTP from another machine is led to HTTPS, where a call works in ${kind}`, TIMEOUT, async () => {
    const lan = `http://${outsideAddress()}:${server.port}/r/lan`;
    const ada = await open(lan, { name: 'Ada', colour: 'red' }, { kind });
    const address = new URL(ada.page.url());
    assert.deepEqual([address.protocol, address.pathname], ['https:', '/r/lan']);
    await ada.join();
    const bob = await open('/r/lan', { name: 'Bob', colour: 'green' });
    await bob.join();
    await ada.sees(bob);
    await bob.sees(ada);
    assert.deepEqual(ada.errors, []);
    for (const person of [ada, bob]) await person.close();
  });
}

test('a server that goes away is said so, and everybody is back when it returns', TIMEOUT, async () => {
  const own = await Server.start('gone');
  const ada = await open('/r/gone', { name: 'Ada', colour: 'red' }, { at: own });
  const bob = await open('/r/gone', { name: 'Bob', colour: 'green' }, { at: own });
  for (const person of [ada, bob]) await person.join();
  await ada.sees(bob);
  await ada.press('Mute');
  await own.kill();
  await ada.reads(/reconnect|connection (is )?lost|trying again/i);
  await screenshot(ada.page, 'error-server-gone');
  await own.run();
  await ada.sees(bob, { within: 40_000 });
  await bob.sees(ada, { within: 40_000 });
  assert.ok(await ada.has('button', 'Unmute'), 'who was muted stays muted');
  for (const person of [ada, bob]) await person.close();
  assert.equal(await limited('the server ends', own.stop()), 0);
});
