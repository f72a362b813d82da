//! Pure: what went wrong on the way, in plain words: the innermost cause that a person can act upon.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::Duration;

use rustls::CertificateError;

/// Looks through the chain of causes for one that is known, else says the last.
pub(super) fn of(error: &(dyn Error + 'static)) -> String {
    let mut current = Some(error);
    let mut last = String::new();
    while let Some(error) = current {
        if let Some(words) = known(error) {
            return words;
        }
        let words = error.to_string();
        if !words.is_empty() {
            last = words;
        }
        // An io::Error speaks as what it wraps and gives as its source only what is below that.
        current = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref).map_or_else(|| error.source(), |inner| Some(inner));
    }
    last
}

/// `waited` since the hop began.
pub(super) fn no_answer(waited: Duration) -> String {
    let seconds = waited.as_secs_f64();
    if seconds < 1.0 { format!("no answer within {} ms", waited.as_millis()) } else { format!("no answer within {seconds:.0} s") }
}

fn known(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(of_tls(error));
    }
    let error = error.downcast_ref::<io::Error>()?;
    let words = match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused: nothing listens there",
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => "the connection was cut",
        ErrorKind::UnexpectedEof => "the connection was closed early",
        ErrorKind::HostUnreachable => "the host cannot be reached",
        ErrorKind::NetworkUnreachable => "the network cannot be reached",
        ErrorKind::TimedOut => "the connection timed out",
        _ => return None,
    };
    Some(words.to_owned())
}

fn of_tls(error: &rustls::Error) -> String {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
    match error {
        InvalidCertificate(CertificateError::UnknownIssuer) => "the certificate is not trusted: its issuer is unknown here".to_owned(),
        InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => "the certificate has expired".to_owned(),
        InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            "the certificate is not valid yet: is the clock right?".to_owned()
        }
        InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            "the certificate is for another name".to_owned()
        }
        InvalidCertificate(why) => format!("the certificate is not trusted: {why}"),
        AlertReceived(alert) => format!("the server ended the TLS handshake: {alert:?}"),
        InvalidMessage(_) => "the server does not speak TLS there".to_owned(),
        other => format!("TLS: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("client error (Connect)")]
    struct Outer(#[source] Box<dyn Error + Send + Sync>);

    #[test]
    fn the_innermost_known_cause_is_said() {
        let wrapped = |inner: io::Error| of(&Outer(Box::new(Outer(Box::new(inner)))));
        assert_eq!(wrapped(ErrorKind::ConnectionRefused.into()), "connection refused: nothing listens there");
        let untrusted = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert_eq!(wrapped(io::Error::new(ErrorKind::InvalidData, untrusted)), "the certificate is not trusted: its issuer is unknown here");
        assert_eq!(wrapped(io::Error::other("failed to lookup address information")), "failed to lookup address information");
    }

    #[test]
    fn waits_are_said_in_the_unit_they_have() {
        assert_eq!(no_answer(Duration::from_millis(250)), "no answer within 250 ms");
        assert_eq!(no_answer(Duration::from_millis(2001)), "no answer within 2 s");
    }
}
