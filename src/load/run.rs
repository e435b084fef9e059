//! One run from beginning to end: joining, settling, measuring, leaving.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use mio::{Poll, Waker};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

use super::client::Common;
use super::clock::{Clock, nanos};
use super::door::{Door, Line, Told};
use super::options::Options;
use super::plan::{Arrival, Person, people};
use super::proc::{Sample, socket_drops};
use super::report::{Beside, Report};
use super::thread::{Lines, LoadThread, Order, Progress, Start, ThreadReport, WAKE};

/// Messages from the signaling of all people that may wait for a load thread.
const TELLS: usize = 4_096;

/// How long after the last arrival people may take until they are there or have failed.
const PATIENCE: Duration = Duration::from_secs(22);

/// What was sent at the end of the window is on its way, and may be resent, for this long.
const DRAIN: Duration = Duration::from_millis(700);

/// How often it is looked at whether everybody is there, and the bar moves.
const LOOK: Duration = Duration::from_millis(100);

/// A running load.
pub(super) struct Run<D> {
    options: Options,
    plan: Vec<Person>,
    clock: Clock,
    door: D,
    threads: Vec<Running>,
    starts: mpsc::Receiver<Start>,
    bar: ProgressBar,
}

/// A running load thread.
struct Running {
    handle: JoinHandle<std::io::Result<ThreadReport>>,
    orders: mpsc::Sender<Order>,
    tells: mpsc::Sender<(u32, Told)>,
    waker: Arc<Waker>,
    progress: watch::Receiver<Progress>,
}

impl<D: Door> Run<D> {
    /// Starts the load threads; people begin to join.
    ///
    /// # Errors
    /// A thread or its poller could not be made.
    pub fn start(options: &Options, door: D, clock: Clock) -> Result<Self, String> {
        raise_descriptors();
        let plan = people(options);
        let provider = str0m::crypto::from_feature_flags();
        let certificate = provider.dtls_provider.generate_certificate();
        let certificate = certificate.ok_or("cannot make the DTLS certificate")?;
        provider.install_process_default();
        let common = Common {
            options: options.clone(),
            clock,
            certificate,
            server: door.address(),
            run: std::process::id(),
            first_seats: door.first_seats().min(options.most_seats()),
        };
        let count = usize::from(options.threads);
        let (started, starts) = mpsc::channel(plan.len().max(1));
        let mut threads = Vec::new();
        for index in 0..count {
            let thread = Running::start(&common, &plan, (index, count), started.clone());
            threads.push(thread.map_err(|error| format!("no load thread: {error}"))?);
        }
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len}") {
            bar.set_style(style);
        }
        Ok(Self { options: options.clone(), plan, clock, door, threads, starts, bar })
    }

    /// Carries the run through, or to where Ctrl-C ends it.
    ///
    /// # Errors
    /// A load thread broke.
    pub async fn measure(mut self) -> Result<Report, String> {
        let mut interrupt = Interrupt::watch()?;
        let mut beside =
            Beside { empty: self.options.pid.and_then(Sample::take), ..Beside::default() };
        if let Some(()) = interrupt.or(self.gather()).await {
            self.window(&mut interrupt, &mut beside).await;
        }
        beside.interrupted = interrupt.came;
        for thread in &self.threads {
            thread.order(Order::Finish).await;
        }
        self.bar.finish_and_clear();
        while self.threads.iter().any(|thread| !thread.handle.is_finished()) {
            self.welcome(LOOK / 4).await;
        }
        let mut found = Vec::new();
        for thread in self.threads {
            let report = thread.handle.join().map_err(|_| "a load thread broke".to_owned())?;
            found.push(report.map_err(|error| format!("a load thread broke: {error}"))?);
        }
        Ok(Report::new(&self.options, &self.plan, &found, &beside))
    }

    /// Everybody who is to be there from the beginning comes, and things settle.
    async fn gather(&mut self) {
        let ramp = self.plan.iter().filter_map(|person| match person.arrival {
            Arrival::Ramp(after) => Some(after),
            Arrival::Window(_) => None,
        });
        let last = ramp.max().unwrap_or_default();
        let expected = self.plan.iter().filter(|person| !person.is_guest()).count() as u64;
        let latest = self.clock.now() + last + PATIENCE;
        self.bar.set_length(expected);
        self.bar.set_message("joining");
        loop {
            self.welcome(LOOK).await;
            let there = self.count(|p| u64::from(p.joined) + u64::from(p.failed));
            self.bar.set_position(there);
            if there >= expected || self.clock.now() >= latest {
                break;
            }
        }
        self.bar.set_message("settling");
        self.welcome(Duration::from_secs_f64(self.options.settle)).await;
    }

    /// The measured time; shorter if it is interrupted.
    async fn window(&mut self, interrupt: &mut Interrupt, beside: &mut Beside) {
        // A moment ahead, so that all threads know it before it begins.
        let from = self.clock.now() + LOOK;
        let until = from + self.options.window();
        self.set_window(from, until).await;
        self.welcome_until(from).await;
        let ports = self.ports();
        let drops = socket_drops(&ports);
        let server = self.options.pid.and_then(Sample::take);
        self.bar.set_message("measuring");
        self.bar.set_length(self.options.window().as_secs());
        if interrupt.or(self.watch(from, until)).await.is_none() {
            let now = self.clock.now();
            self.set_window(from, now + LOOK).await;
            self.welcome_until(now + LOOK).await;
        }
        beside.server = server.zip(self.options.pid.and_then(Sample::take));
        self.welcome(DRAIN).await;
        let after = socket_drops(&self.ports());
        beside.drops = after.zip(drops).map(|(after, before)| after.saturating_sub(before));
    }

    async fn set_window(&self, from: Instant, until: Instant) {
        let window: Range<u64> = self.clock.nanos(from)..self.clock.nanos(until);
        for thread in &self.threads {
            thread.order(Order::Window(window.clone())).await;
        }
    }

    async fn watch(&mut self, from: Instant, until: Instant) {
        while self.clock.now() < until {
            let now = self.clock.now();
            self.bar.set_position(nanos(now.saturating_duration_since(from)) / 1_000_000_000);
            self.welcome_until((now + LOOK).min(until)).await;
        }
    }

    /// Runs the signaling of people that begin, for so long.
    async fn welcome(&mut self, time: Duration) {
        self.welcome_until(self.clock.now() + time).await;
    }

    async fn welcome_until(&mut self, until: Instant) {
        let pause = sleep_until(until.into());
        tokio::pin!(pause);
        loop {
            tokio::select! {
                biased;
                Some(start) = self.starts.recv() => self.let_in(start),
                () = &mut pause => return,
            }
        }
    }

    fn let_in(&self, start: Start) {
        let person = start.visit.person;
        let index = usize::try_from(person).unwrap_or(0) % self.threads.len().max(1);
        let Some(thread) = self.threads.get(index) else { return };
        let mut line = Line {
            asks: start.asks,
            person,
            tells: thread.tells.clone(),
            waker: Arc::clone(&thread.waker),
        };
        let door = self.door.clone();
        tokio::spawn(async move {
            let over = door.attend(start.visit, &mut line).await;
            line.tell(Told::Over(over)).await;
        });
    }

    fn count(&self, of: impl Fn(&Progress) -> u64) -> u64 {
        self.threads.iter().map(|thread| of(&thread.progress.borrow())).sum()
    }

    fn ports(&self) -> BTreeSet<u16> {
        self.threads.iter().flat_map(|thread| thread.progress.borrow().ports.clone()).collect()
    }
}

impl Running {
    fn start(
        common: &Common,
        plan: &[Person],
        (index, count): (usize, usize),
        starts: mpsc::Sender<Start>,
    ) -> std::io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let (orders, ordered) = mpsc::channel(8);
        let (tells, told) = mpsc::channel(TELLS);
        let (progress, seen) = watch::channel(Progress::default());
        let lines = Lines { orders: ordered, tells: told, starts, progress };
        let thread = LoadThread::new(common.clone(), plan, (index, count), poll, lines);
        let handle = std::thread::Builder::new()
            .name(format!("load-{index}"))
            .spawn(move || thread.run())?;
        Ok(Self { handle, orders, tells, waker, progress: seen })
    }

    async fn order(&self, order: Order) {
        // A thread that broke is found when it is joined.
        if self.orders.send(order).await.is_ok() {
            let _ = self.waker.wake();
        }
    }
}

/// Ctrl-C.
struct Interrupt {
    signal: tokio::signal::unix::Signal,
    came: bool,
}

impl Interrupt {
    fn watch() -> Result<Self, String> {
        let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt());
        let signal = signal.map_err(|error| format!("cannot watch for Ctrl-C: {error}"))?;
        Ok(Self { signal, came: false })
    }

    /// Runs something to its end; `None` if Ctrl-C came before.
    async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            _ = self.signal.recv() => {
                self.came = true;
                None
            }
        }
    }
}

/// As many descriptors as the system grants: each person needs two.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limits = getrlimit(Resource::Nofile);
    let most = Rlimit { current: limits.maximum, maximum: limits.maximum };
    // Without it a socket that cannot be opened is said as that person's failure.
    let _ = setrlimit(Resource::Nofile, most);
}
