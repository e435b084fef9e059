// The instruments themselves: what a person's colour and tone look like after a codec, without
// a server between. A red call test with a green test here speaks of Fanlight.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { Browsers } from './support/browsers.mjs';
import { instruments, stage } from './support/inject.mjs';
import { limited, until } from './support/wait.mjs';

const browsers = new Browsers();
let http;

before(async () => {
  http = createServer((_, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<!doctype html><title>loop</title><article aria-label="Ada"></article>');
  });
  await new Promise((ready) => http.listen(0, '127.0.0.1', ready));
});

after(async () => {
  await browsers.close();
  http.close();
});

/** A call of the page with itself: the far end is shown in the tile. */
async function loop() {
  const captured = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
  const [near, far] = [new RTCPeerConnection(), new RTCPeerConnection()];
  near.onicecandidate = ({ candidate }) => far.addIceCandidate(candidate);
  far.onicecandidate = ({ candidate }) => near.addIceCandidate(candidate);
  const video = document.createElement('video');
  video.muted = false;
  far.ontrack = ({ streams }) => {
    video.srcObject = streams[0];
    video.play();
  };
  document.querySelector('article').append(video);
  for (const track of captured.getTracks()) near.addTrack(track, captured);
  await near.setLocalDescription();
  await far.setRemoteDescription(near.localDescription);
  await far.setLocalDescription();
  await near.setRemoteDescription(far.localDescription);
}

for (const kind of ['chromium', 'firefox']) {
  test(`a colour and a tone are recognised in ${kind}`, { timeout: 90_000 }, async () => {
    const page = await (await browsers.get(kind)).newPage();
    const role = { colour: '#c0c020', tone: 850, width: 320, height: 240, fps: 15 };
    await page.evaluateOnNewDocument(stage, role);
    await page.evaluateOnNewDocument(instruments);
    await page.goto(`http://127.0.0.1:${http.address().port}/`);
    await limited('the loop stands', page.evaluate(loop));
    await until('yellow is seen', async () => {
      const seen = await page.evaluate(() => window.__test.look('Ada'));
      return seen?.colour === 'rg';
    });
    await until('850 Hz is heard', async () => {
      const tone = await page.evaluate(() => window.__test.tone('Ada'));
      return Math.abs(tone - 850) < 15 ? true : undefined;
    });
    const frames = () => page.evaluate(() => window.__test.counters('Ada', 'video'));
    const { frames: before, width } = await frames();
    await until('frames are decoded', async () => (await frames()).frames > before + 5);
    assert.ok(width > 0);
    assert.deepEqual(await page.evaluate(() => window.__test.devices()), ['microphone', 'camera']);
    await page.close();
  });
}
