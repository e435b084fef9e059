// @ts-check
import { html, render, useState } from '/vendor/preact-htm.js';
import { Call } from './call.js';
import { Lobby } from './lobby.js';
import { roomName } from './words.js';

/** @returns {string} the room that the address names */
function roomOfAddress() {
  const [, room] = location.pathname.match(/^\/r\/([^/]+)/) ?? [];
  try {
    return room ? decodeURIComponent(room) : '';
  } catch {
    return '';
  }
}

function App() {
  const [named] = useState(roomOfAddress);
  const [room, setRoom] = useState(() => named || roomName());
  const [call, setCall] = useState(/** @type {any} */ (null));
  const [word, setWord] = useState('');

  const enter = (/** @type {any} */ session) => {
    setRoom(session.room.name);
    history.replaceState(null, '', `/r/${encodeURIComponent(session.room.name)}`);
    document.title = `${session.room.name} · Fanlight`;
    setCall(session);
  };
  const leave = (/** @type {string} */ why) => {
    document.title = 'Fanlight';
    setWord(why);
    setCall(null);
  };
  return call
    ? html`<${Call} ...${call} onEnd=${leave} />`
    : html`<${Lobby} room=${room} fixed=${named !== ''} word=${word} onJoined=${enter} />`;
}

const root = document.getElementById('app');
if (root) render(html`<${App} />`, root);
