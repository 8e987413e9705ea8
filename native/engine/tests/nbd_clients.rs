//! What others ship: libnbd's tools and QEMU's, in the clear and in TLS, against this server.
#![allow(clippy::unwrap_used, reason = "a failure here is a failing test")]

mod nbd_world;
mod programs;
mod support;
mod tls_world;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use nbd_world::{MemoryDisk, shelf};
use programs::program;
use stillpoint_engine::nbd::{Address, Listener, PlainClients, Server};
use stillpoint_engine::random::Seeded;
use support::Folder;
use tls_world::certificates::Identity;
use tls_world::{Cast, parts, serving, tcp_address};

const SIZE: usize = 8 << 20;

/// A server in TLS, its disk, and a folder with what its clients are given.
struct Stage {
    server: Server,
    disk: Arc<MemoryDisk>,
    folder: Folder,
    cast: Cast,
}

fn stage(knows_clients: bool, plain_clients: PlainClients) -> Stage {
    let cast = Cast::new();
    let (shelf, disk) = shelf(SIZE);
    let mut random = Seeded::new(7);
    for byte in disk.bytes.lock().unwrap()[1 << 20..5 << 20].iter_mut() {
        *byte = random.below(256) as u8;
    }
    let server = serving(shelf, Some(cast.context(knows_clients)), plain_clients);
    Stage { server, disk, folder: Folder::new(), cast }
}

#[expect(clippy::disallowed_methods, reason = "files for other programs")]
fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    std::fs::write(path, bytes).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "files of other programs")]
fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

impl Stage {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.path.join(name)
    }

    /// A folder as libnbd and QEMU want it.
    fn certificates(&self, name: &str, authority: &Identity, own: Option<&Identity>) -> PathBuf {
        let folder = self.file(name);
        std::fs::create_dir(&folder).unwrap();
        write(&folder.join("ca-cert.pem"), authority.certificate_pem());
        if let Some(own) = own {
            write(&folder.join("client-cert.pem"), own.certificate_pem());
            write(&folder.join("client-key.pem"), own.key_pem());
        }
        folder
    }

    fn socket(&self) -> String {
        let Address::Unix(path) = self.server.address() else { panic!("a server on a Unix socket") };
        path.display().to_string()
    }

    fn plain(&self) -> String {
        format!("nbd+unix:///disk?socket={}", self.socket())
    }

    fn encrypted(&self, certificates: &Path) -> String {
        format!("nbds+unix:///disk?socket={}&tls-certificates={}", self.socket(), certificates.display())
    }
}

fn run(program: &Path, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap()
}

#[track_caller]
fn said(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said.into_owned()
}

#[test]
fn nbdinfo_tells_of_the_exports_in_the_clear_and_in_tls() {
    let Some(nbdinfo) = program("nbdinfo") else { return };
    let stage = stage(false, PlainClients::Local);
    let certificates = stage.certificates("client", &stage.cast.authority, None);
    for uri in [stage.plain(), stage.encrypted(&certificates)] {
        let told = said(&run(&nbdinfo, &["--json", &uri]));
        let is_encrypted = uri.starts_with("nbds");
        assert!(told.contains(&format!("\"TLS\": {is_encrypted}")), "{told}");
        for fact in [
            "\"protocol\": \"newstyle-fixed\"",
            "\"structured\": true",
            "\"export-name\": \"disk\"",
            &format!("\"export-size\": {SIZE}"),
            "\"is_read_only\": false",
            "\"can_cache\": true",
            "\"can_df\": true",
            "\"can_fast_zero\": true",
            "\"can_flush\": true",
            "\"can_fua\": true",
            "\"can_multi_conn\": true",
            "\"can_trim\": true",
            "\"can_zero\": true",
            "\"block_size_minimum\": 1",
            "\"block_size_preferred\": 4096",
            "\"block_size_maximum\": 33554432",
            "base:allocation",
            "qemu:dirty-bitmap:one",
        ] {
            assert!(told.contains(fact), "{fact} in {told}");
        }
        let map = said(&run(&nbdinfo, &["--map", &uri]));
        let columns: Vec<Vec<&str>> = map.lines().map(|line| line.split_whitespace().take(3).collect()).collect();
        assert_eq!(columns, [["0", "1048576", "3"], ["1048576", "4194304", "0"], ["5242880", "3145728", "3"]]);
        let listed = said(&run(&nbdinfo, &["--list", &uri.replace("/disk?", "/?")]));
        assert!(listed.contains("export=\"disk\"") && listed.contains("export=\"point\""), "{listed}");
    }
}

#[test]
fn nbdcopy_brings_a_disk_out_and_in_again_over_four_connections() {
    let Some(nbdcopy) = program("nbdcopy") else { return };
    let stage = stage(true, PlainClients::None);
    let certificates = stage.certificates("client", &stage.cast.authority, Some(&stage.cast.client));
    let uri = stage.encrypted(&certificates);
    let image = stage.file("out.img");
    said(&run(&nbdcopy, &["--connections=4", "--requests=32", &uri, image.to_str().unwrap()]));
    let expected = stage.disk.bytes.lock().unwrap().clone();
    assert!(read(&image) == expected);
    stage.disk.bytes.lock().unwrap().fill(0xee);
    said(&run(&nbdcopy, &["--flush", "--connections=4", "--requests=32", image.to_str().unwrap(), &uri]));
    assert!(*stage.disk.bytes.lock().unwrap() == expected);
    // Over the network, where the certificate's name counts.
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let parts = parts(shelf(SIZE).0, Some(stage.cast.context(true)), PlainClients::None);
    let server = Server::start(listener, parts).unwrap();
    let at = tcp_address(&server);
    let uri = format!("nbds://localhost:{}/disk?tls-certificates={}", at.port(), certificates.display());
    said(&run(&nbdcopy, &[image.to_str().unwrap(), &uri]));
    let back = stage.file("back.img");
    said(&run(&nbdcopy, &[&uri, back.to_str().unwrap()]));
    assert!(read(&back) == expected);
}

#[test]
fn strangers_get_nothing() {
    let Some(nbdinfo) = program("nbdinfo") else { return };
    let stage = stage(true, PlainClients::None);
    let authority = &stage.cast.authority;
    let refused = [
        stage.plain(),
        stage.encrypted(&stage.certificates("none", authority, None)),
        stage.encrypted(&stage.certificates("other", authority, Some(&stage.cast.strange_client))),
    ];
    for uri in refused {
        let output = run(&nbdinfo, &["--size", &uri]);
        assert!(!output.status.success(), "{uri}");
    }
    // A client that does not believe the server leaves by itself. libnbd asks who it is where there is a host's name.
    let doubting = stage.certificates("doubting", &stage.cast.stranger, Some(&stage.cast.client));
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let parts = parts(shelf(SIZE).0, Some(stage.cast.context(false)), PlainClients::Local);
    let server = Server::start(listener, parts).unwrap();
    let at = tcp_address(&server).port();
    let uri = format!("nbds://localhost:{at}/disk?tls-certificates={}", doubting.display());
    assert!(!run(&nbdinfo, &["--size", &uri]).status.success());
    let known = stage.certificates("known", authority, Some(&stage.cast.client));
    assert_eq!(said(&run(&nbdinfo, &["--size", &stage.encrypted(&known)])).trim(), SIZE.to_string());
}

#[test]
fn qemu_copies_compares_and_maps_in_tls() {
    let (Some(qemu_img), Some(qemu_io)) = (program("qemu-img"), program("qemu-io")) else { return };
    let stage = stage(true, PlainClients::None);
    let certificates = stage.certificates("client", &stage.cast.authority, Some(&stage.cast.client));
    let object = format!("tls-creds-x509,id=tls0,endpoint=client,dir={}", certificates.display());
    let disk = format!(
        "driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={},file.export=disk,file.tls-creds=tls0,file.tls-hostname=localhost",
        stage.socket()
    );
    let image = stage.file("image.qcow2");
    let qcow2 = format!("driver=qcow2,file.filename={}", image.display());
    said(&run(
        &qemu_img,
        &["convert", "--object", &object, "--image-opts", "-O", "qcow2", &disk, image.to_str().unwrap()],
    ));
    let compared = said(&run(&qemu_img, &["compare", "--object", &object, "--image-opts", &disk, &qcow2]));
    assert!(compared.contains("Images are identical"), "{compared}");
    let map = said(&run(&qemu_img, &["map", "--object", &object, "--output=json", "--image-opts", &disk]));
    assert!(map.contains("\"start\": 1048576, \"length\": 4194304"), "{map}");
    let script = [
        "-c",
        "write -P 0xab 0 1M",
        "-c",
        "write -z -u 64k 64k",
        "-c",
        "read -P 0 64k 64k",
        "-c",
        "write -f -P 1 1M 4k",
        "-c",
        "discard 2M 1M",
        "-c",
        "flush",
        "-c",
        "read -P 0xab 0 64k",
    ];
    let io = said(&run(&qemu_io, &[&["--object", &object, "--image-opts"], &script[..], &[&disk]].concat()));
    assert!(!io.contains("failed") && !io.contains("Pattern verification"), "{io}");
    {
        let bytes = stage.disk.bytes.lock().unwrap();
        assert!(
            bytes[..64 << 10].iter().all(|byte| *byte == 0xab)
                && bytes[64 << 10..128 << 10].iter().all(|byte| *byte == 0)
        );
        assert!(bytes[2 << 20..3 << 20].iter().all(|byte| *byte == 0));
    }
    let plain = format!(
        "driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={},file.export=disk",
        stage.socket()
    );
    let refused = run(&qemu_img, &["info", "--image-opts", &plain]);
    assert!(!refused.status.success());
}
