// @ts-check

/** A native `EventTarget` whose events carry their payload in `detail`, with short forms. */
export class Emitter extends EventTarget {
  /** @type {WeakMap<Function, EventListener>} */
  #wrapped = new WeakMap();

  /**
   * Calls `listener` with the payload of each event.
   * @param {string} type
   * @param {(detail: any) => void} listener
   * @returns {this}
   */
  on(type, listener) {
    const wrapped = this.#wrapped.get(listener)
      ?? ((/** @type {Event} */ event) => listener(/** @type {CustomEvent} */ (event).detail));
    this.#wrapped.set(listener, wrapped);
    this.addEventListener(type, wrapped);
    return this;
  }

  /**
   * @param {string} type
   * @param {(detail: any) => void} listener
   * @returns {this}
   */
  off(type, listener) {
    const wrapped = this.#wrapped.get(listener);
    if (wrapped) this.removeEventListener(type, wrapped);
    return this;
  }

  /**
   * @param {string} type
   * @param {object} [detail]
   */
  emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
