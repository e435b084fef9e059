// @ts-check
import { html, useEffect, useRef, useState } from '/vendor/preact-htm.js';
import { Room, createLocalTrack } from '/sdk/v1/fanlight.js';
import { Meter } from './meter.js';
import { Icon, Mark } from './icons.js';
import { insecure, sentence } from './words.js';

const NAME = 'fanlight.name';

/**
 * @param {{room: string, fixed: boolean, word: string, onJoined: (session: object) => void}} props
 */
export function Lobby({ room: first, fixed, word, onJoined }) {
  const [name, setName] = useState(() => remembered());
  const [room, setRoom] = useState(first);
  const [mic, setMic] = useState(true);
  const [camera, setCamera] = useState(true);
  const [chosen, setChosen] = useState({ audioinput: '', videoinput: '' });
  const [busy, setBusy] = useState(false);
  const [wrong, setWrong] = useState(() => (globalThis.isSecureContext ? '' : insecure()));
  const { tracks, devices, held } = useDevices({ mic, camera, chosen, onWrong: setWrong });

  const join = async (/** @type {Event} */ event, everythingOff = false) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setWrong('');
    try {
      localStorage.setItem(NAME, name);
      onJoined(await enter({ name, room, held: everythingOff ? {} : held() }));
    } catch (error) {
      setWrong(sentence(error));
      setBusy(false);
    }
  };
  return html`<main class="lobby">
    <${Preview} tracks=${tracks} failed=${wrong !== ''} mic=${mic} camera=${camera} setMic=${setMic} setCamera=${setCamera} />
    <form onSubmit=${join}>
      <div><${Mark} /><h1>${fixed ? room : 'Fanlight'}</h1></div>
      <p class="sub">${fixed ? 'Join when you are ready.' : 'Choose a room; whoever opens the same one meets you there.'}</p>
      ${word && html`<p class="notice" role="status">${word}</p>`}
      ${wrong && html`<p class="notice bad" role="alert">${wrong}</p>`}
      ${!fixed && html`<${Field} label="Room" value=${room} onInput=${setRoom} max="128" />`}
      <${Field} label="Your name" value=${name} onInput=${setName} max="64" autofocus />
      <div class="pair">
        <${Picker} label="Microphone" kind="audioinput" devices=${devices} chosen=${chosen} onChoose=${setChosen} />
        <${Picker} label="Camera" kind="videoinput" devices=${devices} chosen=${chosen} onChoose=${setChosen} />
      </div>
      <button class="join" disabled=${busy || !name.trim() || !room.trim()}>${busy ? 'Joining …' : 'Join'}</button>
      <button type="button" class="quiet" disabled=${busy || !name.trim()} onClick=${(/** @type {Event} */ e) => join(e, true)}>
        Join with everything off
      </button>
    </form>
  </main>`;
}

function remembered() {
  try {
    return localStorage.getItem(NAME) ?? '';
  } catch {
    return '';
  }
}

/**
 * A device of the preview: being opened, or open. Once it is given to a call the preview leaves it alone.
 * @typedef {{opening: Promise<MediaStreamTrack>, open?: MediaStreamTrack, given: boolean}} Device
 * @typedef {{audio?: Device, video?: Device}} Held
 */

/**
 * Joins, with what is open of the preview in the first offer. If that fails the preview keeps it.
 * @param {{name: string, room: string, held: Held}} options
 */
async function enter({ name, room: named, held }) {
  const room = new Room();
  /** @type {[import('/sdk/v1/protocol.js').Source, Device][]} */
  const devices = [];
  if (held.audio) devices.push(['microphone', held.audio]);
  if (held.video) devices.push(['camera', held.video]);
  const late = devices.filter(([, device]) => !device.open);
  for (const [source, { open }] of devices) {
    if (open) await room.localParticipant.publishTrack(open, { source });
  }
  await room.connect(location.origin, { room: named.trim(), name: name.trim() });
  for (const [, device] of devices) device.given = true;
  for (const [source, device] of late) void publishLate(room, source, device.opening);
  return { room, since: Date.now() };
}

/**
 * Publishes a device that opened only after somebody had joined, unless the call has one by then or is over.
 * @param {Room} room
 * @param {import('/sdk/v1/protocol.js').Source} source
 * @param {Promise<MediaStreamTrack>} opening
 */
async function publishLate(room, source, opening) {
  // One that cannot be opened is off, and its button says why when it is pressed.
  const track = await opening.catch(() => undefined);
  if (!track) return;
  try {
    if (room.state === 'disconnected' || room.localPublication(source)) return track.stop();
    await room.localParticipant.publishTrack(track, { source });
  } catch {
    track.stop();
  }
}

/**
 * The preview's tracks, opened and stopped as the buttons say.
 * @param {{mic: boolean, camera: boolean, chosen: Record<string, string>, onWrong: (word: string) => void}} options
 */
function useDevices({ mic, camera, chosen, onWrong }) {
  const [tracks, setTracks] = useState(/** @type {{audio?: MediaStreamTrack, video?: MediaStreamTrack}} */ ({}));
  const [devices, setDevices] = useState(/** @type {MediaDeviceInfo[]} */ ([]));
  const held = useRef(/** @type {Held} */ ({}));

  const useOne = (/** @type {'audio' | 'video'} */ kind, /** @type {boolean} */ on, /** @type {string} */ id) =>
    useEffect(() => {
      if (!on || !globalThis.isSecureContext) return undefined;
      let gone = false;
      const opening = createLocalTrack(kind, id ? { deviceId: { exact: id } } : {});
      const device = /** @type {Device} */ ({ opening, given: false });
      held.current[kind] = device;
      opening.then(async (opened) => {
        if (gone) return device.given ? undefined : opened.stop();
        device.open = opened;
        setTracks((before) => ({ ...before, [kind]: opened }));
        setDevices(await Room.getLocalDevices());
        return undefined;
      }).catch((error) => { if (!gone) onWrong(sentence(error)); });
      return () => {
        gone = true;
        if (!device.given) device.open?.stop();
        held.current[kind] = undefined;
        setTracks((before) => ({ ...before, [kind]: undefined }));
      };
    }, [on, id]);
  useOne('audio', mic, chosen.audioinput);
  useOne('video', camera, chosen.videoinput);
  return { tracks, devices, held: () => ({ ...held.current }) };
}

/** @param {any} props */
function Preview({ tracks, failed, mic, camera, setMic, setCamera }) {
  const video = useRef(/** @type {HTMLVideoElement | null} */ (null));
  useEffect(() => {
    if (video.current) video.current.srcObject = tracks.video ? new MediaStream([tracks.video]) : null;
  }, [tracks.video]);
  return html`<section class="preview" aria-label="Preview">
    <video ref=${video} autoplay muted playsinline></video>
    ${!tracks.video && html`<p class="empty">${!camera ? 'Your camera is off.' : failed ? 'No picture from your camera.' : 'Your camera will show here.'}</p>`}
    <${Meter} track=${tracks.audio} />
    <div class="bar">
      <button type="button" class=${mic ? '' : 'off'} onClick=${() => setMic(!mic)}>
        <${Icon} name="microphone" off=${!mic} /><small>${mic ? 'Mute' : 'Unmute'}</small>
      </button>
      <button type="button" class=${camera ? '' : 'off'} onClick=${() => setCamera(!camera)}>
        <${Icon} name="camera" off=${!camera} /><small>Camera</small>
      </button>
    </div>
  </section>`;
}

/** @param {any} props */
function Field({ label, value, onInput, max, autofocus }) {
  return html`<label class="field"><span>${label}</span>
    <input value=${value} maxlength=${max} autocomplete="off" required autofocus=${autofocus}
      onInput=${(/** @type {any} */ event) => onInput(event.target.value)} /></label>`;
}

/** @param {any} props */
function Picker({ label, kind, devices, chosen, onChoose }) {
  const known = devices.filter((/** @type {MediaDeviceInfo} */ device) => device.kind === kind && device.deviceId);
  return html`<label class="field"><span>${label}</span>
    <select value=${chosen[kind]} onChange=${(/** @type {any} */ event) => onChoose({ ...chosen, [kind]: event.target.value })}>
      <option value="">Default</option>
      ${known.map((/** @type {MediaDeviceInfo} */ device) => html`<option value=${device.deviceId}>${device.label || label}</option>`)}
    </select></label>`;
}
