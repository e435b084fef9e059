// @ts-check
// Everything that is public. `docs/sdk.md` shows it in use.

export { FanlightError } from './errors.js';
export { LocalParticipant, Participant, RemoteParticipant } from './participant.js';
export { LocalTrackPublication, RemoteTrackPublication, TrackPublication } from './publication.js';
export { Room } from './room.js';
