//! TLS for clients that are on the network: who we are, whom we believe, and the handshake.
//!
//! What it guarantees: TLS 1.2 or 1.3; where authorities are given, only clients with a certificate of theirs come through;
//! a private key that does not belong to the certificate is noticed when it is given, not by the first client.
//! What it leaves to others: whether our certificate has expired, and for which names it stands, is for clients to judge.

use std::io;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ClientCertVerifierBuilder, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use super::channel::Channel;
use super::socket::Socket;
use super::tls_channel::{Incoming, TlsChannel, send_tls};
use crate::error::{Code, Error, Result};

/// What a server proves itself with, and what it believes of clients. One serves any number of servers.
pub struct TlsContext {
    config: Arc<ServerConfig>,
}

/// What is given to [`TlsContext::new`]; the context `argument` of its errors.
#[derive(Clone, Copy)]
enum Given {
    Certificate,
    Key,
    ClientAuthorities,
}

impl Given {
    const fn argument(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Key => "key",
            Self::ClientAuthorities => "clientAuthorities",
        }
    }

    fn wrong(self, why: impl std::fmt::Display) -> Error {
        let what = match self {
            Self::Certificate => "the TLS certificate",
            Self::Key => "the TLS key",
            Self::ClientAuthorities => "the TLS client authorities",
        };
        Error::new(Code::ArgumentInvalid, format!("{what} cannot be used: {why}")).with("argument", self.argument())
    }

    /// All certificates of a PEM text.
    fn certificates(self, text: &str) -> Result<Vec<CertificateDer<'static>>> {
        let found: std::result::Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        let certificates = found.map_err(|error| self.wrong(error))?;
        if certificates.is_empty() {
            return Err(self.wrong("the text has no section CERTIFICATE"));
        }
        Ok(certificates)
    }
}

fn private_key(text: &str) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        pem::Error::NoItemsFound if text.contains("ENCRYPTED") => {
            Given::Key.wrong("it is encrypted; it is wanted without a passphrase")
        }
        pem::Error::NoItemsFound => Given::Key.wrong("the text has no section PRIVATE KEY"),
        error => Given::Key.wrong(error),
    })
}

impl TlsContext {
    /// From texts of PEM: the certificate with those between it and its authority, its private key (PKCS #8, PKCS #1 or SEC 1;
    /// not encrypted), and, if clients have to prove themselves, the authorities that are believed about them.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` with the context `argument`: `certificate`, `key` or `clientAuthorities`, whichever is wrong.
    pub fn new(certificate_pem: &str, key_pem: &str, client_authorities_pem: Option<&str>) -> Result<Self> {
        let provider = Arc::new(default_provider());
        let chain = Given::Certificate.certificates(certificate_pem)?;
        let key = provider.key_provider.load_private_key(private_key(key_pem)?);
        let certified = CertifiedKey::new(chain, key.map_err(|error| Given::Key.wrong(error))?);
        match certified.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(Given::Key.wrong("it does not belong to the certificate"));
            }
            Err(error) => return Err(Given::Certificate.wrong(error)),
        }
        let versions = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new(Code::Internal, format!("TLS has no version to offer: {error}")))?;
        let clients = match client_authorities_pem {
            None => versions.with_no_client_auth(),
            Some(text) => versions.with_client_cert_verifier(
                verifier(text, provider)?.build().map_err(|error| Given::ClientAuthorities.wrong(error))?,
            ),
        };
        let mut config = clients.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        // Connections last for as long as a disk is used: there is nothing to gain from resuming one, and a client's
        // certificate is looked at each time.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config) })
    }

    /// The handshake, over `wire`, which has a limit of time; what comes then goes over `socket`, which is the same client's.
    ///
    /// # Errors
    /// What the connection gives; `InvalidData` when the client is not understood or not believed, after it was told so.
    pub(super) fn accept(&self, wire: &dyn Channel, socket: Arc<Socket>) -> io::Result<TlsChannel> {
        let mut connection = ServerConnection::new(Arc::clone(&self.config)).map_err(io::Error::other)?;
        let mut incoming = Incoming::new();
        while connection.is_handshaking() {
            if incoming.is_empty() && incoming.receive(wire)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let fed = incoming.feed(&mut connection);
            while connection.wants_write() {
                send_tls(&mut connection, |parts| wire.send(parts))?;
            }
            fed?;
        }
        Ok(TlsChannel::new(connection, incoming, socket))
    }
}

fn verifier(text: &str, provider: Arc<CryptoProvider>) -> Result<ClientCertVerifierBuilder> {
    let mut roots = RootCertStore::empty();
    for certificate in Given::ClientAuthorities.certificates(text)? {
        roots.add(certificate).map_err(|error| Given::ClientAuthorities.wrong(error))?;
    }
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider))
}
