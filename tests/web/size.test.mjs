import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';

test('the code of the SDK, without its comments, is under 15 kB compressed', () => {
  const files = readdirSync('web/sdk').filter((file) => file.endsWith('.js'));
  const code = files.map((file) => readFileSync(`web/sdk/${file}`, 'utf8')
    .replace(/\/\*\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '')).join('\n');
  const size = gzipSync(code, { level: 9 }).length;
  assert.ok(size < 15_000, `${size} bytes`);
});
