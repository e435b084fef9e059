//! The page and the SDK, from inside the binary.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::App;
use super::error::ApiError;
use super::guard::Host;
use crate::ids::RoomName;

/// The web folder. A debug build reads it from disk, so that a page can be changed while it runs.
#[derive(Debug, RustEmbed)]
#[folder = "web/"]
struct Web;

/// Where the SDK is served: the major version is part of its address.
const SDK: &str = "/sdk/v1/";

/// Everything that no route knows.
pub(super) async fn serve(
    State(_): State<App>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if !matches!(method, Method::GET | Method::HEAD) {
        return Ok(([(header::ALLOW, "GET, HEAD")], ApiError::WrongMethod).into_response());
    }
    let path = uri.path();
    if is_unclean(path) {
        return Err(ApiError::NoSuchAddress);
    }
    let file = match path.strip_prefix(SDK) {
        Some(rest) => Web::get(&format!("sdk/{rest}")),
        None if path.starts_with("/sdk/") => None,
        None if is_page(path) => Web::get("index.html"),
        None => Web::get(path.trim_start_matches('/')).filter(|_| is_public(path)),
    };
    match file {
        Some(file) => Ok(send(&file, path, &headers)),
        None if path.starts_with("/sdk/") || last_segment(path).contains('.') => {
            Err(ApiError::NoSuchAddress)
        }
        None => Ok(Redirect::to("/").into_response()),
    }
}

/// `/` and `/r/<room>`.
fn is_page(path: &str) -> bool {
    path == "/"
        || path.strip_prefix("/r/").is_some_and(|room| {
            let room = percent_decoded(room.trim_end_matches('/'));
            room.is_some_and(|room| RoomName::new(&room).is_ok())
        })
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (high, low) = (rest.next()?, rest.next()?);
        let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        bytes.push(digit(high)? << 4 | digit(low)?);
    }
    String::from_utf8(bytes).ok()
}

/// What of the folder is for browsers.
fn is_public(path: &str) -> bool {
    let folders = ["/app/", "/vendor/"];
    let files = ["/style.css", "/favicon.svg"];
    files.contains(&path) || folders.iter().any(|folder| path.starts_with(folder))
}

/// Paths that only somebody makes who looks for a way out of the folder.
fn is_unclean(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let hidden = ["%2e", "%2f", "%5c", "%00"].iter().any(|code| lower.contains(code));
    hidden || lower.contains("//") || lower.contains('\\') || path.split('/').any(|s| s == "..")
}

fn last_segment(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// Whether the client has this version. A cache may list several, and call them weak because it
/// packs them (RFC 9110 section 13.1.2).
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let lists = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    let mut tags = lists.flat_map(|list| list.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

fn send(file: &EmbeddedFile, path: &str, headers: &HeaderMap) -> Response {
    let hash = file.metadata.sha256_hash();
    let etag: String = hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    let etag = format!("\"{etag}\"");
    let mut response = if is_known(headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Body::from(file.data.clone().into_owned()).into_response()
    };
    let mut set = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    let mime = file.metadata.mimetype();
    let charset = if mime.starts_with("text/") { "; charset=utf-8" } else { "" };
    set(header::CONTENT_TYPE, &format!("{mime}{charset}"));
    set(header::ETAG, &etag);
    // Always asked again: a page of one version with a module of another is a riddle.
    set(header::CACHE_CONTROL, "no-cache");
    set(header::REFERRER_POLICY, "no-referrer");
    if path.starts_with(SDK) {
        // A developer's own page may use the SDK from here.
        set(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    }
    if mime == "text/html" {
        set(header::CONTENT_SECURITY_POLICY, &policy(headers));
        let own = "camera=(self), microphone=(self), display-capture=(self), geolocation=()";
        set(header::HeaderName::from_static("permissions-policy"), own);
    }
    response
}

/// What the page may load: only what comes from here. Older Safari does not count a WebSocket to
/// the same host as `'self'`, so it is named.
fn policy(headers: &HeaderMap) -> String {
    let sockets = Host::of(headers).map(|host| host.authority()).unwrap_or_default();
    format!(
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
         media-src 'self' blob: mediastream:; connect-src 'self' ws://{sockets} wss://{sockets}; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_have_pages_and_what_is_no_room_has_none() {
        assert!(
            is_page("/") && is_page("/r/blue-otter") && is_page("/r/%E6%88%BF") && is_page("/r/a/")
        );
        for no in ["/r/", "/r", "/r/a/b", "/r/a.b", "/x", "/r/%zz", "/r/%"] {
            assert!(!is_page(no), "{no}");
        }
    }

    #[test]
    fn a_version_is_known_by_any_of_the_listed_tags() {
        let known = |list: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(list));
            is_known(&headers, "\"ab\"")
        };
        for list in ["\"ab\"", "W/\"ab\"", "\"x\", W/\"ab\"", "*"] {
            assert!(known(list), "{list}");
        }
        assert!(!known("\"x\"") && !known("ab") && !known(""));
        assert!(!is_known(&HeaderMap::new(), "\"ab\""));
    }

    #[test]
    fn unclean_paths_are_seen() {
        for bad in ["//", "/a//b", "/../x", "/a/..", "/%2e%2e/", "/a%2Fb", "/a\\b", "/%00"] {
            assert!(is_unclean(bad), "{bad}");
        }
        assert!(!is_unclean("/r/a..b") && !is_unclean("/app/main.js"));
    }
}
