//! What points and machines take, as plain objects and as a call of the open store.

use std::collections::HashMap;

use napi::bindgen_prelude::Object;
use napi::{Env, Result};
use napi_derive::napi;
use stillpoint_engine::engine::{MachineStatistics, PointStatistics, Statistics};

use crate::convert::{number, uid};
use crate::engine_handle::NativeEngine;
use crate::operation::NativeOperation;

/// `PointStatistics`.
#[napi(object)]
pub struct PointStatisticsRecord {
    pub point_id: String,
    pub logical_bytes: f64,
    pub data_bytes: f64,
    pub unique_bytes: f64,
    pub freed_bytes: f64,
}

/// `MachineStatistics`.
#[napi(object)]
pub struct MachineStatisticsRecord {
    pub point_count: f64,
    pub logical_bytes: f64,
    pub data_bytes: f64,
    pub distinct_bytes: f64,
    pub stored_bytes: f64,
    pub unique_bytes: f64,
    pub freed_bytes: f64,
}

/// `Statistics`.
#[napi(object)]
pub struct StatisticsRecord {
    pub points: Vec<PointStatisticsRecord>,
    pub machines: Vec<MachineStatisticsRecord>,
    pub logical_bytes: f64,
    pub data_bytes: f64,
    pub distinct_bytes: f64,
    pub stored_bytes: f64,
    pub garbage_bytes: f64,
    pub chunk_count: f64,
    pub node_count: f64,
    pub missing_count: f64,
}

impl PointStatisticsRecord {
    fn of(point: &PointStatistics) -> Self {
        Self {
            point_id: point.point_id.to_string(),
            logical_bytes: number(point.logical_bytes),
            data_bytes: number(point.data_bytes),
            unique_bytes: number(point.unique_bytes),
            freed_bytes: number(point.freed_bytes),
        }
    }
}

impl MachineStatisticsRecord {
    fn of(machine: &MachineStatistics) -> Self {
        Self {
            point_count: number(machine.point_count),
            logical_bytes: number(machine.logical_bytes),
            data_bytes: number(machine.data_bytes),
            distinct_bytes: number(machine.distinct_bytes),
            stored_bytes: number(machine.stored_bytes),
            unique_bytes: number(machine.unique_bytes),
            freed_bytes: number(machine.freed_bytes),
        }
    }
}

impl StatisticsRecord {
    fn of(all: &Statistics) -> Self {
        Self {
            points: all.points.iter().map(PointStatisticsRecord::of).collect(),
            machines: all.machines.iter().map(MachineStatisticsRecord::of).collect(),
            logical_bytes: number(all.logical_bytes),
            data_bytes: number(all.data_bytes),
            distinct_bytes: number(all.distinct_bytes),
            stored_bytes: number(all.stored_bytes),
            garbage_bytes: number(all.garbage_bytes),
            chunk_count: number(all.chunk_count),
            node_count: number(all.node_count),
            missing_count: number(all.missing_count),
        }
    }
}

#[napi]
impl NativeEngine {
    /// Counts what the points need; `machines` has the ids of each machine's points.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<StatisticsRecord | Failure>")]
    pub fn statistics<'env>(
        &self,
        env: &'env Env,
        machines: Vec<Vec<String>>,
        operation: &NativeOperation,
    ) -> Result<Object<'env>> {
        let control = operation.control();
        self.call(env, move |engine| {
            let mut machine_of = HashMap::new();
            for (machine, points) in (0u32..).zip(&machines) {
                for point in points {
                    machine_of.insert(uid(point, "pointId")?, machine);
                }
            }
            let machine_count = machines.len() as u32; // an array of JavaScript has fewer than 2^32
            Ok(StatisticsRecord::of(&engine.statistics(&machine_of, machine_count, &control)?))
        })
    }
}
