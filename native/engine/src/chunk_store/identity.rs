//! Content ids: keyed BLAKE3 with one key for chunks and one for nodes (format.md section 3).

use crate::format::PackKind;
use crate::units::ContentId;

const CHUNK_CONTEXT: &[u8] = b"stillpoint chunk id v1";
const NODE_CONTEXT: &[u8] = b"stillpoint node id v1";

/// The two keys of a key domain.
#[derive(Clone)]
pub struct Identity {
    chunk_key: [u8; 32],
    node_key: [u8; 32],
}

impl Identity {
    /// Derives both keys.
    #[must_use]
    pub fn new(identity_key: &[u8; 32]) -> Self {
        Self {
            chunk_key: *blake3::keyed_hash(identity_key, CHUNK_CONTEXT).as_bytes(),
            node_key: *blake3::keyed_hash(identity_key, NODE_CONTEXT).as_bytes(),
        }
    }

    /// The id of these plain bytes.
    #[must_use]
    pub fn id(&self, kind: PackKind, plain: &[u8]) -> ContentId {
        let key = match kind {
            PackKind::Chunks => &self.chunk_key,
            PackKind::Nodes => &self.node_key,
        };
        ContentId(*blake3::keyed_hash(key, plain).as_bytes())
    }
}
