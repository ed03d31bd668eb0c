//! One instance of a module in a store of its own, and a call on it. After any fault the store is dead and the caller
//! drops the whole; nothing of a failed call is kept.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Func, Instance as WasmInstance};
use wasmtime::{Store, Trap, WasmBacktrace};

use super::contract::{WitBatch, WitManifest, WitOutcome};
use super::effects::{Effects, Shared, clean};
use super::engine::{Compiled, ticks, words};
use super::frame;
use super::guest::Guest;
use super::reply::Reply;
use crate::config::Limits;
use crate::manifest::Manifest;
use crate::metrics::Metrics;
use crate::record::Slice;

/// Bytes that a guest may always hand over in one call.
const HOSTCALL_BYTES: usize = 8 << 20;
/// Room for what surrounds the payload of a typed outcome.
const OUTPUT_HEAD_BYTES: usize = 512;
/// Calls after which an instance is replaced, whatever its memory says.
const CALLS: u32 = 10_000;
/// Time for `init` where the limit for a call is shorter: interpreters set themselves up there.
const INIT_TIME: Duration = Duration::from_secs(5);
/// Frames of a trap's backtrace that are told.
const FRAMES: usize = 3;

/// What an instance is started with.
pub(super) struct Setting<'a> {
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) shared: &'a Arc<Shared>,
    pub(super) flow: &'a Arc<str>,
    pub(super) module: &'a Arc<str>,
    pub(super) limits: &'a Limits,
    /// What `init` gets.
    pub(super) config: &'a str,
}

/// A module in a store.
pub(super) struct Instance {
    store: Store<Guest>,
    process: Func,
    flat: bool,
    metered: bool,
    fuel: u64,
    calls: u32,
}

/// Why a call gave nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The clock ran out; says nothing about a single record.
    Deadline,
    /// The metered engine's fuel ran out: the record's own doing.
    Fuel,
    Memory,
    /// More bytes came back than any honest call has.
    TooMuchOutput,
    Trap(String),
    /// The outcome breaks the contract.
    Malformed(String),
}

impl Instance {
    /// Instantiates a module and calls its `init`. The error is for people.
    pub(super) fn start(compiled: &Compiled, setting: &Setting<'_>) -> Result<(Instance, Manifest), String> {
        let Setting { metrics, shared, flow, module, limits, config } = *setting;
        let effects = Effects::new(metrics.clone(), shared.clone(), flow.clone(), module.clone());
        let guest = Guest::new(effects, limits.memory.bytes(), compiled.metered);
        let mut store = Store::new(&compiled.engine, guest);
        store.limiter(|guest| &mut guest.memory);
        store.set_hostcall_fuel(HOSTCALL_BYTES);
        arm(&mut store, compiled.metered, limits.fuel, limits.time_per_record.0.max(INIT_TIME));
        let started = begin(&mut store, compiled, config);
        let (process, manifest) = started.map_err(|error| match fault(&store, &error) {
            Fault::Memory => format!("it needs more than its memory limit of {} bytes", limits.memory.bytes()),
            Fault::Deadline | Fault::Fuel => "its init took too long".into(),
            Fault::TooMuchOutput => "its manifest is larger than 8 MiB".into(),
            Fault::Trap(message) | Fault::Malformed(message) => message,
        })?;
        let (flat, metered) = (compiled.flat, compiled.metered);
        let instance = Instance { store, process, flat, metered, fuel: limits.fuel, calls: 0 };
        match manifest {
            Ok(manifest) => Ok((instance, manifest.into())),
            Err(message) => Err(format!("its init says: {}", clean(&message, super::effects::LINE_BYTES))),
        }
    }

    /// Runs the module over the records of a slice. After a fault this instance must be dropped.
    pub(super) fn call(&mut self, slice: &Slice, limits: &Limits, time: Duration) -> Result<Reply, Fault> {
        self.calls += 1;
        self.store.data_mut().slice = Some(slice.clone());
        self.store.set_hostcall_fuel(hostcall_bytes(slice, limits));
        arm(&mut self.store, self.metered, self.fuel, time);
        let called = match self.flat {
            true => self.call_flat(slice),
            false => self.call_typed(slice),
        };
        match called {
            Ok(reply) => reply.map_err(Fault::Malformed),
            Err(error) => Err(fault(&self.store, &error)),
        }
    }

    /// What the guest did beside its outputs, to be committed or discarded by whoever judges the call.
    pub(super) fn effects(&mut self) -> &mut Effects {
        &mut self.store.data_mut().effects
    }

    /// Fuel that the last call has used up; `None` on the engine that does not count it.
    pub(super) fn spent(&self) -> Option<u64> {
        self.metered.then(|| self.fuel.saturating_sub(self.store.get_fuel().unwrap_or(0)))
    }

    /// Bytes of linear memory.
    pub(super) fn memory(&self) -> usize {
        self.store.data().memory.used()
    }

    /// Whether the instance should be replaced before its next call.
    pub(super) fn worn(&self) -> bool {
        self.calls >= CALLS || self.store.data().memory.worn()
    }

    fn call_flat(&mut self, slice: &Slice) -> wasmtime::Result<Result<Reply, String>> {
        let process = self.process.typed::<(&[u8],), (Vec<u8>,)>(&self.store)?;
        let (frame,) = process.call(&mut self.store, (slice.frame(),))?;
        Ok(frame::decode(frame))
    }

    fn call_typed(&mut self, slice: &Slice) -> wasmtime::Result<Result<Reply, String>> {
        let process = self.process.typed::<(WitBatch<'_>,), (WitOutcome,)>(&self.store)?;
        let (outcome,) = process.call(&mut self.store, (WitBatch::of(slice),))?;
        Ok(outcome.try_into())
    }
}

type Started = (Func, Result<WitManifest, String>);

fn begin(store: &mut Store<Guest>, compiled: &Compiled, config: &str) -> wasmtime::Result<Started> {
    let instance: WasmInstance = compiled.pre.instantiate(&mut *store)?;
    let missing = || wasmtime::format_err!("its exports are not functions");
    let process = instance.get_func(&mut *store, compiled.process).ok_or_else(missing)?;
    match compiled.flat {
        true => drop(process.typed::<(&[u8],), (Vec<u8>,)>(&*store)?),
        false => drop(process.typed::<(WitBatch<'_>,), (WitOutcome,)>(&*store)?),
    }
    let init = instance.get_typed_func::<(&str,), (Result<WitManifest, String>,)>(&mut *store, compiled.init)?;
    let (manifest,) = init.call(&mut *store, (config,))?;
    Ok((process, manifest))
}

fn arm(store: &mut Store<Guest>, metered: bool, fuel: u64, time: Duration) {
    match metered {
        true => store.set_fuel(fuel).expect("the metered engine was configured with fuel"),
        false => store.set_epoch_deadline(ticks(time)),
    }
}

/// What a call may hand over: what its records may produce at most, but never more than the guest's memory can hold
/// (an outcome that points to the same bytes many times is no honest one), and 8 MiB in any case.
fn hostcall_bytes(slice: &Slice, limits: &Limits) -> usize {
    let heads = (limits.outputs as usize).saturating_mul(OUTPUT_HEAD_BYTES);
    // Most calls: the memory is less than what so many records may produce, whatever their sizes.
    if limits.output_bytes.bytes().saturating_add(heads).saturating_mul(slice.len()) >= limits.memory.bytes() {
        return limits.memory.bytes().max(HOSTCALL_BYTES);
    }
    let per_record = |index| limits.output_bytes.bytes().max(2 * slice.size(index)).saturating_add(heads);
    let outputs = (0..slice.len()).fold(0usize, |sum, index| sum.saturating_add(per_record(index)));
    outputs.min(limits.memory.bytes()).max(HOSTCALL_BYTES)
}

fn fault(store: &Store<Guest>, error: &wasmtime::Error) -> Fault {
    let guest = store.data();
    if guest.memory.exceeded {
        return Fault::Memory;
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => Fault::Deadline,
        Some(Trap::OutOfFuel) => Fault::Fuel,
        Some(trap) => Fault::Trap(tell(&trap.to_string(), guest.effects.last_error(), error)),
        // The type of this error is not public.
        None if words(error).contains("fuel allocated for hostcalls has been exhausted") => Fault::TooMuchOutput,
        None => Fault::Trap(tell(&clean(&words(error), 400), guest.effects.last_error(), error)),
    }
}

/// The trap, the guest's own words (a panic's message is logged by the SDK) and where it happened.
fn tell(what: &str, said: Option<&str>, error: &wasmtime::Error) -> String {
    let mut told = match said {
        Some(said) => format!("{said} ({what})"),
        None => what.to_owned(),
    };
    // Only the printed backtrace has demangled names: `0: 0x1234 - module!function`.
    let trace = error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::to_string).unwrap_or_default();
    let names = trace.lines().filter_map(|line| line.split_once('!')).map(|(_, name)| name);
    let names: Vec<&str> = names.filter(|name| !is_machinery(name)).take(FRAMES).map(without_hash).collect();
    if !names.is_empty() {
        told = format!("{told} in {}", clean(&names.join(", called by "), 400));
    }
    told
}

/// Functions of the panic machinery that stand on top of every Rust backtrace.
fn is_machinery(name: &str) -> bool {
    ["rust_panic", "rust_begin_unwind", "panicking", "__rust_", "panic_handler", "abort"]
        .iter()
        .any(|part| name.contains(part))
}

/// `path::function` without the hash that rustc appends.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => path,
        _ => name,
    }
}
