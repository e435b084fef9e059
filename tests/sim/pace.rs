//! What leaves when: whole frames as one train, and what a narrow network does to a viewer.

use std::time::Duration;

use fanlight::counts::DropReason;
use fanlight::units::Share;
use fanlight::worker::Input;
use fanlight::worker::relief::Relief;

use crate::support::peer::Wishes;
use crate::viewer;
use crate::world::World;

const WATCHER: Wishes = Wishes { audio: false, video: false, seats: 1, data: false };

fn a_frame_leaves_in_the_tick_in_which_it_came(workers: u8) {
    let mut world = World::new(71, workers);
    let viewers: Vec<usize> = (0..3).map(|n| world.join("r", &format!("v{n}"), WATCHER)).collect();
    let ada = world.join_whole("r", "ada");
    world.on_air(ada);
    world.run(2_000);
    world.forget_received();
    world.packets_per_frame = 10;
    world.run(2_000);
    for viewer in viewers {
        let mut frames = std::collections::BTreeMap::<u32, Vec<_>>::new();
        for packet in &world.members[&viewer].peer.received {
            if packet.payload.len() > 100 {
                frames.entry(packet.timestamp).or_default().push(packet.at);
            }
        }
        assert!(frames.len() > 40, "{} frames", frames.len());
        let whole = |at: &&Vec<_>| at.len() == 10 && at.iter().all(|other| *other == at[0]);
        let together = frames.values().filter(whole).count();
        assert!(together * 10 >= frames.len() * 9, "{together} of {} frames", frames.len());
    }
}

fn a_viewer_on_a_narrow_link_is_spared_video_and_nobody_else_is_touched(workers: u8) {
    let mut world = World::new(72, workers);
    let slow = world.join("r", "slow", WATCHER);
    let good = world.join("r", "good", WATCHER);
    let ada = world.join_whole("r", "ada");
    world.on_air(ada);
    world.run(2_000);
    world.packets_per_frame = 10;
    world.narrow(slow, 300_000, Duration::from_millis(200));
    world.run(5_000);
    world.forget_received();
    world.run(10_000);
    let mark = world.mark(ada);
    let seen = world.frames(slow, mark);
    assert!(seen < 50, "{seen} frames of 1.6 Mbit/s went to a link of 300 kbit/s");
    assert_eq!(world.frames(good, mark), 250, "each frame reaches who can take it");
    world.widen(slow);
    // With nothing to resend the engine pads in small packets, which count for less than they are: a
    // trial finds the wider link.
    world.run(8_000);
    world.forget_received();
    world.run(2_000);
    let frames = world.frames(slow, mark);
    assert!(frames >= 45, "{frames} of 50 frames come once the link is wide again");
    viewer::check(&world, 0);
}

fn under_pressure_a_share_of_the_viewers_keeps_the_sound_and_loses_the_picture(workers: u8) {
    let mut world = World::new(73, workers);
    let viewers: Vec<usize> = (0..8).map(|n| world.join("r", &format!("v{n}"), WATCHER)).collect();
    let ada = world.join_whole("r", "ada");
    world.on_air(ada);
    world.run(2_000);
    let mark = world.mark(ada);
    let now = world.now;
    for worker in &mut world.workers {
        worker.handle(
            Input::Relief(Relief {
                probes: Share::WHOLE,
                haste: Share::WHOLE,
                video: Share::NONE.more(16),
            }),
            now,
        );
    }
    world.run(500);
    world.forget_received();
    world.run(2_000);
    let frames: Vec<usize> = viewers.iter().map(|n| world.frames(*n, mark)).collect();
    let spared = frames.iter().filter(|count| **count == 0).count();
    assert_eq!(spared, 4, "half of the viewers: {frames:?}");
    assert!(frames.iter().all(|count| *count == 0 || *count == 50), "nobody in part: {frames:?}");
    for viewer in &viewers {
        let sound = world.heard(*viewer, mark) - frames[*viewer] * 3;
        // The last packet may wait for its pair, and so may the one before the first.
        assert!(sound.abs_diff(100) <= 1, "{viewer} hears {sound} of 100");
    }
    assert!(world.report().totals.drops.of(DropReason::Shed) >= 4 * 50 * 3);
    let now = world.now;
    for worker in &mut world.workers {
        worker.handle(Input::Relief(Relief::NONE), now);
    }
    world.run(1_000);
    world.forget_received();
    world.run(1_000);
    for viewer in &viewers {
        assert_eq!(world.frames(*viewer, mark), 25, "{viewer} sees again");
    }
    viewer::check(&world, 0);
}

fn a_worker_that_cannot_keep_up_looks_for_nothing_better(workers: u8) {
    let mut world = World::new(74, workers);
    let ada = world.join_whole("r", "ada");
    let slow = world.join("r", "slow", WATCHER);
    world.on_air(ada);
    world.run(2_000);
    world.packets_per_frame = 10;
    world.narrow(slow, 300_000, Duration::from_millis(200));
    world.run(2_000);
    // Beside media: padding, probes, reports, checks.
    let mark = world.mark(ada);
    let others = |world: &mut World| {
        world.forget_received();
        let before = world.passed(slow);
        world.run(3_000);
        world.passed(slow) - before - world.heard(slow, mark) as u64
    };
    let with = others(&mut world);
    let relieve = |world: &mut World, probes| {
        let now = world.now;
        for worker in &mut world.workers {
            worker.handle(Input::Relief(Relief { probes, ..Relief::NONE }), now);
        }
    };
    relieve(&mut world, Share::WHOLE);
    world.run(500);
    let without = others(&mut world);
    assert!(with > 150 && without < 50, "{with} with padding and probes, {without} without");
    relieve(&mut world, Share::NONE);
    world.widen(slow);
    world.run(8_000);
    world.forget_received();
    world.run(1_000);
    assert!(world.frames(slow, mark) >= 24, "it looks again, and finds");
    viewer::check(&world, 0);
}

fn who_comes_late_sees_a_picture_that_takes_more_than_is_assumed_at_first(workers: u8) {
    let mut world = World::new(75, workers);
    let ada = world.join_whole("r", "ada");
    world.join("r", "early", WATCHER);
    world.packets_per_frame = 40;
    world.on_air(ada);
    world.run(5_000);
    let late = world.join("r", "late", WATCHER);
    world.run(5_000);
    world.forget_received();
    world.run(2_000);
    let mark = world.mark(ada);
    let frames = world.frames(late, mark);
    assert!(frames >= 49, "{frames} of 50 frames");
    viewer::check(&world, 0);
}

crate::scenes! {
    a_worker_that_cannot_keep_up_looks_for_nothing_better,
    who_comes_late_sees_a_picture_that_takes_more_than_is_assumed_at_first,
    a_frame_leaves_in_the_tick_in_which_it_came,
    a_viewer_on_a_narrow_link_is_spared_video_and_nobody_else_is_touched,
    under_pressure_a_share_of_the_viewers_keeps_the_sound_and_loses_the_picture,
}
