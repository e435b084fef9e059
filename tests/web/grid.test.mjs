import assert from 'node:assert/strict';
import { test } from 'node:test';
import { layout } from '../../web/app/grid.js';

const sizes = [[1248, 664], [500, 740], [900, 664], [374, 640], [2000, 300]];

test('tiles never overlap and never leave the stage', () => {
  for (const [width, height] of sizes) {
    for (let count = 1; count <= 49; count += 1) {
      const tiles = layout(count, width, height);
      assert.equal(tiles.length, count);
      for (const [n, a] of tiles.entries()) {
        assert.ok(a.left >= -0.01 && a.top >= -0.01, `${count} in ${width}×${height}`);
        assert.ok(a.left + a.width <= width + 0.01 && a.top + a.height <= height + 0.01);
        for (const b of tiles.slice(n + 1)) {
          const apart = a.left + a.width <= b.left + 0.01 || b.left + b.width <= a.left + 0.01
            || a.top + a.height <= b.top + 0.01 || b.top + b.height <= a.top + 0.01;
          assert.ok(apart, `${count} in ${width}×${height}: tile ${n} overlaps`);
        }
      }
    }
  }
});

test('at most a third of a 16:9 picture is cropped', () => {
  for (const [width, height] of sizes) {
    for (let count = 1; count <= 25; count += 1) {
      const [{ width: w, height: h }] = layout(count, width, height);
      const shown = Math.min(w / h, 16 / 9) / Math.max(w / h, 16 / 9);
      assert.ok(shown >= 0.66, `${count} in ${width}×${height} shows ${shown}`);
    }
  }
});

test('nine people make three rows of three on a wide screen', () => {
  const tops = new Set(layout(9, 1248, 664).map((tile) => Math.round(tile.top)));
  assert.equal(tops.size, 3);
});

test('a stage without room has no tiles to speak of, and no NaN', () => {
  for (const tile of layout(3, 0, 0)) for (const value of Object.values(tile)) assert.ok(Number.isFinite(value));
});
