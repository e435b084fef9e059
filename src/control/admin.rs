//! What an operator asks: which rooms there are, who is in them, and that somebody leaves.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::App;
use super::error::ApiError;
use super::protocol::stats_data;
use crate::ids::{Identity, RoomName};
use crate::model::Kind;
use crate::worker::command::{Answer, MemberInfo, Question, RoomInfo};

/// A media thread whose report is older than this is stuck; it reports twice a second.
const STALE: Duration = Duration::from_secs(2);

/// `GET /v1/rooms`
pub(super) async fn list(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let mut rooms = Vec::new();
    for worker in &app.workers {
        if let Answer::Rooms(of_worker) = worker.ask(Question::Rooms).await? {
            rooms.extend(of_worker);
        }
    }
    rooms.sort_by(|a, b| a.name.cmp(&b.name));
    let participants: usize = rooms.iter().map(|room| room.participants.len()).sum();
    let list: Vec<Value> = rooms
        .iter()
        .map(|room| {
            json!({
                "name": room.name,
                "createdAt": room.created_at,
                "participants": room.participants.len(),
            })
        })
        .collect();
    Ok(Json(json!({ "count": list.len(), "participants": participants, "rooms": list })))
}

/// `GET /v1/rooms/{room}`
pub(super) async fn look(
    State(app): State<App>,
    Path(room): Path<String>,
) -> Result<Json<Value>, ApiError> {
    match ask(&app, &room, Question::Room).await? {
        Answer::Room(Some(info)) => Ok(Json(describe(&info))),
        _ => Err(ApiError::NoSuchRoom(room)),
    }
}

/// `GET /v1/rooms/{room}/stats`: what each participant is sent, and why it is not more.
pub(super) async fn stats(
    State(app): State<App>,
    Path(room): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let Answer::Room(Some(info)) = ask(&app, &room, Question::Room).await? else {
        return Err(ApiError::NoSuchRoom(room));
    };
    let mut participants = Vec::new();
    // Each worker knows its own sessions.
    for worker in &app.workers {
        if let Answer::Stats(of_worker) = worker.ask(Question::Stats(info.name.clone())).await? {
            participants.extend(of_worker);
        }
    }
    participants.sort_by(|a, b| a.identity.cmp(&b.identity));
    let participants = participants.iter().map(|stats| {
        let mut data = stats_data(stats);
        data["identity"] = json!(stats.identity);
        data
    });
    Ok(Json(json!({ "name": info.name, "participants": participants.collect::<Vec<_>>() })))
}

/// `DELETE /v1/rooms/{room}`
pub(super) async fn close(
    State(app): State<App>,
    Path(room): Path<String>,
) -> Result<StatusCode, ApiError> {
    match ask(&app, &room, Question::CloseRoom).await? {
        Answer::Done(true) => Ok(StatusCode::NO_CONTENT),
        _ => Err(ApiError::NoSuchRoom(room)),
    }
}

/// `DELETE /v1/rooms/{room}/participants/{identity}`
pub(super) async fn remove(
    State(app): State<App>,
    Path((room, identity)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let who =
        Identity::new(&identity).map_err(|_| ApiError::NoSuchParticipant(identity.clone()))?;
    match ask(&app, &room, |room| Question::Remove(room, who)).await? {
        Answer::Done(true) => Ok(StatusCode::NO_CONTENT),
        _ => Err(ApiError::NoSuchParticipant(identity)),
    }
}

async fn ask(
    app: &App,
    room: &str,
    question: impl FnOnce(RoomName) -> Question,
) -> Result<Answer, ApiError> {
    let missing = || ApiError::NoSuchRoom(room.to_owned());
    let name = RoomName::new(room).map_err(|_| missing())?;
    let worker = app.rooms.known(&name, &app.workers).ok_or_else(missing)?;
    Ok(worker.ask(question(name)).await?)
}

fn describe(room: &RoomInfo) -> Value {
    let member = |member: &MemberInfo| {
        let receiving = |kind| {
            let count = member.receiving.iter().find(|(known, _)| *known == kind);
            count.map_or(0, |(_, count)| *count)
        };
        json!({
            "identity": member.info.identity,
            "name": member.info.name,
            "session": member.session,
            "joinedAt": member.info.joined_at,
            "connected": member.connected,
            "tracks": member.info.tracks,
            "receiving": { "audio": receiving(Kind::Audio), "video": receiving(Kind::Video) },
        })
    };
    json!({
        "name": room.name,
        "createdAt": room.created_at,
        "participants": room.participants.iter().map(member).collect::<Vec<_>>(),
    })
}

/// `GET /healthz`: the process lives and every media thread ticks.
pub(super) async fn health(State(app): State<App>) -> Result<&'static str, ApiError> {
    let stuck = app.workers.iter().any(|worker| worker.report().0.elapsed() > STALE);
    if stuck { Err(ApiError::Unwell) } else { Ok("ok\n") }
}

/// `GET /readyz`: new calls may come here.
pub(super) async fn ready(State(app): State<App>) -> Result<&'static str, ApiError> {
    if app.is_stopping() { Err(ApiError::Stopping) } else { Ok("ready\n") }
}
