// @ts-check

import { FanlightError, deviceError } from './errors.js';

/** Devices chosen before anything is published. @type {Record<string, string>} */
const chosen = {};

/** What a camera is asked for; smaller pictures suit slow machines, larger ones are asked for by name. */
const VIDEO = { width: { ideal: 640 }, height: { ideal: 360 }, frameRate: { ideal: 30 } };
const AUDIO = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

function devices() {
  if (navigator.mediaDevices) return navigator.mediaDevices;
  throw new FanlightError('insecure-context', 'The browser only allows camera and microphone on a secure address.');
}

/**
 * @param {'audio' | 'video'} kind
 * @param {MediaTrackConstraints} [options]
 * @returns {Promise<MediaStreamTrack>}
 */
export async function capture(kind, options = {}) {
  const id = chosen[kind === 'audio' ? 'audioinput' : 'videoinput'];
  const wanted = { ...(kind === 'audio' ? AUDIO : VIDEO), ...(id ? { deviceId: { ideal: id } } : {}), ...options };
  try {
    const stream = await devices().getUserMedia({ [kind]: wanted });
    return stream.getTracks()[0];
  } catch (error) {
    throw deviceError(error);
  }
}

/**
 * @param {DisplayMediaStreamOptions} [options]
 * @returns {Promise<[MediaStreamTrack, MediaStreamTrack | undefined]>} picture and, if it was given, sound
 */
export async function captureScreen(options = {}) {
  const media = devices();
  if (!media.getDisplayMedia) throw new FanlightError('unsupported', 'This browser cannot share a screen.');
  try {
    const stream = await media.getDisplayMedia({ video: { frameRate: { max: 15 } }, audio: true, ...options });
    const [video] = stream.getVideoTracks();
    return [video, stream.getAudioTracks()[0]];
  } catch (error) {
    throw deviceError(error);
  }
}

/**
 * A device to be used when its kind is next captured.
 * @param {string} kind
 * @param {string} deviceId
 */
export function chooseDevice(kind, deviceId) {
  chosen[kind] = deviceId;
}

/**
 * @param {MediaDeviceKind} [kind]
 * @returns {Promise<MediaDeviceInfo[]>}
 */
export async function listDevices(kind) {
  const all = await devices().enumerateDevices();
  return kind ? all.filter((device) => device.kind === kind) : all;
}
