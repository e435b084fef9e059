// A network of a test's own: a namespace where the server lives, and one wire from it to this
// machine, which a test makes narrow.

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const run = (program, args) => execFileSync(program, args, { stdio: 'pipe' });

export class Network {
  #programs = [];

  /** Makes the namespace and the wire. */
  static create() {
    const network = new Network();
    // The process id keeps two runs on one machine apart, by name and by address.
    const { pid } = process;
    network.name = `fanlight-${pid}`;
    network.here = `fl${pid}a`;
    network.there = `fl${pid}b`;
    const prefix = `10.${200 + (pid % 50)}.${(pid >> 6) % 256}`;
    network.address = `${prefix}.2`;
    process.once('exit', network.#atExit);
    for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, network.#stopped);
    try {
      network.#make(`${prefix}.1`);
    } catch (error) {
      network.remove();
      throw new Error(
        'a network namespace could not be made, which these tests put the server into; that ' +
          `needs root and the program ip: ${error.message}`,
      );
    }
    return network;
  }

  #make(outside) {
    const { name, here, there, address } = this;
    run('ip', ['netns', 'add', name]);
    run('ip', ['link', 'add', here, 'type', 'veth', 'peer', 'name', there, 'netns', name]);
    // Addresses that come to be by themselves a second later look to a browser as if its network changed.
    run('ip', ['link', 'set', here, 'addrgenmode', 'none']);
    run('ip', ['-n', name, 'link', 'set', there, 'addrgenmode', 'none']);
    run('ip', ['addr', 'add', `${outside}/24`, 'dev', here]);
    run('ip', ['link', 'set', here, 'up']);
    run('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
    run('ip', ['-n', name, 'addr', 'add', `${address}/24`, 'dev', there]);
    // Packets cross the wire one by one, as they would on a real one, not many in one.
    run('ip', ['-n', name, 'link', 'set', there, 'gso_max_segs', '1', 'up']);
    run('ip', ['-n', name, 'route', 'add', 'default', 'via', outside]);
  }

  /** What a command begins with that is to run inside. */
  get inside() {
    return ['ip', 'netns', 'exec', this.name];
  }

  /** A program file that runs another one inside, for those who take a path and no command. */
  program(path) {
    const folder = mkdtempSync(join(tmpdir(), 'fanlight-inside-'));
    const file = join(folder, 'run');
    writeFileSync(file, `#!/bin/sh\nexec ${this.inside.join(' ')} '${path}' "$@"\n`);
    chmodSync(file, 0o755);
    this.#programs.push(folder);
    return file;
  }

  /** Lets through so much from inside, for example `300kbit`, with a queue of 100 ms. */
  limit(rate) {
    // Two packets at once, no more: what tries a network out would fit into a larger bucket as a
    // whole, and find no limit.
    const shape = ['root', 'tbf', 'rate', rate, 'burst', '3kb', 'latency', '100ms'];
    run('tc', ['-n', this.name, 'qdisc', 'replace', 'dev', this.there, ...shape]);
  }

  /** The wire is fast again. */
  heal() {
    const shaped = run('tc', ['-n', this.name, 'qdisc', 'show', 'dev', this.there]);
    if (/tbf/.test(shaped)) run('tc', ['-n', this.name, 'qdisc', 'del', 'dev', this.there, 'root']);
  }

  /** Takes everything away; once whoever lived inside has ended. */
  remove() {
    process.off('exit', this.#atExit);
    for (const signal of ['SIGTERM', 'SIGINT']) process.off(signal, this.#stopped);
    const attempts = [
      () => run('ip', ['link', 'del', this.here]),
      () => run('ip', ['netns', 'del', this.name]),
    ];
    for (const attempt of attempts) {
      try {
        attempt();
      } catch {
        // It was not there.
      }
    }
    for (const folder of this.#programs.splice(0)) rmSync(folder, { recursive: true, force: true });
  }

  #atExit = () => this.remove();
  // A signal by itself would end the process without asking anybody.
  #stopped = () => process.exit(1);
}
