// Waiting for something to become true, and for nothing longer than a deadline.

/** The value of `promise`, or an error that says what did not come in time. */
export async function limited(what, promise, ms = 20_000) {
  let timer;
  const deadline = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: no answer within ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

/** What no waiting can mend. */
export class Hopeless extends Error {}

/**
 * Asks `probe` again and again until it gives something true, and returns that.
 * The error after the deadline holds the last answer.
 */
export async function until(what, probe, { within = 15_000, every = 100 } = {}) {
  const began = performance.now();
  let last;
  for (;;) {
    try {
      last = await probe();
      if (last) return last;
    } catch (error) {
      if (error instanceof Hopeless) throw error;
      last = error;
    }
    if (performance.now() - began > within) {
      const said = last instanceof Error ? last.message : JSON.stringify(last);
      throw new Error(`${what}: not so within ${within / 1000} s; last seen: ${said}`);
    }
    await pause(every);
  }
}

/** Holds when `probe` gives the same value during the whole of `ms`; waits for such a time. */
export async function still(what, probe, { during = 1500, within = 15_000 } = {}) {
  let value = await probe();
  let since = performance.now();
  return until(what, async () => {
    const now = await probe();
    if (now !== value) {
      value = now;
      since = performance.now();
    }
    return performance.now() - since >= during;
  }, { within });
}

/** Fails as soon as `probe` gives something true during `ms`. */
export async function never(what, probe, during = 2000) {
  const began = performance.now();
  while (performance.now() - began < during) {
    const seen = await probe();
    if (seen) throw new Error(`${what}: happened: ${JSON.stringify(seen)}`);
    await pause(100);
  }
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
