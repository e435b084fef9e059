//! One WebSocket as a line of text messages, and how it is closed.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use tokio::time::timeout;

use super::stream::Pulse;

/// How long a client may take to close its side.
const CLOSING: Duration = Duration::from_secs(1);

/// Close codes.
pub(super) mod close {
    pub const NORMAL: u16 = 1000;
    pub const AWAY: u16 = 1001;
    pub const PROTOCOL: u16 = 1002;
    pub const BINARY: u16 = 1003;
    pub const UTF8: u16 = 1007;
    pub const FLOOD_OF_CONTROL: u16 = 1008;
    pub const TOO_LONG: u16 = 1009;
    pub const BAD: u16 = 4400;
    pub const SILENT: u16 = 4408;
    pub const FLOOD: u16 = 4429;
}

/// The client is gone, or takes nothing any more.
#[derive(Debug)]
pub(super) struct Gone;

/// A client's WebSocket.
pub(super) struct Line {
    socket: WebSocket,
    pulse: Pulse,
}

impl Line {
    pub fn new(socket: WebSocket, pulse: Pulse) -> Self {
        Self { socket, pulse }
    }

    /// Changes whenever bytes come.
    pub fn pulse(&self) -> usize {
        self.pulse.count()
    }

    /// The next message. Safe to cancel.
    pub async fn recv(&mut self) -> Option<Result<Message, axum::Error>> {
        self.socket.recv().await
    }

    /// Sends a message; the stream below gives up on a client that takes nothing.
    pub async fn send(&mut self, message: Message) -> Result<(), Gone> {
        self.socket.send(message).await.map_err(|_| Gone)
    }

    pub async fn close(&mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        if self.send(Message::Close(Some(frame))).await.is_ok() {
            self.drain().await;
        }
    }

    /// Lets the two closes pass each other, which ends the connection in order. The client's
    /// need not come.
    pub async fn drain(&mut self) {
        let drained = async { while let Some(Ok(_)) = self.socket.recv().await {} };
        let _ = timeout(CLOSING, drained).await;
    }
}

/// How a socket is closed that broke the rules of WebSockets (RFC 6455 section 7.4.1).
pub(super) fn broken(error: &axum::Error) -> (u16, &'static str) {
    let text = error.to_string().to_ascii_lowercase();
    if text.contains("too long") || text.contains("too big") || text.contains("space limit") {
        (close::TOO_LONG, "over 512 KiB")
    } else if text.contains("utf-8") || text.contains("utf8") {
        (close::UTF8, "not UTF-8")
    } else {
        (close::PROTOCOL, "protocol error")
    }
}
