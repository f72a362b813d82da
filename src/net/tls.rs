//! TLS configs over the one provider (ring), and a certificate that can be swapped while connections live on.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

/// Protocols that lead to HTTP.
pub const ALPN_HTTP: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// Protocols that lead to the relay (RFC 7443).
pub const ALPN_TURN: [&[u8]; 2] = [b"stun.turn", b"stun.nat-discovery"];

/// For the one TLS port: TLS 1.2 and 1.3, every protocol that is answered there. A client that names no protocol or no server is served too
/// (browsers do neither for `turns:` and an IP address); one that names only foreign protocols gets `no_application_protocol`.
pub fn server_config(certificate: Arc<Swap>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = ALPN_HTTP.iter().chain(&ALPN_TURN).map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// For our own clients: trusts exactly `roots` (DER) and offers no ALPN; the caller adds protocols to a copy.
pub fn client_config(roots: &[CertificateDer<'static>]) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone())?;
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// For looking only: shakes hands with whoever holds the key of the certificate it shows, and believes no word of that certificate.
pub fn blind_client_config() -> Result<Arc<ClientConfig>, rustls::Error> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Blind(provider().signature_verification_algorithms)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Blind(rustls::crypto::WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Blind {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Gives every new full handshake the certificate that was set last.
#[derive(Debug, Default)]
pub struct Swap {
    current: ArcSwapOption<CertifiedKey>,
}

impl Swap {
    /// Errors when the key does not belong to the leaf.
    pub fn set(&self, chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<(), rustls::Error> {
        self.current.store(Some(Arc::new(CertifiedKey::from_der(chain, key, &provider())?)));
        Ok(())
    }
}

impl rustls::server::ResolvesServerCert for Swap {
    fn resolve(&self, _hello: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::{ClientConnection, ServerConnection};

    use super::*;

    #[test]
    fn every_offer_that_leads_somewhere_is_taken_and_a_foreign_one_refused() {
        let (swap, root) = swap_with("call.test");
        for name in ALPN_HTTP.iter().chain(&ALPN_TURN) {
            let (client, server) = shake(&swap, &root, "call.test", &[name]).expect("a protocol of ours");
            assert_eq!(client.alpn_protocol(), Some(*name));
            assert_eq!(server.alpn_protocol(), Some(*name));
        }
        let (_, server) = shake(&swap, &root, "call.test", &[]).expect("no protocol named");
        assert_eq!(server.alpn_protocol(), None);
        let refused = shake(&swap, &root, "call.test", &[b"smtp"]).unwrap_err();
        assert!(matches!(refused, rustls::Error::NoApplicationProtocol), "{refused:?}");
    }

    #[test]
    fn an_address_without_server_name_is_served() {
        let (swap, root) = swap_with("192.0.2.7");
        let (_, server) = shake(&swap, &root, "192.0.2.7", &[]).expect("rustls sends no SNI for an address");
        assert_eq!(server.server_name(), None);
    }

    #[test]
    fn the_next_handshake_sees_a_swapped_certificate_and_a_wrong_pair_is_refused() {
        let (swap, first) = swap_with("call.test");
        let (second, key) = issue("call.test");
        let (_, foreign_key) = issue("call.test");
        assert!(swap.set(vec![second.clone()], foreign_key).is_err());
        shake(&swap, &first, "call.test", &[]).expect("the old pair stays after a refused one");
        swap.set(vec![second.clone()], key).unwrap();
        shake(&swap, &second, "call.test", &[]).expect("the new pair");
        assert!(shake(&swap, &first, "call.test", &[]).is_err());
    }

    #[test]
    fn only_the_given_roots_are_trusted() {
        let (swap, _) = swap_with("call.test");
        let (other, _) = issue("call.test");
        assert!(shake(&swap, &other, "call.test", &[]).is_err());
    }

    #[test]
    fn a_blind_client_sees_whatever_is_shown() {
        let (swap, root) = swap_with("call.test");
        let mut client = ClientConnection::new(blind_client_config().unwrap(), ServerName::try_from("other.test").unwrap()).unwrap();
        let mut server = ServerConnection::new(server_config(swap).unwrap()).unwrap();
        shake_hands(&mut client, &mut server).unwrap();
        assert_eq!(client.peer_certificates().unwrap(), [root]);
    }

    fn issue(name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        (made.cert.der().clone(), PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into())
    }

    fn swap_with(name: &str) -> (Arc<Swap>, CertificateDer<'static>) {
        let (cert, key) = issue(name);
        let swap = Arc::new(Swap::default());
        swap.set(vec![cert.clone()], key).unwrap();
        (swap, cert)
    }

    /// A whole handshake in memory.
    fn shake(
        swap: &Arc<Swap>,
        root: &CertificateDer<'static>,
        name: &str,
        alpn: &[&[u8]],
    ) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
        let mut config = (*client_config(std::slice::from_ref(root))?).clone();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap())?;
        let mut server = ServerConnection::new(server_config(Arc::clone(swap))?)?;
        shake_hands(&mut client, &mut server)?;
        Ok((client, server))
    }

    fn shake_hands(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), rustls::Error> {
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut bytes.as_slice()).unwrap();
            server.process_new_packets()?;
            bytes.clear();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut bytes.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }
}
