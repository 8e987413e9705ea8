//! A running NBD server: which exports there are is asked of JavaScript, their bytes never pass it.

use std::collections::BTreeMap;
use std::io;
use std::net::ToSocketAddrs;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use napi::bindgen_prelude::{Function, Object};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Result, Status};
use napi_derive::napi;
use stillpoint_engine::engine::{DiskReference, Engine, ExportBitmap, ExportLabel};
use stillpoint_engine::error::{Code, Error};
use stillpoint_engine::nbd::{
    Address, Encryption, Export, Exports, Facts, Listed, Listener, PlainClients, Server, ServerParts, StatusExtent,
    TlsContext, TlsRelay,
};

use crate::convert::uid;
use crate::engine_handle::NativeEngine;
use crate::failure::Failure;
use crate::task::{RunningCall, start};

type EngineResult<T> = stillpoint_engine::error::Result<T>;

/// Tells JavaScript that something is asked. Keeps the process alive, as a server does.
type Notify = ThreadsafeFunction<(), (), (), Status, false, false>;

/// How long a client may take for a step of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may leave its replies unread.
const SEND_TIMEOUT: Duration = Duration::from_secs(600);

/// What is asked, or told.
#[napi(object)]
pub struct QuestionRecord {
    /// For the answer; an export that was closed wants none.
    pub number: f64,
    /// `list`, `open` or `closed`.
    pub kind: String,
    /// Of the export to open.
    pub name: Option<String>,
    /// Of the export that was closed.
    pub token: Option<f64>,
}

/// An export in a list.
#[napi(object)]
pub struct ListedRecord {
    pub name: String,
    pub description: String,
}

/// Changes that an export can tell.
#[napi(object)]
pub struct BitmapRecord {
    pub name: String,
    pub point_id: String,
    pub is_listed: bool,
}

/// An export that was found. Without a point it is a live disk.
#[napi(object)]
pub struct ExportRecord {
    /// Comes back when the export is closed.
    pub token: f64,
    pub name: String,
    pub description: String,
    pub disk_id: String,
    pub point_id: Option<String>,
    pub bitmaps: Vec<BitmapRecord>,
}

/// What JavaScript says: a list, an export, a failure, or nothing of that name.
#[napi(object)]
pub struct AnswerRecord {
    pub exports: Option<Vec<ListedRecord>>,
    pub export: Option<ExportRecord>,
    pub failure: Option<String>,
    pub failure_code: Option<String>,
}

/// Where a server listens: at a path, at a host and port, or at a socket that listens already.
#[napi(object)]
pub struct NbdAddressRecord {
    pub path: Option<String>,
    pub host: Option<String>,
    pub port: Option<u32>,
    pub fd: Option<i32>,
}

/// What a server proves itself with, in PEM.
#[napi(object)]
pub struct NbdTlsRecord {
    pub certificate: String,
    pub key: String,
    pub client_authorities: Option<String>,
}

/// A client that is to be encrypted: descriptors of its socket, and of where what it says goes in the clear. Whoever takes them
/// closes them.
#[napi(object)]
pub struct NbdRelayRecord {
    pub client: i32,
    pub plain: i32,
}

/// Clients of a server.
#[napi(object)]
pub struct NbdStatisticsRecord {
    pub clients: f64,
    pub refused: f64,
}

#[derive(Default)]
struct Asked {
    next: u64,
    told: Vec<QuestionRecord>,
    answers: BTreeMap<u64, Option<AnswerRecord>>, // none: not answered yet
    relayed: Vec<(OwnedFd, OwnedFd)>,             // clients to be encrypted, and where what they say goes
    /// None when nothing is asked any more: the process may then end.
    notify: Option<Notify>,
}

/// Questions from the threads of clients to JavaScript.
struct Questions {
    asked: Mutex<Asked>,
    answered: Condvar,
}

impl Questions {
    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, question: impl FnOnce(u64) -> QuestionRecord, wants_answer: bool) -> Option<u64> {
        let mut asked = self.asked();
        asked.notify.as_ref()?;
        let number = asked.next;
        asked.next += 1;
        asked.told.push(question(number));
        if wants_answer {
            asked.answers.insert(number, None);
        }
        if let Some(notify) = &asked.notify {
            notify.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
        Some(number)
    }

    /// Asks and waits.
    fn ask(&self, kind: &str, name: Option<&str>) -> EngineResult<AnswerRecord> {
        let stopped = || Error::new(Code::Cancelled, "the server is being stopped");
        let question = |number| QuestionRecord {
            number: number as f64,
            kind: kind.to_owned(),
            name: name.map(str::to_owned),
            token: None,
        };
        let number = self.tell(question, true).ok_or_else(stopped)?;
        let mut asked = self.asked();
        loop {
            if let Some(Some(answer)) = asked.answers.get_mut(&number).map(Option::take) {
                asked.answers.remove(&number);
                drop(asked);
                return match answer.failure {
                    Some(message) => Err(Error::new(code_named(answer.failure_code.as_deref()), message)),
                    None => Ok(answer),
                };
            }
            if asked.notify.is_none() {
                return Err(stopped());
            }
            asked = self.answered.wait(asked).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn end(&self) {
        let mut asked = self.asked();
        asked.notify = None;
        asked.relayed.clear();
        drop(asked);
        self.answered.notify_all();
    }
}

impl TlsRelay for Questions {
    fn take(&self, client: OwnedFd, plain: OwnedFd) -> io::Result<()> {
        let mut asked = self.asked();
        if asked.notify.is_none() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        asked.relayed.push((client, plain));
        if let Some(notify) = &asked.notify {
            notify.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
        Ok(())
    }
}

/// An error's code by its name; those that only the library knows are told as a failure.
fn code_named(name: Option<&str>) -> Code {
    Code::ALL.iter().copied().find(|code| Some(code.name()) == name).unwrap_or(Code::IoFailed)
}

/// What JavaScript knows of, as exports.
struct Shelf {
    engine: Arc<Engine>,
    questions: Arc<Questions>,
}

impl Exports for Shelf {
    fn list(&self) -> EngineResult<Vec<Listed>> {
        let listed = self.questions.ask("list", None)?.exports.unwrap_or_default();
        Ok(listed.into_iter().map(|ListedRecord { name, description }| Listed { name, description }).collect())
    }

    fn open(&self, name: &str) -> EngineResult<Option<Arc<dyn Export>>> {
        let Some(record) = self.questions.ask("open", Some(name))?.export else { return Ok(None) };
        let mut closing = Closing { questions: Arc::clone(&self.questions), token: record.token, export: None };
        let export = self.opened(record)?; // else `closing` tells that nobody has it
        closing.export = Some(export);
        Ok(Some(Arc::new(closing)))
    }
}

impl Shelf {
    fn opened(&self, record: ExportRecord) -> EngineResult<Arc<dyn Export>> {
        let disk_id = uid(&record.disk_id, "diskId")?;
        let label = ExportLabel { name: record.name, description: record.description };
        let Some(point_id) = record.point_id else { return self.engine.export_disk(&disk_id, label) };
        let bitmap = |BitmapRecord { name, point_id, is_listed }| {
            let since = DiskReference { point_id: uid(&point_id, "pointId")?, disk_id };
            Ok(ExportBitmap { name, since, is_listed })
        };
        let bitmaps = record.bitmaps.into_iter().map(bitmap).collect::<EngineResult<Vec<_>>>()?;
        let disk = DiskReference { point_id: uid(&point_id, "pointId")?, disk_id };
        self.engine.export_point(disk, label, bitmaps)
    }
}

/// An export whose end is told.
struct Closing {
    questions: Arc<Questions>,
    token: f64,
    export: Option<Arc<dyn Export>>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.export = None; // before anybody learns of it
        let token = self.token;
        let told = |number| QuestionRecord {
            number: number as f64,
            kind: "closed".to_owned(),
            name: None,
            token: Some(token),
        };
        self.questions.tell(told, false);
    }
}

impl Closing {
    fn export(&self) -> &dyn Export {
        match &self.export {
            Some(export) => export.as_ref(),
            None => unreachable!("it is there until this is dropped"),
        }
    }
}

impl Export for Closing {
    fn facts(&self) -> &Facts {
        self.export().facts()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> EngineResult<()> {
        self.export().read(offset, buffer)
    }

    fn write(&self, offset: u64, bytes: &[u8], durable: bool) -> EngineResult<()> {
        self.export().write(offset, bytes, durable)
    }

    fn write_zeroes(&self, offset: u64, length: u64, durable: bool) -> EngineResult<()> {
        self.export().write_zeroes(offset, length, durable)
    }

    fn trim(&self, offset: u64, length: u64, durable: bool) -> EngineResult<()> {
        self.export().trim(offset, length, durable)
    }

    fn flush(&self) -> EngineResult<()> {
        self.export().flush()
    }

    fn cache(&self, offset: u64, length: u64) -> EngineResult<()> {
        self.export().cache(offset, length)
    }

    fn read_ahead(&self, offset: u64, length: u64) -> EngineResult<()> {
        self.export().read_ahead(offset, length)
    }

    fn sector_lock(&self) -> &RwLock<()> {
        self.export().sector_lock()
    }

    fn is_at_hand(&self, offset: u64, length: u64) -> bool {
        self.export().is_at_hand(offset, length)
    }

    fn contexts(&self) -> Vec<String> {
        self.export().contexts()
    }

    fn has_context(&self, name: &str) -> EngineResult<bool> {
        self.export().has_context(name)
    }

    fn status(&self, context: &str, offset: u64, length: u64, extents_max: usize) -> EngineResult<Vec<StatusExtent>> {
        self.export().status(context, offset, length, extents_max)
    }
}

/// A server of one store's disks.
#[napi]
pub struct NativeNbdServer {
    questions: Arc<Questions>,
    shelf: Mutex<Option<Arc<Shelf>>>,
    servers: Arc<Mutex<Vec<Server>>>,
    tls: Mutex<Option<Encryption>>,
    /// The store is not closed before the server is.
    call: Arc<Mutex<Option<RunningCall>>>,
}

#[napi]
impl NativeNbdServer {
    /// A server that listens nowhere yet; `callback` is called when there is something to take.
    ///
    /// # Errors
    /// The callback cannot be kept.
    #[napi(constructor)]
    pub fn new(engine: &NativeEngine, callback: Function<'_, (), ()>) -> Result<Self> {
        let notify = callback.build_threadsafe_function().build()?;
        let asked = Mutex::new(Asked { notify: Some(notify), ..Asked::default() });
        let questions = Arc::new(Questions { asked, answered: Condvar::new() });
        let (opened, call) = engine.enter();
        let shelf = opened.ok().map(|engine| Arc::new(Shelf { engine, questions: Arc::clone(&questions) }));
        let call = Arc::new(Mutex::new(Some(call)));
        Ok(Self { questions, shelf: Mutex::new(shelf), servers: Arc::default(), tls: Mutex::default(), call })
    }

    /// Offers TLS from here on; what is wrong with the certificate, if anything.
    #[napi]
    pub fn use_tls(&self, tls: NbdTlsRecord) -> Option<Failure> {
        match TlsContext::new(&tls.certificate, &tls.key, tls.client_authorities.as_deref()) {
            Ok(context) => {
                self.encrypt_with(Encryption::Certificate(Arc::new(context)));
                None
            }
            Err(error) => Some(Failure::of(&error)),
        }
    }

    /// Offers TLS from here on, which JavaScript takes care of: see `take_relayed`.
    #[napi]
    pub fn use_relay(&self) {
        let relay: Arc<dyn TlsRelay> = self.questions.clone();
        self.encrypt_with(Encryption::Relay(relay));
    }

    /// Clients to be encrypted since the last call.
    #[napi]
    pub fn take_relayed(&self) -> Vec<NbdRelayRecord> {
        let taken = std::mem::take(&mut self.questions.asked().relayed);
        let record = |(client, plain): (OwnedFd, OwnedFd)| NbdRelayRecord {
            client: client.into_raw_fd(),
            plain: plain.into_raw_fd(),
        };
        taken.into_iter().map(record).collect()
    }

    /// What is asked since the last call.
    #[napi]
    pub fn take_questions(&self) -> Vec<QuestionRecord> {
        std::mem::take(&mut self.questions.asked().told)
    }

    /// Answers a question.
    #[napi]
    pub fn answer(&self, number: f64, answer: AnswerRecord) {
        let mut asked = self.questions.asked();
        if let Some(waiting) = asked.answers.get_mut(&(number as u64)) {
            *waiting = Some(answer);
        }
        drop(asked);
        self.questions.answered.notify_all();
    }

    /// Listens at one more place and says where that is.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<NbdAddressRecord | Failure>")]
    pub fn listen<'env>(
        &self,
        env: &'env Env,
        at: NbdAddressRecord,
        clients_max: u32,
        allow_plain: bool,
    ) -> Result<Object<'env>> {
        let shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let servers = Arc::clone(&self.servers);
        start(env, move || {
            let shelf = shelf.ok_or_else(|| Failure::closed("the store"))?;
            let listener = listener(at).map_err(|error| Failure::boxed(&error))?;
            let address = address_record(listener.address());
            let parts = ServerParts {
                exports: shelf,
                tls,
                plain_clients: if allow_plain { PlainClients::All } else { PlainClients::Local },
                clients_max: clients_max as usize,
                handshake_timeout: HANDSHAKE_TIMEOUT,
                send_timeout: SEND_TIMEOUT,
            };
            let server = Server::start(listener, parts).map_err(|error| Failure::boxed(&error))?;
            servers.lock().unwrap_or_else(PoisonError::into_inner).push(server);
            Ok(address)
        })
    }

    /// Clients there are.
    #[napi]
    #[must_use]
    pub fn statistics(&self) -> NbdStatisticsRecord {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let clients: usize = servers.iter().map(Server::client_count).sum();
        let refused: u64 = servers.iter().map(Server::refused_count).sum();
        NbdStatisticsRecord { clients: clients as f64, refused: refused as f64 }
    }

    /// Ends all clients and listens nowhere any more; done when nothing of them is under way.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<undefined | Failure>")]
    pub fn stop<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let (servers, call) = (Arc::clone(&self.servers), Arc::clone(&self.call));
        let questions = Arc::clone(&self.questions);
        let shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner).take();
        questions.end();
        start(env, move || {
            let stopped = std::mem::take(&mut *servers.lock().unwrap_or_else(PoisonError::into_inner));
            drop(stopped); // waits for their clients
            drop(shelf);
            drop(call.lock().unwrap_or_else(PoisonError::into_inner).take());
            Ok(())
        })
    }
}

impl NativeNbdServer {
    fn encrypt_with(&self, encryption: Encryption) {
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = Some(encryption);
    }
}

impl Drop for NativeNbdServer {
    fn drop(&mut self) {
        self.questions.end(); // nobody will answer any more, and clients must not wait for it
    }
}

fn listener(at: NbdAddressRecord) -> EngineResult<Listener> {
    match at {
        NbdAddressRecord { path: Some(path), .. } => Listener::unix(Path::new(&path)),
        NbdAddressRecord { host: Some(host), port, .. } => {
            let port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
            let resolved = (host.as_str(), port).to_socket_addrs().map(|mut found| found.next());
            let at = resolved.map_err(|cause| Error::from_io(cause, "find the address", Path::new(&host)))?;
            let unknown =
                || Error::new(Code::ArgumentInvalid, format!("{host} has no address")).with("argument", "host");
            Listener::tcp(at.ok_or_else(unknown)?)
        }
        NbdAddressRecord { fd: Some(fd), .. } if fd > 2 => {
            #[expect(unsafe_code, reason = "descriptors come from JavaScript as numbers")]
            // SAFETY: the caller gives the descriptor away, as the library's documentation asks for; one that is not open is
            // found out by the first system call.
            let socket = unsafe { OwnedFd::from_raw_fd(fd) };
            Listener::from_fd(socket)
        }
        NbdAddressRecord { .. } => {
            let message = "a server listens at a path, at a host, or at a descriptor above 2";
            Err(Error::new(Code::ArgumentInvalid, message).with("argument", "listen"))
        }
    }
}

fn address_record(address: &Address) -> NbdAddressRecord {
    let nowhere = NbdAddressRecord { path: None, host: None, port: None, fd: None };
    match address {
        Address::Unix(path) => NbdAddressRecord { path: Some(path.display().to_string()), ..nowhere },
        Address::Abstract(name) => {
            NbdAddressRecord { path: Some(format!("\0{}", String::from_utf8_lossy(name))), ..nowhere }
        }
        Address::Tcp(at) => {
            NbdAddressRecord { host: Some(at.ip().to_string()), port: Some(at.port().into()), ..nowhere }
        }
    }
}
