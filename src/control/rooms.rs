//! Which worker is a room's home. A room has one home for as long as it lives; where that is,
//! is decided when somebody joins who finds none.

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

#[derive(Clone, Copy, Debug)]
struct Home {
    worker: WorkerId,
    joined: Instant,
}

/// Room → home worker.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    homes: DashMap<RoomName, Home>,
}

impl Rooms {
    /// Whether a room has a home.
    pub fn has(&self, room: &RoomName) -> bool {
        self.homes.contains_key(room)
    }

    /// The home of a room that somebody is about to join: the one it has, or the least loaded
    /// worker. Rooms weigh in beside people, since a report is half a second old.
    pub fn home(&self, room: &RoomName, workers: &[WorkerHandle]) -> Option<WorkerHandle> {
        let mut homes = vec![0u32; workers.len()];
        if !self.has(room) {
            for home in &self.homes {
                if let Some(count) = homes.get_mut(usize::from(home.worker.0)) {
                    *count += 1;
                }
            }
        }
        let load = |worker: &&WorkerHandle| {
            let (_, report) = worker.report();
            let rooms = homes.get(usize::from(worker.id().0)).copied().unwrap_or(0);
            report.connected + report.connecting + rooms
        };
        let least = workers.iter().min_by_key(load)?.id();
        let mut home = self
            .homes
            .entry(room.clone())
            .or_insert(Home { worker: least, joined: Instant::now() });
        home.joined = Instant::now();
        let id = home.worker;
        workers.iter().find(|worker| worker.id() == id).cloned()
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
