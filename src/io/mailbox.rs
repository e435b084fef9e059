//! The bounded queues between the control plane and the media threads.
//!
//! What happens when one is full is part of its type: a command is refused ([`Busy`]), an event
//! queue that is full ends its session as too slow, a level is replaced by the newest.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::relay::{RelayReceiver, RelaySender, relay_queues};
use crate::ids::{SessionId, WorkerId};
use crate::model::Speaker;
use crate::worker::command::{Answer, Command, Event, Join, Question};
use crate::worker::report::Report;

/// Mails that may wait for a media thread. A join storm of a large room sends a few hundred at
/// once; more would only hide that the thread is behind.
const MAILS: usize = 4096;

/// Events that may wait for one session. A room of a thousand that all leave at once makes two
/// thousand; a client that is further behind than that has lost touch.
const EVENTS: usize = 2048;

/// A queue is full, or its thread is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker is busy, try again in a moment")]
pub struct Busy;

/// What a media thread finds in its mailbox.
#[derive(Debug)]
pub(super) enum Mail {
    /// A participant, and where its events go.
    Join(Join, EventSender),
    /// Anything else that the control plane wants.
    Command(Command),
    /// A question, and where the answer goes.
    Ask(Question, oneshot::Sender<Answer>),
    /// A datagram that the kernel gave to a neighbour.
    Datagram(Handed),
    /// An address has proved itself to a neighbour.
    Proved(SocketAddr, WorkerId),
    /// End the thread once everybody was told good-bye.
    Stop,
}

/// A datagram on its way to the worker that owns its session.
#[derive(Debug)]
pub(super) struct Handed {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Box<[u8]>,
}

/// The control plane's end of a media thread.
#[derive(Clone)]
pub struct WorkerHandle {
    id: WorkerId,
    mails: SyncSender<Mail>,
    waker: Arc<mio::Waker>,
    relay: RelaySender,
    report: watch::Receiver<(Instant, Report)>,
}

impl fmt::Debug for WorkerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkerHandle({})", self.id)
    }
}

/// The thread's end of its own mailbox.
#[derive(Debug)]
pub(super) struct Mailbox {
    pub mails: Receiver<Mail>,
    pub relay: RelayReceiver,
    pub report: watch::Sender<(Instant, Report)>,
}

impl WorkerHandle {
    /// A mailbox and the handle that fills it.
    pub(super) fn new(id: WorkerId, waker: Arc<mio::Waker>, now: Instant) -> (Self, Mailbox) {
        let (sender, mails) = sync_channel(MAILS);
        let (relay_in, relay) = relay_queues();
        let (report_in, report) = watch::channel((now, Report::new(id)));
        let handle = Self { id, mails: sender, waker, relay: relay_in, report };
        (handle, Mailbox { mails, relay, report: report_in })
    }

    /// Which worker this is.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// Lets a participant in; all that it is told comes out of the other end of `events`.
    ///
    /// # Errors
    /// [`Busy`] if the queue is full: nothing has happened.
    pub fn join(&self, join: Join, events: EventSender) -> Result<(), Busy> {
        self.post(Mail::Join(join, events))
    }

    /// Sends a command.
    ///
    /// # Errors
    /// [`Busy`] if the queue is full: nothing has happened.
    pub fn send(&self, command: Command) -> Result<(), Busy> {
        self.post(Mail::Command(command))
    }

    /// Asks and waits for the answer, at most five seconds.
    ///
    /// # Errors
    /// [`Busy`] if the queue is full or no answer came.
    pub async fn ask(&self, question: Question) -> Result<Answer, Busy> {
        let (sender, answer) = oneshot::channel();
        self.post(Mail::Ask(question, sender))?;
        match tokio::time::timeout(Duration::from_secs(5), answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(Busy),
        }
    }

    /// The newest report, and when it was made. Older than two seconds: the thread is stuck.
    #[must_use]
    pub fn report(&self) -> (Instant, Report) {
        self.report.borrow().clone()
    }

    /// The queues for other workers.
    pub(super) fn relay(&self) -> &RelaySender {
        &self.relay
    }

    /// Wakes the thread. Should that fail, its next tick is at most 500 ms away.
    pub(super) fn wake(&self) {
        let _ = self.waker.wake();
    }

    /// Puts a mail into the box and wakes the thread.
    pub(super) fn post(&self, mail: Mail) -> Result<(), Busy> {
        match self.mails.try_send(mail) {
            Ok(()) => {
                self.wake();
                Ok(())
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Busy),
        }
    }
}

/// A session's event queue: the thread's end.
#[derive(Debug)]
pub struct EventSender {
    events: mpsc::Sender<Event>,
    speakers: watch::Sender<Arc<[Speaker]>>,
    overflowed: Arc<AtomicBool>,
}

/// A session's event queue: the control plane's end.
#[derive(Debug)]
pub struct EventReceiver {
    events: mpsc::Receiver<Event>,
    speakers: watch::Receiver<Arc<[Speaker]>>,
    overflowed: Arc<AtomicBool>,
}

/// A queue for the events of one session.
#[must_use]
pub fn event_queue() -> (EventSender, EventReceiver) {
    let (event_in, events) = mpsc::channel(EVENTS);
    let (speakers_in, speakers) = watch::channel(Arc::from([]));
    let overflowed = Arc::new(AtomicBool::new(false));
    let sender =
        EventSender { events: event_in, speakers: speakers_in, overflowed: overflowed.clone() };
    (sender, EventReceiver { events, speakers, overflowed })
}

impl EventSender {
    /// Puts an event into the queue; a level replaces the one before.
    ///
    /// # Errors
    /// [`Busy`] if the queue is full or nobody listens any more.
    pub(super) fn send(&self, event: Event) -> Result<(), Busy> {
        match event {
            Event::Speakers(speakers) => {
                self.speakers.send_replace(speakers);
                Ok(())
            }
            event => self.events.try_send(event).map_err(|error| {
                if matches!(error, mpsc::error::TrySendError::Full(_)) {
                    self.overflowed.store(true, Ordering::Relaxed);
                }
                Busy
            }),
        }
    }
}

impl EventReceiver {
    /// Whether the queue ran over: then the session ended for that, and nothing could say so.
    #[must_use]
    pub fn overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// The next event; `None` once the session is over and all was read. Safe to cancel.
    pub async fn recv(&mut self) -> Option<Event> {
        tokio::select! {
            biased;
            event = self.events.recv() => event,
            Ok(()) = self.speakers.changed() => {
                Some(Event::Speakers(self.speakers.borrow_and_update().clone()))
            }
        }
    }
}

/// Where the events of each session go. Kept by the media thread.
pub(super) type Listeners = std::collections::HashMap<SessionId, EventSender>;
