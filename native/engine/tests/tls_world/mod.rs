//! A server that speaks TLS, and a client that does.
#![allow(dead_code, reason = "each test binary uses some of it")]
#![allow(clippy::unwrap_used, reason = "a failure here is a failing test")]

pub(crate) mod certificates;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use stillpoint_engine::nbd::protocol::{option, reply};
use stillpoint_engine::nbd::{Address, Encryption, Exports, Listener, PlainClients, Server, ServerParts, TlsContext};

use crate::nbd_world::Client;
use certificates::{EXPIRED, Identity, NOW, authority};

/// Everybody who takes part.
pub(crate) struct Cast {
    pub(crate) authority: Identity,
    pub(crate) server: Identity,
    pub(crate) expired: Identity,
    pub(crate) client: Identity,
    /// Somebody whom nobody knows, and whom it certified.
    pub(crate) stranger: Identity,
    pub(crate) strange_client: Identity,
}

impl Cast {
    pub(crate) fn new() -> Self {
        let (authority, stranger) = (authority("authority"), authority("stranger"));
        Self {
            server: authority.certify("server", NOW),
            expired: authority.certify("server that was", EXPIRED),
            client: authority.certify("client", NOW),
            strange_client: stranger.certify("client", NOW),
            authority,
            stranger,
        }
    }

    /// What the server is given, with or without authorities about clients.
    pub(crate) fn context(&self, knows_clients: bool) -> Arc<TlsContext> {
        let authorities = knows_clients.then(|| self.authority.certificate_pem());
        let context = TlsContext::new(&self.server.certificate_pem(), &self.server.key_pem(), authorities.as_deref());
        Arc::new(context.map_err(|error| error.to_string()).unwrap())
    }

    /// What a client is given that believes the authority.
    pub(crate) fn client_config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&Identity>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.certificate_pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match own {
            None => config.with_no_client_auth(),
            Some(own) => {
                let certificate = CertificateDer::from_pem_slice(own.certificate_pem().as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(own.key_pem().as_bytes()).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        })
    }

    /// A client in TLS that has not chosen yet.
    pub(crate) fn connect(&self, server: &Server) -> TlsClient {
        let config = self.client_config(rustls::ALL_VERSIONS, None);
        encrypt(started(server), config)
    }
}

/// A client of a server's socket in TLS.
pub(crate) type TlsClient = Client<StreamOwned<ClientConnection, UnixStream>>;

/// A path for a socket that nobody else has.
pub(crate) fn socket_path() -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("stillpoint-tls-{}-{number}", std::process::id()))
}

/// A server on a Unix socket.
pub(crate) fn serving(exports: Arc<dyn Exports>, tls: Option<Arc<TlsContext>>, plain_clients: PlainClients) -> Server {
    let listener = Listener::unix(&socket_path()).unwrap();
    Server::start(listener, parts(exports, tls, plain_clients)).unwrap()
}

/// Limits of a test server.
pub(crate) fn parts(
    exports: Arc<dyn Exports>,
    tls: Option<Arc<TlsContext>>,
    plain_clients: PlainClients,
) -> ServerParts {
    let tls = tls.map(Encryption::Certificate);
    let (handshake_timeout, send_timeout) = (Duration::from_secs(5), Duration::from_secs(20));
    ServerParts { exports, tls, plain_clients, clients_max: 64, handshake_timeout, send_timeout }
}

/// A connected client of a server on a Unix socket that has said nothing.
pub(crate) fn connected(server: &Server) -> Client {
    let Address::Unix(path) = server.address() else { panic!("a server on a Unix socket") };
    Client::over(UnixStream::connect(path).unwrap())
}

/// The same on the network.
pub(crate) fn tcp_address(server: &Server) -> SocketAddr {
    let Address::Tcp(at) = server.address() else { panic!("a server on the network") };
    *at
}

pub(crate) fn connected_tcp(server: &Server) -> TcpStream {
    let socket = TcpStream::connect(tcp_address(server)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

/// A client to whom the server said that TLS comes next.
pub(crate) fn started(server: &Server) -> Client {
    let mut client = connected(server);
    client.hello(3);
    assert_eq!(client.ask(option::STARTTLS, &[]).1, reply::ACK);
    client
}

/// Goes on in TLS. The handshake comes with the first bytes.
pub(crate) fn encrypt<S: Read + Write>(
    client: Client<S>,
    config: Arc<ClientConfig>,
) -> Client<StreamOwned<ClientConnection, S>> {
    let connection = ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
    Client::on(StreamOwned::new(connection, client.socket))
}
