import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FanlightError } from '../../web/sdk/errors.js';
import { MESSAGE, TAKEN, decode, encode, payloadOf, replyOf, sizeOf } from '../../web/sdk/data.js';

test('a frame reads back, text as text and bytes as bytes', () => {
  const text = decode(encode({ id: 7, topic: 'chat', to: ['ada', 'kofi'], payload: 'grüße' }).buffer);
  assert.deepEqual([text.kind, text.id, text.topic, text.from, text.to], [MESSAGE, 7, 'chat', '', ['ada', 'kofi']]);
  assert.equal(payloadOf(text), 'grüße');
  const bytes = decode(encode({ id: 1, payload: Uint8Array.of(1, 2, 255) }).buffer);
  assert.deepEqual([...payloadOf(bytes)], [1, 2, 255]);
});

test('the frame has the layout of the document', () => {
  const frame = encode({ id: 0x01020304, topic: 't', to: ['a'], payload: Uint8Array.of(9) });
  assert.deepEqual([...frame], [1, 1, 0, 0, 0, 16, 1, 2, 3, 4, 1, 116, 0, 1, 1, 97, 9]);
});

test('each limit is told before anything is sent', () => {
  const fails = (frame, code) => assert.throws(() => encode(frame), (error) => error instanceof FanlightError && error.code === code);
  fails({ id: 1, topic: 'x'.repeat(65), payload: '' }, 'bad-message');
  fails({ id: 1, to: Array(17).fill('a'), payload: '' }, 'too-many');
  fails({ id: 1, to: ['x'.repeat(129)], payload: '' }, 'bad-message');
  assert.equal(sizeOf('é'), 2);
});

test('whatever comes, reading never throws', () => {
  const whole = encode({ id: 1, topic: 'topic', to: ['a', 'b'], payload: 'x' });
  for (let end = 0; end < whole.length - 1; end += 1) assert.equal(decode(whole.slice(0, end).buffer), null, `${end} bytes`);
  for (const at of [0, 4, 10]) {
    const bent = whole.slice();
    bent[at] = 255;
    assert.equal(decode(bent.buffer), null, `byte ${at}`);
  }
  let seed = 1;
  for (let n = 0; n < 2000; n += 1) {
    const noise = Uint8Array.from({ length: n % 60 }, () => (seed = (seed * 48271) % 2147483647) & 255);
    noise[0] = 1;
    decode(noise.buffer);
  }
});

test('a payload that claims to be text and is not is no payload', () => {
  const frame = decode(encode({ id: 1, payload: 'a' }).buffer);
  assert.equal(payloadOf({ ...frame, payload: Uint8Array.of(0xff) }), null);
});

test('a reply without JSON is an empty one', () => {
  const taken = decode(encode({ id: 3, kind: TAKEN, payload: '{"unknown":["x"]}' }).buffer);
  assert.deepEqual(replyOf(taken), { unknown: ['x'] });
  assert.deepEqual(replyOf({ ...taken, payload: Uint8Array.of(1) }), {});
});
