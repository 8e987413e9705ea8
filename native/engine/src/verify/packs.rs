//! One pack: header, trailer, and with `read_data` every frame in it.

use std::collections::HashSet;

use super::{Report, Suspect, Verifier};
use crate::chunk_store::codec::Decoder;
use crate::chunk_store::pack_reader::{PackReader, check_frame, stored_bytes};
use crate::chunk_store::pack_set::PackHandle;
use crate::chunk_store::{Batch, damaged_code, missing_code};
use crate::control::Control;
use crate::error::{Code, Result};
use crate::format::frame::FrameHeader;
use crate::format::node::Node;
use crate::format::pack::PackEntry;
use crate::format::{Codec, PackKind};
use crate::io::{IoFile, read_exact_at};
use crate::units::{ContentId, u64_from, usize_from};

/// Bytes read at once while going through a pack; at least the longest frame.
const READ_BYTES: u64 = 8 << 20;

pub(super) fn check(
    verifier: &Verifier<'_>,
    handle: PackHandle,
    read_data: bool,
    control: &Control,
    report: &mut Report,
    suspects: &mut Vec<Suspect>,
) -> Result<()> {
    let store = verifier.store();
    let Some(pack) = store.packs().get(handle) else { return Ok(()) };
    let name = format!("packs/{}", pack.file_name());
    let code = damaged_code(pack.kind);
    // A collection may run beside: what is wrong with a pack that it has removed meanwhile is nobody's concern.
    let is_gone = || store.packs().get(handle).is_none();
    let Some(reader) = store.pack_reader(handle)? else {
        if is_gone() || (store.catch_up()? && is_gone()) {
            return Ok(());
        }
        let ids = store.index().entries_in(handle)?.iter().map(|entry| entry.id).collect();
        suspects.push(verifier.suspect(&name, None, missing_code(pack.kind), "the pack is gone".into(), ids));
        return Ok(());
    };
    let header = reader.check_header(&store.expected_header(&reader.pack))?;
    let (entries, trailer) = match reader.trailer()? {
        Ok(entries) => (entries, Ok(())),
        Err(found) => (store.pack_entries(handle)?, Err(found)),
    };
    let mut whole = true;
    for found in [header.err(), trailer.err()].into_iter().flatten() {
        let place = Some(found.offset..found.offset + found.length);
        let code = super::code_of(found.defect, code);
        suspects.push(verifier.suspect(&name, place, code, found.defect.to_string(), Vec::new()));
        whole = false;
    }
    // Of a pack that is not what it says, what the index says lies in it is checked too.
    let entries = if whole { entries } else { with_indexed(verifier, handle, entries)? };
    if read_data {
        check_frames(verifier, &reader, &name, code, &entries, &is_gone, control, report, suspects)?;
    }
    Ok(())
}

fn with_indexed(verifier: &Verifier<'_>, handle: PackHandle, mut entries: Vec<PackEntry>) -> Result<Vec<PackEntry>> {
    let known: HashSet<(u32, ContentId)> = entries.iter().map(|entry| (entry.offset, entry.id)).collect();
    let indexed = verifier.store().index().entries_in(handle)?;
    entries.extend(indexed.into_iter().filter(|entry| !known.contains(&(entry.offset, entry.id))));
    entries.sort_by_key(|entry| entry.offset);
    Ok(entries)
}

#[allow(clippy::too_many_arguments)] // one pass over one pack
fn check_frames(
    verifier: &Verifier<'_>,
    reader: &PackReader,
    name: &str,
    code: Code,
    entries: &[PackEntry],
    is_gone: &dyn Fn() -> bool,
    control: &Control,
    report: &mut Report,
    suspects: &mut Vec<Suspect>,
) -> Result<()> {
    let mut window = Window { file: reader.file.as_ref(), file_bytes: reader.pack.bytes, start: 0, bytes: Vec::new() };
    let (mut decoder, mut plain) = (Decoder::new(), Vec::new());
    for entry in entries {
        control.check()?;
        let frame = window.get(u64::from(entry.offset), entry.frame_bytes())?;
        let found = prove(verifier, reader.pack.kind, entry, frame, &mut decoder, &mut plain)?;
        if let Err(what) = found
            && !is_gone()
        {
            let place = Some(u64::from(entry.offset)..entry.end());
            suspects.push(verifier.suspect(name, place, code, format!("{} {}", entry.id, what), vec![entry.id]));
        }
        report.chunks_checked += 1;
        report.bytes_read += entry.frame_bytes();
        control.add_done(entry.frame_bytes());
    }
    Ok(())
}

fn prove(
    verifier: &Verifier<'_>,
    kind: PackKind,
    entry: &PackEntry,
    frame: Option<&[u8]>,
    decoder: &mut Decoder,
    plain: &mut Vec<u8>,
) -> Result<std::result::Result<(), String>> {
    let Some(frame) = frame else { return Ok(Err("is cut off".into())) };
    let header = match FrameHeader::decode(frame) {
        Ok(header) => header,
        Err(defect) => return Ok(Err(format!("cannot be read: {defect}"))),
    };
    let agrees = header.id == entry.id
        && header.kind == kind
        && header.codec == entry.codec
        && header.stored_bytes == entry.stored_bytes
        && header.base == entry.base
        && (entry.plain_bytes == 0 || header.plain_bytes == entry.plain_bytes);
    if !agrees {
        return Ok(Err("has a frame header that contradicts the trailer".into()));
    }
    let Some(stored) = stored_bytes(frame, &header) else { return Ok(Err("is cut off".into())) };
    let base = match (header.codec, header.base) {
        (Codec::ZstdDelta, Some(base)) => match verifier.store().get_base(&base, &mut Batch::default()) {
            Ok(base) => Some(base),
            Err(error) if super::is_damage(&error) => {
                return Ok(Err(format!("stands on a base that cannot be read: {}", error.message())));
            }
            Err(error) => return Err(error),
        },
        _ => None,
    };
    let identity = &verifier.store().parameters().identity;
    if let Err(what) = check_frame(&header, stored, identity, decoder, base.as_deref(), plain) {
        return Ok(Err(format!("is damaged: {what}")));
    }
    if kind == PackKind::Nodes
        && let Err(defect) = Node::decode(plain)
    {
        return Ok(Err(format!("is damaged: {defect}")));
    }
    Ok(Ok(()))
}

/// A pack read front to back in large pieces.
struct Window<'a> {
    file: &'a dyn IoFile,
    file_bytes: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    fn get(&mut self, offset: u64, length: u64) -> Result<Option<&[u8]>> {
        if offset + length > self.file_bytes {
            return Ok(None);
        }
        if offset < self.start || offset + length > self.start + u64_from(self.bytes.len()) {
            let take = READ_BYTES.max(length).min(self.file_bytes - offset);
            self.bytes.resize(usize_from(take), 0);
            self.start = offset;
            if read_exact_at(self.file, &mut self.bytes, offset)?.is_none() {
                self.bytes.clear();
                return Ok(None);
            }
        }
        let at = usize_from(offset - self.start);
        Ok(self.bytes.get(at..at + usize_from(length)))
    }
}
