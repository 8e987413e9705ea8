//! The engine's tables, for the parity tests and for messages on the TypeScript side.

use napi_derive::napi;
use stillpoint_engine::engine::FORMAT_VERSION;
use stillpoint_engine::error::Code;
use stillpoint_engine::limits;

/// A row of the error table.
#[napi(object)]
pub struct CodeRecord {
    pub code: String,
    pub kind: String,
}

/// Every code that the engine can give.
#[napi]
#[must_use]
pub fn error_codes() -> Vec<CodeRecord> {
    let row = |code: &Code| CodeRecord { code: code.name().to_owned(), kind: code.kind().name().to_owned() };
    Code::ALL.iter().map(row).collect()
}

/// The engine's limits that the control side checks or names.
#[napi(object)]
pub struct LimitsRecord {
    pub format_version: u32,
    pub chunk_bytes_allowed: Vec<u32>,
    pub sector_bytes_allowed: Vec<u32>,
    pub disk_bytes_max: f64,
    pub point_disks_max: u32,
    pub detail_bytes_max: u32,
    pub read_bytes_max: f64,
    pub threads_max: u32,
    pub node_fan_out: u32,
    pub pack_bytes_max: f64,
}

/// The engine's limits.
#[napi]
#[must_use]
pub fn engine_limits() -> LimitsRecord {
    LimitsRecord {
        format_version: u32::from(FORMAT_VERSION),
        chunk_bytes_allowed: limits::CHUNK_BYTES_ALLOWED.to_vec(),
        sector_bytes_allowed: limits::SECTOR_BYTES_ALLOWED.to_vec(),
        disk_bytes_max: crate::convert::number(limits::DISK_BYTES_MAX),
        point_disks_max: limits::POINT_DISKS_MAX as u32,
        detail_bytes_max: limits::DETAIL_BYTES_MAX as u32,
        read_bytes_max: crate::convert::number(limits::READ_BYTES_MAX),
        threads_max: limits::THREADS_MAX as u32,
        node_fan_out: limits::NODE_FAN_OUT as u32,
        pack_bytes_max: crate::convert::number(limits::PACK_BYTES_MAX),
    }
}
