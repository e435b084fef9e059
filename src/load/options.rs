//! What a run is asked to do: flags into values, checked before anything starts.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// Smallest audio datagram: header, extensions, mark and authentication tag.
const LEAST_AUDIO: usize = 90;
/// Smallest video datagram, likewise with the VP8 header.
const LEAST_VIDEO: usize = 200;
/// Largest datagram: what an Ethernet frame carries; the server drops more.
const MOST_BYTES: usize = 1_450;

/// Who joins whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// One room of --people; each publishes and watches all others
    Meeting,
    /// One publisher and --viewers who only watch
    Broadcast,
    /// --rooms rooms of --people; each publishes and watches all others of its room
    Rooms,
    /// A meeting of --people while --rate guests a second join, stay for --stay and leave
    Churn,
}

impl Scenario {
    /// As it is written on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Meeting => "meeting",
            Self::Broadcast => "broadcast",
            Self::Rooms => "rooms",
            Self::Churn => "churn",
        }
    }
}

/// Options of `fanlight load`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// meeting: all watch all; broadcast: one publisher, --viewers; rooms: --rooms meetings;
    /// churn: a meeting, and --rate guests a second who join and leave
    #[arg(value_enum, hide_possible_values = true)]
    pub scenario: Scenario,
    /// The server's address [default: http://127.0.0.1:8443]
    #[arg(long)]
    pub server: Option<String>,
    /// Take any certificate; on loopback that is so anyway
    #[arg(long)]
    pub insecure: bool,
    /// People of a room [default: 10, rooms: 3, churn: 4]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub people: Option<u32>,
    /// Viewers of a broadcast
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub viewers: u32,
    /// Rooms
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rooms: u32,
    /// Guests per second that join, and leave again
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rate: u32,
    /// Seconds that a guest stays
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub stay: f64,
    /// Guests publish too
    #[arg(long)]
    pub guests_publish: bool,
    /// Video packets per second of a publisher; 0 for none
    #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    pub video_pps: u32,
    /// Video frames per second; a frame's packets leave back to back
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=240))]
    pub video_fps: u32,
    /// Bytes of a video datagram
    #[arg(long, default_value_t = 1_200)]
    pub video_bytes: usize,
    /// How many times as many packets a keyframe has
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub keyframe_factor: u32,
    /// Three layers (rids q, h, f) at 1/16, 1/4 and all of the rate
    #[arg(long)]
    pub simulcast: bool,
    /// Audio packets per second of a publisher; 0 for none
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub audio_pps: u32,
    /// Bytes of an audio datagram
    #[arg(long, default_value_t = 100)]
    pub audio_bytes: usize,
    /// Most pairs of receive sections of a person [default: as the server wants]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..))]
    pub seats: Option<u8>,
    /// Seconds that are measured
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub seconds: f64,
    /// Seconds over which people join [default: 40 people a second]
    #[arg(long, value_parser = seconds)]
    pub ramp: Option<f64>,
    /// Seconds between the last join and the measurement
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub settle: f64,
    /// Threads that send and receive
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub threads: u8,
    /// Process of the server on this machine, to measure its CPU time and memory
    #[arg(long)]
    pub pid: Option<u32>,
    /// Write the figures as JSON to a file; - for standard output, instead of the table
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Chooses when within a frame each publisher sends
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

impl Options {
    /// What cannot be done, as a sentence.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), String> {
        if self.video_pps > 0 && self.video_pps < self.video_fps {
            return Err("--video-pps is less than one packet per frame of --video-fps".into());
        }
        let within = |name: &str, bytes: usize, least: usize| match bytes {
            _ if bytes < least => Err(format!("{name} must be {least} or more")),
            _ if bytes > MOST_BYTES => Err(format!("{name} must be {MOST_BYTES} or less")),
            _ => Ok(()),
        };
        within("--video-bytes", self.video_bytes, LEAST_VIDEO)?;
        within("--audio-bytes", self.audio_bytes, LEAST_AUDIO)?;
        Ok(())
    }

    /// How long is measured.
    #[must_use]
    pub fn window(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// Most pairs of receive sections that a person offers.
    #[must_use]
    pub fn most_seats(&self) -> usize {
        self.seats.map_or(usize::MAX, usize::from)
    }

    /// How many people a room has from the beginning; a broadcast's publisher is one of them.
    #[must_use]
    pub fn people(&self) -> u32 {
        match self.scenario {
            Scenario::Meeting => self.people.unwrap_or(10),
            Scenario::Rooms => self.people.unwrap_or(3),
            Scenario::Churn => self.people.unwrap_or(4),
            Scenario::Broadcast => self.viewers.saturating_add(1),
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0 to 86400".into()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    pub fn options(words: &str) -> Options {
        let command = Options::augment_args(Command::new("load"));
        let words = std::iter::once("load").chain(words.split(' '));
        Options::from_arg_matches(&command.get_matches_from(words)).unwrap()
    }

    #[test]
    fn what_cannot_be_done_is_said_before_anything_starts() {
        assert_eq!(options("meeting").check(), Ok(()));
        for (words, about) in [
            ("meeting --video-pps 20", "--video-pps"),
            ("meeting --audio-bytes 60", "--audio-bytes"),
            ("meeting --video-bytes 1500", "--video-bytes"),
        ] {
            let said = options(words).check().unwrap_err();
            assert!(said.contains(about), "{said}");
        }
        assert_eq!(options("rooms").people(), 3);
        assert_eq!(options("broadcast --viewers 7").people(), 8);
    }
}
