//! The first part of a background copy: conversion only.

use napi::bindgen_prelude::Object;
use napi::{Env, Result};
use napi_derive::napi;

use crate::convert::uid;
use crate::engine_handle::NativeEngine;
use crate::operation::NativeOperation;
use crate::records::ScannedDiskRecord;

#[napi]
impl NativeEngine {
    /// Makes the maps of a cut, without its manifest; resolves with what that took.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<ScannedDiskRecord[] | Failure>")]
    pub fn fold_cut<'env>(
        &self,
        env: &'env Env,
        point_id: String,
        disk_ids: Vec<String>,
        operation: &NativeOperation,
    ) -> Result<Object<'env>> {
        let control = operation.control();
        self.call(env, move |engine| {
            let disks = disk_ids.iter().map(|id| uid(id, "diskIds"));
            let disks = disks.collect::<stillpoint_engine::error::Result<Vec<_>>>()?;
            let folded = engine.fold(&uid(&point_id, "pointId")?, &disks, &control)?;
            Ok(folded.iter().map(ScannedDiskRecord::of_copied).collect::<Vec<_>>())
        })
    }
}
