//! TLS configs over the one provider (ring), and a certificate that can be swapped while connections live on.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::sign::CertifiedKey;

/// Gives every new full handshake the certificate that was set last.
#[derive(Debug, Default)]
pub struct Swap {
    current: ArcSwapOption<CertifiedKey>,
}

impl Swap {
    /// Errors when the key does not belong to the leaf.
    pub fn set(
        &self,
        chain: Vec<rustls::pki_types::CertificateDer<'static>>,
        key: rustls::pki_types::PrivateKeyDer<'static>,
    ) -> Result<(), rustls::Error> {
        let provider = rustls::crypto::ring::default_provider();
        self.current.store(Some(Arc::new(CertifiedKey::from_der(chain, key, &provider)?)));
        Ok(())
    }
}

impl rustls::server::ResolvesServerCert for Swap {
    fn resolve(&self, _hello: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}
