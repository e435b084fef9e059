//! What must hold before any handler runs: who is asked for, by whom, from which page.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::error::ApiError;
use super::listen::Peer;

/// Longest address in bytes.
const MAX_URI: usize = 8 * 1024;

/// Headers that a proxy writes. Who asks through one is not on this machine, whatever it says.
const FORWARDING: [&str; 3] = ["forwarded", "via", "x-real-ip"];

fn is_forwarding(name: &header::HeaderName) -> bool {
    FORWARDING.contains(&name.as_str()) || name.as_str().starts_with("x-forwarded-")
}

/// The host that a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// A name in lower case or an address without brackets.
    pub name: String,
    /// The port, if one was named.
    pub port: Option<u16>,
}

impl Host {
    /// Reads a `Host` header; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, port) = rest.split_once(']')?;
                (name, port.strip_prefix(':'))
            }
            None => match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            },
        };
        let port = port.map(str::parse).transpose().ok()?;
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let sound = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '_'));
        sound.then_some(Self { name, port })
    }

    /// The one `Host` of a request.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return None };
        Self::parse(host.to_str().ok()?)
    }

    pub fn ip(&self) -> Option<IpAddr> {
        self.name.parse().ok()
    }

    pub fn is_loopback(&self) -> bool {
        self.ip().map_or_else(
            || self.name == "localhost" || self.name.ends_with(".localhost"),
            |ip| ip.to_canonical().is_loopback(),
        )
    }

    /// As it stands in an address.
    pub fn authority(&self) -> String {
        let name =
            if self.name.contains(':') { format!("[{}]", self.name) } else { self.name.clone() };
        self.port.map_or_else(|| name.clone(), |port| format!("{name}:{port}"))
    }
}

/// Runs before everything else.
pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    match check(&app, &request) {
        Ok(None) => {
            let mut response = next.run(request).await;
            let headers = response.headers_mut();
            let nosniff = HeaderValue::from_static("nosniff");
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
            response
        }
        Ok(Some(elsewhere)) => elsewhere,
        Err(error) => {
            let close = matches!(error, ApiError::BadRequest(_));
            let mut response = error.into_response();
            if close {
                // What follows in the buffer of a request that cannot be told apart is not read.
                let value = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, value);
            }
            response
        }
    }
}

fn check(app: &App, request: &Request) -> Result<Option<Response>, ApiError> {
    let headers = request.headers();
    let host = Host::of(headers)
        .ok_or(ApiError::BadRequest("The request needs one Host that names this server."))?;
    if request.uri().to_string().len() > MAX_URI {
        return Err(ApiError::AddressTooLong);
    }
    let peer = request.extensions().get::<Peer>().copied().unwrap_or_default();
    if !is_known(app, &host) {
        return Err(ApiError::UnknownHost(host.name));
    }
    if !peer.tls && !host.is_loopback() {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let to = format!("https://{}{path}", host.authority());
        return Ok(Some(
            (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, to)]).into_response(),
        ));
    }
    if request.uri().path().starts_with("/v1/") {
        same_site(app, headers, &host, peer.tls)?;
    }
    Ok(None)
}

/// A name that another site's owner points at this machine must not open this server's pages
/// (DNS rebinding): addresses, `localhost` and names that the operator knows.
fn is_known(app: &App, host: &Host) -> bool {
    let named = |known: &String| *known == host.name;
    host.ip().is_some() || host.is_loopback() || app.names.iter().any(named)
}

/// Any page can reach a server on its visitor's machine; only our own and those that the operator
/// named may use it.
fn same_site(app: &App, headers: &HeaderMap, host: &Host, tls: bool) -> Result<(), ApiError> {
    let scheme = if tls { "https" } else { "http" };
    let own = format!("{scheme}://{}", host.authority());
    let allowed = match headers.get(header::ORIGIN) {
        Some(origin) => {
            *origin == own.as_str()
                || app.config.origins.iter().any(|known| origin == known.as_str())
        }
        None => headers.get("sec-fetch-site").is_none_or(|site| site != "cross-site"),
    };
    if allowed {
        return Ok(());
    }
    Err(ApiError::NotAllowed("This origin may not use the server; --origin allows another one."))
}

/// Lets only somebody on this machine, who asks for this machine, not through a proxy.
pub(super) async fn operator_only(
    State(_): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let headers = request.headers();
    let peer = request.extensions().get::<Peer>().copied().unwrap_or_default();
    let direct = !headers.keys().any(is_forwarding);
    let local = Host::of(headers).is_some_and(|host| host.is_loopback());
    if peer.is_loopback() && local && direct {
        return Ok(next.run(request).await);
    }
    Err(ApiError::NotAllowed("Only somebody on the server's own machine may ask for this."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        let host = |text| Host::parse(text).map(|host| (host.name, host.port));
        assert_eq!(host("LocalHost:8443"), Some(("localhost".to_owned(), Some(8443))));
        assert_eq!(host("[::1]:80"), Some(("::1".to_owned(), Some(80))));
        assert_eq!(host("a.example."), Some(("a.example".to_owned(), None)));
        for bad in ["", ":80", "a b", "a/b", "[::1", "a:b", "a:99999", "évil"] {
            assert_eq!(host(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn loopback_is_told_from_what_looks_like_it() {
        let is = |text| Host::parse(text).unwrap().is_loopback();
        assert!(is("localhost") && is("x.localhost") && is("127.9.9.9") && is("[::1]:1"));
        assert!(!is("localhost.example") && !is("10.0.0.1") && !is("evillocalhost"));
    }
}
