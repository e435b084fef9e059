//! What a tick has for other workers: one parcel per neighbour and tick. What may be lost and what
//! must not go through queues of their own, so that a flood of media holds up nothing that matters.

use std::mem;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::mailbox::WorkerHandle;
use crate::counts::{DropReason, Drops};
use crate::ids::WorkerId;
use crate::relay::message::Message;

/// Most messages in a parcel: more than one tick reads, so that a parcel is a tick, and few enough
/// that the reader's tick stays short.
const PARCEL: usize = 256;

/// Parcels of media that may wait for a worker: at a tick per millisecond, that is a quarter of a
/// second. Later than that a packet is of no use; a reader that is further behind must drop.
const MEDIA: usize = 256;

/// Parcels of what must not be lost that may wait for a worker. A worker that has not looked for
/// as many ticks of its neighbours hangs.
const CONTROL: usize = 4_096;

/// Parcels of each kind that a worker takes per tick; its own sockets are never kept waiting for
/// longer than these take.
const PER_TICK: usize = 16;

/// Messages of one worker to another.
#[derive(Debug)]
pub(super) struct Parcel {
    from: WorkerId,
    messages: Vec<Message>,
}

/// The writers' end of a worker's queues.
#[derive(Clone, Debug)]
pub(super) struct RelaySender {
    media: SyncSender<Parcel>,
    control: SyncSender<Parcel>,
}

/// A worker's own end.
#[derive(Debug)]
pub(super) struct RelayReceiver {
    media: Receiver<Parcel>,
    control: Receiver<Parcel>,
}

/// The queues of a worker.
pub(super) fn relay_queues() -> (RelaySender, RelayReceiver) {
    let (media_in, media) = sync_channel(MEDIA);
    let (control_in, control) = sync_channel(CONTROL);
    let sender = RelaySender { media: media_in, control: control_in };
    (sender, RelayReceiver { media, control })
}

impl RelayReceiver {
    /// Takes what has come, control first: who is in a room is known before their packets come.
    /// Whether more may wait.
    pub fn take(&self, mut each: impl FnMut(WorkerId, Message)) -> bool {
        let mut more = false;
        for queue in [&self.control, &self.media] {
            let mut taken = 0;
            while taken < PER_TICK
                && let Ok(Parcel { from, messages }) = queue.try_recv()
            {
                taken += 1;
                messages.into_iter().for_each(|message| each(from, message));
            }
            more |= taken == PER_TICK;
        }
        more
    }
}

/// What one tick has for one neighbour.
#[derive(Debug, Default)]
struct Outgoing {
    media: Vec<Message>,
    control: Vec<Message>,
}

/// What one tick has for all neighbours.
#[derive(Debug, Default)]
pub(super) struct Relays {
    /// By the worker's number.
    outgoing: Vec<Outgoing>,
    /// Workers for which something was lost that must not be.
    lost: Vec<WorkerId>,
}

impl Relays {
    /// Keeps a message until the end of the tick.
    pub fn push(&mut self, to: WorkerId, message: Message) {
        let at = usize::from(to.0);
        if self.outgoing.len() <= at {
            self.outgoing.resize_with(at + 1, Outgoing::default);
        }
        if let Some(outgoing) = self.outgoing.get_mut(at) {
            let lane =
                if message.may_be_lost() { &mut outgoing.media } else { &mut outgoing.control };
            lane.push(message);
        }
    }

    /// Sends everything, and wakes whom it is for.
    pub fn flush(&mut self, me: WorkerId, neighbours: &[WorkerHandle], drops: &mut Drops) {
        for (outgoing, number) in self.outgoing.iter_mut().zip(0u8..) {
            if outgoing.media.is_empty() && outgoing.control.is_empty() {
                continue;
            }
            let to = WorkerId(number);
            let Some(neighbour) = neighbours.iter().find(|handle| handle.id() == to) else {
                *outgoing = Outgoing::default();
                continue;
            };
            let queues = neighbour.relay();
            let control = mem::take(&mut outgoing.control);
            if post(&queues.control, me, control) > 0 {
                self.lost.push(to);
            }
            let lost = post(&queues.media, me, mem::take(&mut outgoing.media));
            drops.count_many(DropReason::RelayFull, lost);
            neighbour.wake();
        }
    }

    /// Workers for which something was lost that must not be.
    pub fn take_lost(&mut self) -> Vec<WorkerId> {
        mem::take(&mut self.lost)
    }
}

/// Puts messages into a queue; how many found no room. After the first that finds none, none goes
/// in: what comes is whole up to some point, and has no hole.
fn post(queue: &SyncSender<Parcel>, from: WorkerId, messages: Vec<Message>) -> u64 {
    let mut rest = messages;
    while !rest.is_empty() {
        let tail = rest.split_off(rest.len().min(PARCEL));
        let parcel = Parcel { from, messages: mem::replace(&mut rest, tail) };
        if let Err(TrySendError::Full(parcel) | TrySendError::Disconnected(parcel)) =
            queue.try_send(parcel)
        {
            return (parcel.messages.len() + rest.len()) as u64;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::link::Link;
    use crate::relay::message::Control;

    fn resets(n: usize) -> Vec<Message> {
        let reset = || Message::Control(Link::default().stamp(), Box::new(Control::Reset));
        (0..n).map(|_| reset()).collect()
    }

    #[test]
    fn what_does_not_fit_is_counted_and_what_comes_has_no_hole() {
        let (queue, reader) = sync_channel(2);
        assert_eq!(post(&queue, WorkerId(1), resets(PARCEL * 3 + 1)), PARCEL as u64 + 1);
        let parcels: Vec<Parcel> = reader.try_iter().collect();
        assert!(parcels.iter().all(|parcel| parcel.messages.len() == PARCEL));
        assert_eq!(parcels.len(), 2);
    }
}
