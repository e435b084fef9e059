//! What must hold for every stream that a viewer gets, whatever happened upstream.

use std::collections::BTreeMap;

use fanlight::wire::vp8::Vp8;

use crate::support::peer::Received;
use crate::world::{FIRST_SEQ, World};

/// Checks each stream of each member: one SSRC per seat line, numbers that begin below 65,536, no
/// hole larger than what the network lost, a clock that never runs backwards, and a keyframe before
/// anything that needs one.
pub fn check(world: &World, holes_allowed: usize) {
    for (n, member) in &world.members {
        let mut streams: BTreeMap<u32, Vec<&Received>> = BTreeMap::new();
        for packet in &member.peer.received {
            streams.entry(packet.ssrc).or_default().push(packet);
        }
        for (ssrc, mut packets) in streams {
            packets.sort_by_key(|packet| packet.seq);
            packets.dedup_by_key(|packet| packet.seq);
            check_stream(&format!("member {n}, ssrc {ssrc}"), &packets, holes_allowed);
        }
    }
}

fn check_stream(name: &str, packets: &[&Received], holes_allowed: usize) {
    let (Some(first), Some(last)) = (packets.first(), packets.last()) else { return };
    assert!(first.seq < 65_536, "{name} begins at {}", first.seq);
    let span = usize::try_from(last.seq - first.seq).unwrap() + 1;
    let holes = span - packets.len();
    assert!(holes <= holes_allowed, "{name} has {holes} holes in {span} packets");
    for pair in packets.windows(2) {
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp).cast_signed();
        assert!(step >= 0, "{name}: the clock runs back by {step} at {}", pair[1].seq);
    }
    if first.payload.len() > 100 {
        let vp8 = Vp8::parse(&first.payload).unwrap();
        // A lost first packet cannot be asked for: its viewer does not know that there was one.
        let whole = first.seq == u64::from(FIRST_SEQ);
        assert!(vp8.keyframe || !whole, "{name} begins with something that needs a keyframe");
        let ids = packets.iter().map(|p| Vp8::parse(&p.payload).unwrap().picture_id.unwrap());
        for pair in ids.collect::<Vec<_>>().windows(2) {
            let step = pair[1].wrapping_sub(pair[0]) & 0x7fff;
            let limit = u16::try_from(holes_allowed + 1).unwrap();
            assert!(step <= limit, "{name}: picture id jumps by {step}");
        }
    }
}
