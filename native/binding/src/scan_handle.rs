//! A finished scan that waits for its manifest.

use std::sync::{Arc, Mutex, PoisonError};

use napi::bindgen_prelude::Object;
use napi::{Env, Result};
use napi_derive::napi;
use stillpoint_engine::engine::PreparedPoint;

use crate::convert::{number, uid, unsigned};
use crate::failure::Failure;
use crate::records::ScannedDiskRecord;
use crate::task::start;

/// A finished scan. One of `publish` and `abandon` ends it.
#[napi]
pub struct NativeScan {
    disks: Vec<ScannedDiskRecord>,
    started_ms: f64,
    ended_ms: f64,
    prepared: Arc<Mutex<Option<PreparedPoint>>>,
}

impl NativeScan {
    pub(crate) fn new(prepared: PreparedPoint) -> Self {
        Self {
            disks: prepared.disks().iter().map(ScannedDiskRecord::of).collect(),
            started_ms: number(prepared.started_ms()),
            ended_ms: number(prepared.ended_ms()),
            prepared: Arc::new(Mutex::new(Some(prepared))),
        }
    }
}

#[napi]
impl NativeScan {
    /// The disks. May be called once: the records move out.
    #[napi]
    pub fn take_disks(&mut self) -> Vec<ScannedDiskRecord> {
        std::mem::take(&mut self.disks)
    }

    /// Before the first byte was read.
    #[napi(getter)]
    #[must_use]
    pub fn started_ms(&self) -> f64 {
        self.started_ms
    }

    /// After everything was durable.
    #[napi(getter)]
    #[must_use]
    pub fn ended_ms(&self) -> f64 {
        self.ended_ms
    }

    /// Makes the restore point.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<undefined | Failure>")]
    pub fn publish<'env>(
        &self,
        env: &'env Env,
        point_id: String,
        created_ms: f64,
        detail: String,
    ) -> Result<Object<'env>> {
        let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).take();
        start(env, move || {
            let prepared = prepared.ok_or_else(|| Failure::closed("the scan"))?;
            let publish = || {
                let (point_id, created_ms) = (uid(&point_id, "pointId")?, unsigned(created_ms, "createdMs")?);
                prepared.publish(point_id, created_ms, detail.into_bytes())
            };
            publish().map_err(|error| Failure::boxed(&error))
        })
    }

    /// Forgets the scan.
    #[napi]
    pub fn abandon(&self) {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
