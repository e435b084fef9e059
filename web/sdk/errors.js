// @ts-check

/** A failure with a stable code and a sentence for people. */
export class FanlightError extends Error {
  /**
   * @param {string} code  a code of the server, or `insecure-context`, `device-denied`, `device-not-found`,
   *   `device-in-use`, `server-unreachable`, `timeout`, `media-unreachable`, `unsupported`, `aborted`
   * @param {string} message  a sentence for people
   * @param {boolean} [retryable]  whether the same may succeed later
   */
  constructor(code, message, retryable = false) {
    super(message);
    this.name = 'FanlightError';
    this.code = code;
    this.retryable = retryable;
  }
}

/**
 * What `getUserMedia` and `getDisplayMedia` throw, in our words.
 * @param {unknown} error
 * @returns {FanlightError}
 */
export function deviceError(error) {
  if (error instanceof FanlightError) return error;
  const name = error instanceof Error ? error.name : '';
  switch (name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return new FanlightError('device-denied', 'The browser was not allowed to use the device.', true);
    case 'NotFoundError':
    case 'OverconstrainedError':
      return new FanlightError('device-not-found', 'There is no such device.', true);
    case 'NotReadableError':
    case 'AbortError':
      return new FanlightError('device-in-use', 'The device is used by another program.', true);
    default:
      return new FanlightError('unsupported', `The device cannot be used: ${String(error)}`);
  }
}

/**
 * A promise that settles: with the given one, with `timeout` after `ms`, or with `aborted`.
 * @template T
 * @param {Promise<T>} promise
 * @param {number} ms
 * @param {string} what  what was waited for
 * @param {AbortSignal} [signal]
 * @returns {Promise<T>}
 */
export function within(promise, ms, what, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => done(() => reject(new FanlightError('timeout', `${what} took longer than ${ms / 1000} s.`, true))),
      ms,
    );
    const abort = () => done(() => reject(new FanlightError('aborted', `${what} was given up.`)));
    /** @param {() => void} settle */
    function done(settle) {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      settle();
    }
    if (signal?.aborted) return abort();
    signal?.addEventListener('abort', abort);
    promise.then(
      (value) => done(() => resolve(value)),
      (error) => done(() => reject(error)),
    );
  });
}
