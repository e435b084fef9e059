// What the browsers need of the machine: an address beside loopback, and an audio server.

import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from './wait.mjs';

/** The first IPv4 address of this machine that is not loopback. */
export function outsideAddress() {
  const all = Object.values(networkInterfaces()).flat();
  return all.find((a) => a.family === 'IPv4' && !a.internal)?.address;
}

/**
 * Firefox connects to no server on a machine that has loopback alone; a pair of virtual
 * interfaces gives it the address that it wants. Returns what takes it away again.
 */
export function ensureOutsideAddress() {
  if (outsideAddress()) return () => {};
  const ip = (...args) => execFileSync('ip', args, { stdio: 'pipe' });
  try {
    ip('link', 'add', 'fanlight0', 'type', 'veth', 'peer', 'name', 'fanlight1');
    ip('addr', 'add', '10.254.254.1/24', 'dev', 'fanlight0');
    ip('link', 'set', 'fanlight0', 'up');
    ip('link', 'set', 'fanlight1', 'up');
    ip('route', 'add', 'default', 'dev', 'fanlight0');
  } catch (error) {
    throw new Error(
      'this machine has no address but loopback, with which Firefox connects to no server, ' +
        `and making one needs root and the program ip: ${error.message}`,
    );
  }
  return () => ip('link', 'del', 'fanlight0');
}

/**
 * Starts an audio server with an empty sink: without one an AudioContext in Firefox stands
 * still. Returns the environment for Firefox and what ends the server.
 */
export async function startSound() {
  const runtime = mkdtempSync(join(tmpdir(), 'fanlight-sound-'));
  const env = { ...process.env, XDG_RUNTIME_DIR: runtime, PULSE_SERVER: `unix:${runtime}/native` };
  const modules = [
    `module-native-protocol-unix auth-anonymous=1 socket=${runtime}/native`,
    'module-null-sink sink_name=null',
    'module-always-sink',
  ];
  const server = spawn(
    'pulseaudio',
    ['-n', '--daemonize=no', '--use-pid-file=no', '--exit-idle-time=-1',
      ...modules.map((module) => `--load=${module}`)],
    { env: { ...env, HOME: runtime }, stdio: 'ignore' },
  );
  process.once('exit', () => server.kill('SIGKILL'));
  let failed;
  server.on('error', (error) => (failed = error));
  await until('the audio server is there', () => {
    if (failed) throw failed;
    return existsSync(`${runtime}/native`);
  });
  return {
    env,
    stop() {
      server.kill('SIGTERM');
      rmSync(runtime, { recursive: true, force: true });
    },
  };
}
