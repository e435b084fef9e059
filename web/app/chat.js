// @ts-check
import { html, useEffect, useRef, useState } from '/vendor/preact-htm.js';
import { Icon } from './icons.js';
import { sentence } from './words.js';

/** Lines kept; more would only be scrolled past. */
const LINES = 500;

/**
 * Everything that was said and who came and went, and how many of it nobody has looked at.
 * @param {any} room
 * @param {boolean} open
 */
export function useChat(room, open) {
  const [lines, setLines] = useState(/** @type {any[]} */ ([]));
  const [unread, setUnread] = useState(0);
  const seen = useRef(open);
  seen.current = open;
  const add = (/** @type {any} */ line) => setLines((before) => [...before.slice(1 - LINES), line]);
  useEffect(() => {
    const said = (/** @type {any} */ message) => {
      add({ key: message.id, name: message.participant.name, text: message.text, time: message.time });
      if (!seen.current) setUnread((count) => count + 1);
    };
    const came = (/** @type {any} */ { participant }) => add({ key: `+${participant.identity}`, event: `${participant.name} joined` });
    const went = (/** @type {any} */ { participant }) => add({ key: `-${participant.identity}`, event: `${participant.name} left` });
    room.on('chatMessage', said).on('participantConnected', came).on('participantDisconnected', went);
    return () => room.off('chatMessage', said).off('participantConnected', came).off('participantDisconnected', went);
  }, [room]);
  useEffect(() => { if (open) setUnread(0); }, [open, lines]);
  return { lines, unread, add };
}

/** @param {any} props */
export function Chat({ room, lines, add }) {
  const [text, setText] = useState('');
  const [wrong, setWrong] = useState('');
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => { list.current?.scrollTo(0, list.current.scrollHeight); }, [lines]);
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const words = text.trim();
    if (!words) return;
    setText('');
    setWrong('');
    try {
      // The line appears when the server has taken it: what stands here, others have.
      const message = await room.localParticipant.sendChatMessage(words);
      add({ key: message.id, name: 'You', text: message.text, time: message.time });
    } catch (error) {
      setWrong(`Not sent: ${sentence(error)}`);
      setText((now) => now || words);
    }
  };
  return html`<aside class="chat" aria-label="Chat">
    <h2>Chat</h2>
    <ol ref=${list} tabindex="0" aria-live="polite" aria-label="Messages">
      ${lines.length === 0 && html`<li class="empty">Nothing yet. Say hello.</li>`}
      ${lines.map((/** @type {any} */ line) => html`<${Line} key=${line.key} ...${line} />`)}
      ${wrong && html`<li class="failed" role="alert">${wrong}</li>`}
    </ol>
    <form onSubmit=${send}>
      <input aria-label="Message to everyone" placeholder="Message to everyone" value=${text} maxlength="4000" autocomplete="off"
        onInput=${(/** @type {any} */ event) => setText(event.target.value)} />
      <button aria-label="Send"><${Icon} name="send" /></button>
    </form>
  </aside>`;
}

/** @param {any} props */
function Line({ name, text, time, event }) {
  if (event) return html`<li class="event">${event}</li>`;
  const at = new Date(time);
  const clock = at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  return html`<li><div class="who"><b>${name}</b><time>${clock}</time></div><p>${text}</p></li>`;
}
