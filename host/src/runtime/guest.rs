//! The data of a store and the host's side of `wit/transform.wit`: what a guest may use and how much of it. There is no
//! clock, no file, no socket and no environment here; random numbers are a function of the record's coordinates.

use tracing::Level;
use wasmtime::component::{Linker, WasmStr};
use wasmtime::{AsContext, ResourceLimiter, Result, StoreContextMut, bail};

use super::contract::WitLevel;
use super::effects::{Effects, Kind, LINE_BYTES};
use crate::record::Slice;

/// Fuel of one call of the host on the metered engine, in addition to the bytes it handles: about its time in
/// nanoseconds, so that a loop of host calls ends as one of instructions does.
const HOST_CALL_FUEL: u64 = 100;
/// Longest name of a guest's metric that is looked at.
const NAME_BYTES: usize = 64;
/// Counts that no honest module comes near; a Python component has about twenty instances.
const INSTANCES: usize = 100;
const TABLES: usize = 50;
const MEMORIES: usize = 4;
const TABLE_ELEMENTS: usize = 200_000;

/// What a store carries.
pub(super) struct Guest {
    pub(super) effects: Effects,
    pub(super) memory: Memory,
    /// The records of the call that runs, for `random`; none during `init`.
    pub(super) slice: Option<Slice>,
    metered: bool,
}

/// Keeps count of linear memory: the cap covers all memories of a store together.
#[derive(Debug)]
pub(super) struct Memory {
    cap: usize,
    used: usize,
    /// Whether the cap was hit: tells a memory verdict from another trap.
    pub(super) exceeded: bool,
}

impl Guest {
    pub(super) fn new(effects: Effects, cap: usize, metered: bool) -> Self {
        Guest { effects, memory: Memory { cap, used: 0, exceeded: false }, slice: None, metered }
    }

    fn random(&self, source: u32, nth: u32) -> u64 {
        match &self.slice {
            Some(slice) if (source as usize) < slice.len() => {
                coordinate_hash(&slice.topic, slice.partition, slice.offset(source as usize), nth)
            }
            _ => coordinate_hash("", 0, 0, nth),
        }
    }
}

impl Memory {
    /// Bytes of linear memory, which is also the most there has been.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Linear memory never shrinks: an instance at half its cap is replaced before it hits it.
    pub(super) fn worn(&self) -> bool {
        self.used > self.cap / 2
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let used = self.used + desired.saturating_sub(current);
        if used > self.cap {
            self.exceeded = true;
            bail!("memory limit of {} bytes", self.cap);
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        if desired > TABLE_ELEMENTS {
            self.exceeded = true;
            bail!("limit of {TABLE_ELEMENTS} table elements");
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}

type Ctx<'a> = StoreContextMut<'a, Guest>;

/// Everything that a module may import.
pub(super) fn link(linker: &mut Linker<Guest>) -> Result<()> {
    let mut host = linker.instance(super::HOST)?;
    host.func_wrap("log", |mut ctx: Ctx<'_>, (level, message): (WitLevel, WasmStr)| {
        let line = text(&mut ctx, &message, LINE_BYTES)?;
        ctx.data_mut().effects.log(tracing_level(level), &line);
        Ok(())
    })?;
    for (name, kind) in [("counter", Kind::Counter), ("gauge", Kind::Gauge), ("histogram", Kind::Histogram)] {
        host.func_wrap(name, move |mut ctx: Ctx<'_>, (name,): (WasmStr,)| {
            let name = text(&mut ctx, &name, NAME_BYTES)?;
            Ok((ctx.data_mut().effects.register(kind, &name),))
        })?;
    }
    host.func_wrap("add", |mut ctx: Ctx<'_>, (handle, n): (u32, u64)| {
        charge(&mut ctx, 0)?;
        ctx.data_mut().effects.add(handle, n);
        Ok(())
    })?;
    host.func_wrap("set", |mut ctx: Ctx<'_>, (handle, value): (u32, f64)| {
        charge(&mut ctx, 0)?;
        ctx.data_mut().effects.set(handle, value);
        Ok(())
    })?;
    host.func_wrap("observe", |mut ctx: Ctx<'_>, (handle, value): (u32, f64)| {
        charge(&mut ctx, 0)?;
        ctx.data_mut().effects.observe(handle, value);
        Ok(())
    })?;
    host.func_wrap("random", |mut ctx: Ctx<'_>, (source, nth): (u32, u32)| {
        charge(&mut ctx, 0)?;
        Ok((ctx.data().random(source, nth),))
    })
}

/// A text of the guest, cut a little above `limit` so that the cut can be seen.
fn text(ctx: &mut Ctx<'_>, text: &WasmStr, limit: usize) -> Result<String> {
    let (text, bytes) = {
        let text = text.to_str(ctx.as_context())?;
        (text[..text.floor_char_boundary(limit + 4)].to_owned(), text.len())
    };
    charge(ctx, bytes as u64)?;
    Ok(text)
}

/// On the metered engine the host's work is paid for in fuel; the other one has its deadline.
fn charge(ctx: &mut Ctx<'_>, bytes: u64) -> Result<()> {
    if !ctx.data().metered {
        return Ok(());
    }
    let left = ctx.get_fuel()?.saturating_sub(HOST_CALL_FUEL + bytes);
    ctx.set_fuel(left)
}

fn tracing_level(level: WitLevel) -> Level {
    match level {
        WitLevel::Trace => Level::TRACE,
        WitLevel::Debug => Level::DEBUG,
        WitLevel::Info => Level::INFO,
        WitLevel::Warn => Level::WARN,
        WitLevel::Error => Level::ERROR,
    }
}

/// FNV-1a over the coordinates, mixed by the finalizer of splitmix64. Must never change: replays depend on it.
fn coordinate_hash(topic: &str, partition: i32, offset: i64, nth: u32) -> u64 {
    let coordinates = partition.to_le_bytes().into_iter().chain(offset.to_le_bytes()).chain(nth.to_le_bytes());
    let mut hash = topic
        .bytes()
        .chain(coordinates)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_never_change() {
        let first: std::collections::HashSet<u64> = (0..1000).map(|nth| coordinate_hash("t", 0, 7, nth)).collect();
        assert_eq!(first.len(), 1000);
        // Written down: a replay on another version must see the same number.
        assert_eq!(coordinate_hash("topic_quotes", 3, 42, 0), 1_990_415_535_382_421_448);
    }
}
