// @ts-check
import { html, useEffect, useState } from '/vendor/preact-htm.js';
import { Bar } from './bar.js';
import { Chat, useChat } from './chat.js';
import { Mark } from './icons.js';
import { Stage } from './tiles.js';
import { ending, sentence } from './words.js';

/** What changes the picture of a room. */
const CHANGES = [
  'participantConnected', 'participantDisconnected', 'trackPublished', 'trackUnpublished', 'trackSubscribed',
  'trackUnsubscribed', 'trackMuted', 'trackUnmuted', 'localTrackPublished', 'activeSpeakersChanged',
  'trackStreamStateChanged', 'connectionQualityChanged', 'connectionStateChanged', 'audioPlaybackStatusChanged', 'reconnected',
];

/** @param {{room: any, since: number, onEnd: (why: string) => void}} props */
export function Call({ room, since, onEnd }) {
  const [, redraw] = useState(0);
  const [chatOpen, setChatOpen] = useState(false);
  const [notice, setNotice] = useState('');
  const chat = useChat(room, chatOpen);

  useEffect(() => {
    const again = () => redraw((count) => count + 1);
    const ended = (/** @type {any} */ { reason }) => onEnd(ending(reason));
    const away = () => { void room.disconnect(); };
    for (const change of CHANGES) room.on(change, again);
    room.on('disconnected', ended);
    addEventListener('pagehide', away);
    again();
    return () => {
      for (const change of CHANGES) room.off(change, again);
      room.off('disconnected', ended);
      removeEventListener('pagehide', away);
    };
  }, [room]);
  const actions = useActions({ room, redraw: () => redraw((count) => count + 1), setNotice, setChatOpen });
  useKeys(actions);

  return html`<main class="call">
    <header class="head">
      <${Mark} /><h1>${room.name}</h1><${Clock} since=${since} />
      <button class="invite" type="button" onClick=${actions.copy}>Invite</button>
    </header>
    <${Stage} room=${room}>
      ${room.state === 'reconnecting' && html`<p class="notice bad" role="alert">${trouble(room)}</p>`}
      ${!room.canPlaybackAudio && html`<p class="notice" role="alert">Your browser waits for a click before it plays sound.
        <button type="button" onClick=${() => room.startAudio()}>Click to hear everybody</button></p>`}
      ${notice && html`<p class="notice" role="status">${notice}</p>`}
      ${room.state === 'connected' && room.remoteParticipants.size === 0 && !notice
        && html`<p class="notice" role="status">Nobody else is here yet. Copy the link to invite somebody.</p>`}
    <//>
    ${chatOpen && html`<${Chat} room=${room} lines=${chat.lines} add=${chat.add} />`}
    <${Bar} room=${room} chatOpen=${chatOpen} unread=${chat.unread} actions=${actions} />
  </main>`;
}

/** @param {any} room */
function trouble(room) {
  const media = room.lossReason === 'media-failed';
  return media ? `${sentence({ code: 'media-unreachable' })} Trying again …` : 'Connection lost. Trying again …';
}

/** @param {any} options */
function useActions({ room, redraw, setNotice, setChatOpen }) {
  const say = (/** @type {string} */ words) => {
    setNotice(words);
    setTimeout(() => setNotice((/** @type {string} */ now) => (now === words ? '' : now)), 6000);
  };
  const attempt = async (/** @type {() => Promise<unknown>} */ work) => {
    try {
      await work();
    } catch (error) {
      say(sentence(error));
    }
    redraw();
  };
  const self = room.localParticipant;
  const on = (/** @type {string} */ source) => {
    const publication = room.localPublication(source);
    return publication !== undefined && !publication.isMuted;
  };
  return {
    microphone: () => attempt(() => self.setMicrophoneEnabled(!on('microphone'))),
    camera: () => attempt(() => self.setCameraEnabled(!on('camera'))),
    share: () => attempt(() => self.setScreenShareEnabled(room.localPublication('screen') === undefined)),
    chat: () => setChatOpen((/** @type {boolean} */ open) => !open),
    leave: () => room.disconnect(),
    copy: () => attempt(async () => {
      await copy(location.href);
      say('The link is copied. Whoever opens it joins you here.');
    }),
  };
}

/** @param {string} text */
async function copy(text) {
  if (navigator.clipboard) {
    try {
      return await navigator.clipboard.writeText(text);
    } catch {
      // Not allowed without focus; the old way still is.
    }
  }
  const field = document.createElement('textarea');
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand('copy');
  field.remove();
  return undefined;
}

/**
 * m, v and c do what the buttons do, unless somebody is typing.
 * @param {Record<string, () => void>} actions
 */
function useKeys(actions) {
  useEffect(() => {
    const press = (/** @type {KeyboardEvent} */ event) => {
      const typing = event.target instanceof Element && event.target.closest('input, select, textarea');
      if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
      const action = { m: 'microphone', v: 'camera', c: 'chat' }[event.key];
      if (action) actions[action]();
    };
    addEventListener('keydown', press);
    return () => removeEventListener('keydown', press);
  });
}

/** @param {{since: number}} props */
function Clock({ since }) {
  const [now, setNow] = useState(since);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const seconds = Math.max(0, Math.floor((now - since) / 1000));
  const two = (/** @type {number} */ n) => String(n).padStart(2, '0');
  const hours = Math.floor(seconds / 3600);
  return html`<time>${hours ? `${hours}:` : ''}${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}</time>`;
}
