// @ts-check
import { html, useEffect, useState } from '/vendor/preact-htm.js';

const BARS = 14;

/**
 * How loud the microphone is, in bars.
 * @param {{track?: MediaStreamTrack}} props
 */
export function Meter({ track }) {
  const [level, setLevel] = useState(0);
  useEffect(() => {
    if (!track || typeof AudioContext === 'undefined') return undefined;
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    analyser.fftSize = 512;
    const source = context.createMediaStreamSource(new MediaStream([track]));
    source.connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
      const decibels = 10 * Math.log10(power + 1e-9);
      setLevel(Math.max(0, Math.min(BARS, Math.round((decibels + 60) / 4))));
    }, 100);
    return () => {
      clearInterval(timer);
      source.disconnect();
      context.close().catch(() => {});
      setLevel(0);
    };
  }, [track]);
  return html`<div class="meter" role="img" aria-label="Microphone level">
    ${Array.from({ length: BARS }, (_, n) => html`<i class=${n < level ? 'lit' : ''}></i>`)}
  </div>`;
}
