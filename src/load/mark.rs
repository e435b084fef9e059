//! What each packet carries, so that whoever decrypts it knows whose it is, which one, and when
//! it was sent.

use crate::model::Kind;
use crate::wire::{Reader, WireError};

/// First bytes of each mark.
const MAGIC: [u8; 4] = *b"FLd1";

/// Bytes of a mark.
pub const MARK: usize = 26;

/// Bytes in front of the mark in a video payload: the VP8 descriptor and a keyframe's header.
pub const VIDEO_HEAD: usize = 16;

/// Bytes in front of the mark in an audio payload: Opus' table of contents.
pub const AUDIO_HEAD: usize = 1;

/// Who sent a packet, which one it is, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The run of the load generator, so that two of them in one room are not mixed up.
    pub run: u32,
    /// The publisher's number in the run.
    pub publisher: u32,
    /// Audio or video.
    pub kind: Kind,
    /// Which simulcast layer, from 0 for the lowest; 0 without simulcast.
    pub layer: u8,
    /// Running number within publisher, kind and layer, from 0.
    pub number: u32,
    /// Nanoseconds from the beginning of the run.
    pub sent: u64,
}

impl Mark {
    /// The mark's bytes.
    #[must_use]
    pub fn write(&self) -> [u8; MARK] {
        let mut bytes = [0; MARK];
        let parts: [&[u8]; 7] = [
            &MAGIC,
            &self.run.to_be_bytes(),
            &self.publisher.to_be_bytes(),
            &[u8::from(self.kind == Kind::Video)],
            &[self.layer],
            &self.number.to_be_bytes(),
            &self.sent.to_be_bytes(),
        ];
        for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    /// The mark in an RTP payload.
    ///
    /// # Errors
    /// There is none: somebody else's packet.
    pub fn find(payload: &[u8]) -> Result<Self, WireError> {
        Self::read(payload.get(VIDEO_HEAD..).unwrap_or_default())
            .or_else(|_| Self::read(payload.get(AUDIO_HEAD..).unwrap_or_default()))
    }

    fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        if *reader.array::<4>()? != MAGIC {
            return Err(WireError);
        }
        Ok(Self {
            run: reader.u32()?,
            publisher: reader.u32()?,
            kind: if reader.u8()? == 1 { Kind::Video } else { Kind::Audio },
            layer: reader.u8()?,
            number: reader.u32()?,
            sent: reader.array().map(|bytes| u64::from_be_bytes(*bytes))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_where_it_was_written_and_nowhere_else() {
        for (kind, head) in [(Kind::Video, VIDEO_HEAD), (Kind::Audio, AUDIO_HEAD)] {
            let mark = Mark { run: 7, publisher: 3, kind, layer: 2, number: 99, sent: u64::MAX };
            let mut payload = vec![0; head];
            payload.extend(mark.write());
            payload.resize(200, 0);
            assert_eq!(Mark::find(&payload), Ok(mark));
            assert!(Mark::find(&payload[..head + MARK - 1]).is_err());
        }
        assert!(Mark::find(&[]).is_err());
        assert!(Mark::find(&[0; 1_200]).is_err());
    }
}
