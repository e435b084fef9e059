//! The names of things: what may be a room's name, who is who, and which key finds what.
//!
//! Everything that a client chooses is checked here once, when the value is made; from then on
//! the type is the proof.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use unicode_segmentation::UnicodeSegmentation as _;

/// A worker of this process, counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u8);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One participant's live connection, as the control plane and the client call it.
///
/// Chosen by the control plane, unique in the process, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A published track. Unique in the process: the worker's number and a running number.
///
/// On the wire `t<worker>-<number>`, for example `t0-17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId {
    /// The worker that gave the number.
    pub worker: WorkerId,
    /// Running number on that worker, from 1.
    pub number: u32,
}

impl TrackId {
    /// Reads the wire form; `None` if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (worker, number) = text.strip_prefix('t')?.split_once('-')?;
        Some(Self { worker: WorkerId(worker.parse().ok()?), number: number.parse().ok()? })
    }
}

impl fmt::Display for TrackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}-{}", self.worker, self.number)
    }
}

impl Serialize for TrackId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A seat of a session: one audio and one video receive section, counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeatIndex(pub u8);

impl SeatIndex {
    /// As an index into a list of seats.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Why a text that somebody chose cannot be used. The message is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing, or only white space.
    #[error("must not be empty")]
    Empty,
    /// Over the limit in bytes.
    #[error("must be at most {0} bytes long")]
    TooManyBytes(usize),
    /// Over the limit in what a person would count as characters.
    #[error("must be at most {0} characters long")]
    TooManyCharacters(usize),
    /// A character that does not belong there.
    #[error("must not contain {0:?}")]
    Character(char),
    /// One character carries more marks than any script needs.
    #[error("has a character with too many marks")]
    Marks,
}

/// A room's name: 1 to 128 bytes of letters, digits, `-` and `_` of any script.
///
/// It stands in a path (`/r/<room>`), so it has no dot, slash or space.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct RoomName(Arc<str>);

impl RoomName {
    /// Longest name in bytes.
    pub const MAX_BYTES: usize = 128;

    /// Checks a name that somebody chose.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong, in words for people.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(NameError::TooManyBytes(Self::MAX_BYTES));
        }
        match text.chars().find(|c| !(c.is_alphanumeric() || matches!(c, '-' | '_'))) {
            Some(bad) => Err(NameError::Character(bad)),
            None => Ok(Self(text.into())),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who a participant is, unique in its room: 1 to 128 bytes without white space or control marks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Identity(Arc<str>);

impl Identity {
    /// Longest identity in bytes.
    pub const MAX_BYTES: usize = 128;

    /// Checks an identity.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong, in words for people.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(NameError::TooManyBytes(Self::MAX_BYTES));
        }
        match text.chars().find(|c| c.is_whitespace() || is_unprintable(*c)) {
            Some(bad) => Err(NameError::Character(bad)),
            None => Ok(Self(text.into())),
        }
    }

    /// The identity as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a participant is called: 1 to 64 characters as people count them, at most 256 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct DisplayName(Arc<str>);

impl DisplayName {
    /// Longest name in bytes.
    pub const MAX_BYTES: usize = 256;
    /// Longest name in grapheme clusters (Unicode Annex 29).
    pub const MAX_GRAPHEMES: usize = 64;
    /// Most code points in one grapheme cluster; a family emoji needs 7, a flag of a region 7.
    const MAX_MARKS: usize = 16;

    /// Checks a name that somebody chose; white space around it is taken off.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong, in words for people.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(NameError::TooManyBytes(Self::MAX_BYTES));
        }
        // The joiner U+200D holds emoji together, so it may stand inside a cluster but not alone.
        if let Some(bad) = text.chars().find(|c| is_unprintable(*c) && *c != '\u{200d}') {
            return Err(NameError::Character(bad));
        }
        let mut clusters = 0;
        for cluster in text.graphemes(true) {
            clusters += 1;
            if cluster == "\u{200d}" {
                return Err(NameError::Character('\u{200d}'));
            }
            if cluster.chars().count() > Self::MAX_MARKS {
                return Err(NameError::Marks);
            }
        }
        if clusters > Self::MAX_GRAPHEMES {
            return Err(NameError::TooManyCharacters(Self::MAX_GRAPHEMES));
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Control characters, and what changes the direction of text or shows nothing.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_named_in_any_script_but_without_what_a_path_would_trip_over() {
        assert!(RoomName::new("blue-otter_7").is_ok());
        assert!(RoomName::new("Straße-房间").is_ok());
        assert_eq!(RoomName::new(""), Err(NameError::Empty));
        for bad in ["a b", "a/b", "a.b", "..", "a\u{0}", "<i>", "a\u{202e}b"] {
            assert!(matches!(RoomName::new(bad), Err(NameError::Character(_))), "{bad:?}");
        }
        assert!(RoomName::new(&"x".repeat(128)).is_ok());
        assert_eq!(RoomName::new(&"x".repeat(129)), Err(NameError::TooManyBytes(128)));
    }

    #[test]
    fn a_display_name_is_counted_as_people_count() {
        assert_eq!(DisplayName::new("  Ada ").unwrap().as_str(), "Ada");
        assert!(DisplayName::new("👩‍👩‍👧‍👦").is_ok());
        assert!(DisplayName::new("<img src=x onerror=alert(1)>").is_ok(), "text stays text");
        assert_eq!(DisplayName::new("   "), Err(NameError::Empty));
        assert!(DisplayName::new(&"é".repeat(64)).is_ok());
        assert_eq!(DisplayName::new(&"é".repeat(65)), Err(NameError::TooManyCharacters(64)));
        let marks = format!("a{}", "\u{301}".repeat(100));
        assert_eq!(DisplayName::new(&marks), Err(NameError::Marks));
        for bad in ["a\nb", "a\u{1b}[0m", "a\u{202e}b", "a\u{200b}b", "a\u{0}b", "\u{200d}"] {
            assert!(matches!(DisplayName::new(bad), Err(NameError::Character(_))), "{bad:?}");
        }
    }

    #[test]
    fn an_identity_is_a_plain_key() {
        assert!(Identity::new("__proto__").is_ok());
        assert!(Identity::new("a b").is_err());
        assert!(Identity::new(&"x".repeat(129)).is_err());
    }

    #[test]
    fn a_track_id_reads_back() {
        let id = TrackId { worker: WorkerId(3), number: 17 };
        assert_eq!(id.to_string(), "t3-17");
        assert_eq!(TrackId::parse("t3-17"), Some(id));
        for bad in ["", "t", "t3", "3-17", "t3-", "t-1", "t300-1", "t3-99999999999"] {
            assert_eq!(TrackId::parse(bad), None, "{bad:?}");
        }
    }
}
