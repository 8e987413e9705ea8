//! What crosses the boundary, as plain objects. Field by field what `src/native/engine.ts` documents.

use napi::bindgen_prelude::{Either, Null};
use napi_derive::napi;
use stillpoint_engine::engine::{
    ChunkCounts, Codec, CollectReport, Config, CopiedDisk, FORMAT_VERSION, Finding, Folded, Hit, Manifest,
    ManifestDisk, Restored, Scanned, ScannedDisk, Usage, VerifyReport,
};
use stillpoint_engine::units::Uid;

use crate::convert::{nullable, number};

/// `StoreInfo`.
#[napi(object)]
pub struct InfoRecord {
    pub store_id: String,
    pub format_version: u32,
    pub created_ms: f64,
    pub chunk_bytes: u32,
    pub compression: String,
    pub compression_level: i32,
}

impl InfoRecord {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            store_id: config.store_id.to_string(),
            format_version: u32::from(FORMAT_VERSION),
            created_ms: number(config.created_ms),
            chunk_bytes: config.chunk_bytes,
            compression: compression_name(config.codec).to_owned(),
            compression_level: i32::from(config.level),
        }
    }
}

pub(crate) const fn compression_name(codec: Codec) -> &'static str {
    match codec {
        Codec::None => "none",
        Codec::Lz4 => "lz4",
        Codec::Zstd | Codec::ZstdDelta => "zstd",
    }
}

/// A range of `Hit`.
#[napi(object)]
pub struct RangeRecord {
    pub offset: f64,
    pub length: f64,
}

/// `Hit`.
#[napi(object)]
pub struct HitRecord {
    pub point_id: String,
    pub disk_id: String,
    pub ranges: Vec<RangeRecord>,
}

/// `Finding`.
#[napi(object)]
pub struct FindingRecord {
    pub file: String,
    pub offset: Either<f64, Null>,
    pub length: Either<f64, Null>,
    pub code: String,
    pub message: String,
    pub hits: Vec<HitRecord>,
}

impl FindingRecord {
    pub(crate) fn of(finding: &Finding) -> Self {
        let place = finding.place.as_ref();
        Self {
            file: finding.file.clone(),
            offset: nullable(place.map(|place| place.start)),
            length: nullable(place.map(|place| place.end - place.start)),
            code: finding.code.name().to_owned(),
            message: finding.message.clone(),
            hits: finding.hits.iter().map(hit).collect(),
        }
    }
}

fn hit(hit: &Hit) -> HitRecord {
    let range = |range: &std::ops::Range<u64>| RangeRecord {
        offset: number(range.start),
        length: number(range.end - range.start),
    };
    HitRecord {
        point_id: hit.point_id.to_string(),
        disk_id: hit.disk_id.to_string(),
        ranges: hit.ranges.iter().map(range).collect(),
    }
}

/// `ManifestDisk`.
#[napi(object)]
pub struct ManifestDiskRecord {
    pub disk_id: String,
    pub size_bytes: f64,
    pub sector_bytes: u32,
}

/// `Manifest`.
#[napi(object)]
pub struct ManifestRecord {
    pub point_id: String,
    pub created_ms: f64,
    pub disks: Vec<ManifestDiskRecord>,
    pub detail: String,
}

impl ManifestRecord {
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let disk = |disk: &ManifestDisk| ManifestDiskRecord {
            disk_id: disk.disk_id.to_string(),
            size_bytes: number(disk.size),
            sector_bytes: disk.sector_bytes,
        };
        Self {
            point_id: manifest.point_id.to_string(),
            created_ms: number(manifest.created_ms),
            disks: manifest.disks.iter().map(disk).collect(),
            detail: String::from_utf8_lossy(&manifest.detail).into_owned(),
        }
    }
}

/// `ScanDiskRequest`.
#[napi(object)]
pub struct ScanDiskRecord {
    pub disk_id: String,
    pub path: String,
    pub sector_bytes: f64,
    pub parent_point_id: Option<String>,
    pub frozen: bool,
}

/// `ScannedDisk.chunks`.
#[napi(object)]
pub struct ChunkCountsRecord {
    pub hole: f64,
    pub fill: f64,
    pub unchanged: f64,
    pub known: f64,
    pub stored: f64,
}

/// `ScannedDisk`.
#[napi(object)]
pub struct ScannedDiskRecord {
    pub disk_id: String,
    pub size_bytes: f64,
    pub bytes_read: f64,
    pub bytes_new: f64,
    pub bytes_stored: f64,
    pub chunks: ChunkCountsRecord,
}

impl ScannedDiskRecord {
    pub(crate) fn of(disk: &ScannedDisk) -> Self {
        Self::of_scanned(disk.disk_id, &disk.scanned)
    }

    pub(crate) fn of_scanned(disk_id: Uid, scanned: &Scanned) -> Self {
        Self {
            disk_id: disk_id.to_string(),
            size_bytes: number(scanned.version.size),
            bytes_read: number(scanned.bytes_read),
            bytes_new: number(scanned.bytes_new),
            bytes_stored: number(scanned.bytes_stored),
            chunks: ChunkCountsRecord::of(&scanned.chunks),
        }
    }

    pub(crate) fn of_copied(disk: &CopiedDisk) -> Self {
        let folded = disk.folded.as_ref();
        let bytes = |of: fn(&Folded) -> u64| number(folded.map_or(0, of));
        Self {
            disk_id: disk.disk_id.to_string(),
            size_bytes: number(disk.size),
            bytes_read: bytes(|folded| folded.bytes_read),
            bytes_new: bytes(|folded| folded.bytes_new),
            bytes_stored: bytes(|folded| folded.bytes_stored),
            chunks: ChunkCountsRecord::of(&folded.map(|folded| folded.chunks).unwrap_or_default()),
        }
    }
}

impl ChunkCountsRecord {
    fn of(chunks: &ChunkCounts) -> Self {
        Self {
            hole: number(chunks.hole),
            fill: number(chunks.fill),
            unchanged: number(chunks.unchanged),
            known: number(chunks.known),
            stored: number(chunks.stored),
        }
    }
}

/// `RestoreReport`.
#[napi(object)]
pub struct RestoredRecord {
    pub size_bytes: f64,
    pub bytes_written: f64,
}

impl RestoredRecord {
    pub(crate) fn of(restored: Restored) -> Self {
        Self { size_bytes: number(restored.size), bytes_written: number(restored.bytes_written) }
    }
}

/// `VerifyReport`.
#[napi(object)]
pub struct VerifyRecord {
    pub findings: Vec<FindingRecord>,
    pub points_checked: f64,
    pub chunks_checked: f64,
    pub bytes_read: f64,
}

impl VerifyRecord {
    pub(crate) fn of(report: &VerifyReport) -> Self {
        Self {
            findings: report.findings.iter().map(FindingRecord::of).collect(),
            points_checked: number(report.points_checked),
            chunks_checked: number(report.chunks_checked),
            bytes_read: number(report.bytes_read),
        }
    }
}

/// `CollectReport`.
#[napi(object)]
pub struct CollectRecord {
    pub dry_run: bool,
    pub packs_removed: f64,
    pub packs_rewritten: f64,
    pub chunks_removed: f64,
    pub bytes_freed: f64,
    pub bytes_rewritten: f64,
}

impl CollectRecord {
    pub(crate) fn of(report: &CollectReport) -> Self {
        Self {
            dry_run: report.dry_run,
            packs_removed: number(report.packs_removed),
            packs_rewritten: number(report.packs_rewritten),
            chunks_removed: number(report.chunks_removed),
            bytes_freed: number(report.bytes_freed),
            bytes_rewritten: number(report.bytes_rewritten),
        }
    }
}

/// `Usage`.
#[napi(object)]
pub struct UsageRecord {
    pub pack_count: f64,
    pub pack_bytes: f64,
    pub index_bytes: f64,
    pub manifest_bytes: f64,
    pub chunk_count: f64,
    pub available_bytes: f64,
}

impl UsageRecord {
    pub(crate) fn of(usage: &Usage) -> Self {
        Self {
            pack_count: number(usage.pack_count),
            pack_bytes: number(usage.pack_bytes),
            index_bytes: number(usage.index_bytes),
            manifest_bytes: number(usage.manifest_bytes),
            chunk_count: number(usage.frame_count),
            available_bytes: number(usage.available_bytes),
        }
    }
}
