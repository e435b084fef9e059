//! A client's TCP connection, watched: it counts as open until it closes, whatever it is used for
//! meanwhile; a client that takes nothing of what it is sent is cut; and one that sends at all is
//! known to live, even in the middle of a long message.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

/// Beats whenever bytes come from the client.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse(Arc<AtomicUsize>);

impl Pulse {
    fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has beaten; only whether this changes means anything.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A stream with its place among the open connections.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    pulse: Pulse,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl<S> Watched<S> {
    /// Cuts a client that takes nothing for `patience`; gives `place` back when the stream ends.
    pub fn new(stream: S, patience: Duration, place: Option<OwnedSemaphorePermit>) -> Self {
        Self { stream, pulse: Pulse::default(), patience, stalled: None, _place: place }
    }

    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Lets a write that cannot go on wait for as long as patience lasts.
    fn or_stall<T>(
        &mut self,
        wrote: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.pulse.beat();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.or_stall(wrote, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.or_stall(wrote, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.or_stall(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.or_stall(shut, cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::sync::Semaphore;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(50);
    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_cut_and_its_place_is_free() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let (server, mut client) = duplex(1_000);
        let mut watched = Watched::new(server, PATIENCE, Some(place));
        watched.write_all(&[0; 900]).await.unwrap();
        let stalled = timeout(LIMIT, watched.write_all(&[0; 900])).await;
        let error = stalled.expect("patience ends").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(places.available_permits(), 0);
        drop(watched);
        assert_eq!(places.available_permits(), 1);
        client.read_exact(&mut [0; 1_000]).await.unwrap();
    }

    #[tokio::test]
    async fn a_slow_client_that_takes_some_has_all_of_the_patience_again() {
        let (server, mut client) = duplex(100);
        let mut watched = Watched::new(server, Duration::from_secs(60), None);
        {
            let mut write = pin!(watched.write_all(&[0; 150]));
            let begun = poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx).is_pending())).await;
            assert!(begun, "the pipe is full");
            client.read_exact(&mut [0; 100]).await.unwrap();
            write.await.unwrap();
        }
        assert!(watched.stalled.is_none());
    }

    #[tokio::test]
    async fn every_byte_that_comes_is_a_sign_of_life() {
        let (server, mut client) = duplex(100);
        let mut watched = Watched::new(server, PATIENCE, None);
        let pulse = watched.pulse();
        assert_eq!(pulse.count(), 0);
        client.write_all(b"x").await.unwrap();
        watched.read_u8().await.unwrap();
        assert_eq!(pulse.count(), 1);
    }
}
