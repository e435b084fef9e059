// What runs in a page before the page's own code. Each function is sent to the browser as
// text, so it uses nothing from outside itself.

/**
 * Replaces camera, microphone and screen by a colour and a tone of one's own, and keeps hold of
 * the peer connections, so that what arrives can be measured.
 */
export function stage({ colour, tone, width, height, fps, screen, insecure, busy, shut }) {
  const test = { connections: [], captured: [], ears: new Map(), screenWanted: true };
  window.__test = test;

  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class RTCPeerConnection extends Native {
    constructor(...args) {
      super(...args);
      test.connections.push(this);
      this.streamOf = new Map();
      this.addEventListener('track', (event) => {
        this.streamOf.set(event.track, event.streams[0]?.id);
      });
    }
  };

  if (insecure) {
    Object.defineProperty(window, 'isSecureContext', { value: false });
    Object.defineProperty(navigator, 'mediaDevices', { value: undefined });
    return;
  }

  const picture = (fill, w, h) => {
    const canvas = Object.assign(document.createElement('canvas'), { width: w, height: h });
    const pen = canvas.getContext('2d');
    let count = 0;
    // Soft blobs that turn and breathe cost what a camera's picture does, whole or as a change; flat
    // colours cost next to nothing, and confetti more than a small picture may. The middle stays as it is.
    const blobs = busy && Object.assign(document.createElement('canvas'), { width: w / 2, height: h / 2 });
    for (const [grain, alpha] of blobs ? [[16, 1], [64, 0.3]] : []) {
      const spots = new ImageData(grain, grain);
      crypto.getRandomValues(spots.data);
      spots.data.forEach((value, n) => (spots.data[n] = n % 4 === 3 ? 255 : 64 + value / 2));
      const small = Object.assign(document.createElement('canvas'), { width: grain, height: grain });
      small.getContext('2d').putImageData(spots, 0, 0);
      const brush = blobs.getContext('2d');
      brush.globalAlpha = alpha;
      brush.drawImage(small, 0, 0, w / 2, h / 2);
    }
    const bustle = () => {
      pen.save();
      pen.translate(w / 2, h / 2);
      pen.rotate(0.2 * Math.sin(count / 12));
      pen.scale(1.4 + 0.15 * Math.sin(count / 9), 1.4);
      pen.drawImage(blobs, -w / 2, -h / 2, w, h);
      pen.restore();
      pen.fillStyle = fill;
      pen.fillRect(w * 0.35, h * 0.35, w * 0.3, h * 0.3);
    };
    const draw = () => {
      if (busy) bustle();
      else {
        pen.fillStyle = fill;
        pen.fillRect(0, 0, w, h);
      }
      // A picture that stands still is sent as few frames; the mark stays clear of the middle.
      pen.fillStyle = count % 2 ? '#000' : '#fff';
      pen.fillRect((count++ * 4) % w, 2, h / 10, h / 10);
    };
    draw();
    const timer = setInterval(draw, 1000 / fps);
    const track = canvas.captureStream(fps).getVideoTracks()[0];
    const stop = track.stop.bind(track);
    track.stop = () => {
      clearInterval(timer);
      stop();
    };
    return track;
  };

  const sound = () => {
    test.audio ??= new AudioContext();
    test.audio.resume().catch(() => {});
    const oscillator = test.audio.createOscillator();
    const volume = test.audio.createGain();
    const out = test.audio.createMediaStreamDestination();
    oscillator.frequency.value = tone;
    volume.gain.value = 0.3;
    oscillator.connect(volume).connect(out);
    oscillator.start();
    test.speak = (speaks) => (volume.gain.value = speaks ? 0.3 : 0);
    return out.stream.getAudioTracks()[0];
  };

  const devices = navigator.mediaDevices;
  const capture = (source, track) => {
    test.captured.push({ source, track });
    return track;
  };
  const opened = shut ? new Promise((open) => { test.openDevices = open; }) : Promise.resolve();
  devices.getUserMedia = async (wanted = {}) => {
    await opened;
    const tracks = [];
    if (wanted.audio) tracks.push(capture('microphone', sound()));
    // Another camera, asked for by its id, shows another colour.
    const fill = wanted.video?.deviceId?.exact ? screen : colour;
    if (wanted.video) tracks.push(capture('camera', picture(fill, width, height)));
    return new MediaStream(tracks);
  };
  devices.getDisplayMedia = async () => {
    if (!test.screenWanted) throw new DOMException('Permission denied', 'NotAllowedError');
    return new MediaStream([capture('screen', picture(screen, width, height))]);
  };
}

/** Puts the instruments beside the stage. */
export function instruments() {
  const test = window.__test;

  const shown = (element) => {
    if (!element || element.getClientRects().length === 0) return false;
    const style = getComputedStyle(element);
    return style.visibility !== 'hidden' && style.opacity !== '0';
  };

  const tiles = () => [...document.querySelectorAll('article')].filter(shown);
  const tileOf = (name) => tiles().find((tile) => tile.getAttribute('aria-label') === name);

  // The colour channels that are strong in the middle of a picture, for example "rg" for yellow.
  const colourOf = (video) => {
    if (!video || video.videoWidth === 0) return '';
    const canvas = Object.assign(document.createElement('canvas'), { width: 16, height: 16 });
    const pen = canvas.getContext('2d', { willReadFrequently: true });
    pen.drawImage(video, video.videoWidth / 2 - 8, video.videoHeight / 2 - 8, 16, 16, 0, 0, 16, 16);
    const middle = pen.getImageData(8, 8, 1, 1).data;
    const top = Math.max(middle[0], middle[1], middle[2]);
    if (top < 60) return 'black';
    return ['r', 'g', 'b'].filter((_, channel) => middle[channel] > top * 0.55).join('');
  };

  /** What a tile shows: null without one. */
  test.look = (name) => {
    const tile = tileOf(name);
    if (!tile) return null;
    const video = [...tile.querySelectorAll('video')].find(shown);
    return {
      identity: tile.dataset.identity,
      words: tile.innerText.trim(),
      labels: [...tile.querySelectorAll('[aria-label], title')]
        .filter(shown)
        .map((part) => part.getAttribute('aria-label') ?? part.textContent),
      video: Boolean(video),
      colour: colourOf(video),
    };
  };

  test.tiles = () => tiles().map((tile) => tile.getAttribute('aria-label'));

  const receiverOf = (track) => {
    for (const connection of test.connections) {
      const receiver = connection.getReceivers().find((r) => r.track === track);
      if (receiver) return { connection, receiver };
    }
    return null;
  };

  const inbound = async (receiver) => {
    for (const entry of (await receiver.getStats()).values()) {
      if (entry.type === 'inbound-rtp') return entry;
    }
    return null;
  };

  const videoTrackOf = (name) => {
    const video = [...(tileOf(name)?.querySelectorAll('video') ?? [])].find((v) => v.srcObject);
    return video?.srcObject.getVideoTracks()[0];
  };

  /** The receiver of somebody's picture; of the voice in the same stream for "audio". */
  const receiverFor = (name, kind) => {
    const found = receiverOf(videoTrackOf(name));
    if (!found || kind === 'video') return found?.receiver;
    const stream = found.connection.streamOf.get(found.receiver.track);
    return found.connection.getReceivers().find(
      (r) => r.track.kind === kind && found.connection.streamOf.get(r.track) === stream,
    );
  };

  /** Counters of the picture or voice of somebody: null while there are none. */
  test.counters = async (name, kind) => {
    const receiver = receiverFor(name, kind);
    const entry = receiver && (await inbound(receiver));
    if (!entry) return null;
    return {
      frames: entry.framesDecoded ?? 0,
      bytes: entry.bytesReceived ?? 0,
      packets: entry.packetsReceived ?? 0,
      lost: entry.packetsLost ?? 0,
      width: entry.frameWidth ?? 0,
      keyframes: entry.keyFramesDecoded ?? 0,
    };
  };

  /** Bytes of every track of a kind that arrived over all connections. */
  test.arrived = async (kind) => {
    let bytes = 0;
    for (const connection of test.connections) {
      for (const receiver of connection.getReceivers().filter((r) => r.track.kind === kind)) {
        bytes += (await inbound(receiver))?.bytesReceived ?? 0;
      }
    }
    return bytes;
  };

  // The strongest frequency of a track in Hz; 0 for silence.
  const pitch = (track) => {
    test.audio ??= new AudioContext();
    if (test.audio.state !== 'running') test.audio.resume().catch(() => {});
    let ear = test.ears.get(track);
    if (!ear) {
      ear = test.audio.createAnalyser();
      ear.fftSize = 8192;
      ear.smoothingTimeConstant = 0;
      test.audio.createMediaStreamSource(new MediaStream([track])).connect(ear);
      test.ears.set(track, ear);
    }
    const levels = new Float32Array(ear.frequencyBinCount);
    ear.getFloatFrequencyData(levels);
    let best = 0;
    levels.forEach((level, bin) => (best = level > levels[best] ? bin : best));
    return levels[best] < -70 ? 0 : (best * test.audio.sampleRate) / ear.fftSize;
  };

  /** The tone of somebody's voice, found as the audio that is in one stream with the picture. */
  test.tone = (name) => {
    const receiver = receiverFor(name, 'audio');
    return receiver ? pitch(receiver.track) : null;
  };

  /** Every tone that arrives, whoever's it is. */
  test.tones = () => {
    const tracks = test.connections
      .filter((connection) => connection.connectionState === 'connected')
      .flatMap((connection) => connection.getReceivers())
      .map((receiver) => receiver.track)
      .filter((track) => track.kind === 'audio' && track.readyState === 'live');
    return tracks.map(pitch).filter((tone) => tone > 0);
  };

  /** Which devices are open. */
  test.devices = () =>
    test.captured.filter(({ track }) => track.readyState === 'live').map(({ source }) => source);
}
