// @ts-check
import { html } from '/vendor/preact-htm.js';
import { Icon } from './icons.js';

/**
 * @param {{icon: any, word: string, off?: boolean, pressed?: boolean, count?: number, danger?: boolean, onClick: () => void}} props
 */
function Button({ icon, word, off = false, pressed, count = 0, danger = false, onClick }) {
  return html`<button type="button" class=${danger ? 'leave' : off ? 'off' : ''} aria-pressed=${pressed} onClick=${onClick}
      title=${word}>
    <${Icon} name=${icon} off=${off} /><small>${word}</small>
    ${count > 0 && html`<span class="count" aria-hidden="true">${count}</span>`}
  </button>`;
}

/** @param {any} props */
export function Bar({ room, chatOpen, unread, actions }) {
  const mic = room.localPublication('microphone');
  const camera = room.localPublication('camera');
  const micOn = mic !== undefined && !mic.isMuted;
  const cameraOn = camera !== undefined && !camera.isMuted;
  const sharing = room.localPublication('screen') !== undefined;
  return html`<nav class="bar" aria-label="Call">
    <${Button} icon="microphone" word=${micOn ? 'Mute' : 'Unmute'} off=${!micOn} onClick=${actions.microphone} />
    <${Button} icon="camera" word="Camera" off=${!cameraOn} onClick=${actions.camera} />
    <${Button} icon="share" word="Share" pressed=${sharing} onClick=${actions.share} />
    <${Button} icon="chat" word="Chat" pressed=${chatOpen} count=${unread} onClick=${actions.chat} />
    <${Button} icon="link" word="Copy link" onClick=${actions.copy} />
    <${Button} icon="leave" word="Leave" danger=${true} onClick=${actions.leave} />
  </nav>`;
}
