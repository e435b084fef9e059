//! What a viewer's decoder makes of what it received: a model that knows frames, what each needs,
//! and when it could be shown.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use fanlight::wire::vp8::Vp8;

use crate::support::camera::{FPS, FrameMark};
use crate::support::peer::Received;
use crate::world::World;

/// From one frame of the layered camera to the next.
const FRAME: Duration = Duration::from_millis(1_000 / FPS);

/// A frame that was received whole and could be decoded.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    pub at: Instant,
    pub mark: FrameMark,
    pub bytes: usize,
}

/// One receiving section's pictures.
#[derive(Debug, Default)]
pub struct Pictures {
    /// Frames in the order in which they could be shown.
    pub shown: Vec<Shown>,
    /// Frames that came whole and needed something that had not been decoded.
    pub undecodable: usize,
    /// Frames of which a packet never came.
    pub torn: usize,
}

impl Pictures {
    /// The longest time without a new picture between two moments.
    pub fn longest_freeze(&self, from: Instant, to: Instant) -> Duration {
        let inside = self.shown.iter().map(|shown| shown.at).filter(|at| (from..to).contains(at));
        let mut last = from;
        let mut longest = Duration::ZERO;
        for at in inside.chain([to]) {
            longest = longest.max(at.saturating_duration_since(last));
            last = last.max(at);
        }
        longest
    }

    /// Pictures shown between two moments.
    pub fn between(&self, from: Instant, to: Instant) -> impl Iterator<Item = &Shown> {
        self.shown.iter().filter(move |shown| (from..to).contains(&shown.at))
    }

    /// When a layer was first shown after a moment.
    pub fn first_of(&self, layer: u8, from: Instant) -> Option<Instant> {
        let is = |shown: &&Shown| shown.at >= from && shown.mark.layer == layer;
        self.shown.iter().find(is).map(|shown| shown.at)
    }

    /// How long the picture stood at changes of the layer, beyond the time between two frames: the
    /// 95th of a hundred.
    pub fn frozen_at_switches(&self, from: Instant, to: Instant) -> Duration {
        let shown: Vec<&Shown> = self.between(from, to).collect();
        let changed = |pair: &&[&Shown]| pair[0].mark.layer != pair[1].mark.layer;
        let stood = |pair: &[&Shown]| (pair[1].at - pair[0].at).saturating_sub(FRAME);
        let mut all: Vec<Duration> = shown.windows(2).filter(changed).map(stood).collect();
        all.sort_unstable();
        all.get(all.len() * 95 / 100).copied().unwrap_or_default()
    }

    /// How often the simulcast layer changed between two moments.
    pub fn switches(&self, from: Instant, to: Instant) -> usize {
        let layers: Vec<(u8, u8)> =
            self.between(from, to).map(|shown| (shown.mark.mark, shown.mark.layer)).collect();
        layers.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }
}

/// What a member saw in each of its sections that carry a layered camera, by mid.
pub fn pictures(world: &World, n: usize) -> BTreeMap<String, Pictures> {
    let mut by_mid: BTreeMap<String, Vec<&Received>> = BTreeMap::new();
    for packet in &world.members[&n].peer.received {
        if packet.payload.len() > 100 && FrameMark::read(&packet.payload).is_some() {
            by_mid.entry(packet.mid.clone()).or_default().push(packet);
        }
    }
    by_mid.into_iter().map(|(mid, packets)| (mid, decode(&packets))).collect()
}

/// The one section that carries a picture.
pub fn picture(world: &World, n: usize) -> Pictures {
    let mut all = pictures(world, n);
    assert!(all.len() <= 1, "{n} has several pictures");
    all.pop_first().map(|(_, pictures)| pictures).unwrap_or_default()
}

struct Frame {
    mark: FrameMark,
    parts: HashSet<u8>,
    whole_at: Option<Instant>,
    first_seq: u64,
    last_seq: u64,
    picture: u16,
    bytes: usize,
}

fn decode(packets: &[&Received]) -> Pictures {
    // By sequence number: what came late takes its place. A frame may be sent again, as part of what
    // a viewer begins with.
    let mut frames: BTreeMap<(u64, u8, u8, u32), Frame> = BTreeMap::new();
    for packet in packets {
        let mark = FrameMark::read(&packet.payload).unwrap();
        let vp8 = Vp8::parse(&packet.payload).unwrap();
        let first = packet.seq - u64::from(mark.part);
        let frame = frames.entry((first, mark.mark, mark.layer, mark.frame)).or_insert(Frame {
            mark,
            parts: HashSet::new(),
            whole_at: None,
            first_seq: first,
            last_seq: first + u64::from(mark.parts) - 1,
            picture: vp8.picture_id.unwrap(),
            bytes: 0,
        });
        assert_eq!(Some(frame.picture), vp8.picture_id, "one frame has one picture id: {mark:?}");
        if frame.parts.insert(mark.part) {
            frame.bytes += packet.payload.len();
        }
        if frame.parts.len() == usize::from(mark.parts) && frame.whole_at.is_none() {
            frame.whole_at = Some(packet.at);
        }
    }
    let mut pictures = Pictures::default();
    let mut decoded: HashSet<(u8, u8, u32)> = HashSet::new();
    let mut ready: Option<Instant> = None;
    let mut before: Option<(u64, u16)> = None;
    for frame in frames.values() {
        let FrameMark { mark, layer, frame: number, needs, .. } = frame.mark;
        let keyframe = needs == number;
        if let Some((last_seq, picture)) = before {
            // A frame may be cut short by a keyframe of another layer, and by nothing else.
            let cut = frame.first_seq <= last_seq;
            assert!(!cut || keyframe, "frames overlap: {:?}", frame.mark);
            if frame.first_seq == last_seq + 1 {
                let step = frame.picture.wrapping_sub(picture) & 0x7fff;
                assert_eq!(step, 1, "picture ids have a hole where the packets have none");
            }
        }
        before = Some((frame.last_seq, frame.picture));
        let Some(at) = frame.whole_at else {
            pictures.torn += 1;
            continue;
        };
        if keyframe {
            decoded.clear();
        } else if !decoded.contains(&(mark, layer, needs)) {
            pictures.undecodable += 1;
            continue;
        }
        decoded.insert((mark, layer, number));
        // Decoded in order: a frame that came before its turn waits.
        let at = ready.map_or(at, |ready| ready.max(at));
        ready = Some(at);
        pictures.shown.push(Shown { at, mark: frame.mark, bytes: frame.bytes });
    }
    pictures
}
