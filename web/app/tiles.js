// @ts-check
import { html, useEffect, useLayoutEffect, useRef, useState } from '/vendor/preact-htm.js';
import { layout } from './grid.js';
import { Bars, Icon } from './icons.js';
import { absence, colour, connection, initials } from './words.js';

/**
 * Everybody and every shared screen, as large as fits. Screens come first; nobody else ever jumps.
 * @param {{room: any, children?: any}} props
 */
export function Stage({ room, children }) {
  const stage = useRef(/** @type {HTMLElement | null} */ (null));
  const [size, setSize] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const element = stage.current;
    if (!element) return undefined;
    const look = () => setSize({ width: element.clientWidth, height: element.clientHeight });
    const observer = new ResizeObserver(look);
    observer.observe(element);
    look();
    return () => observer.disconnect();
  }, []);
  const tiles = tilesOf(room);
  const places = layout(tiles.length, size.width, size.height);
  return html`<section class="stage" ref=${stage} aria-label="Participants">
    <div class="notices">${children}</div>
    ${tiles.map((tile, n) => html`<${Tile} key=${tile.key} ...${tile} place=${places[n]} />`)}
    ${sounds(room).map(({ key, publication }) => html`<${Sound} key=${key} publication=${publication} />`)}
  </section>`;
}

/** @param {any} room */
function tilesOf(room) {
  const remote = [...room.remoteParticipants.values()];
  const own = room.localParticipant;
  const screens = [own, ...remote]
    .map((participant) => ({ participant, publication: publicationOf(room, participant, 'screen') }))
    .filter(({ publication }) => publication)
    .map(({ participant, publication }) => ({
      key: `${participant.identity}/screen`, participant, publication, own: participant === own, screen: true,
    }));
  const people = [...remote, own].map((participant) => ({
    key: participant.identity,
    participant,
    publication: publicationOf(room, participant, 'camera'),
    microphone: publicationOf(room, participant, 'microphone'),
    own: participant === own,
    screen: false,
  }));
  return [...screens, ...people];
}

/**
 * @param {any} room
 * @param {any} participant
 * @param {string} source
 */
function publicationOf(room, participant, source) {
  return participant === room.localParticipant ? room.localPublication(source) : participant.publication(source);
}

/** @param {any} room */
function sounds(room) {
  return [...room.remoteParticipants.values()].flatMap((participant) => [...participant.trackPublications.values()])
    .filter((publication) => publication.kind === 'audio')
    .map((publication) => ({ key: publication.id, publication }));
}

/** @param {any} props */
function Tile({ participant, publication, microphone, own, screen, place }) {
  const video = useRef(/** @type {HTMLVideoElement | null} */ (null));
  const tile = useRef(/** @type {HTMLElement | null} */ (null));
  useLayoutEffect(() => {
    // Set here, not as an attribute: the page's policy allows no style in markup.
    if (tile.current && place) {
      for (const side of ['left', 'top', 'width', 'height']) tile.current.style.setProperty(side, `${place[side]}px`);
    }
  });
  useEffect(() => {
    const element = video.current;
    if (!element || !publication) return undefined;
    publication.attach(element);
    return () => publication.detach(element);
  }, [publication]);
  const { shown, why } = picture(publication, own);
  const name = own ? `${participant.name} (you)` : participant.name;
  const label = screen ? `${name}’s screen` : name;
  const muted = !screen && (!microphone || microphone.isMuted);
  const classes = ['tile', own && 'own', screen && 'screen', participant.isSpeaking && !screen && 'speaking',
    place?.width < 240 && 'small'].filter(Boolean).join(' ');
  return html`<article class=${classes} ref=${tile} aria-label=${screen ? label : participant.name}
      data-identity=${participant.identity}>
    <video ref=${video} autoplay playsinline muted class=${shown ? '' : 'dark'}></video>
    ${!shown && html`<div class="face"><${Initials} participant=${participant} /><span class="why">${why}</span></div>`}
    <div class="plate">
      ${muted && html`<${Icon} name="microphone" off=${true} /><b class="hidden">Muted</b>`}
      ${!screen && html`<${Quality} participant=${participant} />`}
      <span>${screen ? label : own ? 'You' : participant.name}</span>
      ${participant.isSpeaking && !screen && html`<b class="hidden">speaking</b>`}
    </div>
  </article>`;
}

/**
 * Whether a picture is to be seen, and what is said instead.
 * @param {any} publication
 * @param {boolean} own
 */
function picture(publication, own) {
  if (!publication || publication.isMuted) return { shown: false, why: '' };
  if (own) return { shown: publication.track !== null, why: '' };
  const { streamState, streamReason, track } = publication;
  return { shown: streamState === 'active' && track !== null, why: absence(streamState, streamReason) };
}

/** A word on somebody's connection when it does badly. @param {any} props */
function Quality({ participant: { connectionQuality, connectionQualityReason } }) {
  const words = connection(connectionQuality, connectionQualityReason);
  return words && html`<em class="quality" title=${words}>
    <${Bars} lit=${connectionQuality === 'poor' ? 1 : 0} /><b class="hidden">${words}</b>
  </em>`;
}

/** @param {any} props */
function Initials({ participant }) {
  const circle = useRef(/** @type {HTMLElement | null} */ (null));
  useLayoutEffect(() => {
    circle.current?.style.setProperty('background', colour(participant.identity));
  }, [participant.identity]);
  return html`<div class="initials" ref=${circle} aria-hidden="true">${initials(participant.name)}</div>`;
}

/** @param {any} props */
function Sound({ publication }) {
  const audio = useRef(/** @type {HTMLAudioElement | null} */ (null));
  useEffect(() => {
    const element = audio.current;
    if (!element) return undefined;
    publication.attach(element);
    return () => publication.detach(element);
  }, [publication]);
  return html`<audio ref=${audio} autoplay></audio>`;
}
