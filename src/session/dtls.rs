//! DTLS as the engine's own provider has it, but with one configuration for all sessions.
//!
//! dimpl tests the whole of its cryptography (RFC 9147 suites, P-256, P-384 and X25519 among it)
//! whenever a configuration is made, and the engine's provider makes one for each session: a quarter of
//! what somebody who joins costs. Here the process tests once.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use dimpl::{Config, Dtls};
use str0m::config::CryptoProvider;
use str0m::crypto::CryptoError;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
};

/// The engine's crypto, with DTLS from here.
pub(super) fn provider() -> CryptoProvider {
    static DTLS: SharedDtls = SharedDtls { config: OnceLock::new() };
    CryptoProvider { dtls_provider: &DTLS, ..str0m::crypto::from_feature_flags() }
}

/// Makes DTLS instances that share their configuration.
#[derive(Debug)]
struct SharedDtls {
    config: OnceLock<Arc<Config>>,
}

impl SharedDtls {
    /// The configuration, made at the first call; anew for a size that is not the first one's, which
    /// no session of ours asks for.
    fn config(&self, mtu: Option<usize>) -> Result<Arc<Config>, CryptoError> {
        let fits = |config: &&Arc<Config>| mtu.is_none_or(|mtu| config.mtu() == mtu);
        if let Some(config) = self.config.get().filter(fits) {
            return Ok(Arc::clone(config));
        }
        // ICE proves the address of a client before its handshake begins, and a cookie would cost a round
        // trip to prove it again (RFC 6347 section 4.2.1, RFC 9147 section 5.1).
        let mut builder = Config::builder().use_server_cookie(false);
        if let Some(mtu) = mtu {
            builder = builder.mtu(mtu);
        }
        let built = builder.build().map_err(|error| CryptoError::Other(error.to_string()))?;
        let built = Arc::new(built);
        let _ = self.config.set(Arc::clone(&built));
        Ok(built)
    }
}

impl DtlsProvider for SharedDtls {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        str0m::crypto::from_feature_flags().dtls_provider.generate_certificate()
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let (config, certificate) = (self.config(mtu)?, certificate.clone());
        let dtls = match version {
            DtlsVersion::Dtls12 => Dtls::new_12(config, certificate, now),
            DtlsVersion::Dtls13 => Dtls::new_13(config, certificate, now),
            DtlsVersion::Auto => Dtls::new_auto(config, certificate, now),
            other => return Err(CryptoError::Other(format!("no {other}"))),
        };
        Ok(Box::new(Instance(dtls)))
    }
}

/// One session's DTLS, by the names that the engine calls it.
struct Instance(Dtls);

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dtls")
    }
}

impl DtlsInstance for Instance {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        self.0.poll_output(buf)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.0.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.0.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.0.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.0.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.0.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_share_a_configuration_unless_they_want_another() {
        let dtls = SharedDtls { config: OnceLock::new() };
        let first = dtls.config(Some(1_200)).unwrap();
        assert!(Arc::ptr_eq(&first, &dtls.config(Some(1_200)).unwrap()));
        assert!(Arc::ptr_eq(&first, &dtls.config(None).unwrap()));
        assert_eq!(dtls.config(Some(1_100)).unwrap().mtu(), 1_100);
        assert!(Arc::ptr_eq(&first, &dtls.config(Some(1_200)).unwrap()));
        let error = dtls.config(Some(10)).unwrap_err().to_string();
        assert!(error.contains("64"), "says what is wrong: {error}");
    }
}
