// A server of our own for a test file: the real binary on a free port.

import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Hopeless, limited, until } from './wait.mjs';

const binary = resolve(process.env.FANLIGHT_BIN ?? 'target/debug/fanlight');
const logs = resolve('target/test-logs');

/** A TCP port that nobody listens on. */
async function freePort() {
  const probe = createServer();
  await new Promise((ready, failed) => probe.once('error', failed).listen(0, '::', ready));
  const { port } = probe.address();
  await new Promise((closed) => probe.close(closed));
  return port;
}

export class Server {
  /** Starts a server and waits until it is ready; inside of `network` if there is one. */
  static async start(name, { workers = 2, port, network } = {}) {
    const server = new Server();
    server.name = name;
    server.port = port ?? (await freePort());
    server.data = mkdtempSync(join(tmpdir(), 'fanlight-data-'));
    server.network = network;
    /** For those on the server's own machine. */
    server.local = `http://localhost:${server.port}`;
    server.url = network ? `https://${network.address}:${server.port}` : server.local;
    server.workers = workers;
    await server.run();
    return server;
  }

  /** Starts the process; once more after `kill`, with the same port and data. */
  async run() {
    mkdirSync(logs, { recursive: true });
    const log = createWriteStream(join(logs, `server-${this.name}.log`), { flags: 'a' });
    const flags = ['--port', this.port, '--data-dir', this.data, '--workers', this.workers];
    const [program, ...args] = [...(this.network?.inside ?? []), binary, ...flags.map(String)];
    this.process = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const { process: child } = this;
    process.once('exit', () => child.kill('SIGKILL'));
    this.said = '';
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream.on('data', (bytes) => (this.said += bytes));
      stream.pipe(log, { end: false });
    }
    this.ended = new Promise((resolve) => {
      this.process.once('exit', (code, signal) => resolve(code ?? signal));
      this.process.once('error', (error) => resolve(error.message));
    });
    let over;
    this.ended.then((how) => (over = how));
    await until(`${binary} is ready`, async () => {
      if (over !== undefined) throw new Hopeless(`${binary} ended (${over}): ${this.said.slice(-2000)}`);
      const door = this.url.replace('https:', 'http:');
      const signal = AbortSignal.timeout(2000);
      const answer = await fetch(`${door}/readyz`, { signal, redirect: 'manual' });
      // Who comes from outside is sent to the encrypted address, whose certificate no one has signed.
      return answer.ok || answer.status === 308;
    });
  }

  /** What one of the server's JSON addresses says. */
  async get(path) {
    const answer = await fetch(this.url + path, { signal: AbortSignal.timeout(5000) });
    return answer.json();
  }

  /** Ends it without a word, as a broken machine would. */
  async kill() {
    this.process.kill('SIGKILL');
    await limited('the server is gone', this.ended);
  }

  /** Ends it as an operator would; gives the exit code. */
  async stop() {
    this.process.kill('SIGTERM');
    const code = await limited('the server ends', this.ended, 12_000);
    rmSync(this.data, { recursive: true, force: true });
    return code;
  }
}
