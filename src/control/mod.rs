//! The door: every route of the server on one page. Nothing here ever sees a media packet.

#![expect(clippy::disallowed_methods, reason = "a shell: clocks are read here")]

mod admin;
pub mod certificate;
pub mod envelope;
mod error;
mod guard;
mod limits;
mod line;
pub mod listen;
mod metrics;
mod pages;
pub mod protocol;
mod reach;
pub mod rooms;
mod signal;
mod stream;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, delete, get};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::ids::SessionId;
use crate::io::joiner::JoinHandle;
use crate::io::mailbox::WorkerHandle;
use limits::Limits;
use metrics::Metrics;
use reach::Resolver;
use rooms::Rooms;

/// What every request may use.
#[derive(Clone, Debug)]
pub struct App(Arc<Parts>);

/// The parts of the control plane.
#[derive(Debug)]
pub struct Parts {
    /// The configuration, with the port that was bound.
    pub config: Config,
    /// Names under which the page may be opened.
    names: Vec<String>,
    workers: Vec<WorkerHandle>,
    joiner: JoinHandle,
    rooms: Rooms,
    limits: Limits,
    metrics: Metrics,
    resolver: Resolver,
    next_session: AtomicUsize,
    stopping: AtomicBool,
    /// Ends the listeners and idle connections.
    stop: CancellationToken,
    /// Every task that must end before the process does.
    pub tracker: TaskTracker,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// The control plane over running workers.
    #[must_use]
    pub fn new(
        config: Config,
        names: Vec<String>,
        workers: Vec<WorkerHandle>,
        joiner: JoinHandle,
    ) -> Self {
        Self(Arc::new(Parts {
            names,
            rooms: Rooms::default(),
            limits: Limits::new(&config.doors),
            metrics: Metrics::new(workers.clone()),
            resolver: Resolver::default(),
            next_session: AtomicUsize::new(1),
            stopping: AtomicBool::new(false),
            stop: CancellationToken::new(),
            tracker: TaskTracker::new(),
            config,
            workers,
            joiner,
        }))
    }

    /// Not ready any more; no new connection is taken.
    pub fn stop_accepting(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.stop.cancel();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn next_session(&self) -> SessionId {
        SessionId(self.next_session.fetch_add(1, Ordering::Relaxed) as u64)
    }

    /// Every route. Whatever is not here is a page, or leads back to one.
    pub fn router(&self) -> Router {
        let operator = Router::new()
            .route("/v1/rooms", get(admin::list))
            .route("/v1/rooms/{room}", get(admin::look).delete(admin::close))
            .route("/v1/rooms/{room}/stats", get(admin::stats))
            .route("/v1/rooms/{room}/participants/{identity}", delete(admin::remove))
            .route("/metrics", get(metrics::page))
            .layer(from_fn_with_state(self.clone(), guard::operator_only));
        Router::new()
            .route("/v1/ws", get(signal::open))
            .merge(operator)
            .route("/v1/{*rest}", any(error::no_such_address))
            .route("/healthz", get(admin::health))
            .route("/readyz", get(admin::ready))
            .fallback(pages::serve)
            .method_not_allowed_fallback(error::wrong_method)
            .layer(from_fn_with_state(self.clone(), guard::guard))
            .with_state(self.clone())
    }
}
