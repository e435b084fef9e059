//! The header of a data-channel message (`docs/protocol.md` section 2).

use super::{Reader, WireError};

/// Longest header in bytes.
pub const MAX_HEADER: usize = 4_096;
/// Most receivers that a message may name.
pub const MAX_TO: usize = 16;
/// Longest topic in bytes.
pub const MAX_TOPIC: usize = 64;
/// Longest identity in bytes.
pub const MAX_NAME: usize = 128;

/// Where the id stands in a frame.
const ID_AT: usize = 6;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message from a member.
    Message,
    /// The server took the message of this id.
    Taken,
    /// The server refused the message of this id.
    Refused,
}

/// One frame, borrowed from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// The payload is UTF-8 text.
    pub text: bool,
    /// The sender's number for the message.
    pub id: u32,
    /// The topic.
    pub topic: &'a str,
    /// Who sent it; what a client writes here means nothing.
    pub from: &'a str,
    /// The receivers as they stand in the header, each a length and a name.
    receivers: &'a [u8],
    /// What it carries.
    pub payload: &'a [u8],
}

/// Why a frame cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// It ends too early, or a text is no UTF-8.
    #[error("The message's header cannot be read.")]
    Malformed,
    /// Not version 1.
    #[error("The message's header has version {0}; this server knows version 1.")]
    Version(u8),
    /// A kind that is not known.
    #[error("The message has the unknown kind {0}.")]
    Kind(u8),
    /// The header is longer than it may be.
    #[error("The message's header has more than {MAX_HEADER} bytes.")]
    Header,
    /// The topic is longer than it may be.
    #[error("The topic has more than {MAX_TOPIC} bytes.")]
    Topic,
    /// A name is longer than it may be.
    #[error("An identity has more than {MAX_NAME} bytes.")]
    Name,
    /// More receivers than there may be.
    #[error("The message names more than {MAX_TO} receivers.")]
    Receivers,
}

impl From<WireError> for FrameError {
    fn from(_: WireError) -> Self {
        Self::Malformed
    }
}

impl<'a> Frame<'a> {
    /// Reads one whole message of a channel.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != 1 {
            return Err(FrameError::Version(version));
        }
        let kind = match reader.u8()? {
            1 => Kind::Message,
            2 => Kind::Taken,
            3 => Kind::Refused,
            other => return Err(FrameError::Kind(other)),
        };
        let text = reader.u8()? & 1 != 0;
        reader.u8()?;
        let length = usize::from(reader.u16()?);
        if length > MAX_HEADER {
            return Err(FrameError::Header);
        }
        let (header, payload) = bytes.split_at_checked(length).ok_or(FrameError::Malformed)?;
        let mut reader = Reader::new(header.get(ID_AT..).ok_or(FrameError::Malformed)?);
        let id = reader.u32()?;
        let topic = reader.text()?;
        let from = reader.text()?;
        let count = reader.u8()?;
        if topic.len() > MAX_TOPIC {
            return Err(FrameError::Topic);
        }
        if usize::from(count) > MAX_TO {
            return Err(FrameError::Receivers);
        }
        let list = reader.rest();
        for _ in 0..count {
            if reader.text()?.len() > MAX_NAME {
                return Err(FrameError::Name);
            }
        }
        if from.len() > MAX_NAME {
            return Err(FrameError::Name);
        }
        let used = list.len().saturating_sub(reader.rest().len());
        let receivers = list.get(..used).unwrap_or_default();
        Ok(Self { kind, text, id, topic, from, receivers, payload })
    }

    /// The receivers that it names; none means everybody else.
    pub fn to(&self) -> impl Iterator<Item = &'a str> {
        let mut reader = Reader::new(self.receivers);
        std::iter::from_fn(move || reader.text().ok())
    }
}

/// The id of a frame that cannot be read otherwise, so that a refusal can name it.
#[must_use]
pub fn id_of(bytes: &[u8]) -> Option<u32> {
    Reader::new(bytes.get(ID_AT..)?).u32().ok()
}

/// A message as its receivers get it: under the name that the server knows the sender by.
#[must_use]
pub fn write_message(from: &str, frame: &Frame<'_>) -> Vec<u8> {
    write(frame, from)
}

/// An answer to a sender.
#[must_use]
pub fn write_reply(kind: Kind, id: u32, payload: &[u8]) -> Vec<u8> {
    write(&Frame { kind, text: true, id, topic: "", from: "", receivers: &[], payload }, "")
}

fn write(frame: &Frame<'_>, from: &str) -> Vec<u8> {
    let count = u8::try_from(frame.to().count()).unwrap_or(u8::MAX);
    let mut header = vec![1, frame.kind.number(), u8::from(frame.text), 0, 0, 0];
    header.extend_from_slice(&frame.id.to_be_bytes());
    for text in [frame.topic, from] {
        header.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        header.extend_from_slice(text.as_bytes());
    }
    header.push(count);
    header.extend_from_slice(frame.receivers);
    let length = u16::try_from(header.len()).unwrap_or(u16::MAX).to_be_bytes();
    for (place, byte) in header.iter_mut().skip(4).zip(length) {
        *place = byte;
    }
    header.extend_from_slice(frame.payload);
    header
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Self::Message => 1,
            Self::Taken => 2,
            Self::Refused => 3,
        }
    }
}

/// A client's message, for tests and load: `to` names its receivers.
#[must_use]
pub fn write_client_message(id: u32, topic: &str, to: &[&str], payload: &[u8]) -> Vec<u8> {
    let mut receivers = Vec::new();
    for name in to {
        receivers.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        receivers.extend_from_slice(name.as_bytes());
    }
    let kind = Kind::Message;
    let receivers = &receivers;
    write(&Frame { kind, text: false, id, topic, from: "", receivers, payload }, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_back_with_the_name_that_the_server_wrote() {
        let sent = write_client_message(7, "chat", &["ada", "kofi"], b"hello");
        let frame = Frame::parse(&sent).unwrap();
        assert_eq!(frame.to().collect::<Vec<_>>(), ["ada", "kofi"]);
        let passed = write_message("sam", &frame);
        let read = Frame::parse(&passed).unwrap();
        assert_eq!(
            (read.id, read.topic, read.from, read.payload),
            (7, "chat", "sam", &b"hello"[..])
        );
        assert_eq!(read.to().collect::<Vec<_>>(), ["ada", "kofi"]);
    }

    #[test]
    fn a_sender_that_names_itself_otherwise_is_not_believed() {
        let mut forged = write_message(
            "mallory",
            &Frame::parse(&write_client_message(1, "", &[], b"x")).unwrap(),
        );
        forged[1] = 1;
        let frame = Frame::parse(&forged).unwrap();
        assert_eq!(frame.from, "mallory");
        assert_eq!(Frame::parse(&write_message("sam", &frame)).unwrap().from, "sam");
    }

    #[test]
    fn each_limit_has_its_own_sentence() {
        let long = "x".repeat(65);
        let topic = write_client_message(1, &long, &[], b"");
        assert_eq!(Frame::parse(&topic), Err(FrameError::Topic));
        let name = "x".repeat(129);
        assert_eq!(
            Frame::parse(&write_client_message(1, "", &[&name], b"")),
            Err(FrameError::Name)
        );
        let many = vec!["a"; 17];
        assert_eq!(
            Frame::parse(&write_client_message(1, "", &many, b"")),
            Err(FrameError::Receivers)
        );
        assert_eq!(Frame::parse(&[2, 1, 0, 0, 0, 13]), Err(FrameError::Version(2)));
        assert_eq!(Frame::parse(&[1, 9, 0, 0, 0, 13]), Err(FrameError::Kind(9)));
        assert_eq!(Frame::parse(&[1, 1, 0, 0, 0x10, 0x01]), Err(FrameError::Header));
    }

    #[test]
    fn a_cut_header_is_malformed_and_never_a_panic() {
        let whole = write_client_message(9, "topic", &["a", "b"], b"");
        for end in 0..whole.len() {
            assert!(Frame::parse(&whole[..end]).is_err(), "{end} bytes");
        }
        assert_eq!(id_of(&whole), Some(9));
        assert_eq!(id_of(&whole[..9]), None);
        let mut no_text = whole;
        no_text[11] = 0xff;
        assert_eq!(Frame::parse(&no_text), Err(FrameError::Malformed));
    }
}
