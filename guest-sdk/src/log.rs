//! Log lines of a module. The host cuts them at 1 KiB, limits their rate and names the module; nothing is written here.

pub use crate::{__debug as debug, __error as error, __info as info, __trace as trace, __warn as warn};

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the author.
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// What happened.
    Info,
    /// Something is odd and was coped with.
    Warn,
    /// Someone must act.
    Error,
}

/// Logs one line.
///
/// ```
/// use wasmill_sdk::{log, testing};
/// log::info!("{} quotes", 3);
/// log::write(log::Level::Warn, "late");
/// assert_eq!(testing::logs(), [(log::Level::Info, "3 quotes".into()), (log::Level::Warn, "late".into())]);
/// ```
pub fn write(level: Level, message: &str) {
    crate::host::log(level, message);
}

/// Logs one line of severity *trace*, formatted as by `format!`; used as `log::trace!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __trace {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Trace, &::std::format!($($arg)*)) };
}

/// Logs one line of severity *debug*, formatted as by `format!`; used as `log::debug!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __debug {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Debug, &::std::format!($($arg)*)) };
}

/// Logs one line of severity *info*, formatted as by `format!`; used as `log::info!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __info {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Info, &::std::format!($($arg)*)) };
}

/// Logs one line of severity *warn*, formatted as by `format!`; used as `log::warn!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __warn {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Warn, &::std::format!($($arg)*)) };
}

/// Logs one line of severity *error*, formatted as by `format!`; used as `log::error!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __error {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Error, &::std::format!($($arg)*)) };
}
