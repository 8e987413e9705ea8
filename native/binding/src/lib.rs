//! Node-API addon: conversion between JavaScript and the engine, no decisions.
//!
//! Every long call runs on a thread of its own (never on libuv's pool) and settles a promise with either its value or
//! a [`failure::Failure`] record; the TypeScript facade turns the record into an error. Panics are caught and become
//! `INTERNAL`. The only calls into JavaScript say that requests to live disks are done (`requests`), and that clients of an NBD
//! server ask for exports (`nbd_handle`).

#![allow(unreachable_pub)] // what `#[napi]` exports is reached from JavaScript
#![cfg_attr(test, allow(dead_code))] // exports exist only in the addon, not where lints compile tests
#![allow(missing_docs)] // records are documented field by field in src/native/engine.ts

mod closed_logs;
mod convert;
mod copying;
mod diff_handle;
mod engine_handle;
mod failure;
mod live_handle;
mod nbd_handle;
mod operation;
mod probe_handle;
mod records;
mod requests;
mod scale_probe_handle;
mod scan_handle;
mod statistics;
mod tables;
mod task;
mod world_handle;
