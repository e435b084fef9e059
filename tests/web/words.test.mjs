import assert from 'node:assert/strict';
import { test } from 'node:test';
import { absence, connection } from '../../web/app/words.js';

test('a picture that is not there is accounted for in words', () => {
  assert.equal(absence('paused', 'bandwidth'), 'Paused: your connection is slow');
  assert.equal(absence('paused', 'overload'), 'Paused: the server is busy');
  assert.equal(absence('paused', 'something new'), 'Paused');
  assert.equal(absence('codec', 'codec'), 'Your browser cannot show this picture');
  assert.equal(absence('waiting', ''), 'Connecting …');
});

test('a connection is spoken of only while it does badly', () => {
  assert.equal(connection('excellent', 'All is well.'), '');
  assert.equal(connection('good', ''), '');
  assert.equal(connection('poor', 'Many packets are lost.'), 'Many packets are lost.');
  assert.equal(connection('lost', ''), 'Connection lost');
});
