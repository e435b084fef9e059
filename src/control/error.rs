//! What a refused HTTP request is told. No other file picks a status for an error.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::io::mailbox::Busy;

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum ApiError {
    #[error("{0}")]
    BadRequest(&'static str),
    #[error("{0}")]
    NotAllowed(&'static str),
    #[error("There is nothing at this address.")]
    NoSuchAddress,
    #[error("There is no room {0}.")]
    NoSuchRoom(String),
    #[error("There is no participant {0} in the room.")]
    NoSuchParticipant(String),
    #[error("This address does not know the method.")]
    WrongMethod,
    #[error("The address is longer than 8 KiB.")]
    AddressTooLong,
    #[error(
        "This server does not know itself as {0}. If that is its name, start it with --domain {0}."
    )]
    UnknownHost(String),
    #[error("The server is busy; try again in a moment.")]
    Busy,
    #[error("The server stops.")]
    Stopping,
    #[error("A media thread does not answer.")]
    Unwell,
}

impl ApiError {
    fn parts(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad-message"),
            Self::NotAllowed(_) => (StatusCode::FORBIDDEN, "not-allowed"),
            Self::NoSuchAddress => (StatusCode::NOT_FOUND, "no-such-address"),
            Self::NoSuchRoom(_) => (StatusCode::NOT_FOUND, "no-such-room"),
            Self::NoSuchParticipant(_) => (StatusCode::NOT_FOUND, "no-such-participant"),
            Self::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "bad-message"),
            Self::AddressTooLong => (StatusCode::URI_TOO_LONG, "too-large"),
            Self::UnknownHost(_) => (StatusCode::MISDIRECTED_REQUEST, "not-allowed"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "server-busy"),
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "server-shutdown"),
            Self::Unwell => (StatusCode::SERVICE_UNAVAILABLE, "internal"),
        }
    }
}

impl From<Busy> for ApiError {
    fn from(_: Busy) -> Self {
        Self::Busy
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.parts();
        (status, Json(json!({ "code": code, "message": self.to_string() }))).into_response()
    }
}

pub(super) async fn no_such_address() -> ApiError {
    ApiError::NoSuchAddress
}

pub(super) async fn wrong_method() -> ApiError {
    ApiError::WrongMethod
}
