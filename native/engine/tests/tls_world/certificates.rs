//! Certificates for tests, made where they are needed: DER is written here, `ring` signs it.
#![allow(dead_code, reason = "each test binary uses some of it")]
#![allow(clippy::unwrap_used, reason = "a failure here is a failing test")]

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

/// A key and a certificate about it.
pub(crate) struct Identity {
    name: String,
    key: EcdsaKeyPair,
    key_der: Vec<u8>,
    certificate_der: Vec<u8>,
}

/// From when to when a certificate stands, as UTCTime has it.
#[derive(Clone, Copy)]
pub(crate) struct Validity(&'static str, &'static str);

/// Longer than these tests live.
pub(crate) const NOW: Validity = Validity("200101000000Z", "491231235959Z");
/// Over.
pub(crate) const EXPIRED: Validity = Validity("200101000000Z", "210101000000Z");

/// An authority, which others can be certified by.
pub(crate) fn authority(name: &str) -> Identity {
    let (key, key_der) = new_key();
    let certificate_der = certificate(1, name, name, &key, &key, NOW, true);
    Identity { name: name.to_owned(), key, key_der, certificate_der }
}

impl Identity {
    /// Another one, for `localhost` and 127.0.0.1, certified by this one.
    pub(crate) fn certify(&self, name: &str, validity: Validity) -> Identity {
        let (key, key_der) = new_key();
        let certificate_der = certificate(2, name, &self.name, &key, &self.key, validity, false);
        Identity { name: name.to_owned(), key, key_der, certificate_der }
    }

    pub(crate) fn certificate_pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate_der)
    }

    pub(crate) fn key_pem(&self) -> String {
        pem("PRIVATE KEY", &self.key_der)
    }
}

fn new_key() -> (EcdsaKeyPair, Vec<u8>) {
    let random = SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der.as_ref(), &random).unwrap();
    (key, der.as_ref().to_vec())
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// A value with its tag and length.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut bytes = vec![tag];
    match content.len() {
        length @ 0..=0x7f => bytes.push(length as u8),
        length @ 0x80..=0xff => bytes.extend([0x81, length as u8]),
        length => bytes.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    bytes.extend(content);
    bytes
}

fn object(encoded: &[u8]) -> Vec<u8> {
    der(OBJECT, &[encoded])
}

/// RFC 5280, section 4.1.
fn certificate(
    serial: u8,
    subject: &str,
    issuer: &str,
    key: &EcdsaKeyPair,
    issuer_key: &EcdsaKeyPair,
    validity: Validity,
    is_authority: bool,
) -> Vec<u8> {
    let ecdsa_with_sha256 = der(SEQUENCE, &[&object(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02])]);
    let public_key = der(
        SEQUENCE,
        &[
            &der(
                SEQUENCE,
                &[
                    &object(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]), // an elliptic curve's key
                    &object(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]), // on P-256
                ],
            ),
            &der(BIT_STRING, &[&[0], key.public_key().as_ref()]),
        ],
    );
    let extensions = if is_authority {
        vec![
            extension(&[0x55, 0x1d, 0x13], true, &der(SEQUENCE, &[&der(BOOLEAN, &[&[0xff]])])), // basicConstraints: CA
            extension(&[0x55, 0x1d, 0x0f], true, &der(BIT_STRING, &[&[1, 0b0000_0110]])), // keyUsage: certificates and lists
        ]
    } else {
        let names = der(SEQUENCE, &[&der(0x82, &[b"localhost"]), &der(0x87, &[&[127, 0, 0, 1]])]);
        let server = object(&[0x2b, 6, 1, 5, 5, 7, 3, 1]);
        let client = object(&[0x2b, 6, 1, 5, 5, 7, 3, 2]);
        vec![
            extension(&[0x55, 0x1d, 0x13], true, &der(SEQUENCE, &[])),
            extension(&[0x55, 0x1d, 0x0f], true, &der(BIT_STRING, &[&[7, 0b1000_0000]])), // keyUsage: signatures
            extension(&[0x55, 0x1d, 0x25], false, &der(SEQUENCE, &[&server, &client])),   // extKeyUsage
            extension(&[0x55, 0x1d, 0x11], false, &names),                                // subjectAltName
        ]
    };
    let to_be_signed = der(
        SEQUENCE,
        &[
            &der(0xa0, &[&der(INTEGER, &[&[2]])]), // version 3
            &der(INTEGER, &[&[serial]]),
            &ecdsa_with_sha256,
            &name(issuer),
            &der(SEQUENCE, &[&der(UTC_TIME, &[validity.0.as_bytes()]), &der(UTC_TIME, &[validity.1.as_bytes()])]),
            &name(subject),
            &public_key,
            &der(0xa3, &[&der(SEQUENCE, &[&extensions.concat()])]),
        ],
    );
    let signature = issuer_key.sign(&SystemRandom::new(), &to_be_signed).unwrap();
    der(SEQUENCE, &[&to_be_signed, &ecdsa_with_sha256, &der(BIT_STRING, &[&[0], signature.as_ref()])])
}

fn name(common: &str) -> Vec<u8> {
    let common_name = object(&[0x55, 0x04, 0x03]);
    der(SEQUENCE, &[&der(SET, &[&der(SEQUENCE, &[&common_name, &der(UTF8_STRING, &[common.as_bytes()])])])])
}

fn extension(kind: &[u8], is_critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if is_critical { der(BOOLEAN, &[&[0xff]]) } else { Vec::new() };
    der(SEQUENCE, &[&object(kind), &critical, &der(OCTET_STRING, &[value])])
}

fn pem(kind: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {kind}-----\n");
    for line in base64(der).as_bytes().chunks(64) {
        text.push_str(str::from_utf8(line).unwrap());
        text.push('\n');
    }
    text + &format!("-----END {kind}-----\n")
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number = group.iter().fold(0u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let is_there = digit <= group.len();
            let index = (number >> (18 - 6 * digit)) as usize & 63;
            text.push(if is_there { char::from(DIGITS[index]) } else { '=' });
        }
    }
    text
}
