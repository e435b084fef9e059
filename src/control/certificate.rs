//! The certificate for HTTPS: made once, kept in the data directory, made again when it no longer
//! names this machine.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Config;

/// Apple's devices refuse certificates that are valid for longer.
const VALID: Duration = Duration::from_secs(397 * 24 * 3600);

/// Made again this long after it was made, so that it never runs out while the server runs.
const RENEW_AFTER: Duration = Duration::from_secs(300 * 24 * 3600);

/// What the doors need of the certificate.
pub struct Certificate {
    /// Names under which the page may be opened.
    pub names: Vec<String>,
    /// Takes TLS connections.
    pub acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Reads the certificate of the data directory, or makes one.
///
/// # Errors
/// The directory cannot be written, or what is in it cannot be read.
pub fn load_or_make(config: &Config) -> anyhow::Result<Certificate> {
    let dir = &config.data_dir;
    fs::create_dir_all(dir)
        .with_context(|| format!("cannot make the data directory {}", dir.display()))?;
    let names = names(config);
    let (chain, key) = (dir.join("certificate.pem"), dir.join("key.pem"));
    let list = dir.join("certificate.names");
    let fresh = fs::metadata(&chain)
        .and_then(|meta| meta.modified())
        .is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < RENEW_AFTER));
    // A name too many does no harm; another certificate is another warning in every browser.
    let known = fs::read_to_string(&list).unwrap_or_default();
    let named = names.iter().all(|name| known.lines().any(|line| line == name));
    if !(fresh && named && key.exists()) {
        make(&names, &chain, &key)
            .and_then(|()| write(&list, names.join("\n").as_bytes(), 0o644))
            .with_context(|| format!("cannot write to the data directory {}", dir.display()))?;
    }
    let acceptor = acceptor(&chain, &key)
        .with_context(|| format!("the certificate in {} cannot be used", dir.display()))?;
    Ok(Certificate { names: hosts(config), acceptor })
}

/// The names of hosts under which this server may be asked for.
fn hosts(config: &Config) -> Vec<String> {
    let own = gethostname::gethostname().to_string_lossy().to_ascii_lowercase();
    let mut hosts = config.domains.clone();
    if !own.is_empty() {
        hosts.push(format!("{own}.local"));
        hosts.push(own);
    }
    hosts
}

/// Everything that the certificate is for: names and addresses.
fn names(config: &Config) -> Vec<String> {
    let mut names: BTreeSet<String> = hosts(config).into_iter().collect();
    names.insert("localhost".to_owned());
    names.extend(["127.0.0.1", "::1"].map(str::to_owned));
    let own = if_addrs::get_if_addrs().unwrap_or_default();
    names.extend(own.iter().map(|interface| interface.ip().to_string()));
    names.extend(config.public_ips.iter().map(ToString::to_string));
    // A name that a certificate cannot hold would lose all the others.
    let sound = |name: &String| CertificateParams::new(vec![name.clone()]).is_ok();
    names.into_iter().filter(sound).collect()
}

fn make(names: &[String], chain: &Path, key: &Path) -> anyhow::Result<()> {
    let mut params = CertificateParams::new(names)?;
    let mut who = DistinguishedName::new();
    who.push(DnType::CommonName, "Fanlight on this machine");
    params.distinguished_name = who;
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(24 * 3600)).into();
    params.not_after = (now - Duration::from_secs(24 * 3600) + VALID).into();
    let kept = fs::read_to_string(key).ok().and_then(|pem| KeyPair::from_pem(&pem).ok());
    let pair = kept.map_or_else(KeyPair::generate, Ok)?;
    let certificate = params.self_signed(&pair)?;
    write(key, pair.serialize_pem().as_bytes(), 0o600)?;
    write(chain, certificate.pem().as_bytes(), 0o644)
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    let _ = fs::remove_file(&part);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    Ok(())
}

fn acceptor(chain: &Path, key: &Path) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let mut tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(tls)))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;
    use crate::config::{DoorLimits, MediaLimits};

    fn config(dir: &str, domain: &str) -> Config {
        let dir: PathBuf = std::env::temp_dir().join(format!("{dir}-{}", std::process::id()));
        Config {
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            public_ips: Vec::new(),
            data_dir: dir,
            workers: 1,
            domains: vec![domain.to_owned()],
            origins: Vec::new(),
            media: MediaLimits::default(),
            doors: DoorLimits::default(),
        }
    }

    #[test]
    fn a_certificate_is_made_once_and_again_for_another_name() {
        let first = config("fanlight-certificate", "a.example");
        load_or_make(&first).unwrap();
        let chain = first.data_dir.join("certificate.pem");
        let before = fs::read_to_string(&chain).unwrap();
        let made = load_or_make(&first).unwrap();
        assert!(made.names.contains(&"a.example".to_owned()));
        assert_eq!(fs::read_to_string(&chain).unwrap(), before, "it is kept");
        let mode = fs::metadata(first.data_dir.join("key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "the key is nobody else's");
        load_or_make(&Config { domains: Vec::new(), ..first.clone() }).unwrap();
        assert_eq!(fs::read_to_string(&chain).unwrap(), before, "a name too many does no harm");
        let key = fs::read_to_string(first.data_dir.join("key.pem")).unwrap();
        load_or_make(&Config { domains: vec!["b.example".to_owned()], ..first.clone() }).unwrap();
        assert_ne!(fs::read_to_string(&chain).unwrap(), before);
        let kept = fs::read_to_string(first.data_dir.join("key.pem")).unwrap();
        assert_eq!(kept, key, "the same machine under another name");
        fs::remove_dir_all(&first.data_dir).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let bad = Config { data_dir: PathBuf::from("/dev/null/x"), ..config("x", "y") };
        let error = load_or_make(&bad).unwrap_err().to_string();
        assert!(error.contains("/dev/null/x"), "{error}");
    }
}
