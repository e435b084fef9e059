//! Which worker is a room's home, and which takes a session. A room has one home for as long as it
//! lives; where that is, is decided when somebody joins who finds none. A room that outgrows its
//! home takes further sessions on other workers.

#![expect(clippy::disallowed_types, reason = "the room registry is what the map is there for")]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use dashmap::DashMap;

use super::App;
use crate::ids::{RoomName, WorkerId};
use crate::io::mailbox::WorkerHandle;
use crate::worker::command::{Answer, Question};

/// A home that nobody has joined for this long may be forgotten once its worker has no such room.
/// Longer than any join takes from here to the worker.
const SETTLED: Duration = Duration::from_secs(30);

/// Time between two looks for rooms that are gone.
const SWEEP: Duration = Duration::from_secs(15);

/// What a participant counts beside measured packets, in packets per second: more than somebody
/// who is only connected, less than somebody who is in a small call. It keeps people apart who have
/// not begun to send.
const PERSON: u32 = 50;

/// What a participant counts that the last report cannot know of yet: somebody in a small call.
const NEWCOMER: u32 = 200;

#[derive(Clone, Debug)]
struct Home {
    worker: WorkerId,
    joined: Instant,
    /// Newcomers of the room at each worker since a report of that worker.
    placed: Vec<(WorkerId, Since)>,
}

/// Newcomers since a report.
#[derive(Clone, Copy, Debug)]
struct Since {
    report: Instant,
    newcomers: u32,
}

impl Since {
    fn count(self, report: Instant) -> u32 {
        if self.report == report { self.newcomers } else { 0 }
    }

    fn add(&mut self, report: Instant) {
        *self = Self { report, newcomers: self.count(report) + 1 };
    }
}

/// Room → home worker, and what is known of workers that their reports do not know yet.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    homes: DashMap<RoomName, Home>,
    placed: DashMap<WorkerId, Since>,
}

/// A worker as it is weighed.
#[derive(Clone, Debug)]
struct Weighed {
    worker: WorkerId,
    /// Packets per second, and what people and rooms count.
    load: u32,
    /// Packets per second that it sends for the room in question.
    room: u32,
    /// Somebody of the room was placed there before.
    has: bool,
}

/// The worker for a further session of a room: its home as long as that can carry it, then a worker
/// that has the room already, then the least loaded one. Each worker that is added costs a copy of
/// what is watched there.
fn choose(weighed: &[Weighed], home: WorkerId, limit: u32) -> Option<WorkerId> {
    let is_home = |w: &&Weighed| w.worker == home;
    // A worker that has twice as much to do with whatever rooms is no relief.
    let is_busy = |w: &&Weighed| w.load >= limit.saturating_mul(2);
    let below = |w: &&Weighed| w.room < limit && (is_home(w) || !is_busy(w));
    let has_room = |w: &&Weighed| w.has;
    let least = |list: Vec<&Weighed>| list.into_iter().min_by_key(|w| w.load).map(|w| w.worker);
    let under: Vec<&Weighed> = weighed.iter().filter(below).collect();
    if let Some(found) = under.iter().copied().find(is_home) {
        return Some(found.worker);
    }
    if let Some(found) = under.iter().copied().find(has_room) {
        return Some(found.worker);
    }
    least(under).or_else(|| least(weighed.iter().collect()))
}

/// Where a participant goes.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    /// The room's home.
    pub home: WorkerId,
    /// The worker of the session.
    pub worker: WorkerHandle,
}

impl Rooms {
    /// Whether a room has a home.
    pub fn has(&self, room: &RoomName) -> bool {
        self.homes.contains_key(room)
    }

    /// Where a participant of a room goes. A new room is at home on the least loaded worker. A
    /// room for which a worker sends `limit` packets per second takes further sessions elsewhere.
    pub fn place(
        &self,
        room: &RoomName,
        workers: &[WorkerHandle],
        limit: u32,
    ) -> Option<Placement> {
        let weighed = self.weigh(room, workers);
        let least = weighed.iter().min_by_key(|w| w.load)?.worker;
        let now = Instant::now();
        let chosen = {
            let home = Home { worker: least, joined: now, placed: Vec::new() };
            let mut home = self.homes.entry(room.clone()).or_insert(home);
            home.joined = now;
            let chosen = choose(&weighed, home.worker, limit)?;
            let report = workers.iter().find(|w| w.id() == chosen)?.report().0;
            home.placed(chosen, report).add(report);
            (home.worker, chosen, report)
        };
        let (home, chosen, report) = chosen;
        let fresh = Since { report, newcomers: 0 };
        self.placed.entry(chosen).or_insert(fresh).add(report);
        let worker = workers.iter().find(|worker| worker.id() == chosen).cloned()?;
        Some(Placement { home, worker })
    }

    /// Weighs all workers for a participant of a room. Measured packets say most; people, rooms and
    /// newcomers stand for what a report, half a second old, cannot know.
    fn weigh(&self, room: &RoomName, workers: &[WorkerHandle]) -> Vec<Weighed> {
        let mut homes = vec![0u32; workers.len()];
        if !self.has(room) {
            for home in &self.homes {
                if let Some(count) = homes.get_mut(usize::from(home.worker.0)) {
                    *count += 1;
                }
            }
        }
        let known = self.homes.get(room).map(|home| home.value().clone());
        let weigh = |handle: &WorkerHandle| {
            let (at, report) = handle.report();
            let worker = handle.id();
            let newcomers = self.placed.get(&worker).map_or(0, |since| since.count(at));
            let rooms = homes.get(usize::from(worker.0)).copied().unwrap_or(0);
            let people = report.connected + report.connecting + rooms;
            let named = report.load.heavy.iter().find(|(name, _)| name == room);
            let sent = named.map_or(0, |(_, sent)| *sent);
            let here = known.as_ref().and_then(|home| home.known(worker));
            let has = here.is_some();
            let here = here.map_or(0, |since| since.count(at)).saturating_mul(NEWCOMER);
            Weighed {
                worker,
                load: (report.load.packets_in + report.load.packets_out)
                    .saturating_add(people.saturating_mul(PERSON))
                    .saturating_add(newcomers.saturating_mul(NEWCOMER)),
                room: sent.saturating_add(if sent > 0 { here } else { 0 }),
                has,
            }
        };
        workers.iter().map(weigh).collect()
    }

    /// The home of a room, if it has one.
    pub fn known(&self, room: &RoomName, workers: &[WorkerHandle]) -> Option<WorkerHandle> {
        let id = self.homes.get(room)?.worker;
        workers.iter().find(|worker| worker.id() == id).cloned()
    }

    fn forget(&self, worker: WorkerId, living: &HashSet<RoomName>) {
        self.homes.retain(|room, home| {
            home.worker != worker || living.contains(room) || home.joined.elapsed() < SETTLED
        });
    }
}

impl Home {
    fn known(&self, worker: WorkerId) -> Option<Since> {
        self.placed.iter().find(|(known, _)| *known == worker).map(|(_, since)| *since)
    }

    /// The newcomers of the room at a worker.
    fn placed(&mut self, worker: WorkerId, report: Instant) -> &mut Since {
        let at = self.placed.iter().position(|(known, _)| *known == worker);
        let at = at.unwrap_or_else(|| {
            self.placed.push((worker, Since { report, newcomers: 0 }));
            self.placed.len() - 1
        });
        &mut self.placed[at].1
    }
}

/// Forgets homes of rooms that are gone, and addresses that have been quiet, until the server stops.
pub async fn sweep(app: App) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP) => {}
            () = app.stop.cancelled() => return,
        }
        for worker in &app.workers {
            if let Ok(Answer::Rooms(rooms)) = worker.ask(Question::Rooms).await {
                let living = rooms.into_iter().map(|room| room.name).collect();
                app.rooms.forget(worker.id(), &living);
            }
        }
        app.limits.sweep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u32 = 1_000;

    fn weighed(worker: u8, load: u32, room: u32) -> Weighed {
        Weighed { worker: WorkerId(worker), load, room, has: room > 0 }
    }

    #[test]
    fn a_room_stays_at_home_until_it_outgrows_it() {
        let all = [weighed(0, 9_000, 999), weighed(1, 0, 0)];
        assert_eq!(choose(&all, WorkerId(0), LIMIT), Some(WorkerId(0)));
    }

    #[test]
    fn a_room_that_outgrew_its_home_goes_to_the_least_loaded_and_fills_that_first() {
        let first = [weighed(0, 9_000, 1_000), weighed(1, 500, 0), weighed(2, 400, 0)];
        assert_eq!(choose(&first, WorkerId(0), LIMIT), Some(WorkerId(2)));
        let then = [weighed(0, 9_000, 1_000), weighed(1, 500, 0), weighed(2, 900, 300)];
        assert_eq!(choose(&then, WorkerId(0), LIMIT), Some(WorkerId(2)));
    }

    #[test]
    fn a_worker_that_is_busy_with_other_rooms_is_passed_over() {
        let all = [weighed(0, 9_000, 1_000), weighed(1, 2_000, 100), weighed(2, 1_999, 0)];
        assert_eq!(choose(&all, WorkerId(0), LIMIT), Some(WorkerId(2)));
    }

    #[test]
    fn a_room_that_outgrew_all_workers_goes_to_the_least_loaded() {
        let all = [weighed(0, 9_000, 1_000), weighed(1, 8_000, 2_000)];
        assert_eq!(choose(&all, WorkerId(0), LIMIT), Some(WorkerId(1)));
    }

    #[test]
    fn newcomers_count_until_the_next_report() {
        let report = Instant::now();
        let mut since = Since { report, newcomers: 0 };
        since.add(report);
        since.add(report);
        assert_eq!(since.count(report), 2);
        let later = report + Duration::from_millis(500);
        assert_eq!(since.count(later), 0);
        since.add(later);
        assert_eq!(since.count(later), 1);
    }
}
