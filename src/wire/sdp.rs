//! What is looked at in an offer before the engine parses it: limits, an outline, and what is
//! written into its text (RFC 8866, RFC 8829).

use std::collections::HashSet;
use std::fmt::Write as _;

use super::descriptor;
use crate::model::Kind;

/// Longest offer in bytes: 64 seats of a browser with all its codecs.
pub const MAX_BYTES: usize = 384 * 1024;
/// Most lines.
pub const MAX_LINES: usize = 12_000;
/// Most m-lines: 64 seats in pairs, 8 tracks, the data channels and some that were stopped.
pub const MAX_MEDIA: usize = 160;
/// Most payload types on an m-line.
pub const MAX_TYPES: usize = 80;
/// Most simulcast layers on an m-line.
pub const MAX_RIDS: usize = 3;
/// Most SSRCs that an m-line may announce.
pub const MAX_SSRCS: usize = 8;

/// Why an offer is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// Over a limit in size.
    #[error("The offer has more than {limit} {what}.")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        limit: usize,
    },
    /// Over a limit in number.
    #[error("The offer has more than {limit} {what}.")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// It says what cannot be.
    #[error("Line {line} of the offer: {what}")]
    Line {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// Something is not there.
    #[error("The offer has no {0}.")]
    Missing(&'static str),
}

/// What an m-line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
    /// Data channels.
    Application,
}

impl LineKind {
    /// The kind of media, if it is one.
    #[must_use]
    pub fn media(self) -> Option<Kind> {
        match self {
            Self::Audio => Some(Kind::Audio),
            Self::Video => Some(Kind::Video),
            Self::Application => None,
        }
    }
}

/// Which way an m-line goes, as the client sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// The client only sends.
    SendOnly,
    /// The client only receives.
    RecvOnly,
    /// Both; what an m-line without a direction means.
    #[default]
    SendRecv,
    /// Neither.
    Inactive,
}

/// One m-line of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its id.
    pub mid: String,
    /// What it is for.
    pub kind: LineKind,
    /// Port 0 without `bundle-only`: it is not used.
    pub rejected: bool,
    /// Which way it goes.
    pub direction: Direction,
    /// The layers that it sends, in the order of its simulcast line.
    pub rids: Vec<String>,
    /// It names its streams itself.
    pub has_msid: bool,
    /// The codec that it names first is VP8.
    pub prefers_vp8: bool,
    /// The payload type that it names first.
    first_type: String,
    ssrcs: HashSet<String>,
}

/// An offer as far as Fanlight looks at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Its m-lines, in order.
    pub lines: Vec<Line>,
    fingerprint: Option<String>,
    setup: Option<String>,
    ufrag: Option<String>,
}

/// Checks what costs nothing to check.
///
/// # Errors
/// Over a limit.
pub fn check_limits(text: &str) -> Result<(), SdpError> {
    if text.len() > MAX_BYTES {
        return Err(SdpError::TooLarge { what: "bytes", limit: MAX_BYTES });
    }
    if text.lines().count() > MAX_LINES {
        return Err(SdpError::TooMany { what: "lines", limit: MAX_LINES });
    }
    if text.lines().filter(|line| line.starts_with("m=")).count() > MAX_MEDIA {
        return Err(SdpError::TooMany { what: "m-lines", limit: MAX_MEDIA });
    }
    Ok(())
}

impl Outline {
    /// Reads an offer that is within [`check_limits`].
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn read(text: &str) -> Result<Self, SdpError> {
        let mut outline = Self::default();
        for (number, line) in (1usize..).zip(text.lines()) {
            let line = line.trim_end();
            if number == 1 && line != "v=0" {
                return Err(at(number, "it must be v=0"));
            }
            if let Some(media) = line.strip_prefix("m=") {
                outline.lines.push(media_line(media, number)?);
            } else if let Some(attribute) = line.strip_prefix("a=") {
                outline.attribute(attribute, number)?;
            }
        }
        outline.check()?;
        Ok(outline)
    }

    fn attribute(&mut self, attribute: &str, number: usize) -> Result<(), SdpError> {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        match name {
            "fingerprint" => self.fingerprint = Some(fingerprint(value, number)?),
            "setup" => self.setup = Some(value.to_owned()),
            "ice-ufrag" => self.ufrag = Some(value.to_owned()),
            _ => {}
        }
        let Some(line) = self.lines.last_mut() else { return Ok(()) };
        match name {
            "mid" if value.is_empty() || value.len() > 16 => {
                return Err(at(number, "a mid has 1 to 16 bytes"));
            }
            "mid" => value.clone_into(&mut line.mid),
            "sendonly" => line.direction = Direction::SendOnly,
            "recvonly" => line.direction = Direction::RecvOnly,
            "sendrecv" => line.direction = Direction::SendRecv,
            "inactive" => line.direction = Direction::Inactive,
            "bundle-only" => line.rejected = false,
            "msid" => line.has_msid = true,
            "simulcast" => line.rids = simulcast(value),
            "ssrc" => {
                line.ssrcs.insert(value.split(' ').next().unwrap_or_default().to_owned());
                if line.ssrcs.len() > MAX_SSRCS {
                    let what = "SSRCs on an m-line";
                    return Err(SdpError::TooMany { what, limit: MAX_SSRCS });
                }
            }
            "rtpmap" => {
                let pt = value.split(' ').next().and_then(|pt| pt.parse::<u8>().ok());
                if pt.is_none_or(|pt| pt > 127) {
                    return Err(at(number, "a payload type is a number from 0 to 127"));
                }
                let (pt, codec) = value.split_once(' ').unwrap_or((value, ""));
                line.prefers_vp8 |= pt == line.first_type && is_vp8(codec);
            }
            _ => {}
        }
        if line.rids.len() > MAX_RIDS {
            return Err(SdpError::TooMany { what: "layers on an m-line", limit: MAX_RIDS });
        }
        Ok(())
    }

    fn check(&self) -> Result<(), SdpError> {
        if self.lines.is_empty() {
            return Err(SdpError::Missing("m-line"));
        }
        if self.fingerprint.is_none() {
            return Err(SdpError::Missing("fingerprint"));
        }
        if self.ufrag.is_none() {
            return Err(SdpError::Missing("ICE user name"));
        }
        let mut seen = HashSet::new();
        for line in &self.lines {
            if line.mid.is_empty() {
                return Err(SdpError::Missing("mid on one of its m-lines"));
            }
            if !seen.insert(line.mid.as_str()) {
                let what = format!("the mid {} stands twice", line.mid);
                return Err(SdpError::Line { line: 0, what });
            }
        }
        Ok(())
    }
}

fn at(line: usize, what: &str) -> SdpError {
    SdpError::Line { line, what: what.to_owned() }
}

fn media_line(value: &str, number: usize) -> Result<Line, SdpError> {
    let mut parts = value.split(' ');
    let kind = match parts.next() {
        Some("audio") => LineKind::Audio,
        Some("video") => LineKind::Video,
        Some("application") => LineKind::Application,
        _ => return Err(at(number, "an m-line is audio, video or application")),
    };
    let port = parts.next().and_then(|port| port.parse::<u16>().ok());
    let port = port.ok_or_else(|| at(number, "an m-line needs a port"))?;
    let mut types = parts.skip(1);
    let first_type = types.next().unwrap_or_default().to_owned();
    if types.count() >= MAX_TYPES {
        return Err(SdpError::TooMany { what: "payload types on an m-line", limit: MAX_TYPES });
    }
    Ok(Line {
        mid: String::new(),
        kind,
        rejected: port == 0,
        direction: Direction::default(),
        rids: Vec::new(),
        has_msid: false,
        prefers_vp8: false,
        first_type,
        ssrcs: HashSet::new(),
    })
}

/// Whether an `rtpmap` names VP8.
fn is_vp8(codec: &str) -> bool {
    codec.split('/').next().is_some_and(|name| name.eq_ignore_ascii_case("VP8"))
}

/// RFC 8122 section 5: a hash function and its bytes in hexadecimal.
fn fingerprint(value: &str, number: usize) -> Result<String, SdpError> {
    let (hash, bytes) = value.split_once(' ').unwrap_or((value, ""));
    let sound = |byte: &str| byte.len() == 2 && byte.bytes().all(|b| b.is_ascii_hexdigit());
    if !hash.eq_ignore_ascii_case("sha-256") || bytes.split(':').filter(|b| sound(b)).count() != 32
    {
        return Err(at(number, "the fingerprint must be sha-256 with 32 bytes"));
    }
    Ok(bytes.to_ascii_lowercase())
}

/// The sending layers of a simulcast attribute (RFC 8853): the first alternative of each.
fn simulcast(value: &str) -> Vec<String> {
    let mut words = value.split(' ');
    let list = words.find(|word| *word == "send").and_then(|_| words.next()).unwrap_or_default();
    let first = |layer: &str| {
        layer.split(',').next().unwrap_or_default().trim_start_matches('~').to_owned()
    };
    list.split(';').map(first).filter(|rid| !rid.is_empty()).collect()
}

/// The offer as the engine is to see it: without the client's candidates (it always reaches us
/// first, and media must not go where a text says), with one stream id for both lines of a seat, so
/// that browsers synchronise lips and voice, and without the dependency descriptor where VP8 is
/// sent: Chromium would leave VP8's own picture ids out.
#[must_use]
pub fn prepare(text: &str, outline: &Outline) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(1024));
    let mut lines = outline.lines.iter();
    let mut current: Option<&Line> = None;
    let (mut audio, mut video) = (0u32, 0u32);
    for line in text.lines() {
        let line = line.trim_end();
        if line.starts_with("m=") {
            current = lines.next();
        }
        if line.starts_with("a=candidate:") || line == "a=end-of-candidates" {
            continue;
        }
        let sends_vp8 =
            current.is_some_and(|line| line.prefers_vp8 && line.direction != Direction::RecvOnly);
        if sends_vp8 && line.starts_with("a=extmap:") && line.contains(descriptor::URI) {
            continue;
        }
        out.push_str(line);
        out.push_str("\r\n");
        let Some(described) = current.filter(|_| line == "a=recvonly") else { continue };
        let (count, half) = match described.kind {
            LineKind::Audio => (&mut audio, 'a'),
            LineKind::Video => (&mut video, 'v'),
            LineKind::Application => continue,
        };
        if !described.has_msid {
            let _ = write!(out, "a=msid:seat{count} seat{count}{half}\r\n");
        }
        *count = count.saturating_add(1);
    }
    out
}

/// Whether a further offer fits the one before (RFC 8829 section 5.2.2): m-lines keep their order,
/// and what was agreed once stays.
///
/// # Errors
/// What does not fit.
pub fn same_shape(old: &Outline, new: &Outline) -> Result<(), String> {
    if new.fingerprint != old.fingerprint {
        return Err("A further offer must keep the fingerprint.".to_owned());
    }
    // Who leaves the choice to us is the active side: the answer is passive (RFC 8842 section 5.3).
    let role = |outline: &Outline| match outline.setup.as_deref() {
        Some("passive") => "passive",
        Some("active" | "actpass") | None => "active",
        Some(_) => "unknown",
    };
    let open = new.setup.as_deref() == Some("actpass");
    if !open && role(old) != role(new) {
        return Err("A further offer must keep the DTLS role.".to_owned());
    }
    if new.lines.len() < old.lines.len() {
        return Err("A further offer must keep all m-lines.".to_owned());
    }
    for (before, after) in old.lines.iter().zip(&new.lines) {
        let recycled = before.rejected || after.rejected;
        if (before.kind != after.kind || before.mid != after.mid) && !recycled {
            let mid = &before.mid;
            return Err(format!("A further offer must keep the m-line {mid} in its place."));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF";

    fn offer(media: &[&str]) -> String {
        let mut text = format!(
            "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{FINGERPRINT}\r\na=ice-ufrag:abcd\r\na=setup:actpass\r\n"
        );
        for line in media {
            text.push_str(line);
        }
        text
    }

    fn line(kind: &str, mid: &str, rest: &str) -> String {
        format!("m={kind} 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:{mid}\r\n{rest}\r\n")
    }

    #[test]
    fn an_outline_tells_what_each_line_is() {
        let text = offer(&[
            &line("audio", "0", "a=sendonly"),
            &line(
                "video",
                "1",
                "a=sendonly\r\na=rid:h send\r\na=rid:f send\r\na=simulcast:send h;~f",
            ),
            "m=audio 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\na=bundle-only\r\na=recvonly\r\n",
            "m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:3\r\na=recvonly\r\n",
        ]);
        let outline = Outline::read(&text).unwrap();
        assert_eq!(outline.lines[1].rids, ["h", "f"]);
        assert_eq!(outline.lines[0].direction, Direction::SendOnly);
        assert!(!outline.lines[2].rejected, "bundle-only is not rejected");
        assert!(outline.lines[3].rejected);
    }

    #[test]
    fn each_fault_is_named() {
        let read = |text: &str| Outline::read(text).unwrap_err().to_string();
        assert!(read("").contains("no m-line"));
        assert!(read("v=1\r\n").contains("Line 1"));
        assert!(read(&offer(&[])).contains("no m-line"));
        let twice = offer(&[&line("audio", "0", ""), &line("video", "0", "")]);
        assert!(read(&twice).contains("stands twice"));
        assert!(read(&offer(&["m=audio 9 X 96\r\n"])).contains("mid"));
        let pt = offer(&[&line("audio", "0", "a=rtpmap:200 opus/48000/2")]);
        assert!(read(&pt).contains("payload type"));
        let short = offer(&[&line("audio", "0", "a=fingerprint:sha-256 00:11")]);
        assert!(read(&short).contains("fingerprint"));
        let rids = offer(&[&line("video", "0", "a=simulcast:send a;b;c;d")]);
        assert!(read(&rids).contains("more than 3 layers"));
        let ssrcs: String = (0..9).map(|n| format!("a=ssrc:{n} cname:x\r\n")).collect();
        assert!(read(&offer(&[&line("video", "0", &ssrcs)])).contains("more than 8 SSRCs"));
    }

    #[test]
    fn limits_hold_at_their_edge() {
        let media = |n: usize| "m=audio 9 X 0\r\n".repeat(n);
        assert!(check_limits(&media(MAX_MEDIA)).is_ok());
        assert!(matches!(check_limits(&media(MAX_MEDIA + 1)), Err(SdpError::TooMany { .. })));
        assert!(check_limits(&"x".repeat(MAX_BYTES)).is_ok());
        assert!(matches!(check_limits(&"x".repeat(MAX_BYTES + 1)), Err(SdpError::TooLarge { .. })));
        assert!(check_limits(&"\n".repeat(MAX_LINES + 1)).is_err());
    }

    #[test]
    fn the_dependency_descriptor_stays_where_no_vp8_is_sent() {
        let video = |mid: &str, codecs: &str, direction: &str| {
            let map = format!("a=extmap:12 {}\r\na=extmap:4/sendonly urn:other", descriptor::URI);
            let maps = "a=rtpmap:98 VP9/90000\r\na=rtpmap:96 VP8/90000";
            format!("m=video 9 X {codecs}\r\na=mid:{mid}\r\n{map}\r\n{direction}\r\n{maps}\r\n")
        };
        let kept = |codecs, direction| {
            let text = offer(&[&video("0", codecs, direction)]);
            let prepared = prepare(&text, &Outline::read(&text).unwrap());
            assert!(prepared.contains("urn:other"));
            prepared.contains(descriptor::URI)
        };
        assert!(!kept("96 98", "a=sendonly"));
        assert!(kept("98 96", "a=sendonly"));
        assert!(kept("96 98", "a=recvonly"), "other codecs come there too");
    }

    #[test]
    fn candidates_go_and_seats_get_one_stream_each() {
        let text = offer(&[
            &line("audio", "0", "a=sendonly\r\na=candidate:1 1 udp 1 224.0.0.1 9 typ host"),
            &line("audio", "1", "a=recvonly"),
            &line("video", "2", "a=recvonly"),
            &line("audio", "3", "a=recvonly\r\na=end-of-candidates"),
            &line("video", "4", "a=recvonly"),
        ]);
        let prepared = prepare(&text, &Outline::read(&text).unwrap());
        assert!(!prepared.contains("candidate"));
        for msid in ["seat0 seat0a", "seat0 seat0v", "seat1 seat1a", "seat1 seat1v"] {
            assert_eq!(prepared.matches(&format!("a=msid:{msid}\r\n")).count(), 1, "{msid}");
        }
    }

    #[test]
    fn a_further_offer_keeps_what_was_agreed() {
        let read = |media: &[&str]| Outline::read(&offer(media)).unwrap();
        let (audio, video) = (line("audio", "0", ""), line("video", "1", ""));
        let old = read(&[&audio, &video]);
        assert!(same_shape(&old, &read(&[&audio, &video, &line("audio", "2", "")])).is_ok());
        assert!(same_shape(&old, &read(&[&audio])).is_err(), "a line is missing");
        assert!(same_shape(&old, &read(&[&video, &audio])).is_err(), "another order");
        assert!(
            same_shape(&old, &read(&[&audio, &line("audio", "1", "")])).is_err(),
            "another kind"
        );
        let other = offer(&[&audio, &video])
            .replace("a=fingerprint:sha-256 00", "a=fingerprint:sha-256 01");
        assert!(same_shape(&old, &Outline::read(&other).unwrap()).is_err(), "another fingerprint");
        let active = offer(&[&audio, &video]).replace("actpass", "active");
        let passive = offer(&[&audio, &video]).replace("actpass", "passive");
        let (active, passive) = (Outline::read(&active).unwrap(), Outline::read(&passive).unwrap());
        assert!(same_shape(&active, &passive).is_err(), "another role");
    }
}
