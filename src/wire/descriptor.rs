//! The Dependency Descriptor, an RTP header extension ("RTP Payload Format For AV1", appendix A):
//! which layer a frame is in and what it leans on, whatever the codec and though it be encrypted.

use super::WireError;
use super::bits::{BitReader, BitWriter};

mod structure;

use structure::{ChainDiffs, read_chains};
pub use structure::{Diffs, Indication, Indications, MAX_TARGETS, Structure};

/// The name under which it is negotiated.
pub const URI: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// Why a descriptor says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Its bytes make no sense.
    #[error("malformed")]
    Malformed,
    /// It is told in the words of a structure that is not there: the packet that brought it was
    /// lost or is late.
    #[error("structure unknown")]
    Unknown,
}

impl From<WireError> for Unreadable {
    fn from(_: WireError) -> Self {
        Self::Malformed
    }
}

/// What each descriptor begins with, readable without any structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// First packet of its frame. Frames of several spatial layers make one picture.
    pub first: bool,
    /// Last packet of its frame.
    pub last: bool,
    /// Name of the frame's template.
    pub template: u8,
    /// Running number of the frame, in decode order; all that tells of other frames is relative to
    /// it, so numbers may be moved by a constant.
    pub frame: u16,
}

impl Head {
    /// Reads the mandatory fields.
    ///
    /// # Errors
    /// The bytes end within them.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let ([flags, high, low], _) = bytes.split_first_chunk().ok_or(WireError)?;
        Ok(Self {
            first: flags & 0x80 != 0,
            last: flags & 0x40 != 0,
            template: flags & 0x3f,
            frame: u16::from_be_bytes([*high, *low]),
        })
    }
}

/// What a packet says of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Place in the frame, and the frame's number.
    pub head: Head,
    /// Spatial layer.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// What the frame is to each decode target.
    pub indications: Indications,
    /// The frames that it leans on.
    pub references: Diffs,
    /// The decode targets that can be decoded from here on, target 0 the lowest bit, if the packet
    /// says so; else as before.
    pub active: Option<u32>,
    /// It brought a structure: the first packet of a coded video sequence.
    pub brings_structure: bool,
    chains: ChainDiffs,
    chain_count: u8,
}

impl Descriptor {
    /// Reads a descriptor with the structure of its sequence, and the structure that it brings.
    ///
    /// # Errors
    /// It is malformed, or needs another structure.
    pub fn parse(
        bytes: &[u8],
        structure: Option<&Structure>,
    ) -> Result<(Self, Option<Structure>), Unreadable> {
        let head = Head::parse(bytes)?;
        let mut reader = BitReader::new(bytes.get(3..).unwrap_or_default());
        let flags = Flags::read(&mut reader, bytes.len())?;
        let brought = match flags.structure {
            true => Some(Structure::read(&mut reader)?),
            false => None,
        };
        let structure = brought.as_ref().or(structure).ok_or(Unreadable::Unknown)?;
        let mut active = flags.structure.then(|| structure.all());
        if flags.active {
            active = Some(reader.bits(u32::from(structure.targets()))?);
        }
        let custom = Custom::read(&mut reader, flags, structure)?;
        let template = structure.template(head.template).ok_or(match flags.structure {
            true => Unreadable::Malformed,
            false => Unreadable::Unknown,
        })?;
        let descriptor = Self {
            head,
            spatial: template.spatial,
            temporal: template.temporal,
            indications: custom.indications.unwrap_or(template.indications),
            references: custom.references.unwrap_or(template.diffs),
            active,
            brings_structure: flags.structure,
            chains: custom.chains.unwrap_or(template.chains),
            chain_count: structure.chains(),
        };
        Ok((descriptor, brought))
    }

    /// First packet of a sequence that needs nothing before it.
    #[must_use]
    pub fn starts_keyframe(&self) -> bool {
        self.head.first && self.brings_structure && self.references.as_slice().is_empty()
    }

    /// Whether a decode target shows this frame.
    #[must_use]
    pub fn is_in(&self, target: u8) -> bool {
        self.indications.of(target) != Indication::NotPresent
    }

    /// Whether a viewer who can decode this frame can be given the target from here on. Whether he
    /// can depends on `references`: all of them must have been sent to him.
    #[must_use]
    pub fn switches_to(&self, target: u8) -> bool {
        self.indications.of(target) == Indication::Switch
    }

    /// How far back the last frame of a chain lies, in frame numbers: if that frame was not sent,
    /// the chain is broken. 0 begins the chain anew.
    #[must_use]
    pub fn chain(&self, chain: u8) -> Option<u8> {
        self.chains.get(..usize::from(self.chain_count))?.get(usize::from(chain)).copied()
    }
}

/// Replaces the frame number; `None` if the bytes are too few for one.
pub fn write_frame_number(bytes: &mut [u8], frame: u16) -> Option<()> {
    *bytes.get_mut(1..)?.first_chunk_mut()? = frame.to_be_bytes();
    Some(())
}

/// The same descriptor, saying which decode targets are active; target 0 is the lowest bit of
/// `active`. `None` if it cannot be read with `structure` and brings none of its own. Can be longer
/// than the 16 bytes that a one-byte header extension holds.
#[must_use]
pub fn with_active_targets(bytes: &[u8], structure: &Structure, active: u32) -> Option<Vec<u8>> {
    let (head, rest) = bytes.split_at_checked(3)?;
    let mut reader = BitReader::new(rest);
    let flags = Flags::read(&mut reader, bytes.len()).ok()?;
    let mut writer = BitWriter::after(head);
    Flags { active: true, ..flags }.write(&mut writer);

    let before = reader;
    let brought = match flags.structure {
        true => Some(Structure::read(&mut reader).ok()?),
        false => None,
    };
    writer.copy(before, &reader).ok()?;

    let structure = brought.as_ref().unwrap_or(structure);
    let targets = u32::from(structure.targets());
    if flags.active {
        reader.bits(targets).ok()?;
    }
    writer.bits(active, targets);

    let before = reader;
    Custom::read(&mut reader, flags, structure).ok()?;
    writer.copy(before, &reader).ok()?;
    Some(writer.finish())
}

/// Which of the extended fields are there.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    structure: bool,
    active: bool,
    indications: bool,
    references: bool,
    chains: bool,
}

impl Flags {
    /// There are none in a descriptor of three bytes.
    fn read(reader: &mut BitReader<'_>, length: usize) -> Result<Self, WireError> {
        if length <= 3 {
            return Ok(Self::default());
        }
        Ok(Self {
            structure: reader.flag()?,
            active: reader.flag()?,
            indications: reader.flag()?,
            references: reader.flag()?,
            chains: reader.flag()?,
        })
    }

    fn write(self, writer: &mut BitWriter) {
        for flag in [self.structure, self.active, self.indications, self.references, self.chains] {
            writer.flag(flag);
        }
    }
}

/// What a frame says otherwise than its template.
#[derive(Clone, Copy, Debug)]
struct Custom {
    indications: Option<Indications>,
    references: Option<Diffs>,
    chains: Option<ChainDiffs>,
}

impl Custom {
    fn read(
        reader: &mut BitReader<'_>,
        flags: Flags,
        structure: &Structure,
    ) -> Result<Self, WireError> {
        let mut custom = Self { indications: None, references: None, chains: None };
        if flags.indications {
            custom.indications = Some(Indications::read(reader, structure.targets())?);
        }
        if flags.references {
            custom.references = Some(Diffs::read_custom(reader)?);
        }
        if flags.chains {
            custom.chains = Some(read_chains(reader, structure.chains(), 8)?);
        }
        Ok(custom)
    }
}

#[cfg(test)]
mod tests;
