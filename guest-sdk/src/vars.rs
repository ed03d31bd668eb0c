//! Variables of the flow: strings from `vars = { … }` in the host's configuration. They are set once, before any
//! record; the manifest cannot depend on them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Deserialize;

use crate::error::{Error, Result};

thread_local! {
    /// Leaked when they are set, which is once per instance, so that transforms may hold on to them.
    static VARS: RefCell<BTreeMap<&'static str, &'static str>> = const { RefCell::new(BTreeMap::new()) };
}

/// The variables of the flow; see [`vars`].
#[derive(Clone, Copy, Debug)]
pub struct Vars(());

/// The variables that the host's configuration gives to the flow.
///
/// ```
/// use wasmill_sdk::{prelude::*, testing};
/// #[transform(topics = ["in"], kafka = ["long"])]
/// fn long(record: &Record, out: &mut Outputs) -> Result<()> {
///     let min: usize = vars().parse("min_length")?.unwrap_or(3);
///     if record.text()?.len() < min { return skip("too short"); }
///     out.kafka("long").unchanged()
/// }
/// testing::set_var("min_length", "5");
/// assert!(testing::run::<long>(testing::record().value("four")).outputs.is_empty());
/// ```
pub fn vars() -> Vars {
    Vars(())
}

impl Vars {
    /// The value of a variable; `None` where the configuration does not set it.
    pub fn get(self, name: &str) -> Option<&'static str> {
        VARS.with_borrow(|vars| vars.get(name).copied())
    }

    /// The value of a variable as another type; `None` where the configuration does not set it.
    ///
    /// # Errors
    /// Fatal where the text does not parse: no record can be processed before the configuration is corrected.
    pub fn parse<T: FromStr>(self, name: &str) -> Result<Option<T>>
    where
        T::Err: std::fmt::Display,
    {
        let parse = |text: &str| {
            text.parse().map_err(|error| {
                Error::new(crate::Fate::Fatal, format!("the variable `{name}` of the flow cannot be read: {error}"))
            })
        };
        self.get(name).map(parse).transpose()
    }
}

/// Forgets them all; a sample's variables are its own.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn clear() {
    VARS.with_borrow_mut(BTreeMap::clear);
}

pub(crate) fn set(name: &str, value: &str) {
    VARS.with_borrow_mut(|vars| vars.insert(name.to_owned().leak(), value.to_owned().leak()));
}

/// Takes the host's `{"vars": {…}}`.
#[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "only a module is initialised"))]
pub(crate) fn init(config: &str) -> std::result::Result<(), String> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        vars: BTreeMap<String, String>,
    }
    let config: Config =
        serde_json::from_str(config).map_err(|error| format!("cannot read the configuration: {error}"))?;
    config.vars.iter().for_each(|(name, value)| set(name, value));
    Ok(())
}
