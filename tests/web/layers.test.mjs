// What a picture is sent as, and how encodings are switched off and on.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { activate, encodings, sendingSection, switchLayers } from '../../web/sdk/codecs.js';

const camera = (width, height, simulcast = true) => encodings('camera', { width, height }, simulcast);
const rids = (...size) => camera(...size).map(({ rid }) => rid);

test('there are as many layers as Chromium keeps, and the whole picture is the last of them', () => {
  assert.deepEqual(rids(1920, 1080), ['q', 'h', 'f']);
  assert.deepEqual(rids(960, 540), ['q', 'h', 'f']);
  assert.deepEqual(rids(540, 960), ['q', 'h', 'f'], 'upright');
  assert.deepEqual(rids(958, 540), ['h', 'f']);
  assert.deepEqual(rids(640, 480), ['h', 'f']);
  assert.deepEqual(rids(640, 360), ['h', 'f']);
  assert.deepEqual(rids(undefined, undefined), ['h', 'f'], 'what a camera is asked for');
  assert.deepEqual(rids(638, 360), [undefined]);
  assert.deepEqual(rids(320, 240), [undefined]);
  assert.deepEqual(rids(1280, 720, false), [undefined]);
  assert.deepEqual(camera(1280, 720).map((layer) => layer.scaleResolutionDownBy), [4, 2, 1]);
});

test('each layer may have more bits than the one below, as its size deserves', () => {
  const rates = (...size) => camera(...size).map(({ maxBitrate }) => maxBitrate / 1000);
  assert.deepEqual(rates(1280, 720), [156, 506, 2302]);
  assert.deepEqual(rates(640, 360), [156, 709]);
  assert.equal(rates(3840, 2160).at(-1), 2500, 'and never more than this');
});

test('a screen keeps its sharpness in one layer that can be thinned out', () => {
  const [screen, ...more] = encodings('screen', { width: 1920, height: 1080 }, true);
  assert.deepEqual([more.length, screen.rid, screen.maxBitrate, screen.scalabilityMode], [0, undefined, 2_500_000, 'L1T3']);
  assert.equal(encodings('screen', {}, true)[0].maxBitrate, 1_500_000);
});

test('a browser without temporal layers is asked again without', () => {
  const asked = [];
  const pc = {
    addTransceiver(what, init) {
      asked.push(init.sendEncodings.map(({ scalabilityMode }) => scalabilityMode));
      if (init.sendEncodings[0].scalabilityMode) throw new DOMException('L1T3', 'OperationError');
      return { what, init };
    },
  };
  const { what, init } = sendingSection(pc, 'video', camera(640, 360));
  assert.deepEqual(asked, [['L1T3', 'L1T3'], [undefined, undefined]]);
  assert.deepEqual([what, init.direction, init.sendEncodings.map(({ rid }) => rid)], ['video', 'sendonly', ['h', 'f']]);
});

test('what is wanted is active and the rest is not', () => {
  const active = (wanted, names = ['q', 'h', 'f']) => {
    const list = names.map((rid) => (rid ? { rid } : {}));
    activate(list, wanted);
    return list.map((encoding) => encoding.active);
  };
  assert.deepEqual(active(['q', 'h']), [true, true, false]);
  assert.deepEqual(active(['f']), [false, false, true]);
  assert.deepEqual(active([]), [false, false, false]);
  assert.deepEqual(active(['*']), [true, true, true]);
  assert.deepEqual(active(['*'], ['']), [true]);
  assert.deepEqual(active([], ['']), [false]);
  assert.deepEqual(active(['h'], ['']), [true], 'somebody watches');
});

/** A sender as browsers have it: parameters are good for one change, made at once. */
function sender({ encodings: list = [{ rid: 'q' }, { rid: 'h' }, { rid: 'f' }], fails = () => null } = {}) {
  let transaction = 0;
  let busy = false;
  return {
    set: [], tries: 0,
    getParameters() {
      transaction += 1;
      return { transactionId: String(transaction), encodings: structuredClone(list) };
    },
    async setParameters(parameters) {
      this.tries += 1;
      const error = fails(this.tries);
      if (error) throw new DOMException('no', error);
      assert.equal(parameters.transactionId, String(transaction), 'read right before');
      assert.equal(busy, false, 'one change at a time');
      assert.deepEqual(parameters.encodings.map(({ rid }) => rid), list.map(({ rid }) => rid));
      busy = true;
      await new Promise(setImmediate);
      busy = false;
      list = structuredClone(parameters.encodings);
      this.set.push(list.filter(({ active }) => active).map(({ rid }) => rid).join(''));
    },
  };
}

test('changes of a sender come one after the other and the newest wins', async () => {
  const one = sender();
  const first = switchLayers(one, ['q']);
  await Promise.resolve();
  await Promise.all([first, switchLayers(one, ['q', 'h']), switchLayers(one, [])]);
  assert.equal(one.set.at(-1), '');
  assert.ok(one.set.length <= 2, `what was overtaken is not set: ${one.set}`);
  await switchLayers(one, ['*']);
  assert.equal(one.set.at(-1), 'qhf');
});

test('what is so already is not set again', async () => {
  const one = sender();
  await switchLayers(one, ['q', 'h', 'f']);
  assert.equal(one.tries, 0);
  await switchLayers(one, ['q']);
  await switchLayers(one, ['q']);
  assert.deepEqual(one.set, ['q']);
});

test('a change that a negotiation has overtaken is made again', async () => {
  const one = sender({ fails: (tries) => (tries === 1 ? 'InvalidStateError' : null) });
  await switchLayers(one, ['q']);
  assert.deepEqual(one.set, ['q']);
});

test('a browser that refuses is left in peace, and asked anew the next time', async () => {
  const one = sender({ fails: (tries) => (tries <= 3 ? 'InvalidModificationError' : null) });
  await switchLayers(one, ['q']);
  assert.deepEqual([one.tries, one.set], [3, []]);
  await switchLayers(one, ['h']);
  assert.deepEqual(one.set, ['h']);
});

test('a sender without encodings or without parameters harms nobody', async () => {
  const old = sender({ encodings: [] });
  await switchLayers(old, []);
  assert.equal(old.tries, 0);
  await switchLayers({ getParameters: () => ({}), setParameters: () => assert.fail('not called') }, []);
  await switchLayers({}, []);
});
